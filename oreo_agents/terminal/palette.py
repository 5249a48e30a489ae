"""The colours of all that is shown in a terminal: legible on a dark ground and on a light one.

Renderables name colours in rich's words (``cyan``, ``bold red``, ``dim``); here stands what these words mean. Text has
a contrast of 4.5 to 1 with its ground at least (WCAG 2, AA); good and bad are a bluish green and a vermilion, which
the colour-blind tell apart, and never stand without a word or a sign.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Console
from rich.theme import Theme

Ground = Literal["dark", "light"]
COLOURS: Mapping[Ground, Mapping[str, str]] = {
    "dark": {
        "cyan": "#5cc8e8",
        "green": "#4fc7a4",
        "red": "#f0986a",
        "yellow": "#e5c95f",
        "magenta": "#cf9cf0",
        "dim": "#9ba7b4",
    },
    "light": {
        "cyan": "#1d5fa6",
        "green": "#00745a",
        "red": "#b3420c",
        "yellow": "#7d5a00",
        "magenta": "#8a4fae",
        "dim": "#5b6672",
    },
}
LIGHT_GROUNDS = {"7", "15"}
"""White and bright white, as ``COLORFGBG`` numbers them."""


def find_ground(environ: Mapping[str, str]) -> Ground:
    """What the terminal says of its background in ``COLORFGBG``; dark where it says nothing.

    >>> find_ground({"COLORFGBG": "0;default;15"}), find_ground({})
    ('light', 'dark')
    """
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if background in LIGHT_GROUNDS else "dark"


def paint_console(console: Console, ground: Ground) -> None:
    """Give rich's words for colours their meaning; where there are but sixteen, they mean the terminal's own."""
    if console.color_system in ("256", "truecolor"):
        console.push_theme(make_theme(ground))


def make_theme(ground: Ground) -> Theme:
    """What rich's words for colours mean on such a ground."""
    styles = {
        f"{manner}{name}": f"{manner}{colour}"
        for name, colour in COLOURS[ground].items()
        for manner in ("", "bold ", "italic ")
    }
    return Theme(styles)


def open_console(ground: Ground | None = None, **options: Any) -> Console:
    """A console with these colours; the ground is found by ``COLORFGBG`` where none is named.

    Args:
        ground: of the terminal.
        options: of rich's ``Console``.
    """
    console = Console(**options)
    paint_console(console, ground or find_ground(os.environ))
    return console
