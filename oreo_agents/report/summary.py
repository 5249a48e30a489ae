"""What a run comes to, as values for a page: counts, rates and who played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from oreo_agents.evaluation.beliefs import Beliefs
from oreo_agents.evaluation.outcomes import Outcomes
from oreo_agents.evaluation.pairs import Ending
from oreo_agents.evaluation.results import TASK_TYPES
from oreo_agents.trajectory import Trajectory, count_cut, describe_cuts


@dataclass
class Group:
    """Counts of some of the episodes."""

    name: str
    outcomes: Outcomes = field(default_factory=Outcomes)
    steps: int = 0

    def add(self, trajectory: Trajectory) -> None:
        """Count one."""
        self.outcomes.add(trajectory)
        self.steps += len(trajectory)

    @property
    def mean_steps(self) -> float:
        """Of an episode."""
        return self.steps / max(self.outcomes.episodes, 1)

    @property
    def score(self) -> str:
        """The share won, or the mean return."""
        found = self.outcomes
        return f"{100 * found.score:.1f} %" if found.defines_success else f"{found.score:.4g}"

    @property
    def interval(self) -> str:
        """Of the score, at 95 %."""
        low, high = self.outcomes.interval95
        if self.outcomes.defines_success:
            return f"{100 * low:.1f} to {100 * high:.1f} %"
        return f"{low:.3g} to {high:.3g}"


@dataclass
class Summary:
    """All of a run, without its texts."""

    all: Group = field(default_factory=lambda: Group("All"))
    by_type: dict[str, Group] = field(default_factory=dict)
    beliefs: Beliefs = field(default_factory=Beliefs)
    endings: list[Ending] = field(default_factory=list)
    games: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)
    failed_commands: int = 0
    cut_replies: int = 0

    def add(self, trajectory: Trajectory) -> None:
        """Count one episode."""
        kind = trajectory.task_type
        self.all.add(trajectory)
        self.by_type.setdefault(kind, Group(TASK_TYPES.get(kind, kind) or "unnamed")).add(trajectory)
        self.beliefs.add(trajectory)
        self.endings.append((trajectory.success, trajectory.return_))
        self.games.append(trajectory.game)
        self.agents.add(trajectory.agent)
        self.environments.add(trajectory.env_id)
        self.failed_commands += sum(turn.action_status not in (None, "ok") for turn in trajectory.turns)
        self.cut_replies += count_cut(trajectory)

    @property
    def failed_share(self) -> float:
        """Of all commands, those that the environment did not carry out."""
        return self.failed_commands / max(self.all.steps, 1)

    @property
    def cuts(self) -> str:
        """What to say where replies were cut; empty where none was."""
        return describe_cuts(self.cut_replies, self.all.steps)

    def groups(self) -> Iterator[Group]:
        """All, then each task type in the order of ALFWorld's papers."""
        yield self.all
        for kind in [*TASK_TYPES, *sorted(set(self.by_type) - set(TASK_TYPES))]:
            if kind in self.by_type and len(self.by_type) > 1:
                yield self.by_type[kind]
