"""Which command a failed one most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache

SUGGESTIONS = 3


def suggest_commands(command: str, admissible: Sequence[str]) -> list[str]:
    """The admissible commands that a failed one most likely meant, best first; none if nothing is near."""
    return list(_find_similar(command[:80], tuple(admissible)))


@lru_cache(maxsize=4096)
def _find_similar(command: str, admissible: tuple[str, ...]) -> list[str]:
    # difflib takes a millisecond for a room's commands: it sees only those that share most words.
    words = set(command.split())
    by_words = sorted(admissible, key=lambda known: -len(words.intersection(known.split())))
    alike = by_words[: 4 * SUGGESTIONS]
    return difflib.get_close_matches(command, alike, n=SUGGESTIONS, cutoff=0.5)
