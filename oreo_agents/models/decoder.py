"""Decoders: a small one from scratch, and what is needed of any causal LM; the device they run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from oreo_agents.errors import ConfigurationError


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bf16() -> bool:
    """Whether the machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def small_decoder(
    tokenizer: PreTrainedTokenizerBase, hidden_size: int = 256, layers: int = 4, max_length: int = 4096
) -> PreTrainedModel:
    """A Qwen3-shaped decoder of a few million parameters with random weights, for training from scratch.

    Multi-query attention keeps its cache small, tied embeddings make copying names from the prompt easy.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen3ForCausalLM(config)


def trunk_of(policy: PreTrainedModel) -> PreTrainedModel:
    """The decoder below the language-model head, adapters included; maps ids to hidden states.

    Of a model that also sees or hears, the part that reads text.
    """
    get_base_model: Any = getattr(policy, "get_base_model", None)
    base = (get_base_model() if get_base_model else policy).base_model
    return cast(PreTrainedModel, getattr(base, "language_model", None) or base)


def text_config(model: PreTrainedModel) -> PretrainedConfig:
    """The configuration of the part that reads text, where there are others."""
    return model.config.get_text_config(decoder=True)


def context_length(model: PreTrainedModel, unknown: int = 4096) -> int:
    """Tokens that a model reads; ``unknown`` where its configuration does not say."""
    return readable_length(text_config(model)) or unknown


def readable_length(config: PretrainedConfig) -> int | None:
    """Tokens that a model of this configuration reads; None where it does not say.

    With LongRoPE (Phi-3 128k, Phi-4-mini) those of the short factors: a longer text turns *all* positions otherwise,
    the earlier ones too, and those of whatever else is read with it. What was kept of an episode, or sampled in it,
    would no longer be the model's own.
    """
    limits = [getattr(config, "max_position_embeddings", None)]
    rope = getattr(config, "rope_parameters", None) or {}
    for one in (rope, *rope.values()):  # of all layers, or by the type of layer
        if isinstance(one, dict) and one.get("rope_type") == "longrope":
            limits.append(one.get("original_max_position_embeddings"))
    return min((int(limit) for limit in limits if limit), default=None)


def attends_fully(model: PreTrainedModel) -> bool:
    """Whether, as far as its configuration says, every layer attends to everything before: no windows, no chunks, no
    recurrence."""
    config = text_config(model)
    named = config.to_dict()
    if set(named.get("layer_types") or ["full_attention"]) != {"full_attention"}:
        return False
    reach = [
        value
        for name, value in named.items()
        if isinstance(value, int)
        and (name.endswith(("window", "window_size", "attention_chunk_size", "index_topk")))
    ]
    return all(value <= 0 or value >= context_length(model) for value in reach)


@contextmanager
def attend_by(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Compute attention by a registered function meanwhile."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def disable_dropout(network: nn.Module) -> None:
    """Turn all dropout off, in place: its layers, and the rates that attention is called with."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)


def lm_head(policy: PreTrainedModel) -> nn.Module:
    """The layer that turns hidden states into logits, with what the architecture does to them afterwards.

    Whether that is all it does, :mod:`oreo_agents.models.agreement` finds out.

    Raises:
        ConfigurationError: there is no head.
    """
    head, config = policy.get_output_embeddings(), text_config(policy)
    if head is None:
        raise ConfigurationError(f"{type(policy).__name__} has no language-model head")
    scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    for name in ("logit_scale", "lm_head_multiplier"):
        given = getattr(config, name, None)
        scale *= given if isinstance(given, (int, float)) else 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return head if scale == 1 and cap is None else _ScaledHead(head, scale, cap)


class _ScaledHead(nn.Module):
    """A head whose logits are scaled (Granite, Cohere, Falcon-H1) and softly capped (Gemma 2)."""

    def __init__(self, head: nn.Module, scale: float, cap: float | None) -> None:
        super().__init__()
        self.head, self.scale, self.cap = head, scale, cap

    def forward(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden) * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)
