"""One pass of policy, reference and critic over a micro-batch. Knows nothing about losses or optimizers.

Each trunk runs once, over real tokens only where the layout allows it; the critic reads the policy's own hidden
states if it shares the trunk. Only action positions go through the language-model head (token_statistics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import disable_dropout, lm_head, trunk_of
from oreo_agents.training.layouts import LAYOUTS
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import TokenRows, lay_rows
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
        rows: TokenRows,
        reference: Reference | None = None,
        divergence: Divergence = "reverse",
        critic_alone: bool = False,
    ) -> dict[str, Tensor]:
        """Log-probabilities of the action tokens and what the losses need beside them, each ``[B, T]``.

        Args:
            rows: what is read, on the device of the networks.
            reference: the frozen start, for log-ratio and KL.
            divergence: which KL over the whole vocabulary; see
                :func:`oreo_agents.training.token_statistics.project_tokens`.
            critic_alone: nothing of the policy learns, nor has it yet; values on its trunk move only their head.

        Returns:
            ``logp``, ``entropy``; with a reference also ``rho`` and ``kl``; zero but for actions. With a critic also
            ``values``, zero at padding; where ``rows`` has observed tokens also ``observed_logp``, their
            log-probabilities by the critic's trunk through the reference's head.
        """
        ref_head = ref_hidden = hidden = None
        if reference is not None:
            ref_head, ref_hidden = reference.head, reference.states(self.layout, rows)
        shared = self.critic is not None and self.critic.shares(self.policy)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not critic_alone):
            if critic_alone and ref_hidden is not None and not shared:
                before = ref_hidden  # the policy still is the reference
            else:
                hidden = LAYOUTS[self.layout](trunk_of(self.policy), rows)
                before = hidden.index_select(0, rows.actions - 1)
            statistics = project_tokens(
                lm_head(self.policy),
                before,
                rows.ids.index_select(0, rows.actions),
                self.head_chunk,
                ref_head,
                ref_hidden,
                divergence,
            )
        names = ("logp", "entropy", "rho", "kl") if reference else ("logp", "entropy")
        columns = {name: rows.scatter(getattr(statistics, name), rows.actions) for name in names}
        if self.critic is not None:
            states = (
                hidden if shared and hidden is not None else LAYOUTS[self.layout](self.critic.backbone, rows)
            )
            columns["values"] = rows.scatter(self.critic.read(states))
            if (observed := rows.observed) is not None and ref_head is not None:
                before, targets = states.index_select(0, observed - 1), rows.ids.index_select(0, observed)
                predictions = project_tokens(ref_head, before, targets, self.head_chunk)
                columns["observed_logp"] = rows.scatter(predictions.logp, observed)
        return columns

    @torch.no_grad()
    def read_rows(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Log-probabilities of all tokens but each row's first, by the pass that is trained with."""
        training = self.training
        self.train()
        counts = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(counts.max()), dtype=torch.long)
        tokens = torch.arange(ids.shape[1]) < counts[:, None]
        ids[tokens] = torch.tensor([token for row in rows for token in row])
        laid = lay_rows(ids, tokens, tokens).to(next(self.policy.parameters()).device)
        logp = self(laid)["logp"]
        self.train(training)
        return [values[1:n] for values, n in zip(logp, counts.tolist(), strict=True)]


def read_values(critic: Critic, layout: str, rows: TokenRows) -> Tensor:
    """V after every token by the critic's own pass, ``[B, T]``, zero at padding."""
    return rows.scatter(critic.read(LAYOUTS[layout](critic.backbone, rows)))
