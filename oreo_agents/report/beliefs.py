"""What a critic believed, beside what came of it: pure functions of trajectories, for the report's plots.

V is read after an action, so it estimates the reward of that action's turn and of all later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, isfinite
from statistics import mean

from oreo_agents.statistics import wilson
from oreo_agents.trajectory import Trajectory

BINS = 10
COLUMNS = 50
"""At most so many points along an episode; longer ones are averaged over neighbouring steps."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The episodes whose V lay in one range at some step."""

    low: float
    high: float
    predicted: float
    """Mean V of those steps."""
    episodes: int
    won: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share won."""
        return wilson(self.won, self.episodes)


@dataclass(frozen=True, slots=True)
class Moment:
    """V around one step, over the episodes that got that far."""

    step: float
    low: float
    """Lower quartile."""
    mean: float
    high: float
    """Upper quartile."""
    episodes: int


@dataclass
class Beliefs:
    """Values and outcomes of many episodes, without their texts."""

    episodes: list[tuple[bool, list[tuple[int, float]]]] = field(default_factory=list)
    """For each episode with values: whether it was won, and (step from 1, V) of each turn that has one."""

    def add(self, trajectory: Trajectory) -> None:
        """Take in one episode; one without values adds nothing."""
        values = [
            (step, turn.value)
            for step, turn in enumerate(trajectory.turns, start=1)
            if turn.value is not None and isfinite(turn.value)
        ]
        if values:
            self.episodes.append((trajectory.success, values))

    def calibration(self) -> list[Bin]:
        """Share won by V, in equal ranges of V; ranges without episodes are left out.

        Every episode counts once in a range: steps of one episode are no independent observations.
        """
        all_values = [value for _, values in self.episodes for _, value in values]
        if not all_values:
            return []
        low, high = min(0.0, *all_values), max(1.0, *all_values)
        width = (high - low) / BINS
        inside: list[list[float]] = [[] for _ in range(BINS)]
        outcomes: list[list[bool]] = [[] for _ in range(BINS)]
        for won, values in self.episodes:
            numbers = [(min(int((value - low) / width), BINS - 1), value) for _, value in values]
            for number, value in numbers:
                inside[number].append(value)
            for number in {number for number, _ in numbers}:
                outcomes[number].append(won)
        return [
            Bin(low + n * width, low + (n + 1) * width, mean(inside[n]), len(outcomes[n]), sum(outcomes[n]))
            for n in range(BINS)
            if inside[n]
        ]

    def over_time(self, won: bool) -> list[Moment]:
        """V along the episodes that were won, or along the others."""
        chosen = [values for success, values in self.episodes if success == won]
        longest = max((step for _, values in self.episodes for step, _ in values), default=0)
        return list(_moments(chosen, ceil(longest / COLUMNS))) if chosen else []


def _moments(episodes: Iterable[list[tuple[int, float]]], width: int) -> Iterator[Moment]:
    columns: dict[int, list[float]] = {}
    for values in episodes:
        own: dict[int, list[float]] = {}
        for step, value in values:
            own.setdefault((step - 1) // width, []).append(value)
        for column, several in own.items():
            columns.setdefault(column, []).append(mean(several))
    for column, several in sorted(columns.items()):
        several.sort()
        middle = column * width + (width + 1) / 2
        yield Moment(middle, _quantile(several, 0.25), mean(several), _quantile(several, 0.75), len(several))


def _quantile(ordered: list[float], share: float) -> float:
    """Linear interpolation between the neighbours, as numpy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
