"""Text of games and models made safe to print: no escape sequence, no control code, no reordering."""

from __future__ import annotations

import unicodedata

KEPT = "\n"
UNSAFE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories of controls, invisible formatting, surrogates, private use and line separators."""


def make_printable(text: str) -> str:
    """``text`` with a visible ``\\x1b``-like escape for each character that a terminal would obey.

    >>> make_printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(_escape_character(character) for character in text.expandtabs(4))


def print_line(text: object) -> None:
    """Print a line that may quote anything: a path, a recorded episode, what another program said."""
    print(make_printable(str(text)))


def _escape_character(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
