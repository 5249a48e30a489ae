"""How episodes lie in memory: padded right or left, or packed without padding; and the attention that suits.

A layout maps (trunk, ids, token_mask) to the hidden states of the real tokens, row after row, ``[N, H]``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.decoder import attends_fully


def run_right_padded(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
    """Causal attention never looks at padding on the right, so no mask is needed."""
    return trunk(input_ids=ids, use_cache=False).last_hidden_state[token_mask]


def run_left_padded(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
    """With a mask and explicit positions."""
    moved_mask = token_mask.flip(1)
    moved = torch.zeros_like(ids).masked_scatter(moved_mask, ids[token_mask])
    positions = (moved_mask.cumsum(1) - 1).clamp(min=0)
    out = trunk(input_ids=moved, attention_mask=moved_mask.long(), position_ids=positions, use_cache=False)
    return out.last_hidden_state[moved_mask]


def run_packed(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
    """All episodes in one row without padding; positions begin again with each."""
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)[token_mask]
    counts = token_mask.sum(1)
    ends = pad(counts.cumsum(0), (1, 0)).int()
    longest = int(counts.max())
    out = trunk(
        input_ids=ids[token_mask][None],
        position_ids=positions[None],
        cu_seq_lens_q=ends,
        cu_seq_lens_k=ends,
        max_length_q=longest,
        max_length_k=longest,
        use_cache=False,
    )
    return out.last_hidden_state[0]


def split_sequences(ids: Tensor, token_mask: Tensor, start_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """A row for each sequence instead of each episode, right-padded, and which of it is real; tokens keep their order.

    Args:
        ids: ``[B, T]``, right-padded.
        token_mask: ``[B, T]`` bool, what is not padding.
        start_mask: ``[B, T]`` bool, where sequences begin; None: each episode is one.
    """
    if start_mask is None:
        return ids, token_mask
    starts = start_mask[token_mask].nonzero()[:, 0]
    counts = torch.diff(starts, append=starts.new_tensor([int(token_mask.sum())]))
    rows = torch.arange(int(counts.max()), device=ids.device) < counts[:, None]
    return torch.zeros_like(rows, dtype=ids.dtype).masked_scatter(rows, ids[token_mask]), rows


LAYOUTS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "right": run_right_padded,
    "left": run_left_padded,
    "packed": run_packed,
}

_PACKED_ATTENTION = "oreo_packed"


def _packed_attention(module, query, key, value, attention_mask, scaling=None, cu_seq_lens_q=None, **_):
    """Causal attention within each episode of a packed row, ``[1, heads, N, size]``."""
    if cu_seq_lens_q is None:
        raise ConfigurationError(
            "a model trained packed needs set_attn_implementation('sdpa') for other uses"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    counts = cu_seq_lens_q.diff().tolist()
    spans = zip(*(x.split(counts, dim=2) for x in (query, key, value)), strict=True)
    out = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in spans]
    return torch.cat(out, dim=2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(_PACKED_ATTENTION, _packed_attention)


LONG = 400
"""Tokens of an episode from which on fused attention is the faster one on a CPU. Measured on two cores, a 135M decoder,
forward and backward: up to 256 tokens the plain one takes 10 to 18 % less time, at 512 it takes 1.2 times as much, at
1,024 1.6 to 2.3 times, and memory that grows with the square."""


def prepare_attention(model: PreTrainedModel, layout: str, longest: int = 0) -> None:
    """Choose the attention that suits the layout: flash attention packs by itself, others episode by episode.

    Args:
        model: a trunk, changed in place.
        layout: a key of :data:`LAYOUTS`.
        longest: tokens of the longest sequence that it will read; on a CPU it decides between plain and fused.

    Raises:
        ConfigurationError: the architecture has more than full attention, which cannot be packed this way.
    """
    implementation = str(model.config._attn_implementation)
    if layout != "packed":
        if model.device.type == "cpu" and longest <= LONG:
            model.set_attn_implementation("eager")
        return
    if "flash" in implementation:
        return
    if not attends_fully(model):
        raise ConfigurationError(
            f"{type(model).__name__} does not attend to whole episodes: choose layout right, or flash attention"
        )
    model.set_attn_implementation(_PACKED_ATTENTION)
