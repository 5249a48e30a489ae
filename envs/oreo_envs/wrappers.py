"""Wrappers for any environment of the house."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class TruncateWhenStuck(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Truncates an episode after so many commands in a row that did nothing (``info["action_status"]``).

    A policy that repeats itself until the step limit fills a dataset with the end of one mistake; stopped early,
    the same time buys more beginnings.

    Args:
        env: reports ``action_status``.
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

    def reset(self, **options: Any) -> tuple[str, dict[str, Any]]:
        """Begin with full patience."""
        self.useless = 0
        return super().reset(**options)

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """As the environment's; truncated when patience has run out."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.useless = 0 if info["action_status"] == "ok" else self.useless + 1
        return observation, reward, terminated, truncated or self.useless >= self.patience, info
