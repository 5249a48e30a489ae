"""The goal beside a text: a column of its own on a wide console, one line below on a narrow one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from oreo_agents.printable import make_printable
from oreo_agents.terminal.views import make_text

WIDE = 80
"""Columns from which the panel stands beside the text."""

PANEL = 30
"""Columns of the panel."""

TASK_CHARS = 100
"""Of a longer task the panel shows the beginning; ``goal`` shows it whole."""


@dataclass(frozen=True)
class Panel:
    """What is to be done, how far it is, what was earned, and the steps left."""

    task: str
    conditions: Sequence[tuple[str, bool]]
    steps_left: int | None
    score: tuple[float, float] | None = None
    """The newest reward and the return so far."""

    def column(self, ascii_only: bool) -> Text:
        """Several lines, with the task."""
        task = textwrap.shorten(make_printable(self.task), TASK_CHARS, placeholder=" ...")
        lines = [make_text(task, "bold", ascii_only)] if task else []
        return Text("\n").join([*lines, *self._facts(ascii_only)])

    def lines(self, width: int, ascii_only: bool) -> Text:
        """As few lines as it takes, without the task, which the opening tells."""
        lines: list[Text] = []
        for fact in self._facts(ascii_only):
            if lines and lines[-1].cell_len + 2 + fact.cell_len <= width:
                lines[-1] = Text("  ").join([lines[-1], fact])
            else:
                lines.append(fact)
        return Text("\n").join(lines)

    def _facts(self, ascii_only: bool) -> Iterator[Text]:
        for text, met in self.conditions:
            yield make_text(f"{'[x]' if met else '[ ]'} {text}", "green" if met else "", ascii_only)
        if self.score is not None:
            yield Text("reward: {:g}  return: {:g}".format(*self.score))
        if self.steps_left is not None:
            yield Text(f"steps left: {self.steps_left}", "dim")


@dataclass(frozen=True)
class Beside:
    """A text with a panel at its side."""

    text: Text
    panel: Panel

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if options.max_width < WIDE:
            yield self.text
            yield self.panel.lines(options.max_width, options.ascii_only)
            return
        looks: dict[str, Any] = {
            "box": box.MINIMAL,
            "show_header": False,
            "show_edge": False,
            "pad_edge": False,
        }
        table = Table(**looks, expand=True, border_style="dim")
        table.add_column(ratio=1)
        table.add_column(width=PANEL)
        table.add_row(self.text, self.panel.column(options.ascii_only))
        yield table
