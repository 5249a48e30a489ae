"""``oreo-agents bench``: do a suite's stages, then write its table, its result file and its plots."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from oreo_envs.files import lock_folder, write_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oreo_agents.bench import results
from oreo_agents.bench.checks import check
from oreo_agents.bench.games import Arenas, find
from oreo_agents.bench.plan import Plan, Verdict
from oreo_agents.bench.provenance import provenance
from oreo_agents.bench.reading import load_suite
from oreo_agents.bench.screen import Screen
from oreo_agents.bench.suite import Suite, known
from oreo_agents.evaluation import Result
from oreo_agents.stages import Stage, Stages, in_order

OWN = "its policy alone"


def run(args: argparse.Namespace) -> int:
    """``oreo-agents bench``; 1 if a part of the suite could not be done."""
    suite = load_suite(args.suite)
    for name in args.methods or ():
        known(name, suite.methods, f"--methods: suite {suite.name} has no method")
    given = {"seeds": args.seeds and tuple(args.seeds), "model": args.model}
    suite = replace(suite, **{key: value for key, value in given.items() if value})
    check(suite)
    output = args.output or Path("runs/bench") / suite.name
    found = bench(suite, output, args.data, args.jobs, args.methods or (), Console(stderr=True))
    path = args.results or Path("results") / f"{suite.name}.json"
    write_json(path, found)
    show(found, Console())
    plot(found, path)
    Console(stderr=True).print(f"written to {path}", highlight=False, markup=False)
    return int(bool(found["failed"]))


def bench(
    suite: Suite,
    output: Path,
    data: Path | None = None,
    jobs: int = 1,
    methods: Sequence[str] = (),
    console: Console | None = None,
) -> Result:
    """Run a suite, or go on with it.

    Args:
        suite: what to do.
        output: folder of the run; the same one continues it.
        data: where the games are; see :func:`oreo_agents.bench.games.find`.
        jobs: stages at once, each in a process of its own.
        methods: only these rows of the table; none: all.
        console: where progress goes.

    Returns:
        What the result file says: settings, origin, games, ``runs``, ``table``, ``differences``, ``rounds``,
        ``sweep``, and what was ``skipped`` or has ``failed``.

    Raises:
        ConfigurationError: another process is at work in ``output``, or the suite asks for what cannot be.
        DataNotFoundError: there are no games.
    """
    console = console or Console(quiet=True)
    arenas = find(suite, data)
    for name, reason in arenas.skipped.items():
        console.print(f"test set {name} is skipped: {reason}", highlight=False, markup=False)
    plan = Plan(suite, arenas)
    verdicts = plan.verdicts(methods)
    wanted = [verdict.stage for verdict in verdicts]
    with lock_folder(output), Screen(verdicts, output, console) as screen:
        stages = Stages(output, console, screen.report)
        failed = stages.run_all(wanted, jobs)
    runs, games = results.without_games(found := results.read_runs(_done(verdicts, failed), output))
    return {
        "suite": suite.name,
        "summary": suite.summary,
        **provenance(),
        "settings": json.loads(json.dumps(asdict(suite))),
        "model": {"name": suite.model, "identity": plan.identity},
        "data": _data(arenas, suite, games),
        "skipped": dict(arenas.skipped),
        "failed": failed,
        "sweep": _sweep(wanted, output),
        "table": results.table(found),
        "differences": results.differences(found),
        "rounds": results.rounds(found),
        "runs": runs,
        "stages": stages.times(in_order(wanted)),
    }


def show(found: Result, console: Console) -> None:
    """Print the table of every test set at the first step limit, and the differences."""
    from oreo_agents.report.tables import success_table

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


def plot(found: Result, path: Path) -> None:
    """The plots of a result file, beside it: success, success against k, rounds, calibration."""
    from oreo_agents.report import plots

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
    for column in (*results.BASELINES, OWN):
        table.add_column(f"to {column}", justify="right", no_wrap=True)
    for row, found in cells.items():
        table.add_row(Text(row), *(found.get(column, "") for column in (*results.BASELINES, OWN)))
    return table


def _done(verdicts: Sequence[Verdict], failed: Result) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.stage.name not in failed]


def _data(arenas: Arenas, suite: Suite, games: dict[str, list[str]]) -> dict[str, Any]:
    """What was played: each set's hash, and the games of the tests in the order of the runs' ``won``."""
    tests = {name: {**one.summary(), "names": games.get(name, [])} for name, one in arenas.tests.items()}
    train = {**arenas.train.summary(), "left_out_rooms": list(suite.left_out())}
    generated = {"generated": arenas.generated.summary()} if arenas.generated else {}
    return {"train": train, "dev": arenas.dev and arenas.dev.summary(), **generated, "tests": tests}


def _sweep(wanted: Sequence[Stage], output: Path) -> dict[str, Any]:
    """Every trial of every method that was tuned."""
    choices = [stage.name for stage in in_order(wanted) if stage.name.startswith("sweep/")]
    paths = [output / name for name in choices if name.endswith(".json")]
    return {path.stem: json.loads(path.read_text()) for path in paths if path.is_file()}
