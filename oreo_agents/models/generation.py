"""transformers' own generation, token by token under our choice. Knows nothing about slots, trees or text.

Every architecture that transformers can generate with, it generates with rightly: sliding windows, recurrent layers and
whatever else it keeps from token to token are its own business. It reads each conversation from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

Choose = Callable[[int, Tensor], Tensor]
"""From the number of a step and logits ``[K, V]`` to tokens ``[K]``."""


@torch.inference_mode()
def generate_tokens(
    policy: PreTrainedModel, ids: Tensor, choose: Choose, end_id: int | None, max_new_tokens: int
) -> tuple[Tensor, Tensor]:
    """Continue K equally long rows until each has ended, or for ``max_new_tokens``.

    Args:
        policy: causal LM.
        ids: ``[K, T]``.
        choose: picks each token.
        end_id: ends a row; None: none does.
        max_new_tokens: at most so many steps.

    Returns:
        Tokens and their log-probabilities (nats), ``[K, S]``; what stands after a row's ``end_id`` means nothing.
    """
    draw = _Draw(choose)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=end_id, pad_token_id=end_id or 0
    )
    with _without_defaults(policy):
        generate: Any = policy.generate
        rows = generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([draw]),
        )
    return rows[:, ids.shape[1] :], torch.stack(draw.logprobs, 1)


class _Draw(LogitsProcessor):
    """Leaves one token possible, the chosen one, and remembers how likely it was."""

    def __init__(self, choose: Choose) -> None:
        self.choose, self.logprobs = choose, list[Tensor]()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = self.choose(len(self.logprobs), scores)[:, None]
        self.logprobs.append(scores.float().log_softmax(-1).gather(1, tokens)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


@contextmanager
def _without_defaults(policy: Any) -> Iterator[None]:
    """A model's own settings (penalties, forced tokens, sampling) would be merged into ours."""
    before, policy.generation_config = policy.generation_config, GenerationConfig()
    try:
        yield
    finally:
        policy.generation_config = before
