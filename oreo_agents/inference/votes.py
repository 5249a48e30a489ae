"""Votes over sampled solutions: the answer that most of them give, or that they value most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from oreo_agents.inference.solutions import Solution, rank_solutions

Answer = TypeVar("Answer", bound=Hashable)


def majority_vote(
    solutions: Sequence[Solution], answer: Callable[[Solution], Answer | None]
) -> Answer | None:
    """The answer that most solutions give; among equals the one whose solution has the highest V."""
    return _count_votes(solutions, answer, lambda solution: 1.0)


def value_vote(solutions: Sequence[Solution], answer: Callable[[Solution], Answer | None]) -> Answer | None:
    """The answer with the largest sum of V over the solutions that give it; a negative V counts as 0."""
    return _count_votes(solutions, answer, lambda solution: max(solution.value, 0.0))


def _count_votes(
    solutions: Sequence[Solution],
    answer: Callable[[Solution], Answer | None],
    weight: Callable[[Solution], float],
) -> Answer | None:
    votes: dict[Answer, float] = defaultdict(float)
    for solution in rank_solutions(solutions):  # so that of equal answers the first has the best solution
        given = answer(solution)
        if given is not None:
            votes[given] += weight(solution)
    return max(votes, key=votes.__getitem__, default=None)
