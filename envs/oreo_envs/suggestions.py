"""Which command a failed one, and which word a mistyped one most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import lru_cache

SUGGESTIONS = 3


def suggest_commands(command: str, admissible: Sequence[str]) -> list[str]:
    """The admissible commands that a failed one most likely meant, best first; none if nothing is near."""
    return list(_find_similar(command[:80], tuple(admissible)))


def suggest_word(word: str, known: Iterable[str]) -> str:
    """What a word may have meant, to be put behind what is said of it; empty where nothing is like it.

    >>> suggest_word("exprt", ["expert", "random"])
    ': did you mean expert?'
    """
    close = difflib.get_close_matches(word, list(known), 1)
    return f": did you mean {close[0]}?" if close else ""


@lru_cache(maxsize=4096)
def _find_similar(command: str, admissible: tuple[str, ...]) -> list[str]:
    run_together = "".join(command.split())
    if same := [known for known in admissible if "".join(known.split()) == run_together]:
        return same[:SUGGESTIONS]
    # difflib takes a millisecond for a room's commands: it sees only those that share most words.
    words = _spell_words(command.split(), admissible)
    shared = {known: len(words.intersection(known.split())) for known in admissible}
    alike = sorted(admissible, key=lambda known: -shared[known])[: 4 * SUGGESTIONS]
    whole = [known for known in alike if len(words) > 1 and shared[known] == len(words)]
    near = difflib.get_close_matches(command, alike, n=SUGGESTIONS, cutoff=0.5)
    whole.sort(key=lambda known: near.index(known) if known in near else len(near))
    return list(dict.fromkeys([*whole, *near]))[:SUGGESTIONS]


def _spell_words(words: Iterable[str], admissible: tuple[str, ...]) -> set[str]:
    """The words that are known here, and of others the one that they are most like, if there is one."""
    known = {word for one in admissible for word in one.split()}
    spelt = set()
    for word in words:
        like = [word] if word in known else difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.7)
        spelt.add(like[0] if like else word)
    return spelt
