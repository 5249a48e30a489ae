"""What a puzzle is: positions, the commands in each, a solver, and the habit of whoever demonstrates it.

Positions are values, so that a snapshot of an episode is the position. Knows nothing about Gymnasium.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Puzzle(ABC, Generic[P]):
    """One puzzle.

    Args:
        name: stable, and unique among the puzzles of all splits.
    """

    kind: ClassVar[str]
    """What results are reported by."""
    grammar: ClassVar[re.Pattern[str]]
    """What can be a command at all."""
    habit_share: ClassVar[float]
    """How often the demonstrator follows its habit where it has one; otherwise it does what the solver says."""
    task: str
    start: P

    def __init__(self, name: str) -> None:
        self.name = name
        self._ways: dict[P, tuple[str, ...] | None] = {}

    def __repr__(self) -> str:
        """All that makes it this puzzle; datasets and suites are known by a hash of it."""
        return f"{type(self).__name__}({self.name!r}, {self.show(self.start)!r})"

    def plan(self, position: P) -> tuple[str, ...] | None:
        """The fewest commands that solve a position; None where none do."""
        return self.find_way(position)

    def find_way(self, position: P) -> tuple[str, ...] | None:
        """The same as far as anybody can know who does not know how luck falls."""
        if position not in self._ways:
            self._ways[position] = self._search(position)
        return self._ways[position]

    @abstractmethod
    def show(self, position: P) -> str:
        """What is seen in a position; all that there is to know of it, luck aside."""

    @abstractmethod
    def commands(self, position: P) -> Mapping[str, P]:
        """Every admissible command, and where it leads; none where the puzzle is over."""

    @abstractmethod
    def is_solved(self, position: P) -> bool:
        """Whether the puzzle is won."""

    @abstractmethod
    def habit(self, position: P) -> str | None:
        """What the demonstrator does without thinking, if there is such a thing here."""

    def demonstrate(self, position: P) -> dict[str, float]:
        """How likely the demonstrator is to give each command; empty where the puzzle is over."""
        habit, way, commands = self.habit(position), self.find_way(position), sorted(self.commands(position))
        if not commands:
            return {}
        wise = way[0] if way else habit or commands[0]
        if habit in (None, wise):
            return {wise: 1.0}
        assert habit is not None
        return {habit: self.habit_share, wise: 1 - self.habit_share}

    def _strip(self, position: P) -> Any:
        """A position less what only runs out: the earlier of two that differ in it can do whatever the later can."""
        return position

    def _search(self, position: P) -> tuple[str, ...] | None:
        """Breadth first, so exact, for puzzles of a few thousand positions."""
        seen = {self._strip(position)}
        queue: deque[tuple[P, tuple[str, ...]]] = deque([(position, ())])
        while queue:
            here, said = queue.popleft()
            if self.is_solved(here):
                return said
            for command, there in self.commands(here).items():
                if (place := self._strip(there)) not in seen:
                    seen.add(place)
                    queue.append((there, (*said, command)))
        return None
