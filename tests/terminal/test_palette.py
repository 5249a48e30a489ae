"""Colours measured as WCAG 2 does, against the grounds that terminals have."""

import io
import re

import pytest

from oreo_agents.terminal.palette import COLOURS, find_ground, open_console

GROUNDS = {
    "dark": ("#000000", "#1e1e1e", "#002b36", "#282a36", "#2e3440"),  # VS Code, Solarized, Dracula, Nord
    "light": ("#ffffff", "#fafafa", "#fdf6e3", "#eff1f5"),  # One Light, Solarized, Catppuccin Latte
}


def luminance(colour):
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(
        4.54, abs=0.01
    )  # the darkest grey that just passes


@pytest.mark.parametrize("ground", ["dark", "light"])
def test_every_colour_is_legible_on_such_grounds(ground):
    poor = {
        (name, paper): round(contrast(colour, paper), 2)
        for name, colour in COLOURS[ground].items()
        for paper in GROUNDS[ground]
        if contrast(colour, paper) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize("ground", ["dark", "light"])
def test_good_and_bad_differ_for_those_who_see_no_red_or_no_green(ground):
    """As Viénot, Brettel and Mollon (1999) simulate both, in linear RGB."""
    simulations = {
        "protanopia": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
        "deuteranopia": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
    }

    def see(colour, matrix):
        linear = [(int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
        return [
            max(sum(a * b for a, b in zip(row, linear, strict=True)), 0) ** (1 / 2.2) * 255 for row in matrix
        ]

    for matrix in simulations.values():
        good, bad = (see(COLOURS[ground][name], matrix) for name in ("green", "red"))
        assert sum((one - other) ** 2 for one, other in zip(good, bad, strict=True)) ** 0.5 > 60


@pytest.mark.parametrize(
    ("said", "ground"),
    [("0;15", "light"), ("0;default;7", "light"), ("15;0", "dark"), ("15;default;0", "dark"), ("", "dark")],
)
def test_the_terminal_says_what_its_ground_is(said, ground):
    assert find_ground({"COLORFGBG": said}) == ground


def test_words_become_these_colours_where_there_are_enough(monkeypatch):
    def print_cyan(colours, ground=None):
        file = io.StringIO()
        options = {"file": file, "force_terminal": True, "color_system": colours}
        open_console(ground, **options).print("look", style="bold cyan")
        return re.findall(r"\x1b\[([\d;]+)m", file.getvalue())[0]

    assert print_cyan("truecolor", "light") == "1;38;2;29;95;166"  # 1d5fa6
    assert print_cyan("standard", "light") == "1;36"  # the terminal's own
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert print_cyan("truecolor") == "1;38;2;29;95;166"
