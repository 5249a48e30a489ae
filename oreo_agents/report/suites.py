"""A suite's result as tables on the console and as plots beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.comparison import BASELINES, Comparison, Row, Setting
from oreo_agents.evaluation.statistics import qualify_intervals
from oreo_agents.experiments.run import SuiteResult
from oreo_agents.experiments.suite import SCRIPTED
from oreo_agents.printable import make_printable
from oreo_agents.report import plots
from oreo_agents.report.tables import SuccessTable

OWN, NOT_REPEATING = "its policy alone", "its policy, not repeating"


def show_tables(found: SuiteResult, console: Console) -> None:
    """Print the table of every test set at the first step limit, and the differences."""
    suite, arenas = found.plan.suite, found.plan.arenas
    limit, seeds = suite.step_limits[0], len(suite.seeds)
    scripted = {name for name, method in suite.methods.items() if method.method in SCRIPTED}
    for test, rows in _pick_tables(found, limit):
        games = len(arenas.tests[test].indices)
        trained = ": ".join(filter(None, (count_seeds(seeds), qualify_intervals(seeds))))
        title = f"{suite.name}: {test}, {games} games, {limit} steps, {trained}"
        rules = {row.method: row.setting.selection.rule for row in rows if row.setting.policy not in scripted}
        console.print(SuccessTable(rows, title, rules))
        console.print(_difference_table(found.differences, test, limit))
        console.print()
    causes = {name: why for name, why in found.failed.items() if not why.startswith("needs ")}
    for name, reason in {**arenas.skipped, **causes}.items():
        console.print(make_printable(f"not done: {name}: {reason}"), highlight=False, markup=False)


def count_seeds(seeds: int) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{seeds} seed{'' if seeds == 1 else 's'}"


def _pick_tables(found: SuiteResult, limit: int) -> Iterator[tuple[str, list[Row]]]:
    """Each test set that was judged, with its rows at a step limit."""
    for test in found.plan.arenas.tests:
        if rows := [row for row in found.table if _belongs_to(row.setting, test, limit)]:
            yield test, rows


def _belongs_to(of: Setting | Comparison, test: str, limit: int) -> bool:
    return (of.test, of.max_steps) == (test, limit)


def draw_plots(found: SuiteResult, path: Path) -> None:
    """The plots of a result file, beside it: success, success against k, rounds, calibration."""
    suite = found.plan.suite
    limit = suite.step_limits[0]
    for test, rows in _pick_tables(found, limit):
        where, title = path.with_suffix(""), f"{suite.name}: {test}, {limit} steps"
        plots.draw_success(rows, where / f"{test}-success.png", title)
        policies = {row.setting.policy for row in rows if row.setting.k > 1}
        searched = [row for row in rows if row.setting.policy in policies]
        searched = [row for row in searched if not row.setting.selection.no_repeat]
        if searched := [row for row in searched if row.setting.select in ("greedy", "best_of_k")]:
            plots.draw_lines(searched, "k", "candidates k", where / f"{test}-budget.png", title)
        if rounds := [row for row in found.rounds if _belongs_to(row.setting, test, limit)]:
            plots.draw_lines(rounds, "round", "round", where / f"{test}-rounds.png", title)
        if judged := [run for run in found.runs if run.setting.test == test and run.calibration]:
            widest = max(run.setting.k for run in judged)
            best = [run for run in judged if (run.setting.select, run.setting.k) == ("best_of_k", widest)]
            plots.draw_calibration(best or judged, where / f"{test}-calibration.png", title)


def _compares_returns(differences: Sequence[Comparison]) -> bool:
    return any(one.measure == "return" for one in differences)


def _difference_table(differences: Sequence[Comparison], test: str, limit: int) -> Table:
    """A row per policy and search; what it is compared with in columns."""
    cells: dict[str, dict[str, str]] = {}
    for one in differences:
        if not _belongs_to(one, test, limit):
            continue
        policy, other = one.policies
        own = NOT_REPEATING if one.selections[1].no_repeat else OWN
        column = own if policy == other else other
        cells.setdefault(one.a, {})[column] = _describe_difference(one)
    columns = [c for c in (*BASELINES, OWN, NOT_REPEATING) if any(c in found for found in cells.values())]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    what = "return" if _compares_returns(differences) else "points"
    table.add_column(f"Difference in {what}, bootstrap (t over seeds)")
    for column in columns:
        table.add_column(f"to {column}", justify="right")
    for row, found in cells.items():
        table.add_row(Text(row), *(found.get(column, "") for column in columns))
    return table


def _describe_difference(one: Comparison) -> str:
    """``+2.2 [-1.3, +5.6] (-4.0, +8.4)``: the bootstrap's interval, and with several seeds Student's.

    In points of success, or in the unit of the returns where those are compared.
    """
    scale, form = (1, "+.3g") if one.measure == "return" else (100, "+.1f")
    mean, low, high = (format(scale * x, form) for x in one.difference)
    said = f"{mean} [{low}, {high}]"
    if one.t_interval95 is None:
        return said
    low, high = (format(scale * x, form) for x in one.t_interval95)
    return f"{said} ({low}, {high})"
