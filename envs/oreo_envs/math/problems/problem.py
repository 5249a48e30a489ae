"""What a math problem is, and what a sequence of them can do."""

from __future__ import annotations

import operator
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

from oreo_envs.errors import DataNotFoundError

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


class Problems(Sequence[Problem]):
    """A sequence of problems that can grade."""

    names: Sequence[str]
    made_on_demand = True

    def __deepcopy__(self, memo: object) -> Problems:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def index(self, value: Any, *_: Any) -> int:
        """The position of a problem, given its name or its position.

        Raises:
            DataNotFoundError: there is none.
        """
        if isinstance(value, str):
            if value in self._positions:
                return self._positions[value]
            raise DataNotFoundError(f"no problem is named {value!r}{self._hint(value)}")
        position = operator.index(value)
        if not 0 <= position < len(self):
            raise DataNotFoundError(f"there is no problem {position}: the positions are 0 to {len(self) - 1}")
        return position

    def row(self, row: Any) -> int:
        """The position of a row of the source, counted from 0; rows may have been left out.

        Raises:
            DataNotFoundError: there is no such row.
        """
        return self.index(f"{self.names[0].rpartition('/')[0]}/{operator.index(row)}")

    @abstractmethod
    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` solves ``problem``."""

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def _hint(self, name: str) -> str:
        close = get_close_matches(name, self.names, n=1) if len(name) < 200 else []
        return f"; did you mean {close[0]!r}?" if close else f"; the first is {self.names[0]!r}"
