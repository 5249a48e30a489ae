"""One pass of policy, reference and critic over a micro-batch. Knows nothing about losses or optimizers.

Each trunk runs once, over real tokens only where the layout allows it; the critic reads the policy's own hidden
states if it shares the trunk. Only action positions go through the language-model head (projection.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from oreo_agents.adapters import has_adapters
from oreo_agents.errors import ConfigurationError
from oreo_agents.models import Critic, lm_head, trunk_of
from oreo_agents.projection import Divergence, project

# --- layouts: (trunk, ids, token_mask) -> hidden states of the real tokens, row after row, [N, H] -----------


def right_padded(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
    """Causal attention never looks at padding on the right, so no mask is needed."""
    return trunk(input_ids=ids, use_cache=False).last_hidden_state[token_mask]


def left_padded(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
    """With a mask and explicit positions."""
    moved_mask = token_mask.flip(1)
    moved = torch.zeros_like(ids).masked_scatter(moved_mask, ids[token_mask])
    positions = (moved_mask.cumsum(1) - 1).clamp(min=0)
    out = trunk(input_ids=moved, attention_mask=moved_mask.long(), position_ids=positions, use_cache=False)
    return out.last_hidden_state[moved_mask]


def packed(trunk: nn.Module, ids: Tensor, token_mask: Tensor) -> Tensor:
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


LAYOUTS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "right": right_padded,
    "left": left_padded,
    "packed": packed,
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


def prepare_attention(model: PreTrainedModel, layout: str) -> None:
    """Choose the attention that suits the layout: flash attention packs by itself, others episode by episode.

    Raises:
        ConfigurationError: the architecture has more than full attention, which cannot be packed this way.
    """
    implementation = str(model.config._attn_implementation)
    if layout != "packed":
        if model.device.type == "cpu":
            model.set_attn_implementation("eager")  # its backward pass is the faster one there
        return
    if "flash" in implementation:
        return
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(model.config, "sliding_window", None):
        raise ConfigurationError(
            f"{type(model).__name__} does not attend to whole episodes: choose layout right, or flash attention"
        )
    model.set_attn_implementation(_PACKED_ATTENTION)


# --- the reference policy -----------------------------------------------------------------------------------


class Reference:
    """The frozen start of training: a copy, or the policy itself with its adapters switched off.

    Args:
        policy: where training starts from.
        remember: keep the hidden states before each action of episodes seen once, so that later passes over the
            data need no reference forward. They take ``hidden_size`` numbers an action token, in the precision
            of the run, in the computer's memory; results do not change.
    """

    def __init__(self, policy: PreTrainedModel, remember: bool = False) -> None:
        self.switches_adapters = has_adapters(policy)
        self.model = policy if self.switches_adapters else copy.deepcopy(policy).eval().requires_grad_(False)
        self.head = lm_head(self.model)
        self._known: dict[bytes, Tensor] | None = {} if remember else None

    @torch.no_grad()
    def states(self, layout: str, ids: Tensor, token_mask: Tensor, before_action: Tensor) -> Tensor:
        """Hidden states ``[N, H]`` where ``before_action``, ``[tokens]`` bool, says so."""
        if self._known is None:
            return self._run(layout, ids, token_mask)[before_action]
        keys = [row[mask].cpu().numpy().tobytes() for row, mask in zip(ids, token_mask, strict=True)]
        if not all(key in self._known for key in keys):
            counts = token_mask.sum(1).tolist()
            hidden = self._run(layout, ids, token_mask).split(counts)
            for key, states, chosen in zip(keys, hidden, before_action.split(counts), strict=True):
                self._known[key] = states[chosen].to("cpu", self._precision(ids.device.type))
        return torch.cat([self._known[key] for key in keys]).to(ids.device)

    def _run(self, layout: str, ids: Tensor, token_mask: Tensor) -> Tensor:
        with self._without_adapters() if self.switches_adapters else nullcontext():
            return LAYOUTS[layout](trunk_of(self.model), ids, token_mask)

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        """The start of training, without dropout."""
        training = self.model.training
        self.model.eval()
        with cast(Any, self.model).disable_adapter():
            yield
        self.model.train(training)

    def _precision(self, device: str) -> torch.dtype:
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return next(self.model.parameters()).dtype


# --- the pass -----------------------------------------------------------------------------------------------


class PolicyAndCritic(nn.Module):
    """What is trained: the policy and, for methods with a value function, the critic.

    Args:
        policy: causal LM.
        critic: value network, of its own or on the policy's trunk.
        head_chunk: action positions projected to logits at once.
        layout: how episodes lie in memory; a key of :data:`LAYOUTS`.
    """

    def __init__(
        self, policy: PreTrainedModel, critic: Critic | None, head_chunk: int, layout: str = "right"
    ) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic
        self.head_chunk, self.layout = head_chunk, layout
        self.config = policy.config
        self._no_split_modules = policy._no_split_modules  # the layers that FSDP shards one by one

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict | None = None, **options: Any
    ) -> None:
        """Trade a second forward pass for activation memory, in every trunk; arguments are PreTrainedModel's."""
        trunks = [self.policy, *([self.critic.backbone] if self.critic else [])]
        for trunk in trunks:
            trunk.gradient_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def forward(
        self,
        input_ids: Tensor,
        action_mask: Tensor,
        reference: Reference | None = None,
        token_mask: Tensor | None = None,
        divergence: Divergence = "reverse",
        head_alone: bool = False,
        observed: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Log-probabilities of the action tokens and what the losses need beside them, each ``[B, T]``.

        Args:
            input_ids: ``[B, T]``, right-padded.
            action_mask: ``[B, T]`` bool; entries elsewhere are zero in the result.
            reference: the frozen start, for log-ratio and KL.
            token_mask: ``[B, T]`` bool, what is not padding; None: nothing is.
            divergence: which KL over the whole vocabulary; see :func:`oreo_agents.projection.project`.
            head_alone: values on the policy's trunk move only their head.
            observed: ``[B, T]`` bool, tokens that the critic's trunk predicts, too, through the reference's head.

        Returns:
            ``logp``, ``entropy``; with a reference also ``rho`` and ``kl``; with a critic also ``values``, which
            are zero at padding; with ``observed`` also ``foreseen``, the log-probabilities of those tokens.
        """
        tokens = torch.ones_like(action_mask) if token_mask is None else token_mask
        actions = action_mask & tokens
        actions[:, 0] = False  # nothing precedes it
        before_action = pad(actions[:, 1:], (0, 1))[tokens]
        hidden = LAYOUTS[self.layout](trunk_of(self.policy), input_ids, tokens)
        ref_head = ref_hidden = None
        if reference is not None:
            ref_head = reference.head
            ref_hidden = reference.states(self.layout, input_ids, tokens, before_action)
        statistics = project(
            lm_head(self.policy),
            hidden[before_action],
            input_ids[actions],
            self.head_chunk,
            ref_head,
            ref_hidden,
            divergence,
        )
        names = ("logp", "entropy", "rho", "kl") if reference else ("logp", "entropy")
        columns = {name: _scatter(getattr(statistics, name), actions) for name in names}
        if self.critic is not None:
            if self.critic.shares(self.policy):
                states = hidden.detach() if head_alone else hidden
            else:
                states = LAYOUTS[self.layout](self.critic.backbone, input_ids, tokens)
            columns["values"] = _scatter(self.critic.read(states), tokens)
            if observed is not None and ref_head is not None:
                before = pad(observed[:, 1:], (0, 1))[tokens]
                foreseen = project(ref_head, states[before], input_ids[observed], self.head_chunk)
                columns["foreseen"] = _scatter(foreseen.logp, observed)
        return columns


def read_values(critic: Critic, layout: str, ids: Tensor, token_mask: Tensor) -> Tensor:
    """V after every token by the critic's own pass, ``[B, T]``, zero at padding."""
    return _scatter(critic.read(LAYOUTS[layout](critic.backbone, ids, token_mask)), token_mask)


def _scatter(flat: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)
