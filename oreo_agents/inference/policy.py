"""Proposing actions with a policy, over a cache of slots: read the prompt, grow K candidates, keep the chosen one.

Tokens in, tokens out; knows nothing about text or environments. :mod:`oreo_agents.inference.critic` walks in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.inference.filters import Filters
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.sampling import ALL, _Lanes
from oreo_agents.inference.slots import SlotModel
from oreo_agents.inference.tree import tree_of
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import lm_head, trunk_of


class CachedPolicy:
    """Samples candidate actions; an :class:`~oreo_agents.inference.Engine`.

    Args:
        policy: a causal LM.
        slots: episodes at once.
        max_length: tokens an episode may have.
        end_id: the end-of-turn token.
        max_new_tokens: an action is cut after this many tokens.
        critic: a critic on the policy's own trunk, to read V after each candidate: that takes one more step for the
            candidates' last tokens, and no second look at the prompt.
        compile_backend: compile the steps of decoding; see :class:`~oreo_agents.inference.slots.SlotModel`.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        slots: int,
        max_length: int,
        end_id: int,
        max_new_tokens: int,
        critic: Critic | None = None,
        compile_backend: str | None = None,
    ) -> None:
        self.head = lm_head(policy)
        self.model = SlotModel(trunk_of(policy), slots, max_length, compile_backend=compile_backend)
        self.end_id, self.max_new_tokens, self.critic = end_id, max_new_tokens, critic
        self._unread: list[list[int]] = [[] for _ in range(slots)]  # the last token, run with the next prompt

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.model.clear(slots)
        for slot in slots:
            self._unread[slot] = []

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""
        for slot, read, kept in zip(slots, self.model.lengths[list(slots)].tolist(), lengths, strict=True):
            self._unread[slot] = self._unread[slot][: max(0, kept - read)]
        self.model.cut(slots, lengths)

    def propose(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        temperature: float,
        filters: Filters = ALL,
    ) -> Proposals:
        """Append the prompts and decode K candidates after each.

        Args:
            slots: B slots.
            prompts: what is new since the last call, per slot.
            uniforms: ``[B, max_new_tokens, K]`` in [0, 1), the randomness of every choice; NaN asks for the
                most likely token instead.
            temperature: of the sampling.
            filters: which tokens may be drawn.
        """
        with torch.inference_mode():
            new = [[*self._unread[slot], *prompt] for slot, prompt in zip(slots, prompts, strict=True)]
            hidden = self.model.extend(slots, new)[:, None]
            lanes = _Lanes(len(slots), uniforms.shape[-1], self.end_id, hidden.device)
            for step in range(self.max_new_tokens):
                logits = self.head(hidden).float()
                first = lanes.tree.size
                alive = lanes.advance(logits, uniforms[:, step], temperature, filters)
                if alive.shape[1] == 0 or step + 1 == self.max_new_tokens:
                    break
                hidden = self.model.branch(slots, lanes.tree, first, alive)
            proposals = lanes.proposals()
            return proposals if self.critic is None else self._add_values(slots, proposals, self.critic)

    def take_back(self, slots: Sequence[int]) -> None:
        """Forget what was proposed and the last token before it, so that it can be read again."""
        lengths = self.model.lengths[list(slots)].tolist()
        self.cut(slots, [length - 1 for length in lengths])

    def score(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[Sequence[int]]],
    ) -> Proposals:
        """Append the prompts and read the log-probability of given candidates instead of sampling any.

        Args:
            slots: B slots.
            prompts: what is new since the last call, per slot.
            candidates: B lists of token lists; a shorter list of candidates is filled up with its first one.
        """
        with torch.inference_mode():
            new = [[*self._unread[slot], *prompt] for slot, prompt in zip(slots, prompts, strict=True)]
            start = self.model.extend(slots, new)[:, None]
            tree, nodes, counts = tree_of(candidates, start.device)
            last = torch.zeros_like(tree.ids, dtype=torch.bool)
            last.scatter_(1, nodes.gather(1, counts[:, None] - 1)[:, 0], True)
            hidden = self.model.branch(slots, tree, 0, (tree.ids >= 0) & ~last)
            before = torch.cat([start, hidden], 1)  # the state before a node is the one after its parent
            parents = torch.cat([torch.zeros_like(nodes[:, :1]), nodes[:, :-1] + 1], 1)
            logprobs = torch.stack(
                [self._logprobs(before[b], parents[b], tree.ids[b, nodes[b]]) for b in range(len(slots))]
            )
            proposals = Proposals(tree, nodes, logprobs, counts)
            return proposals if self.critic is None else self._add_values(slots, proposals, self.critic)

    def _logprobs(self, hidden: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """Of ``tokens`` after ``hidden[parents]``, ``[S, K]``; one slot at a time, as vocabularies are large."""
        table = self.head(hidden).float().log_softmax(-1)
        return table[parents, tokens.clamp(min=0)]

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates."""
        chosen = lanes.tolist()
        path, counts = proposals.path(chosen)
        if self.critic is not None:
            self.model.commit(slots, path, counts)
            for slot in slots:
                self._unread[slot] = []
        else:
            self.model.commit(slots, path, counts - 1)
            for slot, token in zip(slots, proposals.last_ids(chosen), strict=True):
                self._unread[slot] = [token]

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens that were not sampled here."""
        with torch.inference_mode():
            new = [[*self._unread[slot], *chunk] for slot, chunk in zip(slots, chunks, strict=True)]
            self.model.extend(slots, [ids[:-1] for ids in new])
        for slot, ids in zip(slots, new, strict=True):
            self._unread[slot] = ids[-1:]

    def _add_values(self, slots: Sequence[int], proposals: Proposals, critic: Critic) -> Proposals:
        """The same with V; last tokens have not been run yet, as nothing continues them."""
        last = proposals.last_nodes()
        run = torch.zeros_like(proposals.tree.ids, dtype=torch.bool).scatter_(1, last, True)
        hidden = self.model.branch(slots, proposals.tree, 0, run)
        return replace(proposals, values=critic.read(hidden).gather(1, last))
