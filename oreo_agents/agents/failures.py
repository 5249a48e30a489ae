"""What has failed in an episode since something last worked."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


class Failures:
    """Commands of one episode that have failed since the last one that worked.

    A command has failed if ``info["action_status"]`` says anything but ``ok`` after it. Where an environment has no
    such key, it has failed if the observation after it is the one before it, letter by letter; an empty one is no
    answer at all, as in mathematics.
    """

    def __init__(self) -> None:
        self._commands: set[str] = set()
        self._played: str | None = None
        self._observation = ""

    @property
    def commands(self) -> Set[str]:
        """Those that are not to be chosen again, without spaces around them."""
        return self._commands

    def observe(self, observation: str, info: Mapping[str, Any]) -> None:
        """Take in what came of the last command, or the opening."""
        if self._played is not None:
            if self._has_failed(observation, info):
                self._commands.add(self._played)
            else:
                self._commands.clear()
        self._observation, self._played = observation, None

    def play(self, command: str) -> None:
        """Take in what is played next."""
        self._played = command.strip()

    def _has_failed(self, observation: str, info: Mapping[str, Any]) -> bool:
        status = info.get("action_status")
        same = bool(observation) and observation == self._observation
        return same if status is None else status != "ok"
