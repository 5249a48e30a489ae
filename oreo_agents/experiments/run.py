"""A plan is carried out, or gone on with; what its stages left becomes one result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oreo_envs.files import lock_folder, read_json
from oreo_envs.workers import count_cores

from oreo_agents.errors import OreoError
from oreo_agents.evaluation.comparison import (
    Comparison,
    Row,
    Run,
    average_rounds,
    average_runs,
    compare_rows,
    settle_runs,
)
from oreo_agents.evaluation.statistics import qualify_intervals
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.stages import (
    Hear,
    Report,
    Stage,
    Stages,
    ignore_events,
    ignore_progress,
    order_stages,
)
from oreo_agents.experiments.suite import MODELS, Suite
from oreo_agents.experiments.verdicts import read_runs
from oreo_agents.models.model_files import AGENT, count_parameters
from oreo_agents.models.recipe import TrainingRecipe, read_recipe
from oreo_agents.models.start import FROM_SCRATCH, SMALL
from oreo_agents.provenance import collect_provenance, find_gpu


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a suite comes to."""

    plan: Plan
    origin: Mapping[str, Any]
    """Program, machine and command."""
    runs: Sequence[Run]
    table: Sequence[Row]
    differences: Sequence[Comparison]
    rounds: Sequence[Row]
    """Of iterated methods."""
    sweep: Mapping[str, Any]
    """Every trial of every method that was tuned."""
    trainings: Mapping[str, Any]
    """How much each agent was trained, trials among them, and how far that took its policy."""
    stages: Mapping[str, Any]
    """What each took."""
    failed: Mapping[str, str]
    """Stages that could not be done, and why."""

    def to_json(self) -> dict[str, Any]:
        """As it is written: each test's games are listed once, and the outcomes of a run are a text of 0s and 1s."""
        suite = self.plan.suite
        return {
            "suite": suite.name,
            "summary": suite.summary,
            **self.origin,
            "settings": json.loads(json.dumps(asdict(suite))),
            "model": {"name": suite.model, "identity": self.plan.identity},
            "data": _describe_games(self.plan, self.runs),
            "skipped": dict(self.plan.arenas.skipped),
            "failed": dict(self.failed),
            "intervals": qualify_intervals(len(suite.seeds)),
            "sweep": dict(self.sweep),
            "table": [row.to_json() for row in self.table],
            "differences": [one.to_json() for one in self.differences],
            "rounds": [row.to_json() for row in self.rounds],
            "runs": [_shorten_run(run) for run in self.runs],
            "trainings": dict(self.trainings),
            "stages": dict(self.stages),
        }


def choose_jobs(suite: Suite) -> int:
    """How many stages at once suit this machine: one a core where a small model plays and learns on a CPU, else one.

    Up to four of a seed are worth a process of their own: policies that learn from the same rollouts, and judging.
    """
    model = MODELS.get(suite.model, suite.model)
    small = model in FROM_SCRATCH or (count_parameters(model) or SMALL + 1) <= SMALL
    if not small or find_gpu() is not None:
        return 1
    return min(count_cores(), 4 * len(suite.seeds))


def run_plan(
    plan: Plan,
    output: Path,
    jobs: int = 1,
    report: Report = ignore_events,
    hear: Hear = ignore_progress,
) -> SuiteResult:
    """Do all stages of a plan that are not done.

    Args:
        plan: what to do.
        output: folder of the run, made if needed; the same one continues it.
        jobs: stages at once, each in a process of its own with its share of the cores as threads; one is done here,
            with all of them.
        report: is told what begins and ends.
        hear: is told how far stages are whose plan has the views :data:`oreo_agents.experiments.telling.TOLD`.

    Raises:
        ConfigurationError: another process is at work in ``output``.
        OreoError: the process of a job was killed.
    """
    wanted = [verdict.stage for verdict in plan.verdicts]
    with lock_folder(output):
        stages = Stages(output, report, hear)
        failed = stages.run_all(wanted, jobs)
        _note_choices(plan, output, order_stages(wanted))
    judged = [verdict for verdict in plan.verdicts if verdict.stage.name not in failed]
    runs = settle_runs(read_runs(judged, output))
    return SuiteResult(
        plan=plan,
        origin=collect_provenance(),
        runs=runs,
        table=average_runs(runs),
        differences=compare_rows(runs),
        rounds=average_rounds(runs),
        sweep=_read_sweep(wanted, output),
        trainings=_describe_trainings(wanted, output),
        stages=stages.times(order_stages(wanted)),
        failed=failed,
    )


def _note_choices(plan: Plan, output: Path, stages: Sequence[Stage]) -> None:
    """Write into the folders of agents with a critic how this suite has them choose, for whoever loads them later."""
    from oreo_agents.models.agent_folder import note_choice

    search = plan.suite.search
    choice = {"temperature": search.temperature, "logprob_weight": search.logprob_weight}
    for folder in (output / stage.name for stage in stages):
        if (folder / AGENT).is_file() and (folder / "critic").is_dir():
            note_choice(folder, choice)


def require_done(found: SuiteResult) -> None:
    """Raise OreoError with the first cause if a part of a plan could not be done."""
    for reason in found.failed.values():
        if not reason.startswith("needs "):
            raise OreoError(reason)


def _shorten_run(run: Run) -> dict[str, Any]:
    written = {key: value for key, value in run.to_json().items() if key != "games"}
    won = run.result.won
    if won is None:
        return written
    if run.result.returns is None:
        del written["returns"]  # they say what ``won`` says
    return {**written, "won": "".join(str(int(one)) for one in won)}


def _describe_games(plan: Plan, runs: Sequence[Run]) -> dict[str, Any]:
    """What was played: each set's hash, and the games of the tests in the order of the runs' ``won``."""
    arenas = plan.arenas
    games = {run.setting.test: list(run.result.games) for run in runs}
    tests = {name: {**one.summary(), "names": games.get(name, [])} for name, one in arenas.tests.items()}
    train = {**arenas.train.summary(), "left_out_rooms": list(plan.suite.left_out())}
    generated = {"generated": arenas.generated.summary()} if arenas.generated else {}
    return {"train": train, "dev": arenas.dev and arenas.dev.summary(), **generated, "tests": tests}


def _describe_trainings(wanted: Sequence[Stage], output: Path) -> dict[str, Any]:
    """Optimizer steps of every agent, the episodes it learnt from, and the last entropy and KL that were logged."""
    names = [stage.name for stage in order_stages(wanted)]
    recipes = {name: recipe for name in names if (recipe := read_recipe(output / name))}
    return {name: _describe_training(recipe) for name, recipe in recipes.items()}


def _describe_training(recipe: TrainingRecipe) -> dict[str, Any]:
    last = {key: line[key] for line in recipe.log for key in ("entropy", "kl") if key in line}
    return {"steps": recipe.steps, "episodes": recipe.data.get("episodes"), **last}


def _read_sweep(wanted: Sequence[Stage], output: Path) -> dict[str, Any]:
    """Every trial of every method that was tuned."""
    choices = [stage.name for stage in order_stages(wanted) if stage.name.startswith("sweep/")]
    paths = [output / name for name in choices if name.endswith(".json")]
    try:
        return {path.stem: read_json(path) for path in paths if path.is_file()}
    except ValueError as error:
        raise OreoError(f"a choice below {output / 'sweep'} is damaged ({error}): delete it") from error
