"""What is judged, and from verdicts to a table: runs with Wilson's interval, means over seeds, paired differences.

Pure functions of what the stages left; nothing here plays or trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from oreo_agents.agents.selection import CONSTRAINED, Select, Selection
from oreo_agents.evaluation.results import Result
from oreo_agents.evaluation.statistics import Difference, paired_difference, wilson_interval
from oreo_agents.experiments.stages import Stage

AVERAGED = (
    "invalid_action_rate",
    "mean_steps",
    "tokens_per_episode",
    "seconds_per_episode",
    "seconds_per_decision",
)
BASELINES = ("sft", "rejection")
"""Every policy is compared with these, as they are without a critic."""

CLOCKS = ("seconds_per_episode", "seconds_per_decision", "stages")
"""What two runs of the same suite may differ in."""


@dataclass(frozen=True)
class Verdict:
    """A judgement to be made: of which method, trained with which seed, where and how."""

    method: str
    seed: int
    test: str
    select: Select
    k: int
    stage: Stage
    round: int | None = None
    """Of an iterated method, where it is not the last."""

    @property
    def label(self) -> str:
        """The policy and how it chooses."""
        return (
            self.method
            if self.select == "greedy"
            else f"{self.method} {Selection(self.select, self.k).title}"
        )


def read_runs(verdicts: Sequence[Verdict], folder: Path) -> list[Result]:
    """One result per verdict and step limit, for those that were reached; ``won`` is a text of 0s and 1s."""
    return [run for verdict in verdicts for run in read_verdict(verdict, folder)]


def read_verdict(verdict: Verdict, folder: Path) -> Iterator[Result]:
    """The results of one verdict, one per step limit."""
    path = folder / verdict.stage.name / "result.json"
    if not path.is_file():
        return
    found = json.loads(path.read_text())
    about = {"policy": verdict.method, "select": verdict.select, "k": verdict.k, "round": verdict.round}
    about |= {"seed": verdict.seed, "test": verdict.test, "prompt": found["prompt"]}
    for i, result in enumerate(found["results"]):
        won = "".join(str(int(one)) for one in result.pop("won"))
        games = result.pop("games")
        calibration = {"calibration": found["calibration"]} if found["calibration"] and i == 0 else {}
        yield {**about, **result, "method": verdict.label, "won": won, "games": games, **calibration}


def average_runs(runs: Sequence[Result]) -> list[Result]:
    """One row per test set, step limit, policy and search: the mean over seeds with its bootstrap interval."""
    return [_row(list(group)) for group in _grouped(run for run in runs if run["round"] is None)]


def average_rounds(runs: Sequence[Result]) -> list[Result]:
    """Rows of iterated methods, without search: one per round, the last one included."""
    iterated = {run["policy"] for run in runs if run["round"] is not None}
    chosen = [run for run in runs if run["policy"] in iterated and run["select"] == "greedy"]
    last = {name: 1 + max(run["round"] or 0 for run in chosen if run["policy"] == name) for name in iterated}
    numbered = [{**run, "round": run["round"] or last[run["policy"]]} for run in chosen]
    return [_row(list(group)) for group in _grouped(sorted(numbered, key=lambda run: run["round"]))]


def compare_rows(runs: Sequence[Result]) -> list[dict[str, Any]]:
    """Success of one row minus another's on the same games and seeds, with bootstrap over both.

    Every row is compared with the baselines, and what is not greedy with the policy alone. Who is told the admissible
    commands is compared with those who are; being told with not being told.
    """
    final = [run for run in runs if run["round"] is None]
    rows = {_key(group[0]): group for group in map(list, _grouped(final))}
    found = []
    for (test, limit, policy, select, *_), group in rows.items():
        told = "constrained" if select in CONSTRAINED else "greedy"
        alone = "greedy" if select == "constrained" else told
        for other in dict.fromkeys([*BASELINES, policy]):
            how = alone if other == policy else told
            against = rows.get((test, limit, other, how, 1, None))
            if against is not None and against is not group:
                found.append(_compare_rows(group, against))
    return found


def compare_runs(a: Sequence[Result], b: Sequence[Result]) -> Difference:
    """Paired over games and seeds; runs are matched by their seeds.

    Raises:
        ValueError: the runs are of different games or seeds.
    """
    a, b = (sorted(group, key=lambda run: run["seed"]) for group in (a, b))
    if [(run["seed"], run["games"]) for run in a] != [(run["seed"], run["games"]) for run in b]:
        raise ValueError(f"{a[0]['method']} and {b[0]['method']} were judged on different games or seeds")
    return paired_difference(_won(a), _won(b))


def separate_games(runs: Sequence[Result]) -> tuple[list[Result], dict[str, list[str]]]:
    """The runs without their lists of games, and each test set's list once."""
    games = {run["test"]: run["games"] for run in runs}
    return [{key: value for key, value in run.items() if key != "games"} for run in runs], games


