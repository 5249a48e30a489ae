"""Where procedural problems come from: a task, and the options that keep learning and judging apart."""

from __future__ import annotations

from pathlib import Path

from oreo_envs.catalog import Division, Supply

PROBLEMS = 100_000
"""More than a demo uses, so that rollouts meet new ones."""


class ReasoningSupply(Supply):
    """Problems of reasoning-gym's tasks."""

    def divide(self, source: str | Path) -> Division:
        """Problems of the task ``source``: those of the train split, and those of the test split.

        That there is such a task shows when the environment is made.
        """
        options = {"task": str(source), "size": PROBLEMS}
        train, test = ({"split": split, "options": options} for split in ("train", "test"))
        return Division("unseen_problems", train, test)
