"""What episodes come to, counted one after the other: how many were won, if winning is defined, and their returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

from oreo_agents.evaluation.statistics import mean_interval, wilson_interval
from oreo_agents.trajectory import Trajectory


@dataclass
class Outcomes:
    """Counts of some episodes."""

    episodes: int = 0
    successes: int = 0
    mean_return: float = 0.0
    _squares: float = 0.0
    """Squared distances of the returns from their mean, summed (Welford 1962)."""
    _silent: set[str] = field(default_factory=set)
    _telling: set[str] = field(default_factory=set)
    """Environments that have not said, and that have said of an episode whether it was won."""

    def add(self, trajectory: Trajectory) -> None:
        """Count one."""
        self.count(trajectory.success, trajectory.return_, trajectory.env_id)

    def count(self, success: bool | None, return_: float, env_id: str = "") -> None:
        """Count one by what it came to, and where."""
        (self._silent if success is None else self._telling).add(env_id)
        self.episodes += 1
        self.successes += bool(success)
        before, distance = self.mean_return, return_ - self.mean_return
        self.mean_return += distance / self.episodes
        self._squares += (return_ - before) * (return_ - self.mean_return)

    @property
    def defines_success(self) -> bool:
        """Whether of every episode it is known if it was won, see :func:`oreo_agents.trajectory.settle_success`."""
        return self._silent <= self._telling

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
