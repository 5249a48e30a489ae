"""``oreo-agents report``: one HTML file about one run, or two; no server, no network, no library in it.

What runs come to stands in the page as plain markup. The episodes travel as compressed JSON and become text nodes in
the browser; only the page's own script, named by its hash, may run, and nothing may be fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from markupsafe import Markup

from oreo_agents.evaluation.pairs import Pair, PairedOutcomes, compare_endings, pair_games
from oreo_agents.report import charts, conclusions
from oreo_agents.report.episodes import LONGEST, MOST, ReportedGame, pack_entries
from oreo_agents.report.facts import Fact, list_facts
from oreo_agents.report.summary import Summary
from oreo_agents.report.templates import render_page
from oreo_agents.trajectory import Trajectory

TITLED = 200
"""Games that are named where two runs differ."""


class Episodes(Protocol):
    """A list of trajectories, or a dataset."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Trajectory]: ...

    def __getitem__(self, index: int, /) -> Trajectory: ...


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """Episodes and what they are called."""

    name: str
    episodes: Episodes
    """Read twice, the second time only those that can be looked at."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, what its signs mean, and what to conclude from it."""

    title: str
    picture: Markup
    legend: str
    conclusion: str


def render_report(runs: Sequence[ReportedRun], limit: int = 500) -> str:
    """The page.

    Args:
        runs: one, or two to compare.
        limit: at most so many games can be looked at, evenly spread, of two runs first those in which they differ;
            fewer where the page would be larger than 5 MB. All of them count in rates and charts.
    """
    names = [run.name for run in runs]
    summaries = [_summarise_run(run) for run in runs]
    pairs = pair_games(summaries[0].games, summaries[1].games if len(runs) > 1 else [])
    while True:
        wanted = _pick_pairs(pairs, summaries, limit)
        entries = [_make_entry(place + 1, pairs[place], runs) for place in wanted]
        data, longest = pack_entries(entries, names)
        if len(data) <= MOST or len(wanted) < 2:
            break
        limit = len(wanted) // 2
    return render_page(
        "report.html",
        style="report.css",
        script="report.js",
        title=" and ".join(names),
        runs=[_describe_run(*of) for of in zip("AB", runs, summaries, strict=False)],
        comparison=_compare_runs(pairs, summaries, names, set(wanted)) if len(runs) > 1 else None,
        shown=len(entries),
        total=len(pairs),
        longest=longest if longest < LONGEST else None,
        data=data,
    )


def _summarise_run(run: ReportedRun) -> Summary:
    summary = Summary()
    for trajectory in run.episodes:
        summary.add(trajectory)
    return summary


def _pick_pairs(pairs: Sequence[Pair], summaries: Sequence[Summary], limit: int) -> list[int]:
    """Places of those that can be looked at."""
    apart = [place for place, pair in enumerate(pairs) if _is_apart(pair, summaries)]
    same = sorted(set(range(len(pairs))) - set(apart))
    first = [apart[place] for place in _pick_evenly(len(apart), limit)]
    return sorted(first + [same[place] for place in _pick_evenly(len(same), limit - len(first))])


def _is_apart(pair: Pair, summaries: Sequence[Summary]) -> bool:
    one, other = pair
    return None not in pair and summaries[0].endings[one or 0] != summaries[1].endings[other or 0]


def _make_entry(number: int, pair: Pair, runs: Sequence[ReportedRun]) -> ReportedGame:
    sides = [None if place is None else run.episodes[place] for run, place in zip(runs, pair, strict=False)]
    return ReportedGame(number, tuple(sides))


def _describe_run(letter: str, run: ReportedRun, summary: Summary) -> dict[str, Any]:
    """What the template says of a run."""
    facts: list[Fact] = list_facts(summary, getattr(run.episodes, "metas", ()))
    groups = []
    for group in summary.groups():
        defined = group.outcomes.defines_success
        score, (low, high) = group.outcomes.score, group.outcomes.interval95
        groups.append((group, charts.draw_interval(score, low, high) if defined else ""))
    return {
        "letter": letter,
        "name": run.name,
        "summary": summary,
        "facts": facts,
        "groups": groups,
        "conclusion": conclusions.conclude_success(summary),
        "charts": _draw_charts(summary),
    }


