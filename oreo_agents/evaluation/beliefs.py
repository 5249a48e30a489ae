"""What a critic believed, beside what came of it: pure functions of trajectories, for the report's plots.

V is read after an action, so it estimates the reward of that action's turn and of all later ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, exp, isfinite
from statistics import mean, stdev

from oreo_agents.evaluation.statistics import mean_interval, wilson_interval
from oreo_agents.trajectory import Candidate, Trajectory, Turn

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
        return wilson_interval(self.won, self.episodes)


@dataclass(frozen=True, slots=True)
class ReturnBin:
    """The episodes whose V lay in one range at some step, and what was still to come."""

    low: float
    high: float
    predicted: float
    """Mean V of those steps."""
    episodes: int
    mean: float
    """Over the episodes, of the reward of those steps and all later ones."""
    interval: tuple[float, float]
    """Student's 95 % interval of that mean; without bounds for a single episode."""


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

    episodes: list[tuple[bool | None, list[tuple[int, float]]]] = field(default_factory=list)
    """For each episode with values: whether it was won, and (step from 1, V) of each turn that has one."""
    to_come: list[list[float]] = field(default_factory=list)
    """For each of them, the return from each of those turns on, its own reward included."""

    def add(self, trajectory: Trajectory) -> None:
        """Take in one episode; one without values adds nothing."""
        values = [
            (step, turn.value)
            for step, turn in enumerate(trajectory.turns, start=1)
            if turn.value is not None and isfinite(turn.value)
        ]
        if values:
            to_go = trajectory.returns_to_go()
            self.episodes.append((trajectory.success, values))
            self.to_come.append([to_go[step - 1] for step, _ in values])

    def calibration(self) -> list[Bin]:
        """Share won by V, in equal ranges of V; ranges without episodes are left out, as are episodes that do not say
        whether they were won.

        Every episode counts once in a range: steps of one episode are no independent observations.
        """
        told = [(won, values) for won, values in self.episodes if won is not None]
        all_values = [value for _, values in told for _, value in values]
        if not all_values:
            return []
        low, high = min(0.0, *all_values), max(1.0, *all_values)
        width = (high - low) / BINS
        inside: list[list[float]] = [[] for _ in range(BINS)]
        outcomes: list[list[bool]] = [[] for _ in range(BINS)]
        for won, values in told:
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

    def compare_returns(self) -> list[ReturnBin]:
        """What came by V, in equal ranges of V; ranges without episodes are left out.

        Every episode counts once in a range, by the mean of its steps there.
        """
        pairs = [
            [(value, came) for (_, value), came in zip(values, to_come, strict=True) if isfinite(came)]
            for (_, values), to_come in zip(self.episodes, self.to_come, strict=True)
        ]
        all_values = [value for one in pairs for value, _ in one]
        if not all_values:
            return []
        low, width = min(all_values), (max(all_values) - min(all_values)) / BINS or 1.0
        inside: list[list[float]] = [[] for _ in range(BINS)]
        outcomes: list[list[float]] = [[] for _ in range(BINS)]
        for one in pairs:
            own: dict[int, list[float]] = {}
            for value, came in one:
                number = min(int((value - low) / width), BINS - 1)
                inside[number].append(value)
                own.setdefault(number, []).append(came)
            for number, several in own.items():
                outcomes[number].append(mean(several))
        return [
            ReturnBin(
                low + n * width,
                low + (n + 1) * width,
                mean(inside[n]),
                len(outcomes[n]),
                mean(outcomes[n]),
                mean_interval(
                    len(outcomes[n]), mean(outcomes[n]), stdev(outcomes[n]) if len(outcomes[n]) > 1 else 0.0
                ),
            )
            for n in range(BINS)
            if inside[n]
        ]

    def over_time(self, won: bool | None) -> list[Moment]:
        """V along the episodes that were won, along those that were not, or along those that do not say."""
        chosen = [values for success, values in self.episodes if success is won]
        longest = max((step for _, values in self.episodes for step, _ in values), default=0)
        return list(_average_moments(chosen, ceil(longest / COLUMNS))) if chosen else []


def _average_moments(episodes: Iterable[list[tuple[int, float]]], width: int) -> Iterator[Moment]:
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
        yield Moment(
            middle,
            _interpolate_quantile(several, 0.25),
            mean(several),
            _interpolate_quantile(several, 0.75),
            len(several),
        )


def _interpolate_quantile(ordered: list[float], share: float) -> float:
    """Linear interpolation between the neighbours, as numpy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def list_values(trajectory: Trajectory) -> list[float | None]:
    """V after each turn's action, None where no critic looked."""
    return [turn.value for turn in trajectory.turns]


def compute_advantage(trajectory: Trajectory, step: int) -> float | None:
    """How much more is expected after this action than before it; None for the first turn or without V.

    V_t, read after the action, foretells this turn's reward and all later ones. Before the action that much was
    expected as after the previous one, less the reward that came since: V_t - (V_(t-1) - r_(t-1)).
    """
    if step == 0:
        return None
    now, before = trajectory.turns[step], trajectory.turns[step - 1]
    return None if now.value is None or before.value is None else now.value - before.value + before.reward


def to_probability(logprob: float | None) -> float | None:
    """Of an action, from the sum of its tokens' log-probabilities."""
    return None if logprob is None else exp(min(logprob, 0.0))


def merge_candidates(turn: Turn) -> list[tuple[Candidate, int]]:
    """Each action that was proposed, with how often, best value first."""
    best: dict[str, Candidate] = {}
    for candidate in turn.candidates:
        if candidate.action not in best or _rank_candidate(candidate) > _rank_candidate(
            best[candidate.action]
        ):
            best[candidate.action] = candidate
    counts = Counter(candidate.action for candidate in turn.candidates)
    ranked = sorted(best.values(), key=_rank_candidate, reverse=True)
    return [(candidate, counts[candidate.action]) for candidate in ranked]


def explain_choice(turn: Turn) -> str:
    """Why the chosen candidate won, e.g. ``highest V by 0.12``."""
    values = {candidate.action: candidate.value for candidate, _ in merge_candidates(turn)}
    chosen = values.pop(turn.action, None)
    if chosen is None:
        return ""
    others = [value for value in values.values() if value is not None]
    if not others:
        return "the only one that was judged" if values else "the only proposal"
    margin = chosen - max(others)
    return (
        f"highest V by {margin:.3g}" if margin > 0 else "tied for V" if margin == 0 else "not the highest V"
    )


def _rank_candidate(candidate: Candidate) -> float:
    return float("-inf") if candidate.value is None else candidate.value
