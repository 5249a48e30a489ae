"""Small plots as inline SVG, drawn by templates: no script, colours from the page's style sheet.

Numbers in, markup out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from oreo_agents.evaluation.beliefs import Bin, Moment, ReturnBin
from oreo_agents.report.templates import render_macro

LEFT, RIGHT, TOP, BOTTOM = 44, 14, 26, 42
SIDE = 264
"""Of a square plot; a wide one is half as wide again."""
FILE = "charts.html"


@dataclass(frozen=True)
class Axes:
    """A rectangle with a linear scale each way."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    width: int = LEFT + SIDE * 3 // 2 + RIGHT
    height: int = TOP + SIDE + BOTTOM

    @property
    def left(self) -> int:
        """Where the plot begins."""
        return LEFT

    @property
    def right(self) -> int:
        """Where it ends."""
        return self.width - RIGHT

    @property
    def bottom(self) -> int:
        """Its lower edge."""
        return self.height - BOTTOM

    @property
    def top(self) -> int:
        """Its upper edge."""
        return TOP

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Vertical place of a value; SVG counts downwards."""
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def points(self, pairs: Iterable[tuple[float, float]]) -> str:
        """Places of values, as a line takes them."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in pairs)

    @property
    def x_ticks(self) -> list[float]:
        """Round numbers along the bottom."""
        return _choose_ticks(self.x_low, self.x_high)

    @property
    def y_ticks(self) -> list[float]:
        """Round numbers along the side."""
        return _choose_ticks(self.y_low, self.y_high)


@dataclass(frozen=True, slots=True)
class Dot:
    """A range of V, and what came of the episodes in it."""

    predicted: float
    actual: float
    interval: tuple[float, float]
    episodes: int
    note: str


def place_shares(bins: Sequence[Bin]) -> list[Dot]:
    """The share won of each range."""
    return [
        Dot(
            one.predicted,
            one.won / one.episodes,
            one.interval,
            one.episodes,
            f"{one.won} won of {one.episodes} episodes",
        )
        for one in bins
    ]


def place_returns(bins: Sequence[ReturnBin]) -> list[Dot]:
    """The mean of what was still to come of each range."""
    return [
        Dot(
            one.predicted,
            one.mean,
            one.interval,
            one.episodes,
            f"{one.mean:.3g} came, in {one.episodes} episodes",
        )
        for one in bins
    ]


def draw_calibration(dots: Sequence[Dot], name: str, bounds: tuple[float, float] | None = None) -> Markup:
    """What came against V, with 95 % intervals; a calibrated critic lies on the diagonal.

    The plot is square and both axes have one scale, so that the diagonal is one wherever V lies.

    Args:
        dots: see :func:`place_shares` and :func:`place_returns`.
        name: of what came.
        bounds: between which it has to lie, such as 0 and 1; the diagonal goes from one to the other.
    """
    values = [value for dot in dots for value in (dot.predicted, dot.actual)]
    low, high = min(*values, *(bounds or ())), max(*values, *(bounds or ()))
    axes = Axes(low, high, low, high, width=LEFT + SIDE + RIGHT)
    most = max(dot.episodes for dot in dots)
    drawn = [
        (
            dot,
            round(3 + 5 * (dot.episodes / most) ** 0.5, 1),
            max(dot.interval[0], low),
            min(dot.interval[1], high),
        )
        for dot in dots
    ]
    return render_macro(FILE, "calibration", axes, name, bounds or (low, high), drawn)


def draw_values(groups: Sequence[tuple[str, str, Sequence[Moment]]]) -> Markup:
    """Mean V by step of groups of episodes, with the middle half of each as a band.

    Args:
        groups: class of the line, what the episodes are called, and their moments; without any, nothing is drawn of it.
    """
    moments = [moment for *_, line in groups for moment in line]
    low, high = min(0.0, *(m.low for m in moments)), max(1.0, *(m.high for m in moments))
    axes = Axes(1, max(2.0, *(m.step for m in moments)), low, high)
    lines = [
        (kind, name, line, [(m.step, m.high) for m in line] + [(m.step, m.low) for m in reversed(line)])
        for kind, name, line in groups
        if line
    ]
    return render_macro(FILE, "values", axes, lines)


def draw_interval(rate: float, low: float, high: float) -> Markup:
    """A rate between 0 and 1 with its interval, on one line of text."""
    return render_macro(FILE, "interval", *(round(120 * share, 1) for share in (rate, low, high)))


def draw_shares(counts: Sequence[tuple[str, str, int]]) -> Markup:
    """One bar, divided.

    Args:
        counts: class of the part, what it is, and how many.
    """
    total, parts, x = sum(count for *_, count in counts) or 1, [], 0.0
    for kind, name, count in counts:
        width = 600 * count / total
        parts.append((kind, name, count, round(x, 1), round(width, 1)))
        x += width
    return render_macro(FILE, "shares", parts)


def _choose_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two bounds."""
    least = ((high - low) or 1.0) / 5
    power = 10.0 ** floor(log10(least))
    step = power * min(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return [place * step for place in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