def _draw_charts(summary: Summary) -> list[Chart]:
    """What V was worth; nothing where no critic looked."""
    beliefs = summary.beliefs
    if not beliefs.episodes:
        return []
    dashed = "larger for more of them; bars: 95 % intervals; dashed: where a calibrated critic lies."
    late = "Late steps are few episodes."
    bins = beliefs.calibration()
    if not bins:
        dots, moments = charts.place_returns(beliefs.compare_returns()), beliefs.over_time(None)
        over_time = Chart(
            "V over time",
            charts.draw_values([("all", "all episodes", moments)]),
            f"Line: mean; band: the middle half of the episodes. {late}",
            conclusions.conclude_returns(moments),
        )
        if not dots:  # no reward is a number
            return [over_time]
        calibration = Chart(
            "Does V come true?",
            charts.draw_calibration(dots, "return that still came"),
            f"Dots: episodes whose V came to lie in a range, {dashed}",
            conclusions.conclude_calibration(dots, "return that came", "the return still to come"),
        )
        return [calibration, over_time]
    dots, won, lost = charts.place_shares(bins), beliefs.over_time(True), beliefs.over_time(False)
    return [
        Chart(
            "Does V come true?",
            charts.draw_calibration(dots, "share won", (0.0, 1.0)),
            f"Dots: episodes whose V came to lie in a range, {dashed}",
            conclusions.conclude_calibration(dots, "share won", "a chance of winning"),
        ),
        Chart(
            "Does V tell who will win?",
            charts.draw_values([("lost", "not won", lost), ("won", "won", won)]),
            f"Lines: mean V by step, solid of won episodes, dashed of the others; bands: the middle half. {late}",
            conclusions.conclude_values(won, lost),
        ),
    ]


def _compare_runs(
    pairs: Sequence[Pair], summaries: Sequence[Summary], names: Sequence[str], shown: set[int]
) -> dict[str, Any]:
    """What the template says of two runs."""
    common = [(place, one, other) for place, (one, other) in enumerate(pairs) if None not in (one, other)]
    ends = [
        (place, summaries[0].endings[one or 0], summaries[1].endings[other or 0])
        for place, one, other in common
    ]
    found = compare_endings([one for _, one, _ in ends], [other for *_, other in ends])
    games = [
        (
            place + 1,
            summaries[0].games[pairs[place][0] or 0],
            _say_ending(one),
            _say_ending(other),
            place in shown,
        )
        for place, one, other in ends
        if one != other
    ]
    return {
        "found": found,
        "bar": charts.draw_shares(_list_shares(found, names)),
        "legend": _list_shares(found, names),
        "conclusion": conclusions.conclude_pairs(found, (names[0], names[1])),
        "games": games[:TITLED],
        "differing": len(games),
        "alone": len(pairs) - len(common),
    }


def _list_shares(found: PairedOutcomes, names: Sequence[str]) -> list[tuple[str, str, int]]:
    if not found.counts:
        return [
            ("left", f"higher return: {names[0]}", found.left),
            ("both", "the same return", found.both),
            ("right", f"higher return: {names[1]}", found.right),
        ]
    return [
        ("both", "both won", found.both),
        ("left", f"only {names[0]} won", found.left),
        ("right", f"only {names[1]} won", found.right),
        ("neither", "neither won", found.neither),
    ]


def _say_ending(ending: tuple[bool | None, float]) -> str:
    success, return_ = ending
    return f"return {return_:g}" if success is None else "won" if success else "not won"


def _pick_evenly(total: int, limit: int) -> list[int]:
    """``limit`` of ``total`` places, evenly."""
    count = max(min(total, limit), 0)
    return [place * total // count for place in range(count)]
