"""Evaluation results as pictures. Writes PNG files and needs no display.

Results are the mappings that :mod:`oreo_agents.report.tables` describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any

from oreo_envs.files import replace_file

from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.printable import make_printable
from oreo_agents.report.tables import Result

GREY, BLUE, DEEP_BLUE = "#a9b1bc", "#6f9fd8", "#1f5fa8"
"""Baselines, OREO's policy alone, and OREO's policy with its critic choosing."""


def success_plot(results: Sequence[Result], path: str | Path, title: str = "") -> Path:
    """Draw one bar per result with its 95 % interval (Wilson's, unless it has its own) and return ``path``."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display, nothing to close

    figure = Figure(figsize=(8, 1.1 + 0.48 * len(results)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for row, result in enumerate(results):
        _bar(axes, row, result)
    axes.set_yticks(range(len(results)), [_plain(result["method"]) for result in results])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("Games won (%), with 95 % interval")
    return _save(figure, axes, _plain(title or _caption(results)), Path(path))


def budget_plot(results: Sequence[Result], path: str | Path, title: str = "") -> Path:
    """Draw success with its 95 % Wilson interval against the tokens that an episode took, and return ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    selects = list(dict.fromkeys(result.get("select") for result in results))
    colours = [DEEP_BLUE, *(f"C{i}" for i in range(1, len(selects)))]
    for select, colour in zip(selects, colours, strict=True):
        _curve(axes, [result for result in results if result.get("select") == select], colour)
    if len(selects) > 1:
        axes.legend(frameon=False)
    axes.set_ylim(0, 100)
    axes.set_ylabel("Games won (%), with 95 % Wilson interval")
    axes.set_xlabel("Tokens an episode: read and generated, policy and critic")
    return _save(figure, axes, _plain(title or _caption(results)), Path(path))


def _curve(axes, results: Sequence[Result], colour: str) -> None:
    """The results of one way to choose, in the order of their budgets."""
    ordered = sorted(results, key=lambda result: result["tokens_per_episode"])
    budgets = [result["tokens_per_episode"] for result in ordered]
    rates = [100 * result["successes"] / result["n"] for result in ordered]
    whiskers = list(zip(*map(_whiskers, ordered), strict=True))
    label = str(ordered[0].get("select", ""))
    axes.errorbar(budgets, rates, yerr=whiskers, color=colour, marker="o", capsize=3, label=label)
    for budget, rate, result in zip(budgets, rates, ordered, strict=True):
        axes.annotate(
            f"k={result['k']}" if "k" in result else _plain(result["method"]),
            (budget, rate),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=9,
        )


def lines_plot(results: Sequence[Result], x: str, x_name: str, path: str | Path, title: str = "") -> Path:
    """Draw success with its 95 % interval against ``result[x]``, one line per ``policy``, and return ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for policy in dict.fromkeys(result["policy"] for result in results):
        ordered = sorted((r for r in results if r["policy"] == policy), key=lambda result: result[x])
        rates = [100 * result["success_rate"] for result in ordered]
        whiskers = list(zip(*map(_whiskers, ordered), strict=True))
        places = [result[x] for result in ordered]
        axes.errorbar(places, rates, yerr=whiskers, marker="o", capsize=3, label=_plain(policy))
    axes.set_xticks(sorted({result[x] for result in results}))
    axes.set_ylim(0, 100)
    axes.set_ylabel("Games won (%), with 95 % interval")
    axes.set_xlabel(x_name)
    axes.legend(frameon=False, fontsize=9)
    return _save(figure, axes, _plain(title or _caption(results)), Path(path))


def calibration_plot(results: Sequence[Result], path: str | Path, title: str = "") -> Path:
    """Draw the share of episodes won against V, one line per method, and return ``path``.

    Each result has ``calibration``: for ranges of V the mean ``predicted``, and how many ``episodes`` were ``won``
    (:class:`oreo_agents.evaluation.beliefs.Bin`). Several results of one method are added up, range by range.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    for method in dict.fromkeys(result["method"] for result in results):
        bins = [one for result in results if result["method"] == method for one in result["calibration"]]
        points = _merged(bins)
        axes.plot(*zip(*points, strict=True), marker="o", label=_plain(method))
    axes.set_ylim(0, 1)
    axes.set_xlabel("V after an action (mean of the range)")
    axes.set_ylabel("Share of episodes won")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return _save(figure, axes, _plain(title or _caption(results)), Path(path))


def _merged(bins: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(mean V, share won) of the bins in each tenth of V, weighted by their episodes."""
    tenths: dict[int, list[Mapping[str, Any]]] = {}
    for one in bins:
        tenths.setdefault(floor(10 * one["predicted"]), []).append(one)
    points = []
    for _, several in sorted(tenths.items()):
        episodes = sum(one["episodes"] for one in several)
        predicted = sum(one["predicted"] * one["episodes"] for one in several) / episodes
        points.append((predicted, sum(one["won"] for one in several) / episodes))
    return points


def _interval(result: Result) -> tuple[float, float]:
    """The result's own interval, such as one over several seeds; else Wilson's."""
    return result.get("interval95") or wilson_interval(result["successes"], result["n"])


def _whiskers(result: Result) -> tuple[float, float]:
    """How far the interval reaches below and above the rate, in points; rounding makes no negative length."""
    rate = result["successes"] / result["n"] if result["n"] else 0.0
    low, high = _interval(result)
    return max(0.0, 100 * (rate - low)), max(0.0, 100 * (high - rate))


def _save(figure, axes, title: str, path: Path) -> Path:
    axes.set_title(title, loc="left", fontsize=11)
    _calm(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as new:
        figure.savefig(new)
    return path


def _bar(axes, row: int, result: Result) -> None:
    successes, n = result["successes"], result["n"]
    rate = successes / n if n else 0.0
    low, high = _interval(result)
    whiskers = [[length] for length in _whiskers(result)]
    axes.barh(row, 100 * rate, height=0.62, color=_colour(result["method"]), zorder=2)
    axes.errorbar(
        100 * rate, row, xerr=whiskers, fmt="none", ecolor="#333333", elinewidth=1, capsize=3, zorder=3
    )
    inside = high > 0.8
    axes.annotate(
        f"{100 * rate:.1f} %  ({successes}/{n})",
        (100 * (low if inside else high), row),
        xytext=(-6 if inside else 6, 0),
        textcoords="offset points",
        ha="right" if inside else "left",
        va="center",
        fontsize=9,
        color="white" if inside and _colour(result["method"]) == DEEP_BLUE else "#222222",
    )


def _colour(method: str) -> str:
    name = method.lower()
    if "oreo" not in name:
        return GREY
    return DEEP_BLUE if "best" in name or "beam" in name else BLUE


def _caption(results: Sequence[Result]) -> str:
    games = sorted({result["n"] for result in results})
    count = f"{games[0]}" if len(games) == 1 else f"{games[0]} to {games[-1]}" if games else "0"
    splits = sorted({str(result["split"]) for result in results if result.get("split")})
    return f"Success on {count} games" + (f" ({', '.join(splits)})" if splits else "")


def _plain(text: str) -> str:
    """``$`` would start a formula."""
    return make_printable(str(text)).replace("$", r"\$")


def _calm(axes) -> None:
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c3c8cf")
