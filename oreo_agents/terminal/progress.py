"""The project's one look of a progress bar. A pipe gets none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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


class _Notes(ProgressColumn):
    """The task's free-form notes, never read as markup."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("notes", "")))


class _Bar(Progress):
    """A progress bar with lines below it."""

    def __init__(
        self, *columns: ProgressColumn, below: Callable[[], Iterable[RenderableType]], **options
    ) -> None:
        self.below = below
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from self.below()


def progress_bar(below: Callable[[], Iterable[RenderableType]] = tuple) -> Progress:
    """A bar on stderr with name, count, time taken, time left and notes; ``below()`` gives the lines under it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if console.width >= 80 else 6),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _Notes(),
    )
    return _Bar(*columns, below=below, console=console, disable=not console.is_terminal)
