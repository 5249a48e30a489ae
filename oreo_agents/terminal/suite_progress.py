"""What one sees while an experiment runs: a line a stage; of a suite the numbers so far, and what is at work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from oreo_agents.experiments.stages import Event, Report, Stage
from oreo_agents.experiments.steps import Views
from oreo_agents.experiments.verdicts import Verdict, read_verdict
from oreo_agents.printable import make_printable
from oreo_agents.terminal.live import watch_episodes
from oreo_agents.terminal.progress import Heartbeat, progress_bar
from oreo_agents.terminal.training_progress import TrainingProgress

SHOWN = Views(watch_episodes, TrainingProgress)
"""Bars for all that takes long, one at a time."""

AT_WORK = 3
"""Running stages that fit below the table."""


def print_stages(console: Console, output: Path) -> Report:
    """A report that prints what is reused, where it is in the output folder, and how long the rest has taken."""

    def report(stage: Stage, event: Event, seconds: float) -> None:
        if event == "reused":
            console.print(Text(make_printable(f"{stage.name}: reusing {output / stage.name}"), style="dim"))
        elif event == "done":
            console.print(Text(f"{stage.name}: {seconds:.0f} s"))

    return report


class StageBars:
    """A bar for every stage that is at work; otherwise :func:`print_stages`.

    Args:
        output: the folder of the run.
    """

    def __init__(self, output: Path) -> None:
        self._bar = progress_bar()
        self._print = print_stages(self._bar.console, output)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StageBars:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, stage: Stage, event: Event, seconds: float) -> None:
        """Take in what happens to a stage."""
        if event == "started":
            self._tasks[stage.name] = self._bar.add_task(stage.name, total=None)
        elif stage.name in self._tasks:
            self._bar.remove_task(self._tasks.pop(stage.name))
        self._print(stage, event, seconds)

    def hear(self, name: str, done: int, total: int) -> None:
        """Take in how far a stage is."""
        if name in self._tasks:
            self._bar.update(self._tasks[name], completed=done, total=total)


class SuiteScreen:
    """A live table of verdicts on the console; without a terminal a line a stage.

    Args:
        verdicts: all that will be made.
        folder: where their stages leave them.
        console: where to draw.
    """

    def __init__(self, verdicts: Sequence[Verdict], folder: Path, console: Console) -> None:
        self.verdicts = {verdict.stage.name: verdict for verdict in verdicts}
        self.tests = list(dict.fromkeys(verdict.test for verdict in verdicts))
        self.folder, self.console = folder, console
        self.rates: dict[tuple[str, str], list[float]] = {}
        self.form = "{:.1%}"
        self.running: dict[str, float] = {}
        self.counts: dict[str, str] = {}
        self.done = 0
        self._live: Live | Heartbeat = (
            Live(console=console, get_renderable=self.render, refresh_per_second=2, transient=True)
            if console.is_terminal
            else Heartbeat(self._say, console)
        )

    def __enter__(self) -> SuiteScreen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def report(self, stage: Stage, event: Event, seconds: float) -> None:
        """Take in what happens to a stage."""
        if event == "started":
            self.running[stage.name] = time.monotonic()
            self.counts.pop(stage.name, None)
            return
        self.running.pop(stage.name, None)
        said = f"{seconds:.0f} s" if event == "done" else event
        verdict = self.verdicts.get(stage.name)
        if verdict and event != "failed":
            self.done += 1
            said += f", {self._take(verdict)}"
        if event != "reused":
            self.console.print(f"{stage.name}: {said}", highlight=False, markup=False)

    def hear(self, name: str, done: int, total: int) -> None:
        """Take in how far a stage is."""
        self.counts[name] = f"{done}/{total}  "

    def render(self) -> RenderableType:
        """Success so far, a row per method and search and a column per test set, averaged over finished seeds."""
        table = Table(box=None, pad_edge=False, title=f"{self.done} of {len(self.verdicts)} judged")
        table.add_column("")
        for test in self.tests:
            table.add_column(test, justify="right")
        for label in dict.fromkeys(label for label, _ in self.rates):
            table.add_row(Text(label), *(self._cell(label, test) for test in self.tests))
        return Group(table, *(Text(line, style="dim") for line in self._list_working()))

    def _list_working(self) -> list[str]:
        now = time.monotonic()
        working = list(self.running.items())[:AT_WORK]
        return [f"{name}  {self.counts.get(name, '')}{now - begun:.0f} s" for name, begun in working]

    def _say(self) -> str:
        return f"{self.done} of {len(self.verdicts)} judged; at work: {', '.join(self._list_working()) or 'nothing'}"

    def _take(self, verdict: Verdict) -> str:
        result = next(read_verdict(verdict, self.folder)).result
        rate, self.form = result.score, "{:.3g}" if result.won is None else "{:.1%}"
        label = verdict.label if verdict.round is None else f"{verdict.label}, round {verdict.round}"
        self.rates.setdefault((label, verdict.test), []).append(rate)
        return f"return {rate:.3g}" if result.won is None else f"{rate:.1%} won"

    def _cell(self, label: str, test: str) -> str:
        rates = self.rates.get((label, test), [])
        seeds = f" ({len(rates)})" if len(rates) > 1 else ""
        return f"{self.form.format(sum(rates) / len(rates))}{seeds}" if rates else "-"
