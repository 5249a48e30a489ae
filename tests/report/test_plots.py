import subprocess
import sys

import numpy as np

from oreo_agents.report.plots import DEEP_BLUE, budget_plot, calibration_plot, lines_plot, success_plot


def bar_width(path, colour):
    """Pixels of `colour` in the widest row of a PNG."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    pixels = imread(path)[..., :3]
    return (np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.02).sum(axis=1).max()


def test_a_higher_rate_is_a_longer_bar(results, tmp_path):
    best = results[2]
    high = bar_width(success_plot([best], tmp_path / "a" / "high.png"), DEEP_BLUE)
    low = bar_width(success_plot([{**best, "successes": 45}], tmp_path / "low.png"), DEEP_BLUE)
    assert high / low == np.clip(high / low, 3.7, 4.3)  # 181 of 200 against 45 of 200


def test_odd_names_and_empty_results_are_drawn(results, tmp_path):
    results[0]["method"] = "$x_1^ \x1b[31m"
    results[1].update(n=0, successes=0)
    assert success_plot(results, tmp_path / "odd.png").stat().st_size > 5000


def test_drawing_leaves_pyplot_alone(tmp_path):
    script = (
        "import sys; from oreo_agents.report.plots import success_plot\n"
        f"success_plot([dict(method='a', n=2, successes=1)], {str(tmp_path / 'p.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_and_everything_won_are_drawn(tmp_path):
    """At these counts Wilson's bounds miss 0 and 1 by a rounding error."""
    ends = [
        dict(method="m", policy="m", k=k, n=n, successes=won, success_rate=won / n, tokens_per_episode=k)
        for k, (n, won) in enumerate(((n, won) for n in range(1, 60) for won in (0, n)), start=1)
    ]
    assert success_plot(ends, tmp_path / "bars.png").is_file()
    assert lines_plot(ends, "k", "k", tmp_path / "lines.png").is_file()
    assert budget_plot(ends, tmp_path / "budget.png").is_file()


def test_calibration_adds_the_seeds_up(tmp_path, monkeypatch):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **how: drawn.append((list(x), list(y))))
    monkeypatch.setattr(Figure, "legend", lambda self, **how: None)
    bins = [dict(predicted=0.42, episodes=3, won=1), dict(predicted=0.48, episodes=1, won=1)]
    calibration_plot([dict(method="m", n=4, calibration=[one]) for one in bins], tmp_path / "c.png")
    assert drawn[1] == ([(3 * 0.42 + 0.48) / 4], [2 / 4])


def test_the_names_of_many_methods_leave_room_for_their_lines(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path: (save(self, path), saved.append(self)))
    one = dict(n=4, calibration=[dict(predicted=0.5, episodes=4, won=2)])
    calibration_plot([dict(one, method=f"method {i} best-of-8") for i in range(14)], tmp_path / "c.png")
    inside = saved[0].axes[0].get_position()
    names = saved[0].legends[0].get_window_extent().transformed(saved[0].transFigure.inverted())
    assert inside.width > 0.4 and inside.height > 0.6 and names.x0 > inside.x1 and names.y0 > 0
