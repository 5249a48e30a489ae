"""Many growing sequences in one key-value cache, and trees of candidates on top of them.

A *slot* is one episode's row in the cache. Slots have lengths of their own, keep their keys and values across
turns, and are reused when an episode ends. Up to K candidate continuations of every slot are decoded together
as a tree: they share the slot's prefix, which is read once, and only the chosen one is kept.

Works with any Hugging Face decoder with full attention and explicit position ids. Knows nothing about text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from oreo_agents.errors import ConfigurationError

_ATTENTION = "oreo_slots"


class _Where:
    """Which rows and columns of the cache the running forward pass writes and reads."""

    rows: Tensor | None  # None: all rows in order
    columns: Tensor  # [B, n]
    width: int


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, ``[slots, heads, capacity, head_dim]``, written at arbitrary columns."""

    keys: Tensor
    values: Tensor

    def __init__(self, slots: int, where: _Where) -> None:
        super().__init__()
        self.slots, self.where, self.capacity = slots, where, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        _, heads, _, size = key_states.shape
        self.keys = key_states.new_zeros(self.slots, heads, 0, size)
        self.values = value_states.new_zeros(self.slots, value_states.shape[1], 0, value_states.shape[3])
        self.is_initialized = True

    def _reserve(self, width: int) -> None:
        if width > self.capacity:
            extra = max(width, 3 * self.capacity // 2) - self.capacity
            self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, extra))
            self.values = torch.nn.functional.pad(self.values, (0, 0, 0, extra))
            self.capacity += extra

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        where = self.where
        self._reserve(where.width)
        rows = torch.arange(self.slots, device=key_states.device) if where.rows is None else where.rows
        self.keys[rows[:, None], :, where.columns] = key_states.transpose(1, 2)
        self.values[rows[:, None], :, where.columns] = value_states.transpose(1, 2)
        keys, values = self.keys[:, :, : where.width], self.values[:, :, : where.width]
        return (keys, values) if where.rows is None else (keys[rows], values[rows])

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.where.width, 0


def _slot_attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """Grouped-query attention without repeating keys: the query heads of a group become more queries."""
    batch, heads, n, size = query.shape
    groups = heads // key.shape[1]
    folded = query.reshape(batch, key.shape[1], groups * n, size)
    mask = attention_mask.repeat(1, 1, groups, 1)
    out = torch.nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(batch, heads, n, value.shape[-1]).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(_ATTENTION, _slot_attention)


@contextmanager
def _attention_of(model: PreTrainedModel, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


class SlotModel:
    """A decoder's backbone with a cache of ``slots`` sequences.

    Args:
        backbone: maps ids to hidden states (``AutoModel``, or a causal LM's ``base_model``).
        slots: how many sequences are kept at once.
        max_length: tokens a sequence may have; beyond it :meth:`extend` raises ConfigurationError.

    Raises:
        ConfigurationError: the architecture keeps other state than keys and values of full attention.
    """

    def __init__(self, backbone: PreTrainedModel, slots: int, max_length: int) -> None:
        kinds = set(getattr(backbone.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ConfigurationError(
                f"{type(backbone).__name__} has layers of kind {', '.join(sorted(kinds))}; episodes are cached for "
                "full attention only: choose a model such as Llama, Qwen3 or SmolLM2"
            )
        self.backbone, self.slots, self.max_length = backbone, slots, max_length
        self.device = next(backbone.parameters()).device
        self._where = _Where()
        layers = [_SlotLayer(slots, self._where) for _ in range(backbone.config.num_hidden_layers)]
        self._layers = layers
        self._cache = Cache(layers=list(layers))
        self.lengths = torch.zeros(slots, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def clear(self, slots: Sequence[int]) -> None:
        """Forget the sequences in ``slots``."""
        self.lengths[list(slots)] = 0

    @torch.inference_mode()
    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> Tensor:
        """Append ``chunks[i]`` to ``slots[i]``; hidden states after each chunk's last token, ``[B, H]``.

        Chunks may differ in length. What is written for the padding lies beyond the slot's length, where
        nothing looks and the next chunk overwrites it.
        """
        counts = torch.tensor([len(chunk) for chunk in chunks], device=self.device)
        n = int(counts.max())
        ids = torch.tensor([[*chunk, *[0] * (n - len(chunk))] for chunk in chunks], device=self.device)
        lengths = self.lengths[list(slots)]
        columns = lengths[:, None] + torch.arange(n, device=self.device)
        width = int(columns.max()) + 1
        if width > self.max_length:
            raise ConfigurationError(
                f"an episode has grown to {width} tokens, the model reads {self.max_length}: lower the step limit"
            )
        mask = torch.arange(width, device=self.device) <= columns[:, :, None]
        hidden = self._forward(slots, ids, columns, columns, mask)
        self.lengths[list(slots)] += counts
        return hidden[torch.arange(len(slots), device=self.device), counts - 1]

    @torch.inference_mode()
    def branch(self, slots: Sequence[int], ids: Tensor, depth: int) -> Tensor:
        """Run tokens of K candidates per slot, continuing the branches at ``depth``; nothing is committed.

        Args:
            slots: B slots.
            ids: ``[B, S, K]``, the next S tokens of every candidate.
            depth: tokens each candidate already has in the cache.

        Returns:
            Hidden states ``[B, S, K, H]``.
        """
        batch, steps, k = ids.shape
        lengths = self.lengths[list(slots)]
        step = torch.arange(depth, depth + steps, device=self.device).repeat_interleave(k)
        lane = torch.arange(k, device=self.device).repeat(steps)
        columns = lengths[:, None] + step * k + lane
        positions = lengths[:, None] + step
        width = int(columns.max()) + 1
        offset = torch.arange(width, device=self.device) - lengths[:, None]  # [B, T], < 0 in the prefix
        own = (offset[:, None, :] % k == lane[:, None]) & (offset[:, None, :] // k <= step[:, None])
        mask = (offset < 0)[:, None, :] | own
        hidden = self._forward(slots, ids.reshape(batch, steps * k), columns, positions, mask)
        return hidden.reshape(batch, steps, k, -1)

    @torch.inference_mode()
    def commit(self, slots: Sequence[int], lanes: Tensor, counts: Tensor, k: int) -> None:
        """Keep the first ``counts[i]`` tokens of candidate ``lanes[i]`` in ``slots[i]``, drop the others."""
        n = int(counts.max())
        rows = torch.as_tensor(list(slots), device=self.device)
        if k > 1 and n > 0:
            start = self.lengths[rows][:, None]
            steps = torch.arange(n, device=self.device)
            source, target = start + steps * k + lanes[:, None], start + steps
            source = source.clamp(max=self._layers[0].keys.shape[2] - 1)
            for layer in self._layers:
                for states in (layer.keys, layer.values):
                    states[rows[:, None], :, target] = states[rows[:, None], :, source]
        self.lengths[rows] += counts

    def _forward(
        self, slots: Sequence[int], ids: Tensor, columns: Tensor, positions: Tensor, mask: Tensor
    ) -> Tensor:
        everyone = len(slots) == self.slots and list(slots) == list(range(self.slots))
        self._where.rows = None if everyone else torch.as_tensor(list(slots), device=self.device)
        self._where.columns, self._where.width = columns, mask.shape[-1]
        with _attention_of(self.backbone, _ATTENTION):
            return self.backbone(
                input_ids=ids,
                attention_mask=mask[:, None],
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            ).last_hidden_state
