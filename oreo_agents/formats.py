"""Files that are written here and read again have the number of their format; a newer one is refused by name."""

from __future__ import annotations

from typing import Any

from oreo_agents.errors import OreoError

FIRST = 1
"""The format of files without a number: those of 0.1.0."""


def require_format(what: str, number: Any, newest: int, error: type[OreoError]) -> None:
    """Refuse a format that this version does not know.

    Args:
        what: the file, or what else the error is to name.
        number: what it says of its format.
        newest: the newest format that is read here.
        error: what is raised.

    Raises:
        OreoError: of the kind asked for: the format is a newer one, or no number.
    """
    if type(number) is not int or number < FIRST:
        raise error(f"{what} is damaged (format {number!r}): take a copy from elsewhere")
    if number > newest:
        raise error(
            f"{what} is of format {number}, of a newer oreo-agents, and this one reads up to {newest}: "
            "pip install --upgrade oreo-agents"
        )
