"""The table of methods: which episodes each takes, which networks it needs, and its losses from losses.py.

Every method sees the same batches and masks, so that a comparison compares the losses and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from oreo_agents import losses
from oreo_agents.batches import Item, MicroBatch, preference_pairs, with_mismatches
from oreo_agents.chat import EncodedEpisode
from oreo_agents.errors import DatasetError

if TYPE_CHECKING:
    from oreo_agents.trainer import OreoConfig

Columns = dict[str, Tensor]
"""What :class:`oreo_agents.actor_critic.PolicyAndCritic` returns; ``target_values`` is the EMA critic's, if any."""

Loss = Callable[[MicroBatch, Columns, "OreoConfig"], Tensor]
Select = Callable[[Sequence[EncodedEpisode], int], Sequence[Item]]


@dataclass(frozen=True, slots=True)
class Objective:
    """A way to learn from recorded episodes."""

    summary: str
    """For the model card."""
    policy_loss: Loss
    value_loss: Loss | None = None
    """None: there is no critic."""
    states: Callable[[MicroBatch], Tensor] | None = None
    """Where the critic is trained, ``[B, T]`` bool."""
    regularised: bool = False
    """alpha * L_reg is added to the policy's loss."""
    reference: bool = True
    """The start is kept, for log-ratios."""
    select: Select = lambda episodes, seed: episodes
    per_token: bool = False
    """What weighs the same in a batch: every token; otherwise every episode."""
    rows: int = 1
    """Episodes in an item."""
    mismatched: bool = False
    """The second episode of an item serves KTO's reference point only."""
    contrast: bool = False
    """Needs successful and failed episodes."""
    beta: float = 0.03
    alpha: float = 0.01

    @property
    def unused(self) -> frozenset[str]:
        """Options of :class:`oreo_agents.OreoConfig` that change nothing in this method."""
        unused = set()
        implicit = self.value_loss is _iql_value
        if not self.value_loss:
            unused |= {"critic", "critic_learning_rate", "critic_warmup", "value_weight", "target_decay"}
        if not self.value_loss or implicit:
            unused |= {"after_action", "importance_weights", "log_ratio_clip"}
        if not implicit:
            unused.add("expectile")
        if not self.reference:
            unused |= {"beta", "cache_reference"}
        elif not self.value_loss:
            unused.add("observation_weight")
        if not self.regularised:
            unused |= {"alpha", "kl_target", "regularizer"}
        if self.states is first_state:
            unused.add("after_action")
        return frozenset(unused)


# --- where the critic is read -------------------------------------------------------------------------------


def _before(chosen: Tensor) -> Tensor:
    """The states in which the chosen tokens are due."""
    return pad(chosen[:, 1:], (0, 1))


def token_states(batch: MicroBatch) -> Tensor:
    """Before every action token, and after every action."""
    return batch["end_mask"] | _before(batch["action_mask"])


def turn_states(batch: MicroBatch) -> Tensor:
    """Before and after every action."""
    starts = losses.turn_starts(batch["action_mask"], batch["end_mask"])
    return batch["end_mask"] | _before(starts)


def first_state(batch: MicroBatch) -> Tensor:
    """Before the first action."""
    actions = batch["action_mask"]
    return _before(actions & (actions.cumsum(1) == 1))


# --- losses of a micro-batch ---------------------------------------------------------------------------------


def observed_tokens(batch: MicroBatch) -> Tensor:
    """What the environment wrote, ``[B, T]`` bool, but for the first token, which nothing precedes."""
    return pad((batch["token_mask"] & ~batch["action_mask"])[:, 1:], (1, 0))


def imitation_weights(batch: MicroBatch, observation_weight: float) -> Tensor:
    """What each token counts in imitation, ``[B, T]``."""
    imitated = pad(batch["imitate_mask"][:, 1:], (1, 0))
    return imitated + observation_weight * observed_tokens(batch)


