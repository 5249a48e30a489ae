"""Solutions of a problem, step by step, and who proposes their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


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


def rank_solutions(solutions: Sequence[Solution], logprob_weight: float = 0.0) -> list[Solution]:
    """Highest V + ``logprob_weight`` times the log-probability first."""
    return sorted(solutions, key=lambda solution: -solution.value - logprob_weight * solution.logprob)
