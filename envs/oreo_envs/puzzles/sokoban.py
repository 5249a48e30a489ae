"""Sokoban: boxes are pushed onto goals, and never pulled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from oreo_envs.puzzles.puzzle import Puzzle

Cell = tuple[int, int]
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


class Boxes(NamedTuple):
    """Where the player stands, and where the boxes."""

    player: Cell
    boxes: frozenset[Cell]


class Sokoban(Puzzle[Boxes]):
    """``up``, ``down``, ``left``, ``right``; the signs are reasoning-gym's: ``*`` you, ``@`` box, ``X`` goal, ``$``
    box on a goal, ``%`` you on a goal, ``+`` wall, ``-`` floor.

    The habit is to push a box that gives way, wherever it goes, or else to walk up.

    Args:
        name: see :class:`Puzzle`.
        metadata: reasoning-gym's of the problem.
    """

    kind = "sokoban"
    grammar = re.compile("|".join(STEPS))
    habit_share = 0.85

    def __init__(self, name: str, metadata: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.rows = [line.split() for line in metadata["gamestr"].splitlines() if line.strip()]
        cells = [((i, j), sign) for i, row in enumerate(self.rows) for j, sign in enumerate(row)]
        self.walls = {cell for cell, sign in cells if sign == "+"}
        self.goals = {cell for cell, sign in cells if sign in "X$%"}
        boxes = frozenset(cell for cell, sign in cells if sign in "@$")
        self.start = Boxes(next(cell for cell, sign in cells if sign in "*%"), boxes)
        self.task = "Push every box onto a goal."

    def show(self, position: Boxes) -> str:
        """The board."""
        return "\n".join(
            "".join(self._sign((i, j), position) for j in range(len(row))) for i, row in enumerate(self.rows)
        )

    def commands(self, position: Boxes) -> Mapping[str, Boxes]:
        """Steps, and pushes onto free cells."""
        if self.is_solved(position):
            return {}
        moves = {}
        for name, step in STEPS.items():
            there = _add_cells(position.player, step)
            behind = _add_cells(there, step)
            if there in self.walls:
                continue
            if there not in position.boxes:
                moves[name] = Boxes(there, position.boxes)
            elif behind not in self.walls and behind not in position.boxes:
                moves[name] = Boxes(there, position.boxes - {there} | {behind})
        return moves

    def is_solved(self, position: Boxes) -> bool:
        """Every box is on a goal."""
        return position.boxes <= self.goals

    def habit(self, position: Boxes) -> str | None:
        """Push whatever gives way, or else go up."""
        moves = self.commands(position)
        pushes = [name for name, there in moves.items() if there.boxes != position.boxes]
        return next((name for name in (*pushes, "up") if name in moves), None)

    def _sign(self, cell: Cell, position: Boxes) -> str:
        goal = cell in self.goals
        if cell == position.player:
            return "%" if goal else "*"
        if cell in position.boxes:
            return "$" if goal else "@"
        return "+" if cell in self.walls else "X" if goal else "-"


def _add_cells(cell: Cell, step: Cell) -> Cell:
    return cell[0] + step[0], cell[1] + step[1]
