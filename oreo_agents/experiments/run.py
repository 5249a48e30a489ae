"""A plan is carried out, or gone on with; what its stages left becomes one result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oreo_envs.files import lock_folder

from oreo_agents.errors import OreoError
from oreo_agents.evaluation.results import Result
from oreo_agents.experiments import verdicts
from oreo_agents.experiments.arenas import Arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.provenance import collect_provenance
from oreo_agents.experiments.stages import Report, Stage, Stages, ignore_events, order_stages
from oreo_agents.experiments.suite import Suite


def run_plan(plan: Plan, output: Path, jobs: int = 1, report: Report = ignore_events) -> Result:
    """Do all stages of a plan that are not done.

    Args:
        plan: what to do.
        output: folder of the run, made if needed; the same one continues it.
        jobs: stages at once, each in a process of its own.
        report: is told how it goes.

    Returns:
        What the result file says: settings, origin, games, ``runs``, ``table``, ``differences``, ``rounds``,
        ``sweep``, and what has ``failed`` or was ``skipped``.

    Raises:
        ConfigurationError: another process is at work in ``output``.
    """
    suite, arenas = plan.suite, plan.arenas
    wanted = [verdict.stage for verdict in plan.verdicts]
    with lock_folder(output):
        stages = Stages(output, report)
        failed = stages.run_all(wanted, jobs)
    done = [verdict for verdict in plan.verdicts if verdict.stage.name not in failed]
    found = verdicts.read_runs(done, output)
    runs, games = verdicts.separate_games(found)
    return {
        "suite": suite.name,
        "summary": suite.summary,
        **collect_provenance(),
        "settings": json.loads(json.dumps(asdict(suite))),
        "model": {"name": suite.model, "identity": plan.identity},
        "data": _describe_games(arenas, suite, games),
        "skipped": dict(arenas.skipped),
        "failed": failed,
        "sweep": _read_sweep(wanted, output),
        "table": verdicts.average_runs(found),
        "differences": verdicts.compare_rows(found),
        "rounds": verdicts.average_rounds(found),
        "runs": runs,
        "stages": stages.times(order_stages(wanted)),
    }


def read_results(plan: Plan, output: Path) -> list[Result]:
    """What has been judged so far, as evaluations leave it: with its games, and ``won`` as a list."""
    runs = verdicts.read_runs(plan.verdicts, output)
    return [{**run, "arena": run["test"], "won": [one == "1" for one in run["won"]]} for run in runs]


def require_done(found: Result) -> None:
    """Raise OreoError with the first cause if a part of a plan could not be done."""
    for reason in found["failed"].values():
        if not reason.startswith("needs "):
            raise OreoError(reason)


def _describe_games(arenas: Arenas, suite: Suite, games: dict[str, list[str]]) -> dict[str, Any]:
    """What was played: each set's hash, and the games of the tests in the order of the runs' ``won``."""
    tests = {name: {**one.summary(), "names": games.get(name, [])} for name, one in arenas.tests.items()}
    train = {**arenas.train.summary(), "left_out_rooms": list(suite.left_out())}
    generated = {"generated": arenas.generated.summary()} if arenas.generated else {}
    return {"train": train, "dev": arenas.dev and arenas.dev.summary(), **generated, "tests": tests}


def _read_sweep(wanted: Sequence[Stage], output: Path) -> dict[str, Any]:
    """Every trial of every method that was tuned."""
    choices = [stage.name for stage in order_stages(wanted) if stage.name.startswith("sweep/")]
    paths = [output / name for name in choices if name.endswith(".json")]
    return {path.stem: json.loads(path.read_text()) for path in paths if path.is_file()}
