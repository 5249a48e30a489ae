"""Countdown: numbers are combined two by two until one is left, which is to be the target."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from oreo_envs.puzzles.puzzle import Puzzle

Numbers = tuple[int, ...]
"""What there is, the largest first."""


class Countdown(Puzzle[Numbers]):
    """``combine 7 * 6``: two numbers give way to what they make; all are used, none is ever negative or a
    fraction.

    The habit is to add the two largest numbers.

    Args:
        name: see :class:`Puzzle`.
        metadata: reasoning-gym's of the problem.
    """

    kind = "countdown"
    grammar = re.compile(r"combine \d+ [-+*/] \d+")
    habit_share = 0.7

    def __init__(self, name: str, metadata: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.target: int = metadata["target"]
        self.start = tuple(sorted(metadata["numbers"], reverse=True))
        self.task = f"Combine the numbers, all of them, until {self.target} is left."

    def show(self, position: Numbers) -> str:
        """The numbers and the target."""
        return f"Make {self.target}. You have {', '.join(map(str, position))}."

    def commands(self, position: Numbers) -> Mapping[str, Numbers]:
        """Every operation on two of the numbers whose result is a whole number from 0 on."""
        moves: dict[str, Numbers] = {}
        for i, j in combinations(range(len(position)), 2):
            rest = position[:i] + position[i + 1 : j] + position[j + 1 :]
            for sign, result in _list_results(position[i], position[j]):
                command = f"combine {position[i]} {sign} {position[j]}"
                moves[command] = tuple(sorted((*rest, result), reverse=True))
        return moves

    def is_solved(self, position: Numbers) -> bool:
        """One number is left, and it is the target."""
        return position == (self.target,)

    def habit(self, position: Numbers) -> str | None:
        """Add the two largest."""
        return f"combine {position[0]} + {position[1]}" if len(position) > 1 else None


def _list_results(a: int, b: int) -> Iterator[tuple[str, int]]:
    """What ``a`` and ``b``, which is no larger, can make."""
    yield "+", a + b
    yield "-", a - b
    yield "*", a * b
    if b and a % b == 0:
        yield "/", a // b
