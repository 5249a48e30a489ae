import subprocess
import sys

import numpy as np

from oreo_agents.report.plots import DEEP_BLUE, success_plot


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
