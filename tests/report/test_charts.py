from math import inf
from xml.etree import ElementTree

import pytest

from oreo_agents.evaluation.beliefs import Bin, Moment, ReturnBin
from oreo_agents.report.charts import (
    Axes,
    _choose_ticks,
    draw_calibration,
    draw_interval,
    draw_shares,
    draw_values,
    place_returns,
    place_shares,
)


def parts(svg, name, attribute="class"):
    return [node for node in ElementTree.fromstring(svg).iter() if node.get(attribute) == name]


def test_dots_lie_where_their_numbers_say():
    svg = draw_calibration(
        place_shares([Bin(0.0, 0.1, 0.0, 4, 0), Bin(0.9, 1.0, 1.0, 8, 8)]), "won", (0.0, 1.0)
    )
    (diagonal,) = parts(svg, "ideal")
    low, high = parts(svg, "dot")
    assert (low.get("cx"), low.get("cy")) == (diagonal.get("x1"), diagonal.get("y1"))
    assert (high.get("cx"), high.get("cy")) == (diagonal.get("x2"), diagonal.get("y2"))
    assert "8 won of 8 episodes" in high.find("title").text


@pytest.mark.parametrize(
    "bins",
    [
        [Bin(0.6, 0.7, 0.65, 4, 1), Bin(0.8, 0.9, 0.85, 4, 4)],  # no episode below
        [Bin(-0.5, -0.3, -0.4, 4, 0), Bin(1.1, 1.3, 1.2, 4, 4)],
    ],
)
def test_the_diagonal_is_one_wherever_v_begins(bins):
    """A dot is on the line of V = share won as far to the right of 0 as above it."""
    svg = draw_calibration(place_shares(bins), "won", (0.0, 1.0))
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    (line,) = parts(svg, "ideal")
    x1, y1, x2, y2 = (float(line.get(name)) for name in ("x1", "y1", "x2", "y2"))
    assert x2 - x1 == pytest.approx(y1 - y2)  # as steep as it is long: the plot is square
    assert 0 < x1 < x2 < width and 0 < y2 < y1 < height
    for one, dot in zip(bins, parts(svg, "dot"), strict=True):
        assert (float(dot.get("cx")) - x1) / (x2 - x1) == pytest.approx(one.predicted, abs=1e-3)
        assert (y1 - float(dot.get("cy"))) / (y1 - y2) == pytest.approx(one.won / one.episodes, abs=1e-3)


def test_returns_have_a_diagonal_of_their_own():
    bins = [ReturnBin(-9, -8, -8.5, 1, -8.5, (-inf, inf)), ReturnBin(-3, -2, -2.5, 4, -4.5, (-6.0, -3.0))]
    svg = draw_calibration(place_returns(bins), "return")
    (line,), (on, below) = parts(svg, "ideal"), parts(svg, "dot")
    assert (on.get("cx"), on.get("cy")) == (line.get("x1"), line.get("y1"))
    assert float(below.get("cy")) > float(line.get("y2")) and "inf" not in svg


def test_lines_of_both_outcomes():
    moment = Moment(1, 0.1, 0.5, 0.9, 3)
    won = ("won", "won", [moment, Moment(2, 0.4, 0.6, 0.8, 1)])
    svg = draw_values([won, ("lost", "not won", [moment])])
    assert len(parts(svg, "point won")) == 2 and len(parts(svg, "point lost")) == 1
    assert len(parts(draw_values([won, ("lost", "not won", [])]), "mean lost")) == 0


def test_higher_is_further_up():
    axes = Axes(0, 1, 0, 1)
    assert axes.y(1) < axes.y(0) and axes.x(1) > axes.x(0)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((1, 50), [10, 20, 30, 40, 50]), ((-0.3, 1), [0, 0.5, 1])],
)
def test_ticks_are_round(bounds, expected):
    assert _choose_ticks(*bounds) == pytest.approx(expected)


def test_the_bar_is_as_long_as_the_rate():
    (fill,) = parts(draw_interval(0.25, 0.1, 0.5), "fill")
    (rail,) = parts(draw_interval(0.25, 0.1, 0.5), "rail")
    assert float(fill.get("width")) / float(rail.get("width")) == 0.25


def test_shares_fill_the_bar_in_their_proportion():
    bars = ElementTree.fromstring(
        draw_shares([("both", "both won", 3), ("left", "A", 0), ("neither", "none", 1)])
    )
    widths = [float(bar.get("width")) for bar in bars]
    assert widths == [450, 150] and [float(bar.get("x")) for bar in bars] == [0, 450]
