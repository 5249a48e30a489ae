"""Proposing and judging without a cache of slots, for architectures that such a cache does not fit.

The same interfaces as the policy and the critic over a cache of slots, the same choices from
the same random numbers; but every decision reads its episode from the beginning. Slower, and correct wherever
transformers' own generation is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.inference.filters import Filters
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.sampling import ALL, draws_from_other, filter_logits, pick_tokens
from oreo_agents.inference.tree import tree_of
from oreo_agents.models.agreement import pick_logprobs
from oreo_agents.models.critic import Critic
from oreo_agents.models.generation import generate_tokens


class SlotTexts:
    """The tokens of the episodes in slots."""

    def __init__(self, slots: int) -> None:
        self._episodes: list[list[int]] = [[] for _ in range(slots)]

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.cut(slots, [0] * len(slots))

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what each episode has beyond so many tokens."""
        for slot, length in zip(slots, lengths, strict=True):
            del self._episodes[slot][length:]

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens."""
        for slot, chunk in zip(slots, chunks, strict=True):
            self._episodes[slot].extend(chunk)

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Append the chosen candidates."""
        rows = zip(proposals.listed(), lanes.tolist(), strict=True)
        self.extend(slots, [row[lane][0] for row, lane in rows])


class GeneratingPolicy(SlotTexts):
    """Samples candidate actions with transformers' generation; an :class:`~oreo_agents.inference.Engine`.

    Args:
        policy: a causal LM.
        slots: episodes at once.
        end_id: the end-of-turn token.
        max_new_tokens: an action is cut after this many tokens.
    """

    def __init__(self, policy: PreTrainedModel, slots: int, end_id: int, max_new_tokens: int) -> None:
        super().__init__(slots)
        self.policy, self.end_id, self.max_new_tokens = policy, end_id, max_new_tokens

    def propose(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        temperature: float,
        filters: Filters = ALL,
    ) -> Proposals:
        """K candidates for each slot, after appending ``prompts``; see :class:`~oreo_agents.inference.Engine`."""
        self.extend(slots, prompts)
        device = self.policy.device
        listed, drawn = [], list[Tensor]()
        other = draws_from_other(uniforms, temperature, filters)
        for slot, row in zip(slots, uniforms.to(device), strict=True):
            ids = torch.tensor([self._episodes[slot]] * row.shape[1], device=device)
            kept = list[Tensor]()

            def choose(step: int, logits: Tensor, row: Tensor = row, kept: list[Tensor] = kept) -> Tensor:
                tokens = pick_tokens(logits.float(), row[step][:, None], temperature, filters)
                if other:
                    left = filter_logits(logits.float() / temperature, filters)
                    kept.append(left.log_softmax(-1).gather(-1, tokens)[:, 0])
                return tokens[:, 0]

            tokens, logprobs = generate_tokens(self.policy, ids, choose, self.end_id, self.max_new_tokens)
            listed.append([self._end(*lane) for lane in zip(tokens.tolist(), logprobs.tolist(), strict=True)])
            drawn += [torch.stack(kept)] if other else []
        if not other:
            return list_proposals(listed, device)
        longest = max(len(ids) for row in listed for ids, _ in row)
        return list_proposals(listed, device, drawn=torch.stack([_fit_steps(one, longest) for one in drawn]))

    def take_back(self, slots: Sequence[int]) -> None:
        """Forget what was proposed and the last token before it, so that it can be read again."""
        self.cut(slots, [len(self._episodes[slot]) - 1 for slot in slots])

    def score(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[Sequence[int]]],
    ) -> Proposals:
        """Append the prompts and read the log-probability of given candidates instead of sampling any."""
        self.extend(slots, prompts)
        listed = []
        with torch.inference_mode():
            for slot, row in zip(slots, candidates, strict=True):
                before, scored = self._episodes[slot], []
                for ids in row:
                    read = torch.tensor([[*before, *ids]], device=self.policy.device)
                    logits = self.policy(input_ids=read).logits[0, len(before) - 1 : -1]
                    scored.append((list(ids), pick_logprobs(logits, ids).tolist()))
                listed.append(scored)
        return list_proposals(listed, self.policy.device)

    def _end(self, tokens: list[int], logprobs: list[float]) -> tuple[list[int], list[float]]:
        n = tokens.index(self.end_id) + 1 if self.end_id in tokens else len(tokens)
        return tokens[:n], logprobs[:n]


class ReadingCritic(SlotTexts):
    """Reads V after each candidate action, without a cache; as :class:`~oreo_agents.inference.critic.CachedCritic`.

    Args:
        critic: the value network.
        slots: episodes at once.
        max_length: tokens an episode may have.
    """

    def __init__(self, critic: Critic, slots: int, max_length: int) -> None:
        super().__init__(slots)
        self.critic, self.max_length = critic, max_length

    def room(self, slots: Sequence[int]) -> list[int]:
        """Tokens that each episode may still grow by."""
        return [self.max_length - len(self._episodes[slot]) for slot in slots]

    def values(self, slots: Sequence[int], prompts: Sequence[Sequence[int]], proposals: Proposals) -> Tensor:
        """Append the prompts and read V after the last token of every candidate, ``[B, K]``."""
        self.extend(slots, prompts)
        device = next(self.critic.parameters()).device
        values = []
        with torch.inference_mode():
            for slot, row in zip(slots, proposals.listed(), strict=True):
                read = [[*self._episodes[slot], *ids] for ids, _ in row]
                longest = max(map(len, read))
                padded = torch.tensor([ids + ids[-1:] * (longest - len(ids)) for ids in read], device=device)
                ends = torch.tensor([len(ids) - 1 for ids in read], device=device)
                values.append(self.critic(padded).gather(1, ends[:, None])[:, 0])
        return torch.stack(values)


def _fit_steps(table: Tensor, steps: int) -> Tensor:
    """``[S, K]`` with so many steps."""
    return torch.cat([table[:steps], table.new_zeros(max(0, steps - len(table)), table.shape[1])])


def list_proposals(
    listed: Sequence[Sequence[tuple[list[int], list[float]]]], device: torch.device, **more: Any
) -> Proposals:
    """Proposals of given candidates with their log-probabilities; a shorter row is filled up with its first one.

    Args:
        listed: ids and log-probabilities of each candidate, ``[row][lane]``.
        device: of the tensors.
        more: other fields.
    """
    tree, nodes, counts = tree_of([[ids for ids, _ in row] for row in listed], device)
    logprobs = torch.zeros(nodes.shape, device=device)
    for b, row in enumerate(listed):
        for lane in range(nodes.shape[2]):
            own = row[lane if lane < len(row) else 0][1]
            logprobs[b, : len(own), lane] = torch.tensor(own, device=device)
    return Proposals(tree, nodes, logprobs, counts, **more)
