"""Many growing sequences in one key-value cache, and trees of candidates on top of them.

A *slot* is one episode's row in the cache. Slots have lengths of their own, keep their keys and values across
turns, and are reused when an episode ends. Candidate continuations of every slot are decoded together as a tree:
they share the slot's prefix and whatever else they begin with, each read once, and only the chosen one is kept.

Works with any Hugging Face decoder with full attention and explicit position ids. Knows nothing about text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local

import numpy as np
import torch
from torch import Tensor
from torch._dynamo import mark_static_address
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.tree import Tree
from oreo_agents.models.decoder import attend_by, attends_fully, readable_length, text_config

_ATTENTION = "oreo_slots"
COLUMNS = 256
"""To a multiple of this, the longest sequence is rounded up where sizes are."""
TOGETHER = 16
"""Slots that read at most so many tokens attend together; longer ones with those up to twice as long, so that nobody is
padded to the length of what an episode begins with."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Slots that attend together, each padded to as many tokens as the one with the most has."""

    rows: Tensor | None
    """``[B]`` which slots; None where these are all slots, in order."""
    tokens: Tensor | None
    """``[T_b]`` which of the pass's tokens are theirs; None where all are."""
    owner: Tensor
    """``[T_b]`` index of each token's slot among the B."""
    rank: Tensor
    """``[T_b]`` a token's place among those of its slot."""
    mask: Tensor
    """``[B, 1, groups * n, W]`` added to the attention scores: 0 for columns that a token sees, -inf for others. n is
    the most tokens that any slot has; the mask is there once for each query head of a key head."""

    def pad(self, packed: Tensor, groups: int) -> Tensor:
        """``[T_b, ...] -> [B, n, ...]``, zero where there is no token."""
        padded = packed.new_zeros(len(self.mask), self.mask.shape[2] // groups, *packed.shape[1:])
        padded[self.owner, self.rank] = packed
        return padded


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The T tokens of one forward pass, without any padding: where the cache keeps them, and who attends together."""

    slots: Tensor
    """``[T]`` whose they are."""
    columns: Tensor
    """``[T]`` where in the slot."""
    blocks: Sequence[_Block]


_RUNNING = local()
"""``tokens``: those of this thread's running forward pass. (torch.compile reads no ``ContextVar``.)"""


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, ``[slots, heads, capacity, head_dim]``, written at arbitrary columns."""

    keys: Tensor
    values: Tensor

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots, self.capacity = slots, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        _, heads, _, size = key_states.shape
        self.keys = key_states.new_zeros(self.slots, heads, 0, size)
        self.values = value_states.new_zeros(self.slots, value_states.shape[1], 0, value_states.shape[3])
        self.is_initialized = True

    def reserve(self, width: int) -> None:
        """Have so many columns at least; a compiled pass relies on where they are."""
        if width > self.capacity:
            extra = max(width, 3 * self.capacity // 2) - self.capacity
            self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, extra))
            self.values = torch.nn.functional.pad(self.values, (0, 0, 0, extra))
            self.capacity += extra
            for states in (self.keys, self.values):
                mark_static_address(states)

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.reserve(_read_width())
        tokens = _RUNNING.tokens
        self.keys[tokens.slots, :, tokens.columns] = key_states[0].transpose(0, 1)
        self.values[tokens.slots, :, tokens.columns] = value_states[0].transpose(0, 1)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return _read_width(), 0


def _read_width() -> int:
    """Columns that the running pass reads at most."""
    return max(block.mask.shape[-1] for block in _RUNNING.tokens.blocks)


def _slot_attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """Attention of packed queries ``[1, heads, T, size]`` to their own slots, block by block."""
    queries, blocks = query[0].transpose(0, 1), _RUNNING.tokens.blocks
    if len(blocks) == 1:
        return _attend_block(blocks[0], queries, key, value, scaling)[None], None
    out = queries.new_empty(*queries.shape[:2], value.shape[3])
    for block in blocks:
        out[block.tokens] = _attend_block(block, queries[block.tokens], key, value, scaling)
    return out[None], None


def _attend_block(
    block: _Block, queries: Tensor, keys: Tensor, values: Tensor, scaling: float | None
) -> Tensor:
    """``[T_b, heads, size]`` what the block's queries, of the same shape, find in their slots' keys and values.

    Queries of a group become more queries of their key head, so keys are not repeated for grouped attention.
    """
    heads, size = queries.shape[1:]
    kv_heads, width = keys.shape[1], block.mask.shape[-1]
    groups = heads // kv_heads
    keys, values = keys[:, :, :width], values[:, :, :width]
    if block.rows is not None:
        keys, values = keys[block.rows], values[block.rows]
    padded = block.pad(queries, groups)  # [B, n, heads, size]
    batch, n = padded.shape[:2]
    folded = padded.reshape(batch, n, kv_heads, groups, size).permute(0, 2, 3, 1, 4)
    folded = folded.reshape(batch, kv_heads, groups * n, size)
    out = torch.nn.functional.scaled_dot_product_attention(
        folded, keys, values, attn_mask=block.mask, scale=scaling
    )
    out = out.reshape(batch, heads, n, -1).transpose(1, 2)
    return out[block.owner, block.rank]


ALL_ATTENTION_FUNCTIONS.register(_ATTENTION, _slot_attention)


@contextmanager
def _announce_tokens(tokens: _Tokens) -> Iterator[None]:
    _RUNNING.tokens = tokens
    try:
        yield
    finally:
        del _RUNNING.tokens


class SlotModel:
    """A decoder's backbone with a cache of ``slots`` sequences.

    Args:
        backbone: maps ids to hidden states (``AutoModel``, or a causal LM's ``base_model``).
        slots: how many sequences are kept at once.
        max_length: tokens a sequence may have, at most what the backbone reads; beyond it :meth:`extend` raises
            ConfigurationError.
        bucketed: round the sizes of a pass up, so that there are a few dozen in all; None: on a card, where each new
            size is planned anew, and where passes are compiled. Without, a pass has no padding at all.
        compile_backend: one of torch.compile's, such as ``inductor``: :meth:`branch` is compiled, once for sizes of all
            kinds, and on a card recorded as a CUDA graph for each. None: nothing is.

    Raises:
        ConfigurationError: the architecture keeps other state than keys and values of full attention.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        slots: int,
        max_length: int,
        bucketed: bool | None = None,
        compile_backend: str | None = None,
    ) -> None:
        if not attends_fully(backbone):
            raise ConfigurationError(
                f"{type(backbone).__name__} has layers of other kinds than full attention, which slots do not cache"
            )
        self.backbone, self.slots = backbone, slots
        self.max_length = min(max_length, readable_length(text_config(backbone)) or max_length)
        self.device = next(backbone.parameters()).device
        on_card = self.device.type == "cuda"
        self.bucketed = on_card or compile_backend is not None if bucketed is None else bucketed
        self._decode = self._run_backbone
        if compile_backend is not None:
            mode = "reduce-overhead" if on_card and compile_backend == "inductor" else None
            self._decode = torch.compile(self._run_backbone, backend=compile_backend, mode=mode, dynamic=True)
        config = text_config(backbone)
        heads = config.num_attention_heads
        takes = inspect.signature(backbone.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"  # renamed in transformers 5.24
        self._groups = heads // (getattr(config, "num_key_value_heads", None) or heads)
        rows = slots + self.bucketed  # the last one is where padding is written
        self._layers = [_SlotLayer(rows) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self.lengths = np.zeros(slots, np.int64)
        """Tokens that each slot holds; known here, so that nobody has to ask the device."""

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the sequences in ``slots``."""
        self.lengths[list(slots)] = 0

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget all but the first ``lengths[i]`` tokens of ``slots[i]``; shorter ones stay as they are."""
        self.lengths[list(slots)] = np.minimum(self.lengths[list(slots)], list(lengths))

    @torch.inference_mode()
    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> Tensor:
        """Append ``chunks[i]`` to ``slots[i]``; hidden states after each chunk's last token, ``[B, H]``."""
        counts = np.array([len(chunk) for chunk in chunks])
        ids = np.array([token for chunk in chunks for token in chunk], np.int64)
        lengths = self.lengths[list(slots)]
        if (longest := (lengths + counts).max()) > self.max_length:
            raise ConfigurationError(
                f"an episode has grown to {longest} tokens, the model reads "
                f"{self.max_length}: lower the step limit"
            )
        ends = counts.cumsum()
        owner = np.arange(len(slots)).repeat(counts)
        rank = np.arange(len(ids)) - (ends - counts)[owner]
        places = self._place_tokens(slots, owner, rank, lengths[owner] + rank)
        (read,) = self._send(self._fill(ids, 0))
        columns = places.columns
        mask = torch.arange(places.width, device=self.device) <= columns[:, None]
        hidden = self._forward(self._run_backbone, places, read, columns, mask)
        self.lengths[list(slots)] += counts
        (last,) = self._send(ends - 1)
        return hidden[last]

    @torch.inference_mode()
    def branch(self, slots: Sequence[int], tree: Tree, first: int, run: np.ndarray | Tensor) -> Tensor:
        """Run some nodes of the slots' trees, from node ``first`` on; nothing is committed.

        Args:
            slots: B slots.
            tree: what continues each of them.
            first: a node.
            run: ``[B, n]`` whether to run each of the n nodes from ``first`` on; what these see was run before or
                is among them. Better not on the device, which would have to be asked.

        Returns:
            Hidden states ``[B, n, H]``, zero for nodes that were not run.
        """
        run = run.cpu().numpy() if isinstance(run, Tensor) else run
        owner, index = run.nonzero()
        node, lengths = first + index, self.lengths[list(slots)][owner]
        places = self._place_tokens(slots, owner, (run.cumsum(1) - 1)[owner, index], lengths + node)
        kept = self._fill(np.stack([owner, index, node, lengths]), np.array([0, 0, first, 1]))
        place, at, nodes, start = self._send(*kept)
        offset = torch.arange(places.width, device=self.device) - start[:, None]  # [T, W], < 0 in the prefix
        above = tree.sees(first)[place, at].gather(1, offset.clamp(0, tree.size - 1))
        mask = (offset < 0) | (above & (offset < tree.size))
        ids, positions = tree.ids[place, nodes].clamp(min=0), start + tree.depth[place, nodes]
        hidden = self._forward(self._decode, places, ids, positions, mask)
        out = hidden.new_zeros(*run.shape, hidden.shape[-1])
        out[place[: len(owner)], at[: len(owner)]] = hidden
        return out

    @torch.inference_mode()
    def commit(self, slots: Sequence[int], path: np.ndarray, counts: np.ndarray) -> None:
        """Keep the first ``counts[i]`` of the nodes ``path[i]`` in ``slots[i]``, drop the others.

        Args:
            slots: B slots.
            path: ``[B, S]`` nodes of the tree, each the parent of the next.
            counts: ``[B]`` how many of them to keep.
        """
        rows, path, counts = np.array(list(slots)), np.asarray(path), np.asarray(counts)
        kept = np.arange(path.shape[1]) < counts[:, None]
        owner, step = kept.nonzero()  # only what is kept: beyond it a long sequence has no columns
        node = path[owner, step]
        if (node != step).any():
            start = self.lengths[rows][owner]
            slot, to, of = self._send(rows[owner], start + step, start + node)
            for layer in self._layers:
                for states in (layer.keys, layer.values):
                    states[slot, :, to] = states[slot, :, of]
        self.lengths[rows] += counts

    def _place_tokens(
        self, slots: Sequence[int], owner: np.ndarray, rank: np.ndarray, columns: np.ndarray
    ) -> _Places:
        """Where the T tokens of a pass go; with buckets, T and the other sizes are rounded up."""
        chosen, real = np.array(list(slots)), len(owner)
        if self.bucketed:
            n, width = _round_up(int(rank.max()) + 1), -(-(int(columns.max()) + 1) // COLUMNS) * COLUMNS
            fill = np.array([self.slots, 0, 0])
            owners, ranks, at = self._send(*self._fill(np.stack([chosen[owner], rank, columns]), fill))
            block = _BlockPlaces(None, None, owners, ranks, self.slots + 1, n, width)
            return _Places(owners, at, width, [block], real)
        counts = np.bincount(owner, minlength=len(chosen))
        kinds = np.array([count and max(TOGETHER, _round_up(count)) for count in counts.tolist()])
        blocks = [
            self._place_block(chosen, owner, rank, columns, kinds == kind)
            for kind in np.unique(kinds[counts > 0])
        ]
        at_slots, at = self._send(chosen[owner], columns)
        return _Places(at_slots, at, int(columns.max()) + 1, blocks, real)

    def _place_block(
        self, chosen: np.ndarray, owner: np.ndarray, rank: np.ndarray, columns: np.ndarray, inside: np.ndarray
    ) -> _BlockPlaces:
        """Some of the slots of a pass, those of the ``chosen`` that are ``inside``, and their tokens."""
        rows, tokens = chosen[inside], inside[owner].nonzero()[0]
        alone = len(tokens) == len(owner)
        owner, rank, width = owner[tokens], rank[tokens], int(columns[tokens].max()) + 1
        # Idle slots that attend to anything cost less than copying the keys and values of the others.
        everyone = 2 * len(rows) > self.slots
        owner = chosen[owner] if everyone else (inside.cumsum() - 1)[owner]
        owners, ranks, which = self._send(owner, rank, tokens)
        return _BlockPlaces(
            rows=None if everyone else self._send(rows)[0],
            tokens=None if alone else which,
            owner=owners,
            rank=ranks,
            batch=self.slots if everyone else len(rows),
            n=int(rank.max()) + 1,
            width=width,
        )

    def _fill(self, values: np.ndarray, fill: int | np.ndarray) -> np.ndarray:
        """``[..., T]`` with as many further entries as there is padding."""
        missing = _round_up(values.shape[-1]) - values.shape[-1] if self.bucketed else 0
        further = np.broadcast_to(np.asarray(fill)[..., None], (*values.shape[:-1], missing))
        return np.concatenate([values, further], -1)

    def _send(self, *arrays: np.ndarray) -> Sequence[Tensor]:
        """Numbers of the same count to the device, in one transfer."""
        return torch.tensor(np.stack(arrays), dtype=torch.long, device=self.device).unbind(0)

    def _forward(
        self,
        run: Callable[[Tensor, Tensor, Tensor], Tensor],
        places: _Places,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Hidden states ``[T, H]`` of T tokens, padding left out; ``mask`` is ``[T, W]``."""
        tokens = _Tokens(
            places.slots, places.columns, [self._mask_block(block, mask) for block in places.blocks]
        )
        for layer in self._layers:
            if layer.is_initialized:
                layer.reserve(places.width)
        with attend_by(self.backbone, _ATTENTION), _announce_tokens(tokens):
            return run(ids, positions, tokens.blocks[0].mask)[: places.real]

    def _mask_block(self, block: _BlockPlaces, mask: Tensor) -> _Block:
        """The block with its part of ``[T, W]`` what the pass's tokens see."""
        seen = (mask if block.tokens is None else mask[block.tokens])[:, : block.width]
        shape = block.batch, block.n, block.width
        padded = torch.zeros(*shape, dtype=self.backbone.dtype, device=self.device)
        padded[block.owner, block.rank] = padded.new_zeros(()).masked_fill(~seen, -torch.inf)
        padded = padded[:, None].repeat(1, 1, self._groups, 1)
        return _Block(block.rows, block.tokens, block.owner, block.rank, padded)

    def _run_backbone(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Hidden states ``[T, H]`` of the tokens that are announced."""
        out = self.backbone(
            input_ids=ids[None],
            attention_mask=mask,  # four-dimensional: taken as it is
            position_ids=positions[None],
            **{self._cache_name: self._cache},
            use_cache=True,
        )
        return out.last_hidden_state[0]


@dataclass(frozen=True, slots=True)
class _BlockPlaces:
    """A :class:`_Block` before it is known what its tokens see: B, n and W instead of the mask."""

    rows: Tensor | None
    tokens: Tensor | None
    owner: Tensor
    rank: Tensor
    batch: int
    n: int
    width: int


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the T tokens of a pass go, see :class:`_Tokens`; the first ``real`` of them are no padding."""

    slots: Tensor
    columns: Tensor
    width: int
    blocks: Sequence[_BlockPlaces]
    real: int


def _round_up(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()
