from xml.etree import ElementTree

import pytest

from oreo_agents.evaluation.beliefs import Bin, Moment
from oreo_agents.report.charts import Axes, _choose_ticks, calibration_chart, interval_bar, value_chart


def parts(svg, name, attribute="class"):
    return [node for node in ElementTree.fromstring(svg).iter() if node.get(attribute) == name]


def test_dots_lie_where_their_numbers_say():
    svg = calibration_chart([Bin(0.0, 0.1, 0.0, 4, 0), Bin(0.9, 1.0, 1.0, 8, 8)])
    (diagonal,) = parts(svg, "ideal")
    low, high = parts(svg, "dot")
    assert (low.get("cx"), low.get("cy")) == (diagonal.get("x1"), diagonal.get("y1"))
    assert (high.get("cx"), high.get("cy")) == (diagonal.get("x2"), diagonal.get("y2"))
    assert "8 of 8 episodes won" in high.find("title").text


def test_lines_of_both_outcomes():
    moment = Moment(1, 0.1, 0.5, 0.9, 3)
    svg = value_chart([moment, Moment(2, 0.4, 0.6, 0.8, 1)], [moment])
    assert len(parts(svg, "point won")) == 2 and len(parts(svg, "point lost")) == 1
    assert len(parts(value_chart([moment], []), "mean lost")) == 0


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
    (fill,) = parts(interval_bar(0.25, 0.1, 0.5), "fill")
    (rail,) = parts(interval_bar(0.25, 0.1, 0.5), "rail")
    assert float(fill.get("width")) / float(rail.get("width")) == 0.25
