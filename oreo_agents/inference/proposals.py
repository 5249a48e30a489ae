"""What an engine proposes: K candidates for each of B slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from oreo_agents.inference.tree import Tree, tree_of


@dataclass(frozen=True)
class Proposals:
    """K candidates for each of B slots, at most S tokens long; what they begin with in common is stored once."""

    tree: Tree
    nodes: Tensor
    """``[B, S, K]`` each candidate's nodes of the tree; beyond its length they mean nothing."""
    logprobs: Tensor
    """``[B, S, K]`` log-probabilities at temperature 1, without filters (nats)."""
    counts: Tensor
    """``[B, K]`` tokens of each candidate, end of turn included where it was reached."""
    values: Tensor | None = None
    """``[B, K]`` V after each candidate, where the policy's own trunk has a value head."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Rows for which there are no candidates, with the reason; what the others fields say of them means nothing."""
    full: Mapping[int, str] = field(default_factory=dict)
    """The same, where the reason is that the policy cannot read as much."""
    spelt: Set[int] = field(default_factory=frozenset)
    """Rows of which only the texts are known: the ids spell them, and others may have been sampled."""
    drawn: Tensor | None = None
    """``[B, S, K]`` log-probabilities under the distribution that was drawn from, with its temperature and filters, NaN
    where nobody knows them; None: that is the one of ``logprobs``, or not all candidates were drawn."""

    @cached_property
    def _known(self) -> np.ndarray:
        """Ids, nodes, log-probabilities (then ``drawn``, where it is) and at last counts, ``[B, 3 S + 1, K]`` or 4 S,
        in one transfer from the device."""
        ids = self.tree.ids.gather(1, self.nodes.flatten(1)).view_as(self.nodes)
        both = (self.logprobs,) if self.drawn is None else (self.logprobs, self.drawn)
        parts = ids, self.nodes, *both, self.counts[:, None]
        return torch.cat([part.double() for part in parts], 1).cpu().numpy()  # exact for all of them

    def listed(self) -> list[list[tuple[tuple[int, ...], tuple[float, ...]]]]:
        """Token ids and their log-probabilities for each slot's candidates."""
        steps = self.nodes.shape[1]
        rows = self._known.transpose(0, 2, 1)
        ids, counts = rows[..., :steps].astype(np.int64).tolist(), rows[..., -1].astype(np.int64).tolist()
        logprobs = rows[..., 2 * steps : 3 * steps].tolist()
        return [
            [(tuple(ids[:n]), tuple(logprobs[:n])) for ids, logprobs, n in zip(*row, strict=True)]
            for row in zip(ids, logprobs, counts, strict=True)
        ]

    def list_drawn(self, lanes: Sequence[int]) -> list[tuple[float, ...] | None]:
        """Of one candidate per slot what ``drawn`` says; empty where nobody knows it."""
        if self.drawn is None:
            return [None] * len(lanes)
        steps = self.nodes.shape[1]
        chosen = self._known[np.arange(len(lanes)), :, list(lanes)]
        rows = [row[3 * steps : 3 * steps + int(row[-1])].tolist() for row in chosen]
        return [() if np.isnan(row).any() else tuple(row) for row in rows]

    def count_tokens(self) -> list[int]:
        """Tokens of each slot's candidates together."""
        return self._known[:, -1].sum(1).astype(np.int64).tolist()

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

    def path(self, lanes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Nodes ``[B, S]`` and number of tokens ``[B]`` of one candidate per slot, as they are known here."""
        steps = self.nodes.shape[1]
        chosen = self._known[np.arange(len(lanes)), :, list(lanes)]
        return chosen[:, steps : 2 * steps].astype(np.int64), chosen[:, -1].astype(np.int64)

    def last_ids(self, lanes: Sequence[int]) -> list[int]:
        """The last token of one candidate per slot."""
        return [row[lane][0][-1] for row, lane in zip(self.listed(), lanes, strict=True)]
