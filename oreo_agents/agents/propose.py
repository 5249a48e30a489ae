"""Ways to decide, one class for each, over the engines of :mod:`oreo_agents.inference`.

All take token ids of what is new in each slot and give decisions; :class:`oreo_agents.OreoAgent` chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from random import Random
from typing import Any, Protocol

import torch
from torch import Tensor

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.selection import Selection
from oreo_agents.inference import Engine
from oreo_agents.inference.critic import CachedCritic
from oreo_agents.inference.generation import ReadingCritic
from oreo_agents.inference.proposals import Proposals
from oreo_agents.language.prompt import Chat
from oreo_agents.trajectory import Action, Candidate

Prompts = Sequence[Sequence[int]]
Infos = Sequence[Mapping[str, Any]]


class Decider(Protocol):
    """Decides for episodes in slots."""

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot, after appending ``prompts``; its randomness comes from ``rngs``."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the critic thinks of K candidates of B slots, and what that took."""

    values: Tensor | None
    """``[B, K]``."""
    read: Proposals
    """The candidates as the critic has read them."""
    tokens: Sequence[int]
    simulated: Sequence[int]


class Propose:
    """The candidate with the highest V read after it; the only one where there is no critic.

    Args:
        engine: proposes.
        judge: a critic with a cache of its own, if any; the engine may read V, too.
        chat: of the tokens.
        selection: how many candidates, how they are sampled, and what counts beside V. The first of them is the
            policy's likeliest action, unless a sample was asked for.
    """

    def __init__(
        self,
        engine: Engine,
        judge: CachedCritic | ReadingCritic | None,
        chat: Chat,
        selection: Selection,
    ) -> None:
        self.engine, self.judge, self.chat, self.selection = engine, judge, chat, selection
        self.k = selection.candidates

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.engine.clear(slots)
        if self.judge:
            self.judge.clear(slots)

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""
        self.engine.extend(slots, chunks)
        if self.judge:
            self.judge.extend(slots, chunks)

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random]
    ) -> list[Decision]:
        """One decision for each slot."""
        proposals = self.engine.propose(slots, prompts, self._uniforms(rngs), self.selection.temperature)
        scores = self._score_proposals(slots, prompts, infos, proposals)
        lanes = self._best(proposals, scores.values)
        self.engine.keep(slots, proposals, lanes)
        if self.judge:
            self.judge.keep(slots, scores.read, lanes)
        values = [[None] * self.k] * len(slots) if scores.values is None else scores.values.tolist()
        rows = zip(proposals.listed(), values, lanes.tolist(), prompts, scores.tokens, strict=True)
        decisions = [self._decision(*row) for row in rows]
        for row, simulated in enumerate(scores.simulated):
            decisions[row] = replace(decisions[row], simulated_steps=simulated)
        for row, reason in proposals.errors.items():
            decisions[row] = Decision(Action(""), len(prompts[row]), end=reason, failed=True)
        return decisions

    def _score_proposals(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, proposals: Proposals
    ) -> Scores:
        """V after each candidate."""
        nothing = [0] * len(slots)
        if self.judge:
            values = self.judge.values(slots, prompts, proposals)
            return Scores(values, proposals, count_read_tokens(prompts, proposals), nothing)
        if proposals.values is None:
            return Scores(None, proposals, nothing, nothing)
        ends = [len({ids for ids, _ in row}) for row in proposals.listed()]
        return Scores(proposals.values, proposals, ends, nothing)

    def _best(self, proposals: Proposals, values: Tensor | None) -> Tensor:
        """The lane of the best candidate, ``[B]``."""
        if values is None:
            return torch.zeros(len(proposals.counts), dtype=torch.long)
        if weight := self.selection.logprob_weight:
            values = values + weight * proposals.sums().to(values.device)
        return values.argmax(1).cpu()

    def _uniforms(self, rngs: Sequence[Random]) -> Tensor:
        """Randomness for one decision per slot, ``[B, max_new_tokens, K]``; NaN where the choice is greedy."""
        shape = (len(rngs), self.selection.max_new_tokens, self.k)
        greedy = int(self.selection.select != "sample")
        if greedy == self.k:
            return torch.full(shape, torch.nan)
        n = self.selection.max_new_tokens * self.k
        uniforms = torch.tensor([[rng.random() for _ in range(n)] for rng in rngs]).reshape(shape)
        uniforms[:, :, :greedy] = torch.nan
        return uniforms

    def _decision(
        self,
        candidates: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
        values: Sequence[float | None],
        lane: int,
        prompt: Sequence[int],
        critic_tokens: int,
    ) -> Decision:
        """What choosing ``lane`` among a slot's candidates (token ids, log-probabilities) comes to."""
        considered = [
            Candidate(self.chat.action_text(ids), None if isnan(logprobs[0]) else sum(logprobs), value)
            for (ids, logprobs), value in zip(candidates, values, strict=True)
        ]
        ids, logprobs = candidates[lane]
        action = Action(
            considered[lane].action,
            token_ids=ids,
            logprobs=None if isnan(logprobs[0]) else logprobs,
            value=values[lane],
            candidates=tuple(considered) if self.k > 1 else (),
        )
        generated = sum(len(ids) for ids, _ in candidates)
        return Decision(action, len(prompt), generated, critic_tokens, cut=ids[-1] != self.chat.end_id)


def count_read_tokens(prompts: Prompts, candidates: Proposals) -> list[int]:
    """Tokens that a critic with a cache of its own reads, per slot."""
    return [len(prompt) + n for prompt, n in zip(prompts, candidates.counts.sum(1).tolist(), strict=True)]
