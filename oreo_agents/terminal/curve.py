"""V along an episode as a curve of characters, with its scale and what stands out below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from oreo_agents.evaluation.beliefs import list_values
from oreo_agents.evaluation.events import Event
from oreo_agents.printable import make_printable
from oreo_agents.terminal.views import BLOCKS, average_buckets
from oreo_agents.trajectory import Trajectory

AXIS = 7
"""Columns that the scale takes."""
MARKS = {"invalid": ("x", "red"), "surprise": ("!", "yellow"), "won": ("W", "bold green")}
"""How an event is marked under the curve; where several share a column, the last of these is seen."""
LEGEND = "W won  ! surprise  x invalid"
WIDEST = 6
"""Columns that a step takes at most, where there are more columns than steps."""


def draw_curve(
    trajectory: Trajectory, events: Sequence[Event], step: int, size: tuple[int, int], name: str = ""
) -> Text:
    """Bars of V from 0 to 1, or as far as it goes, the columns of ``step`` turned over; below, the events.

    Args:
        trajectory: an episode of any length; neighbouring steps share a column where there are more than columns, and
            a step has several where there are fewer.
        events: what to mark, see :func:`~oreo_agents.evaluation.events.list_events`.
        step: where one is.
        size: columns, the scale's among them, and lines, the last two of them the marks and the legend; without V no
            others are drawn.
        name: whose V it is, where that is not clear.
    """
    width, height = size
    columns = max(width - AXIS, 8)
    each = _count_columns(len(trajectory), columns)
    values = [
        value for value in average_buckets(list_values(trajectory), columns) for _ in range(max(each, 1))
    ]
    known = [value for value in values if value is not None]
    place = locate_column(trajectory, step, columns)
    text = Text(no_wrap=True)
    if known:
        low, high = min(0.0, *known), max(1.0, *known)
        for row in reversed(range(height - 2)):
            _append_row(text, values, (low, high), (row, height - 2), range(place, place + max(each, 1)))
    text.append_text(_draw_marks(trajectory, events, place, columns))
    of = make_printable(f" of {name}" if name else "")
    about = f"V{of}: expected rest of the return" if known else "no critic looked at it: there is no V"
    return text.append(f"{about}  {LEGEND}"[:width], "dim")


def locate_column(trajectory: Trajectory, step: int, columns: int) -> int:
    """The first column in which a step is drawn."""
    steps = max(len(trajectory), 1)
    at = min(step, steps - 1)
    each = _count_columns(steps, columns)
    return at * each if each else at * columns // steps


def locate_step(trajectory: Trajectory, column: int, columns: int) -> int:
    """The first step that is drawn in a column."""
    steps, column = max(len(trajectory), 1), max(column, 0)
    each = _count_columns(steps, columns)
    return min(column // each, steps - 1) if each else -(-min(column, columns - 1) * steps // columns)


def _count_columns(steps: int, columns: int) -> int:
    """Columns of one step; 0 where steps share them."""
    return min(columns // max(steps, 1), WIDEST)


def _append_row(
    text: Text,
    values: Sequence[float | None],
    span: tuple[float, float],
    at: tuple[int, int],
    turned: range,
) -> None:
    (low, high), (row, rows) = span, at
    label = high if row == rows - 1 else low if row == 0 else None
    text.append(f"{'' if label is None else f'{label:.4g}':>{AXIS - 2}} \u2502"[-AXIS:], "dim")
    bars = "".join(_choose_block(value, span, at) for value in values)
    start = len(text)
    text.append(bars, "cyan").stylize("reverse", start + turned.start, start + turned.stop)
    text.append("\n")


def _choose_block(value: float | None, span: tuple[float, float], at: tuple[int, int]) -> str:
    if value is None:
        return " "
    (low, high), (row, rows) = span, at
    filled = (value - low) / (high - low) * (rows * 8 - 1) + 1 - row * 8
    return " " if filled < 1 else BLOCKS[min(int(filled), 8) - 1]


def _draw_marks(trajectory: Trajectory, events: Sequence[Event], place: int, columns: int) -> Text:
    each = _count_columns(len(trajectory), columns)
    middle = max(each - 1, 0) // 2
    cells = {place + middle: ("^", "bold")}
    for kind, mark in MARKS.items():
        cells |= {
            locate_column(trajectory, event.step, columns) + middle: mark
            for event in events
            if event.kind == kind
        }
    shown = max(len(trajectory), 1) * each or columns
    signs = (cells[column][0] if column in cells else "\u2500" for column in range(shown))
    line = Text(f"{'':>{AXIS - 2}} \u2514{''.join(signs)}", "dim")
    for column, (_, style) in cells.items():
        line.stylize(style, AXIS + column, AXIS + column + 1)
    return line.append("\n")
