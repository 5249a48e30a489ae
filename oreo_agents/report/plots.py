"""Evaluation results as pictures. Writes PNG files and needs no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite
from pathlib import Path
from typing import Literal, NamedTuple

from oreo_envs.files import replace_file

from oreo_agents.evaluation.beliefs import Bin
from oreo_agents.evaluation.comparison import Row, Run
from oreo_agents.evaluation.results import Evaluation, Result
from oreo_agents.printable import make_printable
from oreo_agents.report.tables import Outcome

GREY, BLUE, DEEP_BLUE = "#a9b1bc", "#6f9fd8", "#1f5fa8"
"""Baselines, OREO's policy alone, and OREO's policy with its critic choosing."""


def draw_success(results: Sequence[Outcome], path: str | Path, title: str = "") -> Path:
    """Draw one bar per result with its 95 % interval and return ``path``."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display, nothing to close

    figure = Figure(figsize=(8, 1.1 + 0.48 * len(results)), dpi=150, layout="constrained")
    axes = figure.subplots()
    scale = _choose_scale(results)
    for row, result in enumerate(results):
        _draw_bar(axes, row, result, scale)
    axes.set_yticks(range(len(results)), [_quote_dollars(result.method) for result in results])
    axes.invert_yaxis()
    if scale.limits:
        axes.set_xlim(*scale.limits)
    axes.set_xlabel(f"{scale.label}, with 95 % interval")
    return _save_figure(figure, axes, _quote_dollars(title or _caption_results(results)), Path(path))


def draw_budget(evaluations: Sequence[Evaluation], path: str | Path, title: str = "") -> Path:
    """Draw success with its 95 % Wilson interval against the tokens that an episode took, and return ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    choosing = [
        (one, one.selection) for one in evaluations if one.selection
    ]  # scripted players do not choose
    selects = list(dict.fromkeys(how.select for _, how in choosing))
    colours = [DEEP_BLUE, *(f"C{i}" for i in range(1, len(selects)))]
    scale = _choose_scale([one.result for one in evaluations])
    for select, colour in zip(selects, colours, strict=True):
        of_select = {how.k: one.result for one, how in choosing if how.select == select}
        _draw_curve(axes, select, of_select, colour, scale)
    if len(selects) > 1:
        axes.legend(frameon=False)
    if scale.limits:
        axes.set_ylim(*scale.limits)
    axes.set_ylabel(f"{scale.label}, with 95 %{' Wilson' if scale.limits else ''} interval")
    axes.set_xlabel("Tokens an episode: read and generated, policy and critic")
    splits = sorted({one.split for one in evaluations if one.split})
    caption = _caption_results([one.result for one in evaluations]) + (
        f" ({', '.join(splits)})" if splits else ""
    )
    return _save_figure(figure, axes, _quote_dollars(title or caption), Path(path))


class _Scale(NamedTuple):
    """In what outcomes are drawn."""

    label: str
    factor: float
    limits: tuple[float, float] | None


def _choose_scale(results: Sequence[Outcome]) -> _Scale:
    """Games won in percent; or mean returns, where winning is not defined for all."""
    if any(result.successes is None for result in results):
        return _Scale("Mean return", 1, None)
    return _Scale("Games won (%)", 100, (0, 100))


def _draw_curve(axes, select: str, results: Mapping[int, Result], colour: str, scale: _Scale) -> None:
    """The results of one way to choose by k, in the order of their budgets."""
    ordered = sorted(results.items(), key=lambda one: one[1].tokens_per_episode or 0.0)
    budgets = [result.tokens_per_episode for _, result in ordered]
    rates = [scale.factor * result.score for _, result in ordered]
    whiskers = list(zip(*(_measure_whiskers(result, scale) for _, result in ordered), strict=True))
    axes.errorbar(budgets, rates, yerr=whiskers, color=colour, marker="o", capsize=3, label=select)
    for budget, rate, (k, _) in zip(budgets, rates, ordered, strict=True):
        axes.annotate(
            f"k={k}",
            (budget, rate),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=9,
        )


def draw_lines(
    rows: Sequence[Row], x: Literal["k", "round"], x_name: str, path: str | Path, title: str = ""
) -> Path:
    """Draw success with its 95 % interval against candidates or rounds, one line per policy, and return ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    scale = _choose_scale(rows)
    for policy in dict.fromkeys(row.setting.policy for row in rows):
        own = [row for row in rows if row.setting.policy == policy]
        ordered = sorted(own, key=lambda row: getattr(row.setting, x))
        rates = [scale.factor * row.score for row in ordered]
        whiskers = list(zip(*(_measure_whiskers(row, scale) for row in ordered), strict=True))
        places = [getattr(row.setting, x) for row in ordered]
        axes.errorbar(places, rates, yerr=whiskers, marker="o", capsize=3, label=_quote_dollars(policy))
    axes.set_xticks(sorted({getattr(row.setting, x) for row in rows}))
    if scale.limits:
        axes.set_ylim(*scale.limits)
    axes.set_ylabel(f"{scale.label}, with 95 % interval")
    axes.set_xlabel(x_name)
    axes.legend(frameon=False, fontsize=9)
    return _save_figure(figure, axes, _quote_dollars(title or _caption_results(rows)), Path(path))


