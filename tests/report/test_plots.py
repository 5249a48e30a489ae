import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np

from oreo_agents.agents.selection import Selection
from oreo_agents.evaluation.beliefs import Bin
from oreo_agents.evaluation.comparison import Run, Setting, average_runs
from oreo_agents.evaluation.results import Evaluation
from oreo_agents.report.plots import DEEP_BLUE, draw_budget, draw_calibration, draw_lines, draw_success


def bar_width(path, colour):
    """Pixels of `colour` in the widest row of a PNG."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    pixels = imread(path)[..., :3]
    return (np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.02).sum(axis=1).max()


def test_a_higher_rate_is_a_longer_bar(results, tmp_path):
    best = results[2]
    high = bar_width(draw_success([best], tmp_path / "a" / "high.png"), DEEP_BLUE)
    low = bar_width(
        draw_success([replace(best, won=(True,) * 45 + (False,) * 155)], tmp_path / "low.png"), DEEP_BLUE
    )
    assert high / low == np.clip(high / low, 3.7, 4.3)  # 181 of 200 against 45 of 200


def test_odd_names_and_empty_results_are_drawn(results, tmp_path):
    results[0] = replace(results[0], method="$x_1^ \x1b[31m")
    results[1] = replace(results[1], won=())
    assert draw_success(results, tmp_path / "odd.png").stat().st_size > 5000


def test_drawing_leaves_pyplot_alone(results, tmp_path):
    (tmp_path / "results").write_bytes(pickle.dumps(results))
    script = (
        "import pickle, sys; from pathlib import Path; from oreo_agents.report.plots import draw_success\n"
        f"results = pickle.loads(Path({str(tmp_path / 'results')!r}).read_bytes())\n"
        f"draw_success(results, {str(tmp_path / 'p.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_and_everything_won_are_drawn(results, tmp_path):
    """At these counts Wilson's bounds miss 0 and 1 by a rounding error."""
    ends = [replace(results[0], won=(won,) * n) for n in range(1, 60) for won in (False, True)]
    evaluations = [Evaluation(end, Selection("best_of_k", k), "unseen", 50) for k, end in enumerate(ends, 1)]
    runs = [
        Run(Setting("unseen", 50, "m", Selection("best_of_k", k)), 0, None, end)
        for k, end in enumerate(ends, 1)
    ]
    assert draw_success(ends, tmp_path / "bars.png").is_file()
    assert draw_lines(average_runs(runs), "k", "k", tmp_path / "lines.png").is_file()
    assert draw_budget(evaluations, tmp_path / "budget.png").is_file()


def run_with(result, bins, method="m"):
    """A run whose critic has said that."""
    setting = Setting("unseen", 50, method, Selection())
    return Run(setting, 0, None, replace(result, method=method), tuple(bins))


def test_calibration_adds_the_seeds_up(results, tmp_path, monkeypatch):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **how: drawn.append((list(x), list(y))))
    monkeypatch.setattr(Figure, "legend", lambda self, **how: None)
    bins = [
        Bin(0.4, 0.5, predicted=0.42, episodes=3, won=1),
        Bin(0.4, 0.5, predicted=0.48, episodes=1, won=1),
    ]
    draw_calibration([run_with(results[0], [one]) for one in bins], tmp_path / "c.png")
    assert drawn[1] == ([(3 * 0.42 + 0.48) / 4], [2 / 4])


def test_the_names_of_many_methods_leave_room_for_their_lines(results, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path: (save(self, path), saved.append(self)))
    bins = [Bin(0.5, 0.6, predicted=0.5, episodes=4, won=2)]
    runs = [run_with(results[0], bins, f"method {i} best-of-8") for i in range(14)]
    draw_calibration(runs, tmp_path / "c.png")
    inside = saved[0].axes[0].get_position()
    names = saved[0].legends[0].get_window_extent().transformed(saved[0].transFigure.inverted())
    assert inside.width > 0.4 and inside.height > 0.6 and names.x0 > inside.x1 and names.y0 > 0
