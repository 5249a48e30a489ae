"""Many ALFWorld episodes at once in one process, over one shared set of games."""

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from oreo_envs.alfworld.env import ALFWorldEnv, Backend, Dialect
from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.places import PathLike
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.text import Wording


class ALFWorldVectorEnv(SyncVectorEnv):
    """`num_envs` independent episodes; observations are a tuple of str, actions any sequence of str.

    It is what ``gym.make_vec("OREO-ALFWorld", num_envs=N)`` gives. Games are found and parsed once for all.

    Args:
        num_envs: how many episodes are played side by side.
        max_episode_steps: truncate episodes after that many steps; None never does.
        autoreset_mode: one of Gymnasium's, "NextStep" (default), "SameStep", "Disabled", or its enum member.
        split, games, backend, expert, dialect, render_mode, wording, state_hash: as for ALFWorldEnv.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        split: str | None = None,
        games: PathLike | Sequence[PathLike] | Games | None = None,
        backend: Backend = "native",
        expert: bool = False,
        dialect: Dialect | None = None,
        render_mode: str | None = None,
        wording: Wording | None = None,
        state_hash: bool = False,
    ):
        self.games = find_games(split, games, wording=wording)

        def make_env() -> Any:
            env = ALFWorldEnv(None, self.games, backend, expert, dialect, render_mode, wording, state_hash)
            return env if max_episode_steps is None else TimeLimit(env, max_episode_steps)

        super().__init__([make_env] * num_envs, autoreset_mode=autoreset_mode)
