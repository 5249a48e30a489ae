"""The project's one look of a progress bar. A pipe gets a plain line now and then instead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from oreo_agents.printable import make_printable
from oreo_agents.terminal.palette import open_console


class _Notes(ProgressColumn):
    """The task's free-form notes, never read as markup."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("notes", "")))


QUIET = 10.0
"""Seconds after which a pipe gets another line."""


class Heartbeat:
    """Says every :data:`QUIET` seconds how far it is, from a thread of its own; ``say()`` gives the line, "" none."""

    def __init__(self, say: Callable[[], str], console: Console) -> None:
        self.say, self.console = say, console
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; no line follows."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(QUIET):
            if line := self.say():
                self.console.print(Text(make_printable(line)), soft_wrap=True)


class _Bar(Progress):
    """A progress bar with lines below it; where there is no terminal, a heartbeat."""

    def __init__(
        self, *columns: ProgressColumn, below: Callable[[], Iterable[RenderableType]], **options
    ) -> None:
        self.below = below
        self._begun = time.monotonic()
        self._heartbeat: Heartbeat | None = None
        super().__init__(*columns, **options)

    def start(self) -> None:
        """Show it."""
        super().start()
        if self.disable and self._heartbeat is None:
            self._begun = time.monotonic()
            self._heartbeat = Heartbeat(self._say, self.console)
            self._heartbeat.start()

    def stop(self) -> None:
        """Show it no longer."""
        super().stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _say(self) -> str:
        """Every task in one line."""
        tasks = [
            " ".join(filter(None, (task.description, _format_count(task), str(task.fields.get("notes", "")))))
            for task in self.tasks
        ]
        facts = [*tasks, f"{time.monotonic() - self._begun:.0f} s"]
        return "  ".join([*facts, *(str(line).strip() for line in islice(self.below(), 2))])

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from self.below()


def _format_count(task: Task) -> str:
    return f"{task.completed:.0f}" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}"


def progress_bar(below: Callable[[], Iterable[RenderableType]] = tuple) -> Progress:
    """A bar on stderr with name, count, time taken, time left and notes; ``below()`` gives the lines under it."""
    console = open_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if console.width >= 80 else 6),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _Notes(),
    )
    return _Bar(*columns, below=below, console=console, disable=not console.is_terminal)
