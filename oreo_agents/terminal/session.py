"""One episode that can be stepped back, as a person plays it. Knows nothing about terminals."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from oreo_envs.wrappers import find_snapshots

from oreo_agents.errors import ConfigurationError, EpisodeError
from oreo_agents.rollout.episode import EpisodeBuilder, find_fault, find_success_return
from oreo_agents.trajectory import Trajectory

HUMAN = "human"


@dataclass(frozen=True, slots=True)
class PlayedStep:
    """An action and what it led to."""

    action: str
    observation: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    player: str


class Session:
    """An episode with undo.

    Args:
        env: a text environment without a step limit of its own, which could not be taken back.
        max_steps: the episode is truncated after this many.
        seed: of the reset.
        options: of the reset, e.g. ``{"game": name}``.
        tells_limit: False where the limit is not the environment's, and none that the player asked for.

    Raises:
        ConfigurationError: the environment does not answer in text.
    """

    def __init__(
        self,
        env: gym.Env,
        max_steps: int,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
        tells_limit: bool = True,
    ) -> None:
        self.env, self.max_steps, self.seed, self._tells_limit = env, max_steps, seed, tells_limit
        self._env_id = env.spec.id if env.spec else ""
        self.opening = env.reset(seed=seed, options=options)
        if not isinstance(self.opening[0], str):
            raise ConfigurationError(
                f"{env.spec.id if env.spec else env} answers with {type(self.opening[0]).__name__}, not with text: "
                "choose a text environment with --env"
            )
        self.steps: list[PlayedStep] = []
        """Those that were not taken back."""
        self._snapshots: list[Any] = []
        self._rewinding: Any = None
        with suppress(TypeError):
            self._rewinding = find_snapshots(env)

    @property
    def observation(self) -> str:
        """What was said last."""
        return self.steps[-1].observation if self.steps else self.opening[0]

    @property
    def info(self) -> dict[str, Any]:
        """The newest info."""
        return self.steps[-1].info if self.steps else self.opening[1]

    @property
    def observations(self) -> list[str]:
        """Everything that was said."""
        return [self.opening[0], *(step.observation for step in self.steps)]

    @property
    def infos(self) -> list[dict[str, Any]]:
        """All infos, the opening's first."""
        return [self.opening[1], *(step.info for step in self.steps)]

    @property
    def terminated(self) -> bool:
        """Whether the game is over."""
        return bool(self.steps) and self.steps[-1].terminated

    @property
    def truncated(self) -> bool:
        """Whether the step limit, or the environment itself, cut the episode."""
        cut = bool(self.steps) and self.steps[-1].truncated
        return not self.terminated and (cut or len(self.steps) >= self.max_steps)

    @property
    def over(self) -> bool:
        """Whether no further step is possible."""
        return self.terminated or self.truncated

    @property
    def steps_left(self) -> int | None:
        """Up to the step limit; None where the environment has none to tell."""
        return self.max_steps - len(self.steps) if self._tells_limit else None

    @property
    def score(self) -> tuple[float, float] | None:
        """The newest reward and the return so far; None where nothing but the end of the episode has a reward."""
        rewards = [step.reward for step in self.steps]
        along = rewards[:-1] if self.over else rewards
        return (rewards[-1], sum(rewards)) if any(along) else None

    @property
    def keeps_snapshots(self) -> bool:
        """Whether the environment can go back."""
        return self._rewinding is not None

    @property
    def conditions(self) -> list[tuple[str, bool]]:
        """What the goal asks for, with whether it holds now; empty where the environment does not say."""
        ask = getattr(self.env.unwrapped, "goal_conditions", list)
        return ask()

    def step(self, action: str, player: str = HUMAN) -> str:
        """Carry out a command and return what it led to; interrupted (Ctrl-C), nothing has happened.

        Raises:
            EpisodeError: the environment cannot go on, or what it answers cannot be stored.
        """
        rewinding = self._rewinding
        snapshot = None if rewinding is None else rewinding.clone_state()
        done = len(self.steps)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            if fault := find_fault(observation, reward):
                game = self.opening[1].get("game", "")
                raise EpisodeError.at(self._env_id, game, self.seed, done + 1, fault)
            self.steps.append(
                PlayedStep(action, observation, float(reward), terminated, truncated, info, player)
            )
            self._snapshots.append(snapshot)
        except KeyboardInterrupt:
            del self.steps[done:], self._snapshots[done:]
            if rewinding is not None:
                rewinding.restore_state(snapshot)
            raise
        return observation

    def understands(self, action: str) -> bool:
        """Whether the game takes a command for one, found out on a step that is taken back; True where it cannot be."""
        if not self.keeps_snapshots:
            return True
        self.step(action)
        status = self.info.get("action_status")
        self.undo()
        return status != "unparsable"

    def undo(self) -> str:
        """Take the last step back and return what had been said before it."""
        self._rewinding.restore_state(self._snapshots.pop())
        self.steps.pop()
        return self.observation

    def trajectory(self, tokenizer: str | None = None) -> Trajectory:
        """The steps that were not taken back.

        Args:
            tokenizer: fingerprint of the tokenizer behind the token ids that an agent's actions carry.
        """
        threshold = find_success_return(self.env.unwrapped.spec)
        episode = EpisodeBuilder(*self.opening, self._env_id, self.seed, threshold)
        for step in self.steps:
            episode.add(step.action, step.observation, step.reward, step.info)
        players = list(dict.fromkeys(step.player for step in self.steps))
        if len(players) > 1:
            episode.metadata["players"] = [step.player for step in self.steps]
        return episode.end(self.terminated, self.truncated, " and ".join(players), tokenizer)
