"""What a run of episodes has come to so far, told while it goes on: lines below a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.text import Text

from oreo_agents.evaluation.outcomes import Outcomes
from oreo_agents.evaluation.results import TASK_TYPES
from oreo_agents.terminal.progress import progress_bar
from oreo_agents.terminal.views import choose_style, make_text
from oreo_agents.trajectory import Trajectory, count_cut, describe_cuts, describe_outcome


@dataclass
class Tally:
    """Counts of the episodes so far, and the newest of them.

    Until ``total`` have ended they tell little of all: of those that are played at once the short ones end first.
    """

    total: int = 0
    all: Outcomes = field(default_factory=Outcomes)
    by_type: dict[str, Outcomes] = field(default_factory=dict)
    ended: int = 0
    """Also those that failed for reasons outside the policy, which are counted nowhere else."""
    steps: int = 0
    tokens: int = 0
    cut: int = 0
    """Replies that came to the limit on their tokens."""
    newest: Trajectory | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    """From the start to the end of the newest episode."""

    def add(self, trajectory: Trajectory) -> None:
        """Count an episode that has ended, unless it failed for reasons outside the policy."""
        self.ended += 1
        if trajectory.metadata.get("failed"):
            return
        self.all.add(trajectory)
        self.by_type.setdefault(trajectory.task_type, Outcomes()).add(trajectory)
        self.steps += len(trajectory)
        self.tokens += sum(trajectory.metadata.get("tokens", {}).values())
        self.cut += count_cut(trajectory)
        self.newest, self.seconds = trajectory, time.monotonic() - self.started

    def success(self) -> str:
        """The share won, or the mean return where winning is not defined; with its 95 % interval if all have ended."""
        found, (low, high) = self.all, self.all.interval95
        so_far = "so far " if self.ended < self.total else ""
        if not found.defines_success:
            interval = "" if so_far else f" [{low:.3g}, {high:.3g}]"
            return f"{so_far}mean return {found.mean_return:.3g}{interval}, {found.episodes} episodes"
        rate = f"{found.score:.1%}" if found.episodes else "none"
        interval = "" if so_far else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{so_far}{rate} won{interval}, {found.successes} of {found.episodes}"

    def rates(self) -> str:
        """What a second brings."""
        counts = {"episodes/s": self.all.episodes, "steps/s": self.steps, "tok/s": self.tokens}
        return "  ".join(
            f"{count / max(self.seconds, 1e-9):,.3g} {unit}" for unit, count in counts.items() if count
        )

    def cuts(self) -> str:
        """What to say where replies were cut; empty where none was."""
        return describe_cuts(self.cut, self.steps)

    def lines(self) -> Iterator[Text]:
        """Success, speed, cut replies where there are any, task types, and the newest episode; one line each, cut where
        the console ends.
        """
        if self.newest is None:
            return
        yield _make_line(self.success(), "bold")
        yield _make_line(self.rates())
        if cuts := self.cuts():
            yield _make_line(cuts, "yellow")
        by_type = (
            f"{TASK_TYPES.get(kind, kind)} {_format_group(group)}"
            for kind, group in sorted(self.by_type.items())
        )
        yield _make_line("  ".join(by_type), "dim")
        last = self.newest
        yield _make_line(
            f"newest: {last.task or last.game}  {describe_outcome(last)}", choose_style(last.success)
        )
        if last.turns:
            yield _make_line(f"  > {last.turns[-1].action}  {last.final_observation}", "dim")


def _format_group(group: Outcomes) -> str:
    won = f"{group.successes}/{group.episodes}"
    return won if group.defines_success else f"{group.mean_return:.3g} ({group.episodes})"


def _make_line(text: str, style: str = "") -> Text:
    line = make_text(" ".join(text.split()) if "\n" in text else text, style)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def watch_episodes(played: Iterable[Trajectory], total: int, name: str) -> Iterator[Trajectory]:
    """Yield episodes as they end, under a live view of them."""
    tally = Tally(total)
    with progress_bar(tally.lines) as bar:
        task = bar.add_task(name, total=total)
        for trajectory in played:
            tally.add(trajectory)
            bar.update(task, advance=1)
            yield trajectory