def _imitation(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    weights = imitation_weights(batch, config.observation_weight)
    return -(out["logp"] * weights).sum() / weights.sum().clamp(min=1e-8)


def _importance(out: Columns, config: OreoConfig) -> Tensor | None:
    return losses.importance_weights(out["rho"]) if config.importance_weights else None


def _soft_value(states: Callable[[MicroBatch], Tensor]) -> Loss:
    """Eq. 8 in the given states; after an action, what ``after_action`` says."""

    def loss(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
        weights, clip = _importance(out, config), config.log_ratio_clip
        values, rho, returns, read = out["values"], out["rho"], batch["returns"], states(batch)
        if config.after_action == "outcome":
            return losses.value_loss(values, rho, returns, read, config.beta, clip, weights)
        masks = batch["action_mask"], batch["end_mask"], read
        given = values, out.get("target_values", values), rho, returns, *masks
        return losses.answered_value_loss(*given, config.beta, clip, weights)

    return loss


def _soft_policy(equation: Callable[..., Tensor], *masks: str) -> Loss:
    """One of the policy losses of losses.py, with the masks it takes."""

    def loss(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
        values = out.get("target_values", out["values"])
        given = values, out["rho"], batch["returns"], *(batch[mask] for mask in masks)
        return equation(*given, config.beta, _importance(out, config))

    return loss


def _dpo(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    return losses.dpo_loss(out["rho"], config.beta)


def _kto(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    reference_point = batch["reference_point"][0]
    return losses.kto_loss(out["rho"], batch["success"], reference_point, config.beta)


def _iql_value(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    values, targets = out["values"], out.get("target_values", out["values"])
    given = values, targets, batch["returns"], batch["action_mask"], batch["end_mask"]
    return losses.iql_value_loss(*given, config.expectile)


def _iql_policy(batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    values = out.get("target_values", out["values"])
    advantages = losses.turn_advantages(values, batch["action_mask"], batch["end_mask"])
    return losses.advantage_weighted_loss(out["logp"], advantages, batch["action_mask"], config.beta)


# --- which episodes -------------------------------------------------------------------------------------------


def _successful(episodes: Sequence[EncodedEpisode], seed: int) -> Sequence[Item]:
    chosen = [episode for episode in episodes if episode.success]
    if not chosen:
        raise DatasetError("there are no successful episodes to train on")
    return chosen


def _pairs(episodes: Sequence[EncodedEpisode], seed: int) -> Sequence[Item]:
    pairs = preference_pairs(episodes, seed)
    if not pairs:
        raise DatasetError(
            "no game was both won and lost: preference pairs need several episodes of a game; record more"
        )
    return pairs


def _mismatched(episodes: Sequence[EncodedEpisode], seed: int) -> Sequence[Item]:
    return with_mismatches(episodes)


# --- the table ------------------------------------------------------------------------------------------------

_TOKEN = Objective(
    "token-level OREO (Eqs. 8 and 9)",
    _soft_policy(losses.token_policy_loss, "action_mask"),
    _soft_value(token_states),
    token_states,
    regularised=True,
    contrast=True,
)

METHODS: dict[str, Objective] = {
    "sft": Objective("imitate every episode", _imitation, reference=False, per_token=True),
    "rejection": Objective(
        "imitate the successful episodes", _imitation, reference=False, select=_successful, per_token=True
    ),
    "oreo": _TOKEN,
    "oreo-token": _TOKEN,
    "oreo-step": Objective(
        "step-level OREO: turns as actions",
        _soft_policy(losses.step_policy_loss, "action_mask", "end_mask"),
        _soft_value(turn_states),
        turn_states,
        regularised=True,
        contrast=True,
        alpha=0.1,
    ),
    "oreo-response": Objective(
        "response-level OREO (Eq. 10)",
        _soft_policy(losses.response_policy_loss, "action_mask"),
        _soft_value(token_states),
        token_states,
        regularised=True,
        contrast=True,
        alpha=0.3,
    ),
    "pcl": Objective(
        "multi-step path consistency without stop-gradient (PCL, DQO)",
        _soft_policy(losses.path_policy_loss, "action_mask"),
        _soft_value(token_states),
        token_states,
        regularised=True,
        contrast=True,
    ),
    "pcl-one-step": Objective(
        "one-step path consistency",
        _soft_policy(losses.one_step_policy_loss, "action_mask"),
        _soft_value(token_states),
        token_states,
        regularised=True,
        contrast=True,
    ),
    "dro": Objective(
        "DRO-V (arXiv 2405.19107): one error an episode, V of the prompt",
        _soft_policy(losses.response_policy_loss, "action_mask"),
        _soft_value(first_state),
        first_state,
        contrast=True,
    ),
    "iql": Objective(
        "turn-level implicit Q-learning (arXiv 2110.06169)",
        _iql_policy,
        _iql_value,
        turn_states,
        contrast=True,
        beta=0.3,
    ),
    "dpo": Objective(
        "DPO (arXiv 2305.18290) on pairs of episodes of the same game",
        _dpo,
        select=_pairs,
        rows=2,
        contrast=True,
        beta=0.1,
    ),
    "kto": Objective(
        "KTO (arXiv 2402.01306)",
        _kto,
        select=_mismatched,
        rows=2,
        mismatched=True,
        contrast=True,
        beta=0.1,
    ),
}
"""``OreoConfig.method``; ``oreo`` and ``oreo-token`` are the same."""
