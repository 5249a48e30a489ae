"""Proposing actions with a policy and judging them with a critic, each over its own cache of slots.

Both walk in step: read the prompt, look at K candidates as a tree, keep the chosen one. Tokens in, tokens out;
knows nothing about text or environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.inference.slots import SlotModel
from oreo_agents.models import Critic, lm_head


@dataclass(slots=True)
class Proposals:
    """K candidates for each of B slots."""

    ids: Tensor
    """``[B, S, K]`` tokens, step by step; beyond a candidate's length they mean nothing."""
    logprobs: Tensor
    """``[B, S, K]`` log-probabilities at temperature 1 (nats)."""
    counts: Tensor
    """``[B, K]`` tokens of each candidate, end of turn included where it was reached."""

    def tokens(self, row: int, lane: int) -> list[int]:
        """One candidate's token ids."""
        return self.ids[row, : self.counts[row, lane], lane].tolist()

    def sums(self) -> Tensor:
        """Log-probability of each whole candidate, ``[B, K]``."""
        steps = torch.arange(self.logprobs.shape[1], device=self.logprobs.device)
        return (self.logprobs * (steps[:, None] < self.counts[:, None, :])).sum(1)

    def token_logprobs(self, row: int, lane: int) -> list[float]:
        """One candidate's log-probabilities, token by token."""
        return self.logprobs[row, : self.counts[row, lane], lane].tolist()


class CachedPolicy:
    """Samples candidate actions.

    Args:
        policy: a causal LM.
        slots: episodes at once.
        max_length: tokens an episode may have.
        end_id: the end-of-turn token.
        max_new_tokens: an action is cut after this many tokens.
    """

    def __init__(
        self, policy: PreTrainedModel, slots: int, max_length: int, end_id: int, max_new_tokens: int
    ) -> None:
        self.head = lm_head(policy)
        self.model = SlotModel(cast(PreTrainedModel, policy.base_model), slots, max_length)
        self.end_id, self.max_new_tokens = end_id, max_new_tokens

    def propose(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], uniforms: Tensor, temperature: float
    ) -> Proposals:
        """Append the prompts and decode K candidates after each.

        Args:
            slots: B slots.
            prompts: what is new since the last call, per slot.
            uniforms: ``[B, max_new_tokens, K]`` in [0, 1), the randomness of every choice; NaN asks for the
                most likely token instead.
            temperature: of the sampling.
        """
        with torch.inference_mode():
            hidden = self.model.extend(slots, prompts)[:, None].expand(-1, uniforms.shape[-1], -1)
            ids, logprobs = [], []
            done = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            counts = torch.zeros_like(done, dtype=torch.long)
            for step in range(self.max_new_tokens):
                logits = self.head(hidden).float()
                token = pick(logits, uniforms[:, step].to(logits.device), temperature)
                ids.append(token)
                logprobs.append(logits.log_softmax(-1).gather(-1, token[..., None])[..., 0])
                counts += ~done
                done |= token == self.end_id
                if done.all() or step + 1 == self.max_new_tokens:
                    break
                hidden = self.model.branch(slots, token[:, None], depth=step)[:, 0]
            return Proposals(torch.stack(ids, 1), torch.stack(logprobs, 1), counts)

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates; their last token is left for the next prompt to begin with."""
        counts = proposals.counts.gather(1, lanes[:, None])[:, 0]
        self.model.commit(slots, lanes, counts - 1, k=proposals.counts.shape[1])


class CachedCritic:
    """Reads V after each candidate action.

    Args:
        critic: the value network.
        slots: episodes at once.
        max_length: tokens an episode may have.
    """

    def __init__(self, critic: Critic, slots: int, max_length: int) -> None:
        self.critic = critic
        self.model = SlotModel(critic.backbone, slots, max_length)

    def values(self, slots: Sequence[int], prompts: Sequence[Sequence[int]], proposals: Proposals) -> Tensor:
        """Append the prompts and read V after the last token of every candidate, ``[B, K]``."""
        with torch.inference_mode():
            self.model.extend(slots, prompts)
            hidden = self.model.branch(slots, proposals.ids, depth=0)
            last = (proposals.counts - 1)[:, None, :, None].expand(-1, 1, -1, hidden.shape[-1])
            return self.critic.read(hidden.gather(1, last)[:, 0])

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates, last token included."""
        counts = proposals.counts.gather(1, lanes[:, None])[:, 0]
        self.model.commit(slots, lanes, counts, k=proposals.counts.shape[1])


def pick(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Inverse-CDF sampling of one token per distribution, ``[..., V], [...] -> [...]``; NaN means argmax."""
    best = logits.argmax(-1)
    if uniforms.isnan().all():
        return best
    cdf = (logits / temperature).softmax(-1).cumsum(-1)
    sampled = torch.searchsorted(cdf, (uniforms.nan_to_num() * cdf[..., -1])[..., None], right=True)[..., 0]
    return torch.where(uniforms.isnan(), best, sampled.clamp(max=logits.shape[-1] - 1))
