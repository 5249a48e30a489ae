"""Shortest path: from start to goal through open cells, before the moves run out, see :mod:`.timed`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from oreo_envs.puzzles.timed import TimedPuzzle, draw_spare

STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


class Walker(NamedTuple):
    """Where one stands, and how many moves are left."""

    row: int
    column: int
    left: int


class ShortestPath(TimedPuzzle[Walker]):
    """``up``, ``down``, ``left``, ``right`` on a grid: ``*`` is you, ``#`` the goal, ``O`` open, ``X`` blocked.

    The habit is to go up where that cell is open, or else left.

    Args:
        name: see :class:`Puzzle`.
        metadata: reasoning-gym's of the problem.
    """

    kind = "shortest_path"
    grammar = re.compile("|".join(STEPS))
    habit_share = 0.85

    def __init__(self, name: str, metadata: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.grid: list[list[str]] = metadata["matrix"]
        cells = {
            cell: (row, column)
            for row, line in enumerate(self.grid)
            for column, cell in enumerate(line)
            if cell in "*#"
        }
        self.goal = cells["#"]
        self.task = "Reach the goal."
        self.start = Walker(*cells["*"], len(metadata["solution"] or ()) + draw_spare(name))

    def show(self, position: Walker) -> str:
        """The grid."""
        here = (position.row, position.column)
        lines = (
            "".join(
                "*" if (row, column) == here else "O" if cell == "*" else cell
                for column, cell in enumerate(line)
            )
            for row, line in enumerate(self.grid)
        )
        return "\n".join(lines)

    def commands(self, position: Walker) -> Mapping[str, Walker]:
        """Steps onto open cells."""
        if not position.left or self.is_solved(position):
            return {}
        targets = {
            name: Walker(position.row + down, position.column + right, position.left - 1)
            for name, (down, right) in STEPS.items()
        }
        return {name: there for name, there in targets.items() if self._is_open(there.row, there.column)}

    def is_solved(self, position: Walker) -> bool:
        """On the goal."""
        return (position.row, position.column) == self.goal

    def habit(self, position: Walker) -> str | None:
        """Up, or else left."""
        commands = self.commands(position)
        return next((name for name in ("up", "left") if name in commands), None)

    def _is_open(self, row: int, column: int) -> bool:
        return 0 <= row < len(self.grid) and 0 <= column < len(self.grid[0]) and self.grid[row][column] != "X"
