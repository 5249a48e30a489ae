"""Ways to decide, one class for each, over the engines of :mod:`oreo_agents.inference`.

All take token ids of what is new in each slot and give decisions; :class:`oreo_agents.OreoAgent` chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
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
from oreo_agents.language.chat import Chat
from oreo_agents.language.reply import Reply
from oreo_agents.trajectory import Action, Candidate

Prompts = Sequence[Sequence[int]]
Infos = Sequence[Mapping[str, Any]]
Failed = Sequence[Set[str]]
"""Commands that are not to be chosen again, for each slot; see :mod:`oreo_agents.agents.failures`."""


class Decider(Protocol):
    """Decides for episodes in slots."""

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random], failed: Failed
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
    errors: Mapping[int, str] = field(default_factory=dict)
    """Why a slot's candidates could not be tried, where they could not."""


class Propose:
    """The candidate with the highest V read after it; where there is no critic the only one, or the likeliest.

    Candidates that have failed (``failed``) are chosen only where there is no other.

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

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""
        self.engine.cut(slots, lengths)
        if self.judge:
            self.judge.cut(slots, lengths)

    def extend(self, slots: Sequence[int], chunks: Prompts) -> None:
        """Append tokens that were not decided here."""
        self.engine.extend(slots, chunks)
        if self.judge:
            self.judge.extend(slots, chunks)

    def decide(
        self, slots: Sequence[int], prompts: Prompts, infos: Infos, rngs: Sequence[Random], failed: Failed
    ) -> list[Decision]:
        """One decision for each slot."""
        uniforms = self._uniforms(rngs, failed)
        how = self.selection
        proposals = self.engine.propose(slots, prompts, uniforms, how.temperature, how.filters)
        candidates = proposals.listed()
        replies = [
            [self.chat.understand(ids, info.get("admissible_commands")) for ids, _ in row]
            for row, info in zip(candidates, infos, strict=True)
        ]
        scores = self._score_proposals(slots, prompts, infos, proposals)
        actions = [[reply.action for reply in row] for row in replies]
        judged = None if scores.values is None else scores.values.cpu()
        lanes = self._best(proposals, judged, actions, failed)
        self.engine.keep(slots, proposals, lanes)
        if self.judge:
            self.judge.keep(slots, scores.read, lanes)
        values = [[None] * self.k] * len(slots) if judged is None else judged.tolist()
        widths = [self._width(commands) for commands in failed]
        listed = [row[:width] for row, width in zip(candidates, widths, strict=True)]
        chosen = lanes.tolist()
        drawn = proposals.list_drawn(chosen)
        rows = zip(listed, replies, values, chosen, drawn, prompts, scores.tokens, strict=True)
        decisions = [self._decision(*row) for row in rows]
        for row, simulated in enumerate(scores.simulated):
            decisions[row] = replace(decisions[row], simulated_steps=simulated)
        for row in proposals.spelt:
            decisions[row] = _forget_ids(decisions[row])
        broken = {**scores.errors, **proposals.errors}
        for row, reason in (*proposals.full.items(), *broken.items()):
            failed_row = row in broken
            decisions[row] = Decision(Action(""), len(prompts[row]), end=reason, failed=failed_row)
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

    def _best(
        self, proposals: Proposals, values: Tensor | None, actions: Sequence[Sequence[str]], failed: Failed
    ) -> Tensor:
        """The lane of the best candidate, ``[B]``; those that do the same are one choice, with the mean of their V."""
        if self.k == 1:
            return torch.zeros(len(proposals.counts), dtype=torch.long)
        shared = None if values is None else _share_values(values, actions)
        scores = self._rank(proposals, shared).cpu()
        for row, commands in enumerate(failed):
            scores[row, self._width(commands) :] = -torch.inf
        if any(failed):
            rows = zip(actions, failed, strict=True)
            repeated = [[action in commands for action in row] for row, commands in rows]
            scores = bar_candidates(scores, torch.tensor(repeated))
        return scores.argmax(1)

    def _rank(self, proposals: Proposals, values: Tensor | None) -> Tensor:
        """The higher the better, ``[B, K]``: V and the weighted log-probability, or without V the latter alone."""
        sums = proposals.sums()
        if values is not None:
            weight = self.selection.logprob_weight
            return values + weight * sums.to(values.device) if weight else values.clone()
        in_order = -torch.arange(self.k, dtype=sums.dtype, device=sums.device).expand_as(sums)
        if self.selection.select == "sample":
            return in_order
        return torch.where(sums.isnan(), in_order, sums)  # a server gives no log-probabilities

    def _width(self, failed: Set[str]) -> int:
        """How many candidates a slot really has; the others repeat the first one and cost nothing."""
        return 1 if self.selection.resamples and not failed else self.k

    def _uniforms(self, rngs: Sequence[Random], failed: Failed) -> Tensor:
        """Randomness for one decision per slot, ``[B, max_new_tokens, K]``; NaN where the choice is greedy."""
        shape = (len(rngs), self.selection.max_new_tokens, self.k)
        greedy = int(self.selection.select != "sample")
        if greedy == self.k:
            return torch.full(shape, torch.nan)
        n = self.selection.max_new_tokens * self.k
        uniforms = torch.tensor([[rng.random() for _ in range(n)] for rng in rngs]).reshape(shape)
        uniforms[:, :, :greedy] = torch.nan
        for row, commands in enumerate(failed):
            uniforms[row, :, self._width(commands) :] = uniforms[row, :, :1]
        return uniforms

    def _decision(
        self,
        candidates: Sequence[tuple[tuple[int, ...], tuple[float, ...]]],
        replies: Sequence[Reply],
        values: Sequence[float | None],
        lane: int,
        drawn: tuple[float, ...] | None,
        prompt: Sequence[int],
        critic_tokens: int,
    ) -> Decision:
        """What choosing ``lane`` among a slot's candidates (token ids, log-probabilities) comes to."""
        considered = [
            Candidate(reply.action, None if isnan(logprobs[0]) else sum(logprobs), value, keep_said(reply))
            for (_, logprobs), reply, value in zip(candidates, replies, values, strict=False)
        ]
        ids, logprobs = candidates[lane]
        several = len(candidates) > 1
        action = Action(
            considered[lane].action,
            token_ids=ids,
            logprobs=None if isnan(logprobs[0]) else logprobs,
            value=values[lane],
            candidates=tuple(considered) if several else (),
            said=considered[lane].said,
            drawn_logprobs=None if isnan(logprobs[0]) else drawn,
            cut=ids[-1] != self.chat.end_id,
        )
        generated = sum(len(ids) for ids, _ in candidates)
        return Decision(action, len(prompt), generated, critic_tokens)


