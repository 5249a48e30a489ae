"""Candidates that begin alike, stored as a tree of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tree:
    """One token tree per slot, parents before children; all have N nodes, of which some are padding."""

    ids: Tensor
    """``[B, N]`` tokens, -1 in padding."""
    depth: Tensor
    """``[B, N]`` 0 for a tree's first tokens."""
    levels: tuple[Tensor, ...] = ()
    """For the ``n`` nodes of each :meth:`grow`, ``[B, n, N so far]`` bool: which nodes are on their paths."""

    @classmethod
    def empty(cls, batch: int, device: torch.device) -> Tree:
        """Trees without nodes."""
        ids = torch.zeros(batch, 0, dtype=torch.long, device=device)
        return cls(ids, ids)

    @property
    def size(self) -> int:
        """N."""
        return self.ids.shape[1]

    def sees(self, first: int) -> Tensor:
        """Which nodes are on the paths of those from ``first`` on, itself included: ``[B, N - first, N]`` bool."""
        if first == self.size - self.levels[-1].shape[1]:
            return self.levels[-1]
        padded = [torch.nn.functional.pad(level, (0, self.size - level.shape[2])) for level in self.levels]
        return torch.cat(padded, dim=1)[:, first:]

    def grow(self, ids: Tensor, parents: Tensor) -> Tree:
        """Add a level of ``n`` nodes to every tree.

        Args:
            ids: ``[B, n]`` tokens, -1 in padding.
            parents: ``[B, n]`` nodes of the level before; -1 is the slot itself.
        """
        pad, n = torch.nn.functional.pad, ids.shape[1]
        before = self.levels[-1] if self.levels else self.ids.new_zeros(len(ids), 0, 0, dtype=torch.bool)
        depth = pad(self.depth, (1, 0), value=-1).gather(1, parents + 1) + 1
        place = (parents - (self.size - before.shape[1])).clamp(min=-1) + 1
        above = pad(before, (0, 0, 1, 0)).gather(1, place[:, :, None].expand(-1, -1, self.size))
        itself = torch.eye(n, dtype=torch.bool, device=ids.device).expand(len(ids), n, n)
        level = torch.cat([above, itself], dim=2)
        return Tree(torch.cat([self.ids, ids], 1), torch.cat([self.depth, depth], 1), (*self.levels, level))


def tree_of(
    candidates: Sequence[Sequence[Sequence[int]]], device: torch.device
) -> tuple[Tree, Tensor, Tensor]:
    """The trees of given candidates, what they begin with in common once.

    Args:
        candidates: B lists of up to K token lists, none of them empty; where there are fewer, the first is repeated.
        device: of the tensors.

    Returns:
        The trees, the nodes of each candidate ``[B, S, K]`` and their numbers ``[B, K]``.
    """
    k = max(map(len, candidates))
    rows = [[*row, *[row[0]] * (k - len(row))] for row in candidates]
    counts = torch.tensor([[len(ids) for ids in row] for row in rows], device=device)
    nodes = torch.zeros(len(rows), int(counts.max()), k, dtype=torch.long)
    tree = Tree.empty(len(rows), device)
    at = [[-1] * k for _ in rows]
    for step in range(nodes.shape[1]):
        known: list[dict[tuple[int, int], int]] = [{} for _ in rows]
        for b, row in enumerate(rows):
            for lane, ids in enumerate(row):
                if step < len(ids):
                    place = known[b].setdefault((at[b][lane], ids[step]), len(known[b]))
                    at[b][lane] = tree.size + place
                    nodes[b, step, lane] = at[b][lane]
        width = max(map(len, known))
        level = [[*new, *[(-1, -1)] * (width - len(new))] for new in known]
        parents, tokens = torch.tensor(level, device=device).unbind(2)
        tree = tree.grow(tokens, parents)
    return tree, nodes.to(device), counts
