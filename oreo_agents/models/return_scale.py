"""The unit of a critic's values: how returns of any size come to lie between 0 and 1, and how they are discounted.

Knows nothing about networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

from oreo_agents.language.chat import EncodedEpisode
from oreo_agents.trajectory import Trajectory


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

    def discount_rewards(self, trajectory: Trajectory) -> Trajectory:
        """The episode with the rewards that count."""
        if self.discount == 1:
            return trajectory
        turns = [
            replace(turn, reward=turn.reward * self.discount**t) for t, turn in enumerate(trajectory.turns)
        ]
        return replace(trajectory, turns=tuple(turns))

    def normalise(self, episode: EncodedEpisode) -> EncodedEpisode:
        """The episode with its returns in the unit of the values."""
        if (self.low, self.high) == (0.0, 1.0):
            return episode
        span = self.high - self.low
        return replace(episode, returns=[(return_ - self.low) / span for return_ in episode.returns])

    def reward(self, reward: float, turn: int, ended: bool) -> float:
        """What a reward is in the unit of the values; the end of an episode has its share of the constant."""
        counted = reward * self.discount ** max(turn, 0) if self.discount != 1 else reward
        return (counted - (self.low if ended else 0.0)) / (self.high - self.low)

    def restore(self, value: float | None) -> float | None:
        """A value in the unit of the environment's returns; None stays None."""
        return value if value is None or self.is_plain else self.low + value * (self.high - self.low)

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


def measure_range(episodes: Iterable[EncodedEpisode]) -> tuple[float, float] | None:
    """The smallest and the largest reward to go; None where all lie between 0 and 1, or some is no number."""
    returns = {return_ for episode in episodes for return_ in episode.returns}
    if not returns or not all(map(isfinite, returns)):
        return None
    low, high = min(returns), max(returns)
    return None if (low >= 0 and high <= 1) or low == high else (low, high)