def _compare_rows(a: Sequence[Result], b: Sequence[Result]) -> dict[str, Any]:
    seeds = sorted({run["seed"] for run in a} & {run["seed"] for run in b})
    a, b = ([run for run in group if run["seed"] in seeds] for group in (a, b))
    about = {"test": a[0]["test"], "max_steps": a[0]["max_steps"], "a": a[0]["method"], "b": b[0]["method"]}
    about |= {"policies": [a[0]["policy"], b[0]["policy"]]}
    found = compare_runs(a, b)
    return {**about, "seeds": seeds, "mean": found.mean, "interval95": [found.low, found.high]}


def _row(group: Sequence[Result]) -> Result:
    first = group[0]
    n, successes = sum(run["n"] for run in group), sum(run["successes"] for run in group)
    over_all = paired_difference(_won(group), np.zeros_like(_won(group)))
    about = {key: first[key] for key in ("test", "max_steps", "policy", "select", "k", "round", "method")}
    averaged = {key: mean(run[key] for run in group) for key in AVERAGED if key in first}
    return {
        **about,
        "seeds": [run["seed"] for run in group],
        "n": n,
        "successes": successes,
        "success_rate": successes / n,
        "per_seed": [run["success_rate"] for run in group],
        "interval95": [over_all.low, over_all.high]
        if len(group) > 1
        else list(wilson_interval(successes, n)),
        **averaged,
        "mean_steps_success": _mean_steps_success(group),
        "by_task_type": count_by_task_type(group),
    }


def _mean_steps_success(group: Sequence[Result]) -> float:
    """Over all won episodes: a seed that has won few has little to say, one that has won none nothing."""
    won = sum(run["successes"] for run in group)
    return sum(run["mean_steps_success"] * run["successes"] for run in group) / max(won, 1)


def count_by_task_type(group: Sequence[Result]) -> dict[str, dict[str, int]]:
    """Episodes and successes of each task type, over several results."""
    counts: dict[str, dict[str, int]] = {}
    for run in group:
        for kind, found in run["by_task_type"].items():
            sums = counts.setdefault(kind, {"n": 0, "successes": 0})
            sums["n"] += found["n"]
            sums["successes"] += found["successes"]
    return counts


def _won(group: Sequence[Result]) -> np.ndarray:
    """Outcomes, ``[seeds, games]``."""
    return np.array([[float(one) for one in run["won"]] for run in group])


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(run[key] for key in ("test", "max_steps", "policy", "select", "k", "round"))


def _grouped(runs: Any) -> Iterator[Iterator[Result]]:
    """Runs that differ in their seed alone, in the order in which they first come."""
    ordered = list(runs)
    first: dict[tuple[Any, ...], int] = {}
    for run in ordered:
        first.setdefault(_key(run), len(first))
    ordered.sort(key=lambda run: (first[_key(run)], run["seed"]))
    for _, group in groupby(ordered, key=_key):
        yield group