def draw_calibration(runs: Sequence[Run], path: str | Path, title: str = "") -> Path:
    """Draw the share of episodes won against V, one line per method, and return ``path``.

    Several runs of one method are added up, range by range.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    for method in dict.fromkeys(run.result.method for run in runs):
        bins = [one for run in runs if run.result.method == method for one in run.calibration]
        points = _merge_bins(bins)
        axes.plot(*zip(*points, strict=True), marker="o", label=_quote_dollars(method))
    axes.set_ylim(0, 1)
    axes.set_xlabel("V after an action (mean of the range)")
    axes.set_ylabel("Share of episodes won")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    caption = title or _caption_results([run.result for run in runs])
    return _save_figure(figure, axes, _quote_dollars(caption), Path(path))


def _merge_bins(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    """(mean V, share won) of the bins in each tenth of V, weighted by their episodes."""
    tenths: dict[int, list[Bin]] = {}
    for one in bins:
        tenths.setdefault(floor(10 * one.predicted), []).append(one)
    points = []
    for _, several in sorted(tenths.items()):
        episodes = sum(one.episodes for one in several)
        predicted = sum(one.predicted * one.episodes for one in several) / episodes
        points.append((predicted, sum(one.won for one in several) / episodes))
    return points


def _measure_whiskers(result: Outcome, scale: _Scale) -> tuple[float, float]:
    """How far the interval reaches below and above the score; rounding makes no negative length, and what nobody knows
    is not drawn."""
    score, (low, high) = result.score, result.interval95
    if not isfinite(high - low):
        return 0.0, 0.0
    return max(0.0, scale.factor * (score - low)), max(0.0, scale.factor * (high - score))


def _save_figure(figure, axes, title: str, path: Path) -> Path:
    axes.set_title(title, loc="left", fontsize=11)
    _calm_axes(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as new:
        figure.savefig(new)
    return path


def _draw_bar(axes, row: int, result: Outcome, scale: _Scale) -> None:
    length = scale.factor * result.score
    below, above = _measure_whiskers(result, scale)
    whiskers = [[below], [above]]
    axes.barh(row, length, height=0.62, color=_pick_colour(result.method), zorder=2)
    axes.errorbar(length, row, xerr=whiskers, fmt="none", ecolor="#333333", elinewidth=1, capsize=3, zorder=3)
    inside = scale.limits is not None and length + above > 80
    told = f"{length:.3g}" if scale.limits is None else f"{length:.1f} %  ({result.successes}/{result.n})"
    axes.annotate(
        told,
        (length - below if inside else length + above, row),
        xytext=(-6 if inside else 6, 0),
        textcoords="offset points",
        ha="right" if inside else "left",
        va="center",
        fontsize=9,
        color="white" if inside and _pick_colour(result.method) == DEEP_BLUE else "#222222",
    )


def _pick_colour(method: str) -> str:
    name = method.lower()
    if "oreo" not in name:
        return GREY
    return DEEP_BLUE if "best" in name or "beam" in name else BLUE


def _caption_results(results: Sequence[Outcome]) -> str:
    games = sorted({result.n for result in results})
    what = "Return" if any(result.successes is None for result in results) else "Success"
    return f"{what} on {games[0]} games" if len(games) == 1 else f"{what} on {games[0]} to {games[-1]} games"


def _quote_dollars(text: str) -> str:
    """``$`` would start a formula."""
    return make_printable(text).replace("$", r"\$")


def _calm_axes(axes) -> None:
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c3c8cf")
