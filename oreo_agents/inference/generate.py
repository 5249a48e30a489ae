"""Proposing actions with a policy and judging them with a critic, each over its own cache of slots.

Both walk in step: read the prompt, look at K candidates as a tree, keep the chosen one. Tokens in, tokens out;
knows nothing about text or environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.inference.slots import SlotModel, Tree, tree_of
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import lm_head, trunk_of


@dataclass(frozen=True, slots=True)
class Proposals:
    """K candidates for each of B slots, at most S tokens long; what they begin with in common is stored once."""

    tree: Tree
    nodes: Tensor
    """``[B, S, K]`` each candidate's nodes of the tree; beyond its length they mean nothing."""
    logprobs: Tensor
    """``[B, S, K]`` log-probabilities at temperature 1 (nats)."""
    counts: Tensor
    """``[B, K]`` tokens of each candidate, end of turn included where it was reached."""
    values: Tensor | None = None
    """``[B, K]`` V after each candidate, where the policy's own trunk has a value head."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Rows for which there are no candidates, with the reason; what the others fields say of them means nothing."""

    def listed(self) -> list[list[tuple[tuple[int, ...], tuple[float, ...]]]]:
        """Token ids and their log-probabilities for each slot's candidates, in one transfer from the device."""
        ids = self.tree.ids.gather(1, self.nodes.flatten(1)).view_as(self.nodes)
        rows = zip(
            *(x.transpose(1, 2).tolist() for x in (ids, self.logprobs)), self.counts.tolist(), strict=True
        )
        return [
            [(tuple(ids[:n]), tuple(logprobs[:n])) for ids, logprobs, n in zip(*row, strict=True)]
            for row in rows
        ]

    def answered(self, answers: Sequence[Sequence[Sequence[int]]]) -> Proposals:
        """The candidates, each continued by the environment's answer to it; without log-probabilities.

        Args:
            answers: token ids for every candidate, ``[row][lane]``.
        """
        continued = [
            [[*ids, *answer] for (ids, _), answer in zip(*row, strict=True)]
            for row in zip(self.listed(), answers, strict=True)
        ]
        tree, nodes, counts = tree_of(continued, self.nodes.device)
        return Proposals(tree, nodes, torch.full_like(nodes, torch.nan, dtype=torch.float), counts)

    def only(self, lanes: Tensor) -> Proposals:
        """Some of the candidates, ``[B, K']`` by number, on a tree of their own."""
        chosen = [
            [row[lane][0] for lane in picks] for row, picks in zip(self.listed(), lanes.tolist(), strict=True)
        ]
        tree, nodes, counts = tree_of(chosen, self.nodes.device)
        logprobs = self.logprobs[:, : nodes.shape[1]].gather(2, lanes[:, None].expand(-1, nodes.shape[1], -1))
        values = None if self.values is None else self.values.gather(1, lanes)
        return Proposals(tree, nodes, logprobs, counts, values)

    def sums(self) -> Tensor:
        """Log-probability of each whole candidate, ``[B, K]``."""
        steps = torch.arange(self.logprobs.shape[1], device=self.logprobs.device)
        return (self.logprobs * (steps[:, None] < self.counts[:, None, :])).sum(1)

    def last_nodes(self) -> Tensor:
        """The node of each candidate's last token, ``[B, K]``."""
        return self.nodes.gather(1, self.counts[:, None] - 1)[:, 0]

    def path(self, lanes: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes ``[B, S]`` and number of tokens ``[B]`` of one candidate per slot."""
        index = lanes[:, None]
        nodes = self.nodes.gather(2, index[:, None].expand(-1, self.nodes.shape[1], -1))[..., 0]
        return nodes, self.counts.gather(1, index)[:, 0]


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
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        slots: int,
        max_length: int,
        end_id: int,
        max_new_tokens: int,
        critic: Critic | None = None,
    ) -> None:
        self.head = lm_head(policy)
        self.model = SlotModel(trunk_of(policy), slots, max_length)
        self.end_id, self.max_new_tokens, self.critic = end_id, max_new_tokens, critic
        self._unread: list[list[int]] = [[] for _ in range(slots)]  # the last token, run with the next prompt

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.model.clear(slots)
        for slot in slots:
            self._unread[slot] = []

    def propose(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], uniforms: Tensor, temperature: float
    ) -> Proposals:
        """Append the prompts and decode K candidates after each.

        Args:
            slots: B slots.
            prompts: what is new since the last call, per slot.
            uniforms: ``[B, max_new_tokens, K]`` in [0, 1), the randomness of every choice; NaN asks for the
                most likely token instead.
            temperature: of the sampling.
        """
        with torch.inference_mode():
            new = [[*self._unread[slot], *prompt] for slot, prompt in zip(slots, prompts, strict=True)]
            hidden = self.model.extend(slots, new)[:, None]
            lanes = _Lanes(len(slots), uniforms.shape[-1], self.end_id, hidden.device)
            for step in range(self.max_new_tokens):
                logits = self.head(hidden).float()
                first = lanes.tree.size
                alive = lanes.advance(logits, uniforms[:, step].to(logits.device), temperature)
                if alive.shape[1] == 0 or step + 1 == self.max_new_tokens:
                    break
                hidden = self.model.branch(slots, lanes.tree, first, alive)
            proposals = lanes.proposals()
            return proposals if self.critic is None else self._valued(slots, proposals, self.critic)

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
            return proposals if self.critic is None else self._valued(slots, proposals, self.critic)

    def _logprobs(self, hidden: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """Of ``tokens`` after ``hidden[parents]``, ``[S, K]``; one slot at a time, as vocabularies are large."""
        table = self.head(hidden).float().log_softmax(-1)
        return table[parents, tokens.clamp(min=0)]

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates."""
        path, counts = proposals.path(lanes.to(self.model.device))
        if self.critic is not None:
            self.model.commit(slots, path, counts)
            for slot in slots:
                self._unread[slot] = []
        else:
            self.model.commit(slots, path, counts - 1)
            last = path.gather(1, counts[:, None] - 1)
            for slot, unread in zip(slots, proposals.tree.ids.gather(1, last).tolist(), strict=True):
                self._unread[slot] = unread

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens that were not sampled here."""
        with torch.inference_mode():
            new = [[*self._unread[slot], *chunk] for slot, chunk in zip(slots, chunks, strict=True)]
            self.model.extend(slots, [ids[:-1] for ids in new])
        for slot, ids in zip(slots, new, strict=True):
            self._unread[slot] = ids[-1:]

    def _valued(self, slots: Sequence[int], proposals: Proposals, critic: Critic) -> Proposals:
        """The same with V; last tokens have not been run yet, as nothing continues them."""
        last = proposals.last_nodes()
        run = torch.zeros_like(proposals.tree.ids, dtype=torch.bool).scatter_(1, last, True)
        hidden = self.model.branch(slots, proposals.tree, 0, run)
        return replace(proposals, values=critic.read(hidden).gather(1, last))


class _Lanes:
    """K candidates of B slots while they grow; those that are equal so far stand on the same node."""

    def __init__(self, batch: int, k: int, end_id: int, device: torch.device) -> None:
        self.end_id = end_id
        self.tree = Tree.empty(batch, device)
        self._place = torch.zeros(batch, k, dtype=torch.long, device=device)  # among the newest hidden states
        self._node = torch.full_like(self._place, -1)
        self._counts = torch.zeros_like(self._place)
        self._done = torch.zeros_like(self._place, dtype=torch.bool)
        self._nodes: list[Tensor] = []
        self._logprobs: list[Tensor] = []

    def advance(self, logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
        """One more token on every lane that has not ended.

        Args:
            logits: ``[B, n, V]`` after each of the nodes the lanes stand on.
            uniforms: ``[B, K]``, see :func:`pick`.
            temperature: of the sampling.

        Returns:
            Which of the new nodes are to be continued, ``[B, n]`` counted from the first.
        """
        choices = pick(logits, uniforms[:, None, :].expand(-1, logits.shape[1], -1), temperature)
        token = choices.gather(1, self._place[:, None])[:, 0]
        logprobs = logits.log_softmax(-1).flatten(1)
        self._logprobs.append(logprobs.gather(1, self._place * logits.shape[-1] + token))
        self._counts += ~self._done
        ended = self._done | (token == self.end_id)
        place, width, going = _distinct(self._node * logits.shape[-1] + token, ended, self._done)
        new = torch.full((2, len(place), width + 1), -1, dtype=torch.long, device=token.device)
        new[0].scatter_(1, place, token)
        new[1].scatter_(1, place, self._node)
        self._node = torch.where(self._done, self._node, self.tree.size + place)
        self.tree = self.tree.grow(new[0, :, :width], new[1, :, :width])
        self._nodes.append(self._node)
        widest = int(going.max())
        self._done, self._place = ended, place.clamp(max=max(widest - 1, 0))
        return torch.arange(widest, device=going.device) < going[:, None]

    def proposals(self) -> Proposals:
        """The candidates as they are."""
        return Proposals(self.tree, torch.stack(self._nodes, 1), torch.stack(self._logprobs, 1), self._counts)


def _distinct(keys: Tensor, ended: Tensor, done: Tensor) -> tuple[Tensor, int, Tensor]:
    """Number the distinct keys of every row, those that go on before those that have ended.

    Args:
        keys: ``[B, K]`` which lanes are the same.
        ended: ``[B, K]`` lanes that do not go on.
        done: ``[B, K]`` lanes that ended before and get no number.

    Returns:
        Numbers ``[B, K]`` (for done lanes, one that nobody else has), how many there are at most, and of these how
        many go on in every row, ``[B]``.
    """
    lanes = torch.arange(keys.shape[1], device=keys.device)
    same = (keys[:, :, None] == keys[:, None, :]) & ~done[:, None, :]
    first = torch.where(same, lanes, len(lanes)).amin(2)
    is_first = first == lanes
    going, ending = is_first & ~ended, is_first & ended
    number = torch.where(ended, going.sum(1, keepdim=True) + ending.cumsum(1), going.cumsum(1)) - 1
    width = int(is_first.sum(1).max())
    return torch.where(done, width, number.gather(1, first.clamp(max=len(lanes) - 1))), width, going.sum(1)


class CachedCritic:
    """Reads V after each candidate action.

    Args:
        critic: the value network.
        slots: episodes at once.
        max_length: tokens an episode may have.
    """

    def __init__(self, critic: Critic, slots: int, max_length: int) -> None:
        self.critic = critic
        self.model = SlotModel(critic.backbone, slots, max_length)

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.model.clear(slots)

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens without looking at their values."""
        with torch.inference_mode():
            self.model.extend(slots, chunks)

    def room(self, slots: Sequence[int]) -> list[int]:
        """Tokens that each episode may still grow by."""
        return [self.model.max_length - n for n in self.model.lengths[list(slots)].tolist()]

    def values(self, slots: Sequence[int], prompts: Sequence[Sequence[int]], proposals: Proposals) -> Tensor:
        """Append the prompts and read V after the last token of every candidate, ``[B, K]``."""
        with torch.inference_mode():
            self.model.extend(slots, prompts)
            hidden = self.model.branch(slots, proposals.tree, 0, proposals.tree.ids >= 0)
            return self.critic.read(hidden).gather(1, proposals.last_nodes())

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates, last token included."""
        self.model.commit(slots, *proposals.path(lanes.to(self.model.device)))


def pick(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Inverse-CDF sampling of K tokens per distribution, ``[..., V], [..., K] -> [..., K]``; NaN means argmax."""
    best = logits.argmax(-1, keepdim=True).expand_as(uniforms)
    if uniforms.isnan().all():
        return best
    cdf = (logits / temperature).softmax(-1).cumsum(-1)
    sampled = torch.searchsorted(cdf, uniforms.nan_to_num() * cdf[..., -1:], right=True)
    return torch.where(uniforms.isnan(), best, sampled.clamp(max=logits.shape[-1] - 1))
