"""What a math problem is, and what a sequence of them can do."""

from __future__ import annotations

import operator
import os
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from oreo_envs.named_games import NamedGames

PathLike = str | os.PathLike[str]
Split = Literal["train", "test"]
SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and everything that is known about it."""

    name: str
    question: str
    gold: str | None
    """The reference answer; None where only the task's own scorer knows a right answer when it sees one."""
    solution: tuple[str, ...]
    """A worked solution, step by step; only its last step states the answer. Empty if there is no gold."""
    kind: str
    """The dataset, subject or procedural task that results are reported by."""
    level: str = ""
    subject: str = ""


class Problems(NamedGames[Problem]):
    """A sequence of problems that can grade."""

    noun = "problem"

    def row(self, row: Any) -> int:
        """The position of a row of the source, counted from 0; rows may have been left out.

        Raises:
            DataNotFoundError: there is no such row.
        """
        return self.index(f"{self.names[0].rpartition('/')[0]}/{operator.index(row)}")

    @abstractmethod
    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` solves ``problem``."""
