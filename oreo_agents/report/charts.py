"""Small plots as inline SVG: no library, no script, colours from the page's style sheet.

Numbers in, markup out; a text that comes from outside does not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from oreo_agents.evaluation.beliefs import Bin, Moment

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 40


@dataclass(frozen=True)
class Axes:
    """A rectangle with a linear scale each way."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Vertical place of a value; SVG counts downwards."""
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def frame(self, x_name: str, y_name: str) -> Iterator[str]:
        """Grid lines, numbers and names."""
        for value in _choose_ticks(self.y_low, self.y_high):
            y = self.y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_format_number(value)}</text>'
        for value in _choose_ticks(self.x_low, self.x_high):
            x = self.x(value)
            yield f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_format_number(value)}</text>'
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{x_name}</text>'
        yield f'<text x="{LEFT}" y="{TOP - 3}" text-anchor="start">{y_name}</text>'


def calibration_chart(bins: Sequence[Bin]) -> str:
    """Share won against V, with 95 % intervals; a calibrated critic lies on the diagonal."""
    axes = Axes(bins[0].low, max(1.0, bins[-1].high), 0.0, 1.0)
    most = max(one.episodes for one in bins)
    parts = [*axes.frame("V after an action (mean of the range)", "share of episodes won")]
    parts.append(f'<line class="ideal" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>')
    for one in bins:
        x, (low, high) = axes.x(one.predicted), one.interval
        parts.append(f'<line class="whisker" x1="{x}" x2="{x}" y1="{axes.y(low)}" y2="{axes.y(high)}"/>')
        note = (
            f"V {one.low:.2f} to {one.high:.2f}: {one.won} of {one.episodes} episodes won "
            f"({low:.2f}-{high:.2f})"
        )
        radius = round(3 + 5 * (one.episodes / most) ** 0.5, 1)
        y = axes.y(one.won / one.episodes)
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="{radius}"><title>{note}</title></circle>')
    return _wrap_chart("Value calibration: share of episodes won against V", parts)


def value_chart(won: Sequence[Moment], lost: Sequence[Moment]) -> str:
    """Mean V by step for won and for other episodes, with the middle half of them as a band."""
    moments = [*won, *lost]
    low, high = min(0.0, *(m.low for m in moments)), max(1.0, *(m.high for m in moments))
    axes = Axes(1, max(2.0, *(m.step for m in moments)), low, high)
    parts = [*axes.frame("step", "V after the action")]
    for name, line in (("lost", lost), ("won", won)):
        if line:
            parts += _draw_band(axes, name, line)
    return _wrap_chart("Value over time: V by step, for episodes that were won and others", parts)


def interval_bar(rate: float, low: float, high: float) -> str:
    """A rate between 0 and 1 with its interval, on one line of text."""
    width = 120
    x, left, right = (round(width * share, 1) for share in (rate, low, high))
    return (
        f'<svg class="bar" viewBox="0 0 {width} 14" width="{width}" height="14" role="img" '
        f'aria-label="{100 * rate:.1f} %"><rect class="rail" width="{width}" height="14" rx="2"/>'
        f'<rect class="fill" width="{x}" height="14" rx="2"/>'
        f'<path class="whisker" d="M{left} 4V10M{left} 7H{right}M{right} 4V10"/></svg>'
    )


def _draw_band(axes: Axes, name: str, line: Sequence[Moment]) -> Iterator[str]:
    outline = [(m.step, m.high) for m in line] + [(m.step, m.low) for m in reversed(line)]
    yield f'<polygon class="band {name}" points="{_format_points(axes, outline)}"/>'
    yield f'<polyline class="mean {name}" points="{_format_points(axes, ((m.step, m.mean) for m in line))}"/>'
    for m in line:
        note = f"{name}, step {m.step:g}: mean V {m.mean:.3f} over {m.episodes} episodes"
        place = f'cx="{axes.x(m.step)}" cy="{axes.y(m.mean)}"'
        yield f'<circle class="point {name}" {place} r="2.5"><title>{note}</title></circle>'


def _format_points(axes: Axes, pairs: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in pairs)


def _wrap_chart(label: str, parts: Iterable[str]) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _choose_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two bounds."""
    least = ((high - low) or 1.0) / 5
    power = 10.0 ** floor(log10(least))
    step = power * min(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return [place * step for place in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _format_number(value: float) -> str:
    return f"{value:.6g}"
