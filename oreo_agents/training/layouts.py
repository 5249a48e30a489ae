"""How episodes lie in memory: padded right or left, or packed without padding; and the attention that suits.

A layout maps (trunk, rows) to the hidden states of the real tokens, row after row, ``[N, H]``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.decoder import attend_by, attends_fully
from oreo_agents.training.rows import TokenRows


def run_right_padded(trunk: PreTrainedModel, rows: TokenRows) -> Tensor:
    """Causal attention never looks at padding on the right, so no mask is needed."""
    ids = _pad_sequences(rows, rows.ids, rows.cells)
    with attend_by(trunk, _CAUSAL_ATTENTION) if _needs_no_mask(trunk) else nullcontext():
        hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return hidden.flatten(0, 1).index_select(0, rows.cells)


def run_left_padded(trunk: PreTrainedModel, rows: TokenRows) -> Tensor:
    """With a mask and explicit positions."""
    cells = rows.cells + rows.lead
    ids, positions, mask = (
        _pad_sequences(rows, x, cells) for x in (rows.ids, rows.columns, torch.ones_like(rows.ids))
    )
    out = trunk(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    return out.last_hidden_state.flatten(0, 1).index_select(0, cells)


def _pad_sequences(rows: TokenRows, values: Tensor, cells: Tensor) -> Tensor:
    """``[N]`` -> ``[sequences, width]``, zero at padding."""
    grid = len(rows.counts), rows.width
    flat = torch.zeros(grid[0] * grid[1], dtype=values.dtype, device=values.device)
    return flat.index_copy(0, cells, values).view(grid)


def run_packed(trunk: PreTrainedModel, rows: TokenRows) -> Tensor:
    """All sequences in one row without padding; positions begin again with each."""
    longest = max(rows.counts)
    out = trunk(
        input_ids=rows.ids[None],
        position_ids=rows.columns[None],
        cu_seq_lens_q=rows.ends,
        cu_seq_lens_k=rows.ends,
        max_length_q=longest,
        max_length_k=longest,
        packed_rows=rows,
        use_cache=False,
    )
    return out.last_hidden_state[0]


LAYOUTS: dict[str, Callable[[PreTrainedModel, TokenRows], Tensor]] = {
    "right": run_right_padded,
    "left": run_left_padded,
    "packed": run_packed,
}

_CAUSAL_ATTENTION = "oreo_causal"
"""transformers' ``sdpa`` under a name for which it makes no mask: to make one it would ask the device about padding."""
ALL_ATTENTION_FUNCTIONS.register(_CAUSAL_ATTENTION, sdpa_attention_forward)

_MASKLESS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _needs_no_mask(trunk: PreTrainedModel) -> bool:
    if trunk.config._attn_implementation != "sdpa":
        return False
    if trunk not in _MASKLESS:
        _MASKLESS[trunk] = attends_fully(trunk)
    return _MASKLESS[trunk]


_PACKED_ATTENTION = "oreo_packed"


@torch.compiler.disable  # the episodes of every micro-batch have other lengths
def _packed_attention(module, query, key, value, attention_mask, scaling=None, packed_rows=None, **_):
    """Causal attention within each episode of a packed row, ``[1, heads, N, size]``."""
    if packed_rows is None:
        raise ConfigurationError(
            "a model trained packed needs set_attn_implementation('sdpa') for other uses"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    spans = zip(*(x.split(packed_rows.counts, dim=2) for x in (query, key, value)), strict=True)
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
