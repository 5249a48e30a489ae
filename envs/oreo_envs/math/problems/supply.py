"""Where procedural problems come from: a task, and the options that keep learning and judging apart."""

from __future__ import annotations

from pathlib import Path

from oreo_envs.catalog import Division, Supply

SUMS = {"max_terms": 4, "max_digits": 2}
"""Short sums, which a small decoder can learn."""

PROBLEMS = 100_000
"""More than a demo uses, so that rollouts meet new ones."""


class ReasoningSupply(Supply):
    """Problems of reasoning-gym's tasks."""

    def divide(self, source: str | Path | None) -> Division:
        """Problems of one task, ``source``, or short sums: those of the train split, and those of the test split.

        That there is such a task shows when the environment is made.
        """
        options = {"task": source} if source else {"task": "chain_sum", "config": SUMS}
        train, test = ({**options, "split": split, "size": PROBLEMS} for split in ("train", "test"))
        return Division(f"{options['task']}, unseen problems", train, test)
