"""Games in a fixed order, each with a stable name: what is made on demand has in common."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, TypeVar

from oreo_envs.errors import DataNotFoundError

T_co = TypeVar("T_co", covariant=True)

SIZES = {"train": 10_000, "dev": 1_000, "test": 1_000}
"""Splits of games that are made on demand, and how many of them there are where nobody asks for more."""


class NamedGames(Sequence[T_co]):
    """A sequence whose members are found by name or by position."""

    names: Sequence[str]
    made_on_demand = True
    noun = "game"

    def __deepcopy__(self, memo: object) -> NamedGames[T_co]:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __len__(self) -> int:
        return len(self.names)

    def index(self, value: Any, *_: Any) -> int:
        """The position of a game, given its name or its position.

        Raises:
            DataNotFoundError: there is none.
        """
        if isinstance(value, str):
            if value in self._positions:
                return self._positions[value]
            raise DataNotFoundError(f"no {self.noun} is named {value!r}{self._hint(value)}")
        position = operator.index(value)
        if not 0 <= position < len(self):
            raise DataNotFoundError(
                f"there is no {self.noun} {position}: the positions are 0 to {len(self) - 1}"
            )
        return position

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def _hint(self, name: str) -> str:
        close = get_close_matches(name, self.names, n=1) if len(name) < 200 else []
        return f"; did you mean {close[0]!r}?" if close else f"; the first is {self.names[0]!r}"


class NumberedNames(Sequence[str]):
    """``prefix/0`` to ``prefix/N-1``, made when asked for."""

    def __init__(self, prefix: str, size: int) -> None:
        self._prefix, self._numbers = prefix, range(size)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [f"{self._prefix}/{number}" for number in self._numbers[position]]
        return f"{self._prefix}/{self._numbers[position]}"
