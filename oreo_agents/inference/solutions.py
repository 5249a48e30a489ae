"""Search over the steps of a solution: beams by value, best-of-N, and votes at equal budget.

Step-level beam search is OREO Sec. 4.4: keep the B partial solutions with the highest V, expand each by B next steps.
Where the authors' script slips, this does not: V is read after the whole step, not one token early; equal steps are
kept once; a step that was cut by the token limit is no answer; finished solutions keep competing with unfinished ones
for the beam; and when nothing has finished, the best partial solution is returned instead of nothing.

Knows nothing about models: :class:`Expander` is what proposes and values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar

Answer = TypeVar("Answer", bound=Hashable)

MAX_STEPS = 20
"""Of a solution, unless said otherwise."""

Rule = Literal["beam", "best_of_n", "majority_vote", "value_vote"]


@dataclass(frozen=True, slots=True)
class Step:
    """One proposed step: its text, V after it, and whether the solution ends with it."""

    text: str
    value: float | None = None
    """None where there is no critic."""
    final: bool = False
    logprob: float = 0.0
    """Sum over its tokens (nats)."""
    tokens: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Solution:
    """Steps so far."""

    steps: tuple[Step, ...] = ()

    @property
    def value(self) -> float:
        """V after the last step; 0 where there is none."""
        return (self.steps[-1].value or 0.0) if self.steps else 0.0

    @property
    def logprob(self) -> float:
        """Log-probability of all steps (nats)."""
        return sum(step.logprob for step in self.steps)

    @property
    def final(self) -> bool:
        """Whether it has come to an end."""
        return bool(self.steps) and self.steps[-1].final

    @property
    def text(self) -> str:
        """All steps, a line each."""
        return "\n".join(step.text for step in self.steps)


class Expander(Protocol):
    """Proposes next steps of partial solutions, with their values."""

    def expand(self, solutions: Sequence[Solution], n: int) -> list[list[Step]]:
        """``n`` sampled next steps of each; equal ones may be among them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: solutions, best first, and how many steps were sampled for them."""

    solutions: tuple[Solution, ...]
    sampled_steps: int

    @property
    def best(self) -> Solution:
        """The final solution with the highest V, or the best partial one where none is final."""
        return self.solutions[0]


def beam_search(
    expander: Expander,
    beams: int,
    expansions: int | None = None,
    max_steps: int = MAX_STEPS,
    logprob_weight: float = 0.0,
) -> Found:
    """Step-level beam search.

    Args:
        expander: proposes and values.
        beams: B, solutions kept after every round.
        expansions: steps sampled for each of them in a round; default: B, the paper's choice. In the first round,
            where there is one solution, B times as many.
        max_steps: rounds.
        logprob_weight: solutions are ranked by V + this times their log-probability.
    """
    expansions = expansions or beams
    kept: tuple[Solution, ...] = (Solution(),)
    sampled = 0
    for _ in range(max_steps):
        open_ones = [solution for solution in kept if not solution.final]
        if not open_ones:
            break
        n = expansions * beams if kept == (Solution(),) else expansions
        proposed = expander.expand(open_ones, n)
        sampled += n * len(open_ones)
        grown = [
            Solution((*solution.steps, step))
            for solution, steps in zip(open_ones, proposed, strict=True)
            for step in steps
        ]
        done = [solution for solution in kept if solution.final]
        kept = tuple(_rank_solutions(_drop_duplicates([*done, *grown]), logprob_weight)[:beams])
    return Found(_finished_first(kept, logprob_weight), sampled)


def sample_solutions(
    expander: Expander, n: int, max_steps: int = MAX_STEPS, logprob_weight: float = 0.0
) -> Found:
    """``n`` independent solutions, sampled step by step together: what best-of-N and the votes choose from.

    They are ranked by V + ``logprob_weight`` times their log-probability.
    """
    (first,) = expander.expand([Solution()], n)
    solutions, sampled = [Solution((step,)) for step in first], n
    for _ in range(max_steps - 1):
        growing = [i for i, solution in enumerate(solutions) if not solution.final]
        if not growing:
            break
        proposed = expander.expand([solutions[i] for i in growing], 1)
        sampled += len(growing)
        for i, (step,) in zip(growing, proposed, strict=True):
            solutions[i] = Solution((*solutions[i].steps, step))
    return Found(_finished_first(solutions, logprob_weight), sampled)


def search_solutions(
    expander: Expander,
    rule: Rule,
    beams: int,
    answer: Callable[[Solution], Hashable | None],
    max_steps: int = MAX_STEPS,
    logprob_weight: float = 0.0,
) -> Found:
    """Search by ``rule``; all rules sample at most ``beams * beams`` steps in a round.

    Args:
        expander: proposes and values.
        rule: a beam search with so many beams, or among so many times as many whole solutions the one with the
            highest V, or the best of those whose answer wins a vote.
        beams: B.
        answer: what a solution answers; None: nothing.
        max_steps: rounds.
        logprob_weight: solutions are ranked by V + this times their log-probability; votes count V alone.

    Returns:
        What was found, the chosen solution first.
    """
    if rule == "beam":
        return beam_search(expander, beams, None, max_steps, logprob_weight)
    found = sample_solutions(expander, beams * beams, max_steps, logprob_weight)
    if rule == "best_of_n":
        return found
    elected = (majority_vote if rule == "majority_vote" else value_vote)(found.solutions, answer)
    if elected is None:
        return found
    return replace(found, solutions=tuple(sorted(found.solutions, key=lambda one: answer(one) != elected)))


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
    for solution in _rank_solutions(solutions):  # so that of equal answers the first has the best solution
        given = answer(solution)
        if given is not None:
            votes[given] += weight(solution)
    return max(votes, key=votes.__getitem__, default=None)


def _rank_solutions(solutions: Sequence[Solution], logprob_weight: float = 0.0) -> list[Solution]:
    return sorted(solutions, key=lambda solution: -solution.value - logprob_weight * solution.logprob)


def _finished_first(solutions: Sequence[Solution], logprob_weight: float) -> tuple[Solution, ...]:
    return tuple(sorted(_rank_solutions(solutions, logprob_weight), key=lambda solution: not solution.final))


def _drop_duplicates(solutions: Sequence[Solution]) -> list[Solution]:
    """The first of those whose steps read the same."""
    return list(
        {tuple(step.text for step in solution.steps): solution for solution in solutions[::-1]}.values()
    )[::-1]
