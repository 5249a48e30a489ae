"""Puzzles whose problems reasoning-gym makes. Importing this module takes reasoning-gym's two seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from oreo_envs.errors import DataNotFoundError
from oreo_envs.math.problems.procedural import ProceduralProblems
from oreo_envs.named_games import SIZES, NamedGames
from oreo_envs.puzzles.countdown import Countdown
from oreo_envs.puzzles.jugs import Jugs
from oreo_envs.puzzles.puzzle import Puzzle
from oreo_envs.puzzles.shortest_path import ShortestPath
from oreo_envs.puzzles.sokoban import Sokoban

Config = Mapping[str, Any]

TASKS: Mapping[str, tuple[Callable[[str, Config], Puzzle[Any]], Config]] = {
    "countdown": (
        Countdown,
        {
            "min_numbers": 4,
            "max_numbers": 4,
            "min_value": 1,
            "max_value": 12,
            "min_target": 1,
            "max_target": 60,
        },
    ),
    "jugs": (Jugs, {"num_jugs": 3, "difficulty": 4}),
    "shortest_path": (
        ShortestPath,
        {"min_rows": 6, "max_rows": 6, "min_cols": 6, "max_cols": 6, "p_blocked": 0.3},
    ),
    "sokoban": (
        Sokoban,
        {"min_w": 6, "max_w": 6, "min_h": 6, "max_h": 6, "min_boxes": 1, "max_boxes": 2, "max_depth": 20},
    ),
}
"""Each task's puzzle, and the options of reasoning-gym with which it suits a small model."""

SOLVABLE_AMONG = 50
"""One of so many of reasoning-gym's problems can be solved; a shortest path in four is blocked."""


class ProceduralPuzzles(NamedGames[Puzzle[Any]]):
    """Puzzles of one task, each of which can be solved and is not solved yet.

    Args:
        task: one of :data:`TASKS`.
        split: "train", "dev" or "test".
        seed: other seeds give other puzzles, and other names.
        size: how many; by default 10,000 to learn on and 1,000 otherwise.
        config: reasoning-gym's options of the task; None: those of :data:`TASKS`.

    Raises:
        DataNotFoundError: there is no such task.
        ValueError: the task does not take this configuration, or there is no such split.
    """

    def __init__(
        self,
        task: str,
        split: str = "train",
        seed: int = 0,
        size: int | None = None,
        config: Config | None = None,
    ) -> None:
        if task not in TASKS:
            raise DataNotFoundError(f"there is no puzzle {task!r}: choose one of {', '.join(TASKS)}")
        if size is None and split in SIZES:
            size = SIZES[split]
        self._make, usual = TASKS[task]
        self._problems = ProceduralProblems(
            task, split, seed, size and size * SOLVABLE_AMONG, usual if config is None else config
        )
        self.names = self._problems.names[:size]

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        """A puzzle, or several."""
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        name = self.names[position]
        for row in range(range(len(self))[position], len(self._problems), len(self)):
            puzzle = self._make(name, self._problems.entry(row)["metadata"])
            if puzzle.plan(puzzle.start):
                return puzzle
        raise DataNotFoundError(f"reasoning-gym made nothing for {name} that can be solved: take another")
