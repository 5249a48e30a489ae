"""Evaluation results as tables that fit the terminal. What was not measured shows as a dash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.comparison import Row
from oreo_agents.evaluation.results import TASK_TYPES, Result
from oreo_agents.experiments.runs import Trained, list_differences
from oreo_agents.printable import make_printable

Outcome = Result | Row
"""What a row is made of: one method on one set of games, once or as a mean over seeds."""

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
    """One row per result; columns that exceed the width that there is continue in a further table below, and under
    them stands how each method chooses.
    """

    results: Sequence[Outcome]
    title: str = ""
    rules: Mapping[str, str] = field(default_factory=dict)
    """What methods choose by."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names, *measures = _make_columns(self.results)
        for number, group in enumerate(_fit_columns(names, measures, options.max_width)):
            if number:
                yield Text()
            yield _make_table([names, *group], title="" if number else self.title)
        for name, rule in self.rules.items():
            yield Text(make_printable(f"{name}: {rule}"), style="dim")


@dataclass(frozen=True)
class TrainedTable:
    """One row per trained agent: what it was made from and came to, and of the settings that are not the same in all as
    many as fit; the others are named."""

    runs: Sequence[Trained]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        cells = [_describe_run(run) for run in self.runs]
        differing = list_differences(self.runs)
        for name, values in differing.items():
            for row, value in zip(cells, values, strict=True):
                row[name] = ABSENT if value is None else make_printable(str(value))
        headers = dict.fromkeys(header for row in cells for header in row)
        columns = [_Column(header, tuple(row.get(header, ABSENT) for row in cells)) for header in headers]
        shown = _fit_columns(columns[0], columns[1:], options.max_width)[0]
        yield _make_table([columns[0], *shown], title="")
        if left := [column.header for column in columns[1 + len(shown) :]]:
            yield Text(f"No room for {', '.join(left)}: --json has everything.", style="dim")


def _describe_run(run: Trained) -> dict[str, str]:
    measured, recipe = run.measured, run.recipe
    cells = {"Agent": make_printable(run.name), "Method": recipe.method, "Steps": str(recipe.steps)}
    for header, name in (("Loss", "loss"), ("EV", "explained_variance")):
        if name in measured:
            cells[header] = f"{measured[name]:.4g}"
    if "success" in measured:
        cells["Success"] = f"{100 * measured['success']:.1f} %"
    elif "return" in measured:
        cells["Return"] = f"{measured['return']:.4g}"
    cells["s"] = f"{recipe.seconds:,.0f}"
    return {**cells, "Model": make_printable(run.model), "Data": make_printable(run.data)}


@dataclass(frozen=True)
class _Column:
    header: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(Text(cell).cell_len for cell in (self.header, *self.cells))


def _make_columns(results: Sequence[Outcome]) -> list[_Column]:
    """Every column that any result has something for, the method's name first."""
    rows = [_fill_cells(result) for result in results]
    ordered = sorted({header for row in rows for header in row}, key=_rank_header)
    return [_Column(header, tuple(row.get(header, ABSENT) for row in rows)) for header in ordered]


def _fill_cells(result: Outcome) -> dict[str, str]:
    defined = result.successes is not None
    cells = {
        "Method": make_printable(result.method),
        "95 % CI": _format_interval(result.interval95, defined),
        "Games": str(result.n),
    }
    if defined:
        cells["Success"] = _format_percent(result.successes, result.n)
    if not defined or (result.n and result.mean_return != result.success_rate):
        cells["Return"] = f"{result.mean_return:.4g}"
    if isinstance(result, Row) and result.t_interval95 is not None:
        cells["95 % t"] = _format_interval(result.t_interval95, defined)
    return cells | _rate_cells(result) | _cost_cells(result) | _task_cells(result)


def _rate_cells(result: Outcome) -> dict[str, str]:
    rates = (
        ("Invalid", "{:.1f} %", 100, result.invalid_action_rate),
        ("Cut", "{:.1f} %", 100, result.cut_action_rate or None),
        ("Steps", "{:.1f}", 1, result.mean_steps),
        ("To win", "{:.1f}", 1, result.mean_steps_success if result.successes else None),
        ("Tokens/ep.", "{:,.0f}", 1, result.tokens_per_episode),
        ("s/ep.", "{:.2f}", 1, result.seconds_per_episode),
        ("ms/step", "{:.1f}", 1000, result.seconds_per_decision),
    )
    return {header: form.format(scale * x) for header, form, scale, x in rates if x is not None}


def _cost_cells(result: Outcome) -> dict[str, str]:
    """What the tokens were for, an episode; and steps on copies of the environment, where any were taken."""
    if isinstance(result, Row) or result.cost_per_episode is None:
        return {}
    costs = ((header, getattr(result.cost_per_episode, kind)) for kind, header in COSTS.items())
    return {header: f"{cost:,.0f}" for header, cost in costs if cost}


def _task_cells(result: Outcome) -> dict[str, str]:
    counts = result.by_task_type.items()
    return {
        TASK_TYPES.get(kind, kind): _format_percent(count.successes, count.n)
        for kind, count in counts
        if count.successes is not None
    }


def _format_percent(successes: int | None, n: int) -> str:
    return f"{100 * successes / n:.1f} %" if n and successes is not None else ABSENT


def _format_interval(interval: tuple[float, float], of_success: bool) -> str:
    low, high = interval
    return f"{100 * low:.1f}-{100 * high:.1f}" if of_success else f"{low:.3g} to {high:.3g}"


_ORDER = (
    *("Method", "Success", "Return", "95 % CI", "95 % t", "Games"),
    *("Invalid", "Cut", "Steps", "To win", "Tokens/ep.", *COSTS.values(), "s/ep.", "ms/step"),
    *TASK_TYPES.values(),
)


def _rank_header(header: str) -> tuple[int, str]:
    return (_ORDER.index(header), "") if header in _ORDER else (len(_ORDER), header)


def _fit_columns(names: _Column, measures: Sequence[_Column], width: int) -> list[list[_Column]]:
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


def _make_table(columns: Sequence[_Column], title: str) -> Table:
    table = Table(title=Text(title) if title else None, box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(Text(column.header), justify="right" if index else "left", no_wrap=index > 0)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell, style="bold" if index == 1 else "") for index, cell in enumerate(cells)))
    return table
