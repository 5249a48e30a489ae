"""What episodes come to, counted one after the other: how many were won, if winning is defined, and their returns."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from oreo_agents.evaluation.statistics import mean_interval, wilson_interval
from oreo_agents.trajectory import Trajectory


@dataclass
class Outcomes:
    """Counts of some episodes."""

    episodes: int = 0
    successes: int = 0
    undefined: int = 0
    """Of the episodes, those of which nobody says whether they were won."""
    mean_return: float = 0.0
    _squares: float = 0.0
    """Squared distances of the returns from their mean, summed (Welford 1962)."""

    def add(self, trajectory: Trajectory) -> None:
        """Count one."""
        self.count(trajectory.success, trajectory.return_)

    def count(self, success: bool | None, return_: float) -> None:
        """Count one by what it came to."""
        self.episodes += 1
        self.successes += bool(success)
        self.undefined += success is None
        before, distance = self.mean_return, return_ - self.mean_return
        self.mean_return += distance / self.episodes
        self._squares += (return_ - before) * (return_ - self.mean_return)

    @property
    def defines_success(self) -> bool:
        """Whether every episode says if it was won."""
        return not self.undefined

    @property
    def score(self) -> float:
        """The share won or, where winning is not defined, the mean return."""
        return self.successes / max(self.episodes, 1) if self.defines_success else self.mean_return

    @property
    def interval95(self) -> tuple[float, float]:
        """Of the score: Wilson's, or Student's."""
        if self.defines_success:
            return wilson_interval(self.successes, self.episodes)
        spread = sqrt(max(self._squares, 0.0) / max(self.episodes - 1, 1))
        return mean_interval(self.episodes, self.mean_return, spread)

    def describe(self) -> str:
        """The score with its interval, in words."""
        if not self.episodes:
            return "none"
        (low, high), form = self.interval95, "{:.1%}" if self.defines_success else "{:.3g}"
        return f"{form.format(self.score)} ({form.format(low)} to {form.format(high)})"