def _forget_ids(decision: Decision) -> Decision:
    """The same, where only the text of its reply is known and the ids merely spell it."""
    action = decision.action
    plain = action.amend(token_ids=None, logprobs=None, drawn_logprobs=None, text_only=True)
    return replace(decision, action=plain, spelt=action.token_ids or ())


def keep_said(reply: Reply) -> str | None:
    """What was said, where it is more than the action."""
    return None if reply.said == reply.action else reply.said


def _share_values(values: Tensor, actions: Sequence[Sequence[str]]) -> Tensor:
    """``[B, K]``, the mean over the candidates of a row that come to one action by different replies."""
    shared = values.clone()
    for row, names in enumerate(actions):
        if len(set(names)) == len(names):
            continue
        for name in set(names):
            lanes = [lane for lane, other in enumerate(names) if other == name]
            own = values[row, lanes]
            if bool((own != own[0]).any()):
                shared[row, lanes] = own.mean()
    return shared


def bar_candidates(scores: Tensor, repeated: Tensor) -> Tensor:
    """``scores`` ``[B, K]``, without those of candidates that have failed before; in rows of nothing else, all."""
    return scores.masked_fill(repeated & ~repeated.all(1, keepdim=True), -torch.inf)


def count_read_tokens(prompts: Prompts, candidates: Proposals) -> list[int]:
    """Tokens that a critic with a cache of its own reads, per slot."""
    return [len(prompt) + n for prompt, n in zip(prompts, candidates.count_tokens(), strict=True)]
