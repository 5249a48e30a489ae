"""Agents: who chooses the next action, for many episodes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oreo_agents.trajectory import Action, Candidate


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, what else was considered, and what it cost."""

    action: Action
    prompt_tokens: int = 0
    generated_tokens: int = 0
    """Over all candidates."""
    critic_tokens: int = 0
    simulated_steps: int = 0
    """Steps that a search took on copies of the environment."""
    end: str = ""
    """Why the agent cannot go on, e.g. a full context; the action is then not played and the episode is over."""
    failed: bool = False
    """That reason lies with the machinery, such as a server out of reach, not with the policy."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What it was chosen among, with log-probability and value: K candidates in the order they were sampled, or all
        listed commands, of which the critic has read K."""
        return self.action.candidates


class Agent(Protocol):
    """What :func:`oreo_agents.rollout.rollout` needs: episodes live in numbered slots."""

    @property
    def name(self) -> str:
        """Shown in recordings and tables."""

    @property
    def tokenizer_fingerprint(self) -> str | None:
        """Whose token ids the actions carry, if any."""

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once; forgets all running ones."""

    def begin(self, slots: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in ``slots``; their randomness comes from ``seeds`` alone."""

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation."""

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in, instead of a decision, the action that someone else chose after each observation."""
