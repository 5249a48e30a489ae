"""One pass of policy, reference and critic over a micro-batch. Knows nothing about losses or optimizers.

Each trunk runs once, over real tokens only where the layout allows it; the critic reads the policy's own hidden
states if it shares the trunk. Only action positions go through the language-model head (token_statistics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import disable_dropout, lm_head, trunk_of
from oreo_agents.training.layouts import LAYOUTS, split_sequences
from oreo_agents.training.reference import Reference
from oreo_agents.training.token_statistics import Divergence, project_tokens


class PolicyAndCritic(nn.Module):
    """What is trained: the policy and, for methods with a value function, the critic; neither has dropout.

    Dropout would be in the log-probabilities of the policy and not in those of the reference and of the data, so that
    their ratio would not be 1 where nothing was learnt.

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
        disable_dropout(self)
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
        start_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Log-probabilities of the action tokens and what the losses need beside them, each ``[B, T]``.

        Args:
            input_ids: ``[B, T]``, right-padded.
            action_mask: ``[B, T]`` bool; entries elsewhere are zero in the result.
            reference: the frozen start, for log-ratio and KL.
            token_mask: ``[B, T]`` bool, what is not padding; None: nothing is.
            divergence: which KL over the whole vocabulary; see
                :func:`oreo_agents.training.token_statistics.project_tokens`.
            head_alone: values on the policy's trunk move only their head.
            observed: ``[B, T]`` bool, tokens that the critic's trunk predicts, too, through the reference's head.

            start_mask: ``[B, T]`` bool, where the sequences of an episode begin; None: each is one.

        Returns:
            ``logp``, ``entropy``; with a reference also ``rho`` and ``kl``; with a critic also ``values``, which
            are zero at padding; with ``observed`` also ``observed_logp``, the log-probabilities of those tokens.
        """
        tokens = torch.ones_like(action_mask) if token_mask is None else token_mask
        actions = action_mask & tokens
        actions[:, 0] = False  # nothing precedes it
        rows = split_sequences(input_ids, tokens, start_mask)
        before_action = pad(actions[:, 1:], (0, 1))[tokens]
        hidden = LAYOUTS[self.layout](trunk_of(self.policy), *rows)
        ref_head = ref_hidden = None
        if reference is not None:
            ref_head = reference.head
            ref_hidden = reference.states(self.layout, *rows, before_action)
        statistics = project_tokens(
            lm_head(self.policy),
            hidden[before_action],
            input_ids[actions],
            self.head_chunk,
            ref_head,
            ref_hidden,
            divergence,
        )
        names = ("logp", "entropy", "rho", "kl") if reference else ("logp", "entropy")
        columns = {name: _scatter_values(getattr(statistics, name), actions) for name in names}
        if self.critic is not None:
            if self.critic.shares(self.policy):
                states = hidden.detach() if head_alone else hidden
            else:
                states = LAYOUTS[self.layout](self.critic.backbone, *rows)
            columns["values"] = _scatter_values(self.critic.read(states), tokens)
            if observed is not None and ref_head is not None:
                before = pad(observed[:, 1:], (0, 1))[tokens]
                predictions = project_tokens(ref_head, states[before], input_ids[observed], self.head_chunk)
                columns["observed_logp"] = _scatter_values(predictions.logp, observed)
        return columns

    @torch.no_grad()
    def read_rows(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Log-probabilities of all tokens but each row's first, by the pass that is trained with."""
        training = self.training
        self.train()
        device = next(self.policy.parameters()).device
        counts = torch.tensor([len(row) for row in rows], device=device)
        ids = torch.zeros(len(rows), int(counts.max()), dtype=torch.long, device=device)
        tokens = torch.arange(ids.shape[1], device=device) < counts[:, None]
        ids[tokens] = torch.tensor([token for row in rows for token in row], device=device)
        logp = self(ids, tokens.clone(), token_mask=tokens)["logp"]
        self.train(training)
        return [values[1:n] for values, n in zip(logp, counts.tolist(), strict=True)]


def read_values(
    critic: Critic, layout: str, ids: Tensor, token_mask: Tensor, start_mask: Tensor | None = None
) -> Tensor:
    """V after every token by the critic's own pass, ``[B, T]``, zero at padding."""
    rows = split_sequences(ids, token_mask, start_mask)
    return _scatter_values(critic.read(LAYOUTS[layout](critic.backbone, *rows)), token_mask)


def _scatter_values(flat: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)
