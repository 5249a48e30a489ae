"""Decoders: a small one from scratch, and what is needed of any causal LM; the device they run on."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
    """The decoder below the language-model head, adapters included; maps ids to hidden states."""
    get_base_model: Any = getattr(policy, "get_base_model", None)
    return cast(PreTrainedModel, (get_base_model() if get_base_model else policy).base_model)


def disable_dropout(network: nn.Module) -> None:
    """Turn all dropout off, in place: its layers, and the rates that attention is called with."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)


def lm_head(policy: PreTrainedModel) -> nn.Module:
    """The layer that turns hidden states into logits.

    Raises:
        ConfigurationError: the architecture scales or caps its logits elsewhere.
    """
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(policy.config, name, None) not in (None, 1, 1.0):
            raise ConfigurationError(
                f"{type(policy).__name__} changes its logits after the head ({name}): not supported"
            )
    head = policy.get_output_embeddings()
    if head is None:
        raise ConfigurationError(f"{type(policy).__name__} has no language-model head")
    return head
