"""Two runs on the same games, game by game: who won which, and whether that tells the two apart."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from oreo_agents.evaluation.statistics import Difference, paired_difference

Pair = tuple[int | None, int | None]
"""Places of two episodes of one game; None where a run has none."""

Ending = tuple[bool | None, float]
"""Whether an episode was won, and its return."""


@dataclass(frozen=True, slots=True)
class PairedOutcomes:
    """What came of the games that both runs have played."""

    counts: bool
    """Whether every episode says if it was won; else returns are compared."""
    left: int
    """Games that only the first won, or in which its return was higher."""
    right: int
    """The same of the second."""
    both: int
    """Games that both won, or in which the returns are the same."""
    neither: int
    """Games that neither won."""
    difference: Difference | None
    """Of the second less the first, in success or return, with its bootstrap interval; None without a game."""

    @property
    def games(self) -> int:
        """Games that both have played."""
        return self.left + self.right + self.both + self.neither


def pair_games(left: Sequence[str], right: Sequence[str]) -> list[Pair]:
    """The k-th episode of a game in one run with the k-th of it in the other; those without a partner come, too.

    >>> pair_games(["a", "b", "a"], ["a", "c", "a"])
    [(0, 0), (1, None), (2, 2), (None, 1)]
    """
    waiting: dict[str, deque[int]] = defaultdict(deque)
    for place, game in enumerate(right):
        waiting[game].append(place)
    pairs: list[Pair] = [
        (place, waiting[game].popleft() if waiting[game] else None) for place, game in enumerate(left)
    ]
    rest = sorted(place for places in waiting.values() for place in places)
    return [*pairs, *((None, place) for place in rest)]


@dataclass(frozen=True, slots=True)
class Partner:
    """The episode of another run that belongs to one of this run."""

    place: int | None
    """Of it in the other run, from 0; None where that played the game less often, or never."""
    number: int
    """The one of this run is its so-manieth of the game, from 1; that of the other run, too."""
    counts: tuple[int, int]
    """How often this run played the game, and the other."""


def find_partners(games: Sequence[str], others: Sequence[str]) -> list[Partner]:
    """For each episode of a run its partner, the k-th of a game for the k-th of it.

    >>> find_partners(["a", "a"], ["a"])[1]
    Partner(place=None, number=2, counts=(2, 1))
    """
    own, theirs = Counter(games), Counter(others)
    so_far: Counter[str] = Counter()
    partners = []
    for game, (_, place) in zip(games, pair_games(games, others), strict=False):
        so_far[game] += 1
        partners.append(Partner(place, so_far[game], (own[game], theirs[game])))
    return partners


def compare_endings(left: Sequence[Ending], right: Sequence[Ending]) -> PairedOutcomes:
    """Paired wins and losses; higher and lower returns, where an episode does not say whether it was won.

    Args:
        left: of the first run, one for each game that both have played.
        right: of the second, in the same order.
    """
    counts = all(success is not None for success, _ in (*left, *right))
    scores = [
        [float(success) if counts and success is not None else return_ for success, return_ in side]
        for side in (left, right)
    ]
    pairs = list(zip(*scores, strict=True))
    same = [one for one, other in pairs if one == other]
    lost = sum(one == 0 for one in same) if counts else 0
    return PairedOutcomes(
        counts,
        left=sum(one > other for one, other in pairs),
        right=sum(one < other for one, other in pairs),
        both=len(same) - lost,
        neither=lost,
        difference=paired_difference(scores[1], scores[0]) if pairs else None,
    )
