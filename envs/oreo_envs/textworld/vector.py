"""Many of TextWorld's games at once: their interpreters work side by side, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, repeat
from typing import Any, cast

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from oreo_envs.errors import GameFileError
from oreo_envs.files import PathLike
from oreo_envs.textworld.env import Rewards, TextWorldEnv
from oreo_envs.textworld.games import TextWorldGames, find_games


class TextWorldVectorEnv(SyncVectorEnv):
    """`num_envs` independent episodes; observations are a tuple of str, actions any sequence of str.

    It is what ``gym.make_vec("OREO-TextWorld", num_envs=N)`` gives. All games step, and all that begin are made and
    opened, before any is waited for; only with "SameStep" those that follow others begin one after another.

    Args:
        num_envs: how many episodes are played side by side.
        max_episode_steps: truncate episodes after that many steps; None never does.
        autoreset_mode: one of Gymnasium's, "NextStep" (default), "SameStep", "Disabled", or its enum member.
        challenge, level, split, games, rewards, expert, render_mode: as for TextWorldEnv.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        challenge: str | None = None,
        level: str | int | None = None,
        split: str = "train",
        games: PathLike | Sequence[PathLike] | TextWorldGames | None = None,
        rewards: Rewards = "win",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        self.games = find_games(challenge, level, split, games)

        def make_env() -> Any:
            env: gym.Env = EndWhereBroken(
                TextWorldEnv(games=self.games, rewards=rewards, expert=expert, render_mode=render_mode)
            )
            return env if max_episode_steps is None else TimeLimit(env, max_episode_steps)

        super().__init__([make_env] * num_envs, autoreset_mode=autoreset_mode)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode of every environment; see :meth:`gymnasium.vector.SyncVectorEnv.reset`."""
        seeds = repeat(seed) if seed is None else count(seed) if isinstance(seed, int) else seed
        chosen = dict(options or {})
        meant = chosen.pop("reset_mask", repeat(True))
        for env, own_seed, resets in zip(self.envs, seeds, meant, strict=False):
            if resets:
                _as_textworld(env).begin_reset(own_seed, chosen)
        return super().reset(seed=seed, options=options)

    def step(self, actions: Sequence[str]) -> Any:
        """A step of every episode; see :meth:`gymnasium.vector.SyncVectorEnv.step`."""
        actions = tuple(actions)
        for env, action, ended in zip(self.envs, actions, self._autoreset_envs, strict=True):
            if not ended or self.autoreset_mode == AutoresetMode.SAME_STEP:
                _as_textworld(env).begin_step(action)
            elif self.autoreset_mode == AutoresetMode.NEXT_STEP:
                _as_textworld(env).begin_reset()
        return super().step(actions)  # type: ignore[arg-type]


def _as_textworld(env: gym.Env) -> TextWorldEnv:
    return cast(TextWorldEnv, env.unwrapped)


class EndWhereBroken(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Truncates an episode whose game breaks, with ``info["failed"]``; where a random game is broken, draws another.

    So one game does not end the batch that it is played in.
    """

    DRAWS = 20

    def __init__(self, env: gym.Env[str, str]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode. Raises GameFileError where the game that was asked for is broken, or most are."""
        for _ in range(self.DRAWS):
            try:
                return super().reset(seed=seed, options=options)
            except GameFileError as error:
                if "game" in (options or {}):
                    raise
                broken, seed = error, None
        raise broken

    def step(self, action: str) -> Any:
        """As the environment's."""
        try:
            return super().step(action)
        except GameFileError as error:
            return "", 0.0, False, True, {"failed": str(error)}
