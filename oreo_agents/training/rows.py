"""Where the tokens of a micro-batch lie, counted on the host: no pass has to ask its device how many there are."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class TokenRows:
    """The N real tokens of a ``[B, T]`` micro-batch, row after row, and the sequences that networks read.

    A sequence is an episode, or a part of one; its tokens are neighbours here.
    """

    ids: Tensor
    """``[N]``."""
    places: Tensor
    """``[N]``, where each lies in ``[B * T]``."""
    cells: Tensor
    """``[N]``, where each lies among right-padded sequences, in ``[sequences * width]``."""
    columns: Tensor
    """``[N]``, its position in its sequence."""
    lead: Tensor
    """``[N]``, how many tokens of padding its sequence needs."""
    ends: Tensor
    """``[sequences + 1]`` int32, where sequences begin and the last one ends."""
    actions: Tensor
    """``[A]``, which of the N tokens are to be predicted; none is the first of an episode."""
    observed: Tensor | None
    """``[O]``, which of them the critic's trunk predicts, too; None: it does not."""
    shape: tuple[int, int]
    """B and T."""
    width: int
    """Of right-padded sequences."""
    counts: tuple[int, ...]
    """Tokens of each sequence."""
    host_ids: np.ndarray
    """``ids``, where the host can read them."""

    def to(self, device: torch.device | str) -> TokenRows:
        """The same on a device; the host goes on without waiting."""
        moved: dict[str, Any] = {
            one.name: value.to(device, non_blocking=True)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), Tensor)
        }
        return replace(self, **moved)

    @property
    def keys(self) -> list[bytes]:
        """What names each sequence: its ids."""
        return [part.tobytes() for part in np.split(self.host_ids, np.cumsum(self.counts)[:-1])]

    def scatter(self, values: Tensor, tokens: Tensor | None = None) -> Tensor:
        """A value for each of some tokens, all if None, as ``[B, T]``, zero elsewhere."""
        places = self.places if tokens is None else self.places[tokens]
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=values.dtype, device=values.device)
        return flat.index_copy(0, places, values).view(self.shape)


def lay_rows(
    input_ids: Tensor,
    action_mask: Tensor,
    token_mask: Tensor | None = None,
    start_mask: Tensor | None = None,
    observed: Tensor | None = None,
) -> TokenRows:
    """Count and place the tokens of a micro-batch that is on the host.

    Args:
        input_ids: ``[B, T]``, right-padded.
        action_mask: ``[B, T]`` bool, what is to be predicted; an episode's first token cannot be.
        token_mask: ``[B, T]`` bool, what is not padding; None: nothing is.
        start_mask: ``[B, T]`` bool, where the sequences of an episode begin; None: each is one.
        observed: ``[B, T]`` bool, tokens that the critic's trunk predicts, too.
    """
    batch, width = input_ids.shape
    real = torch.ones_like(action_mask) if token_mask is None else token_mask
    first = torch.arange(width) == 0
    starts = (first.expand(batch, width) if start_mask is None else start_mask)[real]
    ends = torch.cat([starts.nonzero()[:, 0], torch.tensor([len(starts)])])
    counts = ends.diff()
    number = starts.cumsum(0) - 1
    columns = torch.arange(len(starts)) - ends[number]
    longest = width if start_mask is None else int(counts.max())
    ids = input_ids[real]
    return TokenRows(
        ids=ids,
        places=real.flatten().nonzero()[:, 0],
        cells=number * longest + columns,
        columns=columns,
        lead=longest - counts[number],
        ends=ends.int(),
        actions=(action_mask & ~first)[real].nonzero()[:, 0],
        observed=None if observed is None else observed[real].nonzero()[:, 0],
        shape=(batch, width),
        width=longest,
        counts=tuple(counts.tolist()),
        host_ids=ids.numpy(),
    )
