"""The demo: the suite ``whole-path``, one of its seeds, on generated rooms, real games or sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from oreo_envs.catalog import describe, list_demonstrated
from oreo_envs.files import replace_folder, write_json

from oreo_agents.environments import source_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.comparison import Run, Setting
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.suite import GameSet, Options, Suite
from oreo_agents.experiments.suite_checks import check_suite
from oreo_agents.experiments.suite_file import load_suite

SCRATCH_EPOCHS = 8
"""Passes over the demonstrations until a new decoder has converged; the shipped language model takes one."""

EPISODES = 20
"""So many are kept for looking at."""

TITLES = {
    "sft": "SFT",
    "sft-continued": "SFT continued",
    "rejection": "rejection sampling",
    "oreo": "OREO",
}


def choose_suite(env_id: str, source: str | None = None) -> tuple[Suite, Path | None]:
    """The suite that shows an environment, and the folder of its data if that was given.

    Args:
        env_id: an environment of which there is a demo.
        source: a place or kind of games, such as a folder with ALFWorld's ``train`` and ``valid_seen``, any games whose
            rooms are then divided, or a task of reasoning-gym; None for the demo's own.

    Raises:
        ConfigurationError: there is no demo of that environment, or the games cannot be divided.
        DataNotFoundError: there are no games at ``source``.
    """
    entry = describe(env_id)
    if not entry.demo:
        raise ConfigurationError(f"there is no demo of {env_id!r}; choose {' or '.join(list_demonstrated())}")
    suite = load_suite(entry.demo)
    if source is None:
        return suite, None
    division = entry.games.divide(source)
    (judged,) = suite.tests.values()
    tests = {division.name: replace(judged, **division.test)}
    return replace(suite, train=replace(suite.train, **division.train), tests=tests), division.data


def shape_suite(
    suite: Suite,
    *,
    seed: int = 0,
    games: int | None = None,
    from_scratch: bool = False,
    wording: str | None = None,
    success_return: float | None = None,
    known: Options | None = None,
) -> Suite:
    """The suite with one seed and, where asked for, so many games to be judged on, a new decoder, or all its games in
    a wording, won from a return on, or made with other ``known`` options of the environment.

    Raises:
        ConfigurationError: its games do not come in that wording, or it is no honest test so.
    """
    laid = source_options(suite.environment, wording=wording, known=known)
    laid |= {} if success_return is None else {"success_return": success_return}
    suite = replace(
        suite,
        train=_add_options(suite.train, laid),
        dev=suite.dev and _add_options(suite.dev, laid),
        tests={name: _add_options(one, laid) for name, one in suite.tests.items()},
    )
    if games is not None:
        suite = replace(suite, tests={name: _limit_games(one, games) for name, one in suite.tests.items()})
    if from_scratch and suite.model == "start":
        suite = replace(suite, model="scratch", sft={**suite.sft, "epochs": SCRATCH_EPOCHS})
    suite = replace(suite, seeds=(seed,))
    check_suite(suite)
    return suite


def title_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs under the names that the demo has for methods."""
    return [replace(run, result=replace(run.result, method=_title_run(run.setting))) for run in runs]


def list_rules(runs: Sequence[Run]) -> dict[str, str]:
    """What each row chooses by, under the names that the demo has for methods."""
    return {_title_run(run.setting): run.setting.selection.rule for run in runs}


def write_results(suite: Suite, runs: Sequence[Run], path: Path) -> None:
    """A result a method, with the settings."""
    settings = asdict(suite)
    write_json(path, [{**run.to_json(), "arena": run.setting.test, "settings": settings} for run in runs])


def keep_episodes(plan: Plan, output: Path) -> None:
    """Put the first episodes of the last search into ``episodes``, in the order of their games, to be looked at."""
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.dataset.writer import TrajectoryWriter

    verdict = plan.verdicts[-1]
    arena = plan.arenas.tests[verdict.test]
    there = load_trajectories(output / verdict.stage.name / "episodes")
    ordered = sorted(there, key=lambda episode: episode.seed or 0)

    def write(folder: Path) -> None:
        with TrajectoryWriter(folder, dialect=arena.dialect) as writer:
            for episode in islice(ordered, EPISODES):
                writer.append(episode)

    replace_folder(output / "episodes", write)


def _limit_games(games: GameSet, n: int) -> GameSet:
    return replace(games, first=n) if games.first else replace(games, limit=n)


def _add_options(games: GameSet, options: Options) -> GameSet:
    return replace(games, options={**games.options, **options})


def _title_run(of: Setting) -> str:
    title = TITLES.get(of.policy, of.policy)
    return title if of.selection.title == "greedy" else f"{title} {of.selection.title}"
