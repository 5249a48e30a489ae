"""The unit of a critic's values: how returns of any size come to lie between 0 and 1, and how they are discounted.

Knows nothing about networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, overload

import numpy as np

from oreo_agents.language.encoded import EncodedEpisodes


@dataclass(frozen=True, slots=True)
class ReturnScale:
    """A return R is read as (R - ``low``) / (``high`` - ``low``), in every state alike.

    Every episode ends once, so the constant that this adds to all returns changes no preference; as a reward it belongs
    to the end of an episode. A reward of turn t counts ``discount`` to the power of t, from the beginning of the
    episode: the sums that the losses are made of stay exact, and states, which are whole histories, know their t.
    """

    low: float = 0.0
    high: float = 1.0
    discount: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether returns are read as they are."""
        return self == PLAIN

    def normalise(self, episodes: EncodedEpisodes) -> EncodedEpisodes:
        """The episodes with their returns to go in the unit of the values."""
        if (self.low, self.high) == (0.0, 1.0):
            return episodes
        return episodes.map_returns(lambda returns: (returns - self.low) / (self.high - self.low))

    def reward(self, reward: float, turn: int, ended: bool) -> float:
        """What a reward is in the unit of the values; the end of an episode has its share of the constant."""
        counted = reward * self.discount ** max(turn, 0) if self.discount != 1 else reward
        return (counted - (self.low if ended else 0.0)) / (self.high - self.low)

    @property
    def span(self) -> float:
        """What a difference of 1 between values is in the unit of the environment's returns."""
        return self.high - self.low

    @overload
    def restore(self, value: float) -> float: ...
    @overload
    def restore(self, value: np.ndarray) -> np.ndarray: ...
    @overload
    def restore(self, value: None) -> None: ...
    def restore(self, value: float | np.ndarray | None) -> float | np.ndarray | None:
        """A value, or many, in the unit of the environment's returns; None stays None."""
        return value if value is None or self.is_plain else self.low + value * self.span

    def to_json(self) -> dict[str, float]:
        """As ``agent.json`` has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, written: Any) -> ReturnScale:
        """What :meth:`to_json` has written.

        Raises:
            ValueError: it is something else.
        """
        if written is None:
            return PLAIN
        if not isinstance(written, Mapping) or written.keys() != asdict(PLAIN).keys():
            raise ValueError(f"returns is {written!r}, it must be a table of low, high and discount")
        numbers = {
            name: value for name, value in written.items() if type(value) in (int, float) and isfinite(value)
        }
        if numbers != written or not numbers["low"] < numbers["high"] or not 0 <= numbers["discount"] <= 1:
            raise ValueError(f"returns is {written!r}: low must be below high, and discount between 0 and 1")
        return cls(**numbers)


PLAIN = ReturnScale()


def measure_range(episodes: EncodedEpisodes) -> tuple[float, float] | None:
    """The smallest and the largest reward to go, with 0 where all are the same; None where all lie between 0 and 1, or
    some is no number."""
    facts = episodes.facts[episodes.facts["tokens"] > 0]
    if not len(facts):
        return None
    low, high = float(facts["lowest"].min()), float(facts["highest"].max())
    if not (isfinite(low) and isfinite(high)):
        return None
    if low >= 0 and high <= 1:
        return None
    return (min(0.0, low), max(0.0, high)) if low == high else (low, high)
