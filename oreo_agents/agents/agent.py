"""Agents: who chooses the next action, for many episodes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from oreo_agents.trajectory import Action, Candidate


@dataclass(frozen=True, slots=True)
class Assignment:
    """An episode to be played: what the environment and the agent are told before it begins."""

    game: int | str | None
    """By position or name; None leaves the choice to the environment, by ``seed``."""
    seed: int
    """Of everything random in it, on both sides."""
    style: int = 0
    """Which of its ways a player goes about it who would otherwise always do the same; 0 is the plain one."""


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
    spelt: tuple[int, ...] = ()
    """Ids that spell the reply, where it is known as text alone: the agent reads these, and none were sampled."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What it was chosen among, with log-probability and value: K candidates in the order they were sampled, or all
        listed commands, of which the critic has read K."""
        return self.action.candidates


class Agent(Protocol):
    """What :func:`oreo_agents.rollout.loop.rollout` needs: episodes live in numbered slots."""

    @property
    def name(self) -> str:
        """Shown in recordings and tables."""

    @property
    def tokenizer_fingerprint(self) -> str | None:
        """Whose token ids the actions carry, if any."""

    @property
    def needs(self) -> Set[str]:
        """Keys of ``info`` without which it cannot play."""

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once; forgets all running ones."""

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``; whatever differs between two plays of a game comes from ``assignments``."""

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


_OPTIONS = {"expert_plan": "expert", "demonstrator": "expert", "branch": "branches"}


def options_for(agent: Agent) -> dict[str, bool]:
    """Options of :func:`oreo_agents.environments.environments` by which ``info`` has what ``agent`` needs."""
    return {option: True for key, option in _OPTIONS.items() if key in agent.needs}
