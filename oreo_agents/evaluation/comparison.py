"""From judged runs to a table: means over seeds with their intervals, rounds, paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any, Literal

import numpy as np

from oreo_agents.agents.selection import CONSTRAINED, Select, Selection
from oreo_agents.evaluation.beliefs import Bin
from oreo_agents.evaluation.results import Count, Result
from oreo_agents.evaluation.statistics import Difference, paired_difference, t_interval, wilson_interval

Measure = Literal["success", "return"]

BASELINES = ("sft", "sft-continued", "rejection")
"""Every policy is compared with these, as they are without a critic."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What runs that differ in their seed alone have in common."""

    test: str
    max_steps: int
    policy: str
    selection: Selection
    round: int | None = None
    """Of an iterated method, where it is not the last."""
    critic: str | None = None
    """The policy whose critic judges, where it is another one's."""

    @property
    def select(self) -> Select:
        """By what kind of rule it chooses."""
        return self.selection.select

    @property
    def k(self) -> int:
        """How many candidates."""
        return self.selection.candidates

    def choosing(self) -> dict[str, Any]:
        """How it chooses, as it is written."""
        written = self.selection.to_json()
        kept = ("no_repeat", "temperature", "logprob_weight", *self.selection.filters.set_ones(), "rule")
        return {
            "select": self.select,
            "k": self.k,
            **{key: written[key] for key in kept if key in written},
            "critic": self.critic,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one judgement."""

    setting: Setting
    seed: int
    prompt: str | None
    """The fingerprint of the tokenizer."""
    result: Result
    calibration: tuple[Bin, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written: all side by side."""
        of, figures = self.setting, self.result.to_json()
        about = {"policy": of.policy, **of.choosing(), "round": of.round}
        about |= {"seed": self.seed, "test": of.test, "prompt": self.prompt}
        games, won, returns = (figures.pop(name) for name in ("games", "won", "returns"))
        calibration = {"calibration": [asdict(one) for one in self.calibration]} if self.calibration else {}
        return {
            **about,
            **figures,
            "max_steps": of.max_steps,
            "won": won,
            "returns": returns,
            "games": games,
            **calibration,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: the mean over the seeds of one setting. What was not measured is None."""

    setting: Setting
    method: str
    seeds: tuple[int, ...]
    n: int
    successes: int | None
    """None where winning is not defined: the returns are compared then."""
    mean_return: float
    per_seed: tuple[float, ...]
    """Success rates, or mean returns."""
    interval95: tuple[float, float]
    """Over seeds and games; with one seed Wilson's (of returns Student's), which knows nothing of how another training
    would come out."""
    t_interval95: tuple[float, float] | None
    """Over seeds alone; None for one."""
    invalid_action_rate: float
    cut_action_rate: float
    mean_steps: float
    tokens_per_episode: float | None
    seconds_per_episode: float | None
    seconds_per_decision: float | None
    mean_steps_success: float
    """Over all won episodes: a seed that has won few has little to say, one that has won none nothing."""
    by_task_type: Mapping[str, Count]

    @property
    def success_rate(self) -> float | None:
        """Share of episodes won."""
        return None if self.successes is None else self.successes / self.n

    @property
    def score(self) -> float:
        """The share won or, where that is not defined, the mean return."""
        return self.mean_return if self.success_rate is None else self.success_rate

    def to_json(self) -> dict[str, Any]:
        """As it is written: all side by side, without what was not measured."""
        figures, of = asdict(self), self.setting
        del figures["setting"]
        about = {"test": of.test, "max_steps": of.max_steps, "policy": of.policy, **of.choosing()}
        about |= {"round": of.round, "method": self.method, "seeds": list(self.seeds), "n": self.n}
        about |= {"successes": self.successes, "success_rate": self.success_rate}
        lists = {
            "seeds": about["seeds"],
            "per_seed": list(self.per_seed),
            "interval95": list(self.interval95),
        }
        if self.t_interval95 is not None:
            lists["t_interval95"] = list(self.t_interval95)
        measured = {key: value for key, value in figures.items() if value is not None}
        return {**about, **measured, **lists}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Success of one row minus another's, or its mean return where winning is not defined."""

    test: str
    max_steps: int
    a: str
    b: str
    policies: tuple[str, str]
    selections: tuple[Selection, Selection]
    seeds: tuple[int, ...]
    """Those that both have."""
    difference: Difference
    t_interval95: tuple[float, float] | None
    """Over seeds alone; None for one."""
    measure: Measure = "success"

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        about = {"test": self.test, "max_steps": self.max_steps, "a": self.a, "b": self.b}
        about |= {"policies": list(self.policies), "seeds": list(self.seeds)}
        mean, low, high = self.difference
        over_seeds = {} if self.t_interval95 is None else {"t_interval95": list(self.t_interval95)}
        about |= {"measure": self.measure} if self.measure != "success" else {}
        return {**about, "mean": mean, "interval95": [low, high], **over_seeds}


def settle_runs(runs: Sequence[Run]) -> list[Run]:
    """Runs in one environment: where some know of each episode whether it was won, those in which no episode says it
    have won none, see :func:`oreo_agents.trajectory.settle_success`.
    """
    if all(run.result.won is None for run in runs):
        return [*runs]
    return [
        run if run.result.won is not None else replace(run, result=_take_as_lost(run.result)) for run in runs
    ]


def _take_as_lost(result: Result) -> Result:
    counts = {kind: Count(count.n, 0) for kind, count in result.by_task_type.items()}
    return replace(result, won=(False,) * result.n, by_task_type=counts)


def average_runs(runs: Sequence[Run]) -> list[Row]:
    """One row per test set, step limit, policy and search: the mean over seeds with its bootstrap interval."""
    return [_average_group(group) for group in _group_runs(_keep_final(runs)).values()]


def average_rounds(runs: Sequence[Run]) -> list[Row]:
    """Rows of iterated methods, without search: one per round, the last one included."""
    last: dict[str, int] = {}
    for of in (run.setting for run in runs):
        if of.round is not None:
            last[of.policy] = max(last.get(of.policy, 0), of.round + 1)
    chosen = [run for run in runs if run.setting.policy in last and _is_plain(run.setting)]
    numbered = [_number_round(run, last[run.setting.policy]) for run in chosen]
    numbered.sort(key=lambda run: run.setting.round or 0)
    return [_average_group(group) for group in _group_runs(numbered).values()]


def compare_rows(runs: Sequence[Run]) -> list[Comparison]:
    """Success of one row minus another's on the same games and seeds, with bootstrap over both.

    Every row is compared with the baselines, and what is not greedy with the policy alone. Who is told the admissible
    commands is compared with those who are; being told with not being told. Likewise who does not repeat what has
    failed is compared with baselines that do not either, among as many candidates, and with itself without that; a
    critic with its policy alone, and with that where it does not repeat itself, which needs no critic.
    """
    rows = _group_runs(_keep_final(runs))
    found = []
    for setting, group in rows.items():
        for rival in _list_rivals(setting):
            against = next((others for of, others in rows.items() if _is_rival(of, setting, rival)), [])
            seeds = {run.seed for run in group} & {run.seed for run in against}
            if seeds and against is not group:
                found.append(_compare_groups(_keep_seeds(group, seeds), _keep_seeds(against, seeds)))
    return found


def _list_rivals(of: Setting) -> Iterable[tuple[str, Select, bool]]:
    """What a row is fairly compared with: policies, how they choose, and whether they do not repeat what has failed."""
    chosen = of.selection
    told: Select = "constrained" if of.select in CONSTRAINED else "greedy"
    rivals = [(other, told, chosen.no_repeat) for other in BASELINES]
    plain = of.select == "constrained" or chosen.resamples
    rivals.append((of.policy, "greedy", False) if plain else (of.policy, told, chosen.no_repeat))
    if chosen.searches and told == "greedy":
        rivals.append((of.policy, "greedy", True))
    return dict.fromkeys(rivals)


def _is_rival(one: Setting, of: Setting, rival: tuple[str, Select, bool]) -> bool:
    """Whether a row is that rival of another, in the same games and, where it looks at several, among as many."""
    how = one.selection
    same = (one.test, one.max_steps) == (of.test, of.max_steps)
    return (
        same
        and (one.policy, how.select, how.no_repeat) == rival
        and how.candidates in (1, of.selection.candidates)
    )


def compare_runs(a: Sequence[Run], b: Sequence[Run]) -> Difference:
    """Paired over games and seeds; runs are matched by their seeds.

    Raises:
        ValueError: the runs are of different games or seeds.
    """
    a, b = (sorted(group, key=lambda run: run.seed) for group in (a, b))
    if [(run.seed, run.result.games) for run in a] != [(run.seed, run.result.games) for run in b]:
        raise ValueError(
            f"{a[0].result.method} and {b[0].result.method} were judged on different games or seeds"
        )
    measure = _choose_measure([*a, *b])
    return paired_difference(_collect_outcomes(a, measure), _collect_outcomes(b, measure))


def _keep_seeds(group: Sequence[Run], seeds: set[int]) -> list[Run]:
    return [run for run in group if run.seed in seeds]


def _compare_groups(a: Sequence[Run], b: Sequence[Run]) -> Comparison:
    one, other = a[0], b[0]
    return Comparison(
        test=one.setting.test,
        max_steps=one.setting.max_steps,
        a=one.result.method,
        b=other.result.method,
        policies=(one.setting.policy, other.setting.policy),
        selections=(one.setting.selection, other.setting.selection),
        seeds=tuple(run.seed for run in a),
        difference=compare_runs(a, b),
        t_interval95=t_interval([x.result.score - y.result.score for x, y in zip(a, b, strict=True)]),
        measure=_choose_measure([*a, *b]),
    )


def _find_interval(
    results: Sequence[Result], over_all: tuple[float, float], measure: Measure
) -> tuple[float, float]:
    """Over seeds and games; Wilson's where all or none were won, of which no resample says how sure that is."""
    won, n = sum(one.successes or 0 for one in results), sum(one.n for one in results)
    if len(results) == 1:
        return results[0].interval95
    return wilson_interval(won, n) if measure == "success" and won in (0, n) else over_all


def _average_group(group: Sequence[Run]) -> Row:
    results = [run.result for run in group]
    n, measure = sum(one.n for one in results), _choose_measure(group)
    successes = sum(one.successes or 0 for one in results)
    outcomes = _collect_outcomes(group, measure)
    over_all = paired_difference(outcomes, np.zeros_like(outcomes))
    won_in = sum(one.mean_steps_success * (one.successes or 0) for one in results)
    return Row(
        setting=group[0].setting,
        method=results[0].method,
        seeds=tuple(run.seed for run in group),
        n=n,
        successes=successes if measure == "success" else None,
        mean_return=sum(sum(one.list_returns()) for one in results) / n,
        per_seed=tuple(one.score for one in results),
        t_interval95=t_interval([one.score for one in results]),
        interval95=_find_interval(results, (over_all.low, over_all.high), measure),
        invalid_action_rate=mean(one.invalid_action_rate for one in results),
        cut_action_rate=mean(one.cut_action_rate for one in results),
        mean_steps=mean(one.mean_steps for one in results),
        tokens_per_episode=_average_measured(one.tokens_per_episode for one in results),
        seconds_per_episode=_average_measured(one.seconds_per_episode for one in results),
        seconds_per_decision=_average_measured(one.seconds_per_decision for one in results),
        mean_steps_success=won_in / max(successes, 1),
        by_task_type=_add_task_types(results),
    )


def _average_measured(figures: Iterable[float | None]) -> float | None:
    measured = [figure for figure in figures if figure is not None]
    return mean(measured) if measured else None


def _add_task_types(results: Sequence[Result]) -> dict[str, Count]:
    """Episodes and successes of each task type, over several results."""
    counts: dict[str, Count] = {}
    for result in results:
        for kind, found in result.by_task_type.items():
            before = counts.get(kind, Count(0, 0))
            defined = before.successes is not None and found.successes is not None
            won = (before.successes or 0) + (found.successes or 0) if defined else None
            counts[kind] = Count(before.n + found.n, won)
    return counts


def _choose_measure(runs: Sequence[Run]) -> Measure:
    """Success, where all runs say what it is."""
    return "return" if any(run.result.won is None for run in runs) else "success"


def _collect_outcomes(group: Sequence[Run], measure: Measure) -> np.ndarray:
    """1 where a game was won, or the returns, ``[seeds, games]``."""
    outcomes = [run.result.won if measure == "success" else run.result.list_returns() for run in group]
    return np.array(outcomes, dtype=float)


def _keep_final(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.setting.round is None]


def _is_plain(of: Setting) -> bool:
    """The policy alone."""
    return of.select == "greedy" and not of.selection.no_repeat


def _number_round(run: Run, last: int) -> Run:
    return replace(run, setting=replace(run.setting, round=run.setting.round or last))


def _group_runs(runs: Iterable[Run]) -> dict[Setting, list[Run]]:
    """Runs that differ in their seed alone, in the order of their seeds; the groups in the order in which they come."""
    groups: dict[Setting, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.setting, []).append(run)
    return {setting: sorted(group, key=lambda run: run.seed) for setting, group in groups.items()}
