"""Search over the steps of a solution: beams by value, best-of-N, and votes at equal budget.

Step-level beam search is OREO Sec. 4.4: keep the B partial solutions with the highest V, expand each by B next steps.
Where the authors' script slips, this does not: V is read after the whole step, not one token early; equal steps are
kept once; a step that was cut by the token limit is no answer; finished solutions keep competing with unfinished ones
for the beam; and when nothing has finished, the best partial solution is returned instead of nothing.

Knows nothing about models: an :class:`~oreo_agents.inference.solutions.Expander` is what proposes and values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from oreo_agents.inference.solutions import Expander, Solution, rank_solutions
from oreo_agents.inference.votes import majority_vote, value_vote

MAX_STEPS = 20
"""Of a solution, unless said otherwise."""

Rule = Literal["beam", "best_of_n", "majority_vote", "value_vote"]


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
        kept = tuple(rank_solutions(_drop_duplicates([*done, *grown]), logprob_weight)[:beams])
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


def _finished_first(solutions: Sequence[Solution], logprob_weight: float) -> tuple[Solution, ...]:
    return tuple(sorted(rank_solutions(solutions, logprob_weight), key=lambda solution: not solution.final))


def _drop_duplicates(solutions: Sequence[Solution]) -> list[Solution]:
    """The first of those whose steps read the same."""
    return list(
        {tuple(step.text for step in solution.steps): solution for solution in solutions[::-1]}.values()
    )[::-1]
