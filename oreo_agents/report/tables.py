"""Evaluation results as tables, for the terminal and for Markdown files.

A result is one method on one set of games: a mapping with ``method``, ``n`` and ``successes`` and, where
they were measured, ``wilson95``, ``by_task_type``, ``invalid_action_rate``, ``mean_steps``,
``mean_steps_success``, ``tokens_per_episode``, ``cost_per_episode``, ``seconds_per_episode`` and
``seconds_per_decision``. What was not measured shows
as a dash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.results import TASK_TYPES
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.printable import make_printable

Result = Mapping[str, Any]


COSTS = {
    "prompt_tokens": "Read",
    "generated_tokens": "Generated",
    "critic_tokens": "Judged",
    "simulated_steps": "Simulated",
}
"""Kinds of cost, an episode: tokens of the policy's prompts, of its candidates, and of the critic; simulator steps."""

ABSENT = "-"
GAP = 2


@dataclass(frozen=True)
class SuccessTable:
    """One row per result; columns that exceed the terminal's width continue in a further table below."""

    results: Sequence[Result]
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names, *measures = _columns(self.results)
        for number, group in enumerate(_fit(names, measures, options.max_width)):
            if number:
                yield Text()
            yield _table([names, *group], title="" if number else self.title)


def success_table(results: Sequence[Result], title: str = "") -> SuccessTable:
    """A rich renderable of ``results`` that fits any width."""
    return SuccessTable(results, title)


def to_markdown(results: Sequence[Result]) -> str:
    """The same cells as a GitHub Markdown table, every column in one."""
    columns = _columns(results)
    rows = [[column.header for column in columns], ["---"] + ["---:"] * (len(columns) - 1)]
    rows += [list(cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    return "".join(f"| {' | '.join(_escape(cell) for cell in row)} |\n" for row in rows)


@dataclass(frozen=True)
class _Column:
    header: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(Text(cell).cell_len for cell in (self.header, *self.cells))


def _columns(results: Sequence[Result]) -> list[_Column]:
    """Every column that any result has something for, the method's name first."""
    rows = [_cells(result) for result in results]
    ordered = sorted({header for row in rows for header in row}, key=_rank)
    return [_Column(header, tuple(row.get(header, ABSENT) for row in rows)) for header in ordered]


def _cells(result: Result) -> dict[str, str]:
    low, high = (
        result.get("interval95")
        or result.get("wilson95")
        or wilson_interval(result["successes"], result["n"])
    )
    cells = {
        "Method": make_printable(str(result["method"])),
        "Success": _percent(result["successes"], result["n"]),
        "95 % CI": f"{100 * low:.1f}-{100 * high:.1f}",
        "Games": str(result["n"]),
    }
    return cells | _rates(result) | _cost_cells(result) | _task_cells(result)


def _rates(result: Result) -> dict[str, str]:
    formats = {
        "invalid_action_rate": ("Invalid", "{:.1f} %"),
        "mean_steps": ("Steps", "{:.1f}"),
        "mean_steps_success": ("To win", "{:.1f}"),
        "tokens_per_episode": ("Tokens/ep.", "{:,.0f}"),
        "seconds_per_episode": ("s/ep.", "{:.2f}"),
        "seconds_per_decision": ("ms/step", "{:.1f}"),
    }
    scale = {"invalid_action_rate": 100, "seconds_per_decision": 1000}
    meaningless = {"mean_steps_success"} if not result["successes"] else set()
    known = [key for key in formats if result.get(key) is not None and key not in meaningless]
    measured = {key: result[key] * scale.get(key, 1) for key in known}
    return {formats[key][0]: formats[key][1].format(value) for key, value in measured.items()}


def _cost_cells(result: Result) -> dict[str, str]:
    """What the tokens were for, an episode; and steps on copies of the environment, where any were taken."""
    cost = result.get("cost_per_episode") or {}
    return {header: f"{cost[key]:,.0f}" for key, header in COSTS.items() if cost.get(key)}


def _task_cells(result: Result) -> dict[str, str]:
    by_type = result.get("by_task_type") or {}
    return {TASK_TYPES.get(kind, kind): _percent(row["successes"], row["n"]) for kind, row in by_type.items()}


def _percent(successes: int, n: int) -> str:
    return f"{100 * successes / n:.1f} %" if n else ABSENT


_ORDER = (
    *("Method", "Success", "95 % CI", "Games"),
    *("Invalid", "Steps", "To win", "Tokens/ep.", *COSTS.values(), "s/ep.", "ms/step"),
    *TASK_TYPES.values(),
)


def _rank(header: str) -> tuple[int, str]:
    return (_ORDER.index(header), "") if header in _ORDER else (len(_ORDER), header)


def _fit(names: _Column, measures: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Consecutive groups of ``measures`` that each fit beside the names, at least one a group."""
    room = width - min(names.width, width // 2)
    groups: list[list[_Column]] = [[]]
    used = 0
    for column in measures:
        if groups[-1] and used + GAP + column.width > room:
            groups.append([])
            used = 0
        groups[-1].append(column)
        used += GAP + column.width
    return groups


def _table(columns: Sequence[_Column], title: str) -> Table:
    table = Table(title=Text(title) if title else None, box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(Text(column.header), justify="right" if index else "left", no_wrap=index > 0)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell, style="bold" if index == 1 else "") for index, cell in enumerate(cells)))
    return table


def _escape(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
