"""The table of differences: both intervals, side by side."""

import pytest
from rich.console import Console

from oreo_agents.agents.selection import Selection
from oreo_agents.evaluation.comparison import Comparison
from oreo_agents.evaluation.statistics import Difference
from oreo_agents.report.suites import _difference_table


@pytest.mark.parametrize(
    ("seeds", "t_interval", "said"),
    [((0,), None, "+5.0 [+1.0, +9.0]\n"), ((0, 1), (-0.02, 0.12), "+5.0 [+1.0, +9.0] (-2.0, +12.0)\n")],
)
def test_the_t_interval_stands_beside_the_bootstraps(seeds, t_interval, said, capsys):
    greedy = Selection("greedy")
    difference = Difference(0.05, 0.01, 0.09)
    one = Comparison(
        "seen", 50, "OREO", "SFT", ("oreo", "sft"), (greedy, greedy), seeds, difference, t_interval
    )
    Console(width=120).print(_difference_table([one], "seen", 50))
    assert said in "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_and_figures_are_whole_at_any_width(width, capsys):
    greedy, spread = Selection("greedy"), Difference(-16.3, -18.6, -13.8)
    ones = [
        Comparison(
            *("seen", 50, "oreo, best-of-5, no repeat", to, ("oreo", to), (greedy, greedy), (0, 1)),
            *(spread, (-130, 90), "return"),
        )
        for to in ("sft", "rejection", "oreo")
    ]
    Console(width=width).print(_difference_table(ones, "seen", 50))
    words = capsys.readouterr().out.split()
    assert {"oreo,", "best-of-5,", "no", "repeat"} <= {*words}
    for figure in ("-16.3", "[-18.6,", "-13.8]", "(-130,", "+90)"):
        assert words.count(figure) == len(ones)
