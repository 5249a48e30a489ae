"""Wrappers for any environment of the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym


class TruncateWhenStuck(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Truncates an episode after so many commands in a row that did nothing (``info["action_status"]``).

    A policy that repeats itself until the step limit fills a dataset with the end of one mistake; stopped early,
    the same time buys more beginnings.

    Where an environment does not report that, a command did nothing if the observation stays as it was.

    Args:
        env: a text environment.
        patience: this many useless commands in a row end the episode, at least 1.

    Raises:
        ValueError: ``patience`` is less than 1.
    """

    def __init__(self, env: gym.Env[str, str], patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience={patience}: at least one command must be allowed to fail")
        gym.utils.RecordConstructorArgs.__init__(self, patience=patience)
        super().__init__(env)
        self.patience, self.useless = patience, 0
        self._seen = ""

    def reset(self, **options: Any) -> tuple[str, dict[str, Any]]:
        """Begin with full patience."""
        self.useless = 0
        self._seen, info = super().reset(**options)
        return self._seen, info

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """As the environment's; truncated when patience has run out."""
        observation, reward, terminated, truncated, info = super().step(action)
        status = info.get("action_status", "ok" if observation != self._seen else "unchanged")
        self.useless = 0 if status == "ok" else self.useless + 1
        self._seen = observation
        return observation, reward, terminated, truncated or self.useless >= self.patience, info


def find_snapshots(env: gym.Env) -> Any:
    """What takes snapshots of an environment: ``clone_state()``, ``restore_state(state)`` and the ``step`` between.

    The outermost wrapper that can, as it knows of those inside it; else the environment itself.

    Raises:
        TypeError: neither can.
    """
    wrapper: Any = env
    while isinstance(wrapper, gym.Wrapper):
        if "clone_state" in vars(type(wrapper)):
            return wrapper
        wrapper = wrapper.env
    if hasattr(wrapper, "clone_state"):
        return wrapper
    raise TypeError(
        f"{type(env.unwrapped).__name__} cannot be branched: it has no clone_state() and restore_state()"
    )


@dataclass(frozen=True, slots=True)
class Branch:
    """A position of an episode from which actions can be tried: the episode itself stays where it is."""

    env: Any
    """What :func:`find_snapshots` finds of the environment."""
    state: Any
    """A snapshot of the position."""
    observation: str
    reward: float = 0.0
    """Of the step that led here."""
    ended: bool = False
    """There are no further steps from here."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What the environment said beside the observation."""
    turns: int = 0
    """How many actions led here, from the beginning of the episode."""

    def step(self, action: str) -> Branch:
        """Where ``action`` leads from here."""
        here = self.env.clone_state()
        self.env.restore_state(self.state)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            there = self.env.clone_state(), observation, float(reward), terminated or truncated, info
            return Branch(self.env, *there, self.turns + 1)
        finally:
            self.env.restore_state(here)


class OfferBranches(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Adds ``info["branch"]``, a :class:`Branch`, for agents that search on the simulator.

    It tells an agent more than the task does: what an action leads to, before it is played. Results of agents that
    look belong in a setting of their own. A step limit does not count tried steps.

    Args:
        env: has ``clone_state()`` and ``restore_state()``, as ALFWorld and the math environments, or a wrapper that
            has, such as :class:`oreo_envs.foreign.ForeignEnv`, which is then what steps.

    Raises:
        TypeError: the environment cannot be branched.

    >>> env = OfferBranches(gym.make("OREO-ALFWorld", split="generated"))
    >>> observation, info = env.reset(options={"game": 0})
    >>> info["branch"].step("sing").observation
    'Nothing happens.'
    """

    def __init__(self, env: gym.Env[str, str]) -> None:
        find_snapshots(env)
        self._turns = 0
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def reset(self, **options: Any) -> tuple[str, dict[str, Any]]:
        """With a branch at the beginning."""
        observation, info = super().reset(**options)
        self._turns = 0
        return observation, self._offer(observation, info)

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """With a branch where the step has led."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._turns += 1
        return observation, reward, terminated, truncated, self._offer(observation, info)

    def _offer(self, observation: str, info: dict[str, Any]) -> dict[str, Any]:
        env = find_snapshots(self.env)
        return {**info, "branch": Branch(env, env.clone_state(), observation, info=info, turns=self._turns)}
