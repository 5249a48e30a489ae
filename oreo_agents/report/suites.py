"""A suite's result file as tables on the console and as plots beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.results import Result
from oreo_agents.experiments.verdicts import BASELINES
from oreo_agents.report import plots
from oreo_agents.report.tables import success_table

OWN = "its policy alone"


def show_tables(found: Result, console: Console) -> None:
    """Print the table of every test set at the first step limit, and the differences."""
    limit = found["settings"]["step_limits"][0]
    for test, rows in _tables(found, limit):
        games, seeds = found["data"]["tests"][test]["games"], len(found["settings"]["seeds"])
        title = f"{found['suite']}: {test}, {games} games, {limit} steps, {seeds} seed{'s' * (seeds > 1)}"
        console.print(success_table(rows, title))
        console.print(_difference_table(found["differences"], test, limit))
        console.print()
    causes = {name: why for name, why in found["failed"].items() if not why.startswith("needs ")}
    for name, reason in {**found["skipped"], **causes}.items():
        console.print(f"not done: {name}: {reason}", highlight=False, markup=False)


def _tables(found: Result, limit: int) -> Iterator[tuple[str, list[Result]]]:
    """Each test set that was judged, with its rows at a step limit."""
    for test in found["data"]["tests"]:
        if rows := [row for row in found["table"] if (row["test"], row["max_steps"]) == (test, limit)]:
            yield test, rows


def draw_plots(found: Result, path: Path) -> None:
    """The plots of a result file, beside it: success, success against k, rounds, calibration."""
    limit = found["settings"]["step_limits"][0]
    for test, rows in _tables(found, limit):
        where, title = path.with_suffix(""), f"{found['suite']}: {test}, {limit} steps"
        plots.success_plot(rows, where / f"{test}-success.png", title)
        searched = [row for row in rows if row["policy"] in {r["policy"] for r in rows if r["k"] > 1}]
        if searched := [row for row in searched if row["select"] in ("greedy", "best_of_k")]:
            plots.lines_plot(searched, "k", "candidates k", where / f"{test}-budget.png", title)
        rounds = [row for row in found["rounds"] if (row["test"], row["max_steps"]) == (test, limit)]
        if rounds:
            plots.lines_plot(rounds, "round", "round", where / f"{test}-rounds.png", title)
        judged = [run for run in found["runs"] if run["test"] == test and run.get("calibration")]
        if judged:
            widest = max(run["k"] for run in judged)
            chosen = [run for run in judged if (run["select"], run["k"]) == ("best_of_k", widest)] or judged
            plots.calibration_plot(chosen, where / f"{test}-calibration.png", title)


def _difference_table(differences: Sequence[dict[str, Any]], test: str, limit: int) -> Table:
    """A row per policy and search; what it is compared with in columns."""
    chosen = [one for one in differences if (one["test"], one["max_steps"]) == (test, limit)]
    cells: dict[str, dict[str, str]] = {}
    for one in chosen:
        policy, other = one["policies"]
        column = OWN if policy == other else other
        low, high = (100 * bound for bound in one["interval95"])
        cells.setdefault(one["a"], {})[column] = f"{100 * one['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Difference in points")
    for column in (*BASELINES, OWN):
        table.add_column(f"to {column}", justify="right", no_wrap=True)
    for row, found in cells.items():
        table.add_row(Text(row), *(found.get(column, "") for column in (*BASELINES, OWN)))
    return table
