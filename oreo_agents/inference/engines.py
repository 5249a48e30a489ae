"""Which engine plays a model: slots, where they give the model's own numbers, else transformers' generation."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from oreo_agents.inference.critic import CachedCritic
from oreo_agents.inference.generation import GeneratingPolicy, ReadingCritic
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.inference.slots import SlotModel
from oreo_agents.models.agreement import EXACT, Probe, Rows, draw_rows, pick_logprobs
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import attends_fully, lm_head, trunk_of

_ROUNDED = 0.05
"""How far hidden states in 16 bits may be apart on average, in parts of their average size."""

_FITS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def make_policy_engine(
    policy: PreTrainedModel,
    slots: int,
    max_length: int,
    end_id: int,
    max_new_tokens: int,
    critic: Critic | None = None,
    compile_backend: str | None = None,
) -> CachedPolicy | GeneratingPolicy:
    """The engine that plays ``policy``; the arguments are those of :class:`CachedPolicy`.

    Without a cache, V is not read along the way: :func:`make_critic_engine` does it. Nor is anything compiled.
    """
    if fits_slots(policy):
        return CachedPolicy(policy, slots, max_length, end_id, max_new_tokens, critic, compile_backend)
    return GeneratingPolicy(policy, slots, end_id, max_new_tokens)


def make_critic_engine(
    critic: Critic, slots: int, max_length: int, compile_backend: str | None = None
) -> CachedCritic | ReadingCritic:
    """The engine that reads V."""
    if fits_slots(critic.backbone):
        return CachedCritic(critic, slots, max_length, compile_backend)
    return ReadingCritic(critic, slots, max_length)


def require_playable(policy: PreTrainedModel) -> None:
    """Refuse a model that neither engine would play rightly.

    Raises:
        ConfigurationError: neither does.
    """
    if not fits_slots(policy):
        probe = Probe(policy)
        probe.require(probe.generate, "played")


def fits_slots(model: PreTrainedModel) -> bool:
    """Whether a cache of slots gives the numbers that the model itself gives; asked once of each model.

    Args:
        model: a causal LM, or a backbone alone.
    """
    if model not in _FITS:
        _FITS[model] = attends_fully(model) and _compare_hidden(trunk_of(model)) and _compare_head(model)
    return _FITS[model]


@torch.inference_mode()
def _compare_hidden(trunk: PreTrainedModel) -> bool:
    """A few rows, read in two turns, against the trunk's own pass over each."""
    rows, half = draw_rows(trunk), 5
    slots = range(len(rows))
    try:
        model = SlotModel(trunk, len(rows), 64)
        early = model.extend(slots, [row[:half] for row in rows])
        late = model.extend(slots, [row[half:] for row in rows])
        own = [trunk(input_ids=torch.tensor([row], device=trunk.device)).last_hidden_state[0] for row in rows]
    except Exception:  # whatever an architecture may raise: this cache is not made for it
        return False
    ours = torch.cat([early, late]).float()
    theirs = torch.stack([*(states[half - 1] for states in own), *(states[-1] for states in own)]).float()
    apart = (ours - theirs).abs()
    if trunk.dtype in (torch.float32, torch.float64):
        return bool(apart.max() <= EXACT * max(1.0, float(theirs.abs().max())))
    return bool(apart.mean() <= _ROUNDED * theirs.abs().mean())


def _compare_head(model: PreTrainedModel) -> bool:
    """Whether the logits are those of the head over the trunk; of a backbone alone there is nothing to ask."""
    if model.get_output_embeddings() is None:
        return True
    trunk, head = trunk_of(model), lm_head(model)

    def read(rows: Rows) -> list[torch.Tensor]:
        states = [
            trunk(input_ids=torch.tensor([row], device=model.device)).last_hidden_state[0] for row in rows
        ]
        return [pick_logprobs(head(hidden[:-1]), row[1:]) for hidden, row in zip(states, rows, strict=True)]

    return Probe(model).agrees(read)
