"""Jugs: fill, empty and pour until one of them holds the target, before the moves run out, see :mod:`.timed`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from oreo_envs.puzzles.timed import TimedPuzzle, draw_spare


class Water(NamedTuple):
    """What is in the jugs, and how many moves are left."""

    held: tuple[int, ...]
    left: int


class Jugs(TimedPuzzle[Water]):
    """``fill A``, ``empty B``, ``pour A into B``; nothing can be measured but by these.

    Every move can be undone, so that only the moves it costs make a mistake one. The habit is to empty the largest jug
    that is full, which one then has to fill again.

    Args:
        name: see :class:`Puzzle`.
        metadata: reasoning-gym's of the problem.
    """

    kind = "jugs"
    grammar = re.compile(r"(fill|empty) [A-Z]|pour [A-Z] into [A-Z]")
    habit_share = 0.85

    def __init__(self, name: str, metadata: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.capacities: tuple[int, ...] = tuple(metadata["puzzle"]["jug_capacities"])
        self.target: int = metadata["puzzle"]["target"]
        self.start = Water((0,) * len(self.capacities), metadata["puzzle"]["min_moves"] + draw_spare(name))
        self.task = f"Measure {self.target} litres."

    def show(self, position: Water) -> str:
        """What each jug holds, and the target."""
        jugs = ", ".join(
            f"{name} {held} of {capacity}"
            for name, held, capacity in zip(ascii_uppercase, position.held, self.capacities, strict=False)
        )
        return f"{jugs}. Measure {self.target}."

    def commands(self, position: Water) -> Mapping[str, Water]:
        """Every move that changes something."""
        held, left = position
        if not left or self.is_solved(position):
            return {}
        moves: dict[str, dict[int, int]] = {}
        for i, (water, capacity) in enumerate(zip(held, self.capacities, strict=True)):
            if water < capacity:
                moves[f"fill {ascii_uppercase[i]}"] = {i: capacity}
            if water:
                moves[f"empty {ascii_uppercase[i]}"] = {i: 0}
            for j, (other, room) in enumerate(zip(held, self.capacities, strict=True)):
                if i != j and (poured := min(water, room - other)):
                    command = f"pour {ascii_uppercase[i]} into {ascii_uppercase[j]}"
                    moves[command] = {i: water - poured, j: other + poured}
        return {
            command: Water(tuple(change.get(i, water) for i, water in enumerate(held)), left - 1)
            for command, change in moves.items()
        }

    def is_solved(self, position: Water) -> bool:
        """A jug holds the target."""
        return self.target in position.held

    def habit(self, position: Water) -> str | None:
        """Empty a full jug, the largest."""
        if not self.commands(position):
            return None
        full = [i for i, water in enumerate(position.held) if water == self.capacities[i]]
        if not full:
            return None
        return f"empty {ascii_uppercase[max(full, key=self.capacities.__getitem__)]}"
