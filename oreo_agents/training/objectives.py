"""What the table of methods names: which episodes are drawn, where the critic is read, losses of a micro-batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from oreo_agents.errors import DatasetError
from oreo_agents.good import find_good
from oreo_agents.language.encoded import EncodedEpisodes
from oreo_agents.models.decoder import readable_length
from oreo_agents.training import losses
from oreo_agents.training.batches import (
    Items,
    MicroBatch,
    draw_groups,
    group_by_prompt,
    preference_pairs,
    with_group_advantages,
    with_mismatches,
    with_prompt_values,
)
from oreo_agents.training.methods import IMITATE_MORE, ItemKind, Objective, States

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from oreo_agents.training.config import OreoConfig

REPEAT = "record several of each (--per-game N; in a suite games = N under [rollouts])"
"""What helps who compares episodes of the same game, where there are too few to compare."""
FEW = 0.1
"""A share of the episodes with which so little can be compared that nobody can have meant it."""

Columns = dict[str, Tensor]
"""What :class:`oreo_agents.training.forward.PolicyAndCritic` returns; ``target_values`` is the EMA critic's, if any."""


# --- where the critic is read -------------------------------------------------------------------------------


def _mark_states(chosen: Tensor) -> Tensor:
    """The states in which the chosen tokens are due."""
    return pad(chosen[:, 1:], (0, 1))


def token_states(batch: MicroBatch) -> Tensor:
    """Before every action token, and after every action."""
    return batch["end_mask"] | _mark_states(batch["action_mask"])


def turn_states(batch: MicroBatch) -> Tensor:
    """Before and after every action."""
    starts = losses.turn_starts(batch["action_mask"], batch["end_mask"])
    return batch["end_mask"] | _mark_states(starts)


def first_state(batch: MicroBatch) -> Tensor:
    """Before the first action."""
    actions = batch["action_mask"]
    return _mark_states(actions & (actions.cumsum(1) == 1))


STATES: dict[States, Callable[[MicroBatch], Tensor]] = {
    "tokens": token_states,
    "turns": turn_states,
    "start": first_state,
}


def critic_states(objective: Objective, batch: MicroBatch) -> Tensor:
    """Where the critic is trained, ``[B, T]`` bool."""
    return STATES[objective.states](batch)


# --- losses of a micro-batch ---------------------------------------------------------------------------------


def observed_tokens(batch: MicroBatch) -> Tensor:
    """What the environment wrote, ``[B, T]`` bool, but for first tokens of sequences, which nothing precedes."""
    observed = batch["token_mask"] & ~batch["action_mask"]
    if "start_mask" in batch:
        observed = observed & ~batch["start_mask"]
    return pad(observed[:, 1:], (1, 0))


def imitation_weights(batch: MicroBatch, config: OreoConfig) -> Tensor:
    """What each token counts in imitation, ``[B, T]``."""
    imitated: Tensor = pad(batch["imitate_mask"][:, 1:], (1, 0))
    if "thought_mask" in batch and config.thought_weight != 1:
        imitated = imitated * torch.where(batch["thought_mask"], config.thought_weight, 1.0)
    return imitated + config.observation_weight * observed_tokens(batch)


def policy_loss(objective: Objective, batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    """The objective's loss of the policy, a scalar: its function gets what the names of its parameters ask for."""
    equation = getattr(losses, objective.policy_loss)
    return equation(
        **{name: _find_argument(name, batch, out, config) for name in signature(equation).parameters}
    )


def tokens_per_error(objective: Objective, batch: MicroBatch) -> Tensor | None:
    """How many tokens' log-ratios one error of the policy's loss sums, a mean; None where errors overlap.

    For :func:`oreo_agents.training.losses.effective_temperature`.
    """
    tokens = batch["action_mask"].sum().float()
    match objective.policy_loss:
        case "token_policy_loss" | "one_step_policy_loss":
            return tokens.new_ones(())
        case "step_policy_loss":
            starts = losses.turn_starts(batch["action_mask"], batch["end_mask"])
            return tokens / starts.sum().clamp(min=1)
        case "response_policy_loss":
            return tokens / batch["action_mask"].any(1).sum().clamp(min=1)
    return None


def _find_argument(name: str, batch: MicroBatch, out: Columns, config: OreoConfig) -> Any:
    """``values`` are those of the averaged critic where there is one; other columns have the names they have."""
    if name in ("values", "advantages"):
        values = out.get("target_values", out["values"])
        masks = batch["action_mask"], batch["end_mask"]
        return values if name == "values" else losses.turn_advantages(values, *masks)
    match name:
        case "beta":
            return config.beta
        case "weights":
            return _weigh_importance(out, config)
        case "token_weights":
            return imitation_weights(batch, config)
    return out[name] if name in out else batch[name]


def value_loss(objective: Objective, batch: MicroBatch, out: Columns, config: OreoConfig) -> Tensor:
    """The objective's loss of the critic, a scalar; after an action, what ``after_action`` says."""
    values, targets = out["values"], out.get("target_values", out["values"])
    rho, returns, beta = out["rho"], batch["returns"], config.beta
    masks = batch["action_mask"], batch["end_mask"]
    if objective.implicit:
        return losses.iql_value_loss(values, targets, returns, *masks, config.expectile)
    weights, clip, read = (
        _weigh_importance(out, config),
        config.log_ratio_clip,
        critic_states(objective, batch),
    )
    if config.after_action == "outcome":
        return losses.value_loss(values, rho, returns, read, beta, clip, weights)
    return losses.answered_value_loss(values, targets, rho, returns, *masks, read, beta, clip, weights)


def _weigh_importance(out: Columns, config: OreoConfig) -> Tensor | None:
    return losses.importance_weights(out["rho"]) if config.importance_weights else None


# --- which episodes -------------------------------------------------------------------------------------------


def select_items(
    objective: Objective,
    episodes: EncodedEpisodes,
    config: OreoConfig,
    model: PretrainedConfig,
    held_out: bool = False,
) -> Items:
    """What is drawn at random while an objective is trained, or judged on ``held_out`` episodes.

    Raises:
        DatasetError: there are no episodes, or none of the kind that it needs; or one that ``config`` or the model do
            not allow.
    """
    episodes = episodes[episodes.facts["acts"]]  # the others teach nothing
    if not len(episodes):
        raise DatasetError(f"there are no episodes to {'judge' if held_out else 'train'} on")
    _check_episodes(objective, episodes, config, model.vocab_size)
    by_return = config.good != "success" and (config.good or (episodes.facts["success"] < 0).any())
    returns = episodes.facts["return"]
    same = bool((returns == returns[0]).all())
    chooses = objective.items == "successes" or (config.good and objective.imitates)
    if by_return and same and chooses and len(returns) > 1 and not held_out:
        warnings.warn(
            f"all {len(returns)} episodes return {returns[0]:g}: {config.method} imitates them all, as none is better",
            stacklevel=2,
        )
    episodes = mark_good(episodes, config.good)
    if config.good and objective.imitates:
        episodes = episodes[_find_good(episodes)]
    good = episodes.facts["success"] == 1
    uniform = bool(good.all() or not good.any())
    if not (objective.imitates or held_out) and (uniform if objective.prefers else same):
        kind = "failed" if good[0] else "successful"
        better = f"or {IMITATE_MORE}"
        further = "at a higher --temperature" if good[0] else better
        alike = f" (all return {returns[0]:g})" if same else ""
        found = f"there are no {kind} episodes{alike}"
        if same and (by_return or not uniform):
            found, further = f"all episodes return {returns[0]:g}", f"at a higher --temperature, {better}"
        raise DatasetError(
            f"{found}: {config.method} learns from the difference; "
            f"record more rollouts of the policy itself, {further}"
        )
    items = ITEMS[objective.items](episodes, config)
    if items.longest > config.max_length:
        raise DatasetError(
            f"an episode has {items.longest} tokens, max_length is {config.max_length}: raise max_length "
            "(a cut episode would be trained with a reward it did not earn)"
        )
    readable = readable_length(model)
    if readable is not None and items.longest > readable:
        most = model.max_position_embeddings
        why = f", not {most}, as LongRoPE would turn earlier tokens otherwise" if most > readable else ""
        raise DatasetError(
            f"an episode has {items.longest} tokens, the model reads {readable}{why}: record shorter ones"
        )
    return items


def mark_good(episodes: EncodedEpisodes, rule: str | None = None) -> EncodedEpisodes:
    """The episodes of one dataset with what counts as success in training, see :func:`oreo_agents.good.find_good`.

    Raises:
        DatasetError: ``success`` is asked for, and some episodes do not say.
    """
    success, returns = episodes.facts["success"], episodes.facts["return"]
    won = (success == 1).tolist() if (success >= 0).all() else None
    return episodes.with_success(np.array(find_good(won, returns.tolist(), rule), dtype=bool))


def _check_episodes(
    objective: Objective, episodes: EncodedEpisodes, config: OreoConfig, vocabulary: int
) -> None:
    """Refuse what would train nonsense without an error."""
    facts = episodes.facts
    if not (np.isfinite(facts["lowest"]) & np.isfinite(facts["highest"])).all():
        raise DatasetError(
            "an episode has a reward that is no finite number: leave it out, or record it anew"
        )
    most = np.inf if objective.prefers else config.max_return
    odd = ~((abs(facts["lowest"]) <= most) & (abs(facts["highest"]) <= most))
    if odd.any():
        lowest, highest = facts[["lowest", "highest"]][odd.argmax()]
        raise DatasetError(
            f"an episode has a reward to go of {highest if abs(lowest) <= most else lowest}, "
            f"outside [-{most}, {most}]: scale the rewards or raise max_return"
        )
    if (largest := int(facts["largest"].max())) >= vocabulary:
        raise DatasetError(
            f"an episode has token {largest}, the model knows {vocabulary}: its ids come from another tokenizer"
        )


def _find_seed(config: OreoConfig) -> int:
    return config.seed if config.data_seed is None else config.data_seed


def _keep_all(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    return Items(episodes, np.arange(len(episodes)))


def _keep_successful(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    return Items(episodes, _find_good(episodes))


def _find_good(episodes: EncodedEpisodes) -> np.ndarray:
    good = np.flatnonzero(episodes.facts["success"] == 1)
    if not len(good):
        raise DatasetError(
            "there are no successful episodes to train on: record better ones, or say which are good, such as 25%"
        )
    return good


def _require_repeats(episodes: EncodedEpisodes, config: OreoConfig) -> None:
    """What compares episodes of the same game needs several of each."""
    repeated = sum(len(alike) for alike in group_by_prompt(episodes) if len(alike) > 1)
    why = f"{config.method} compares episodes of the same game; {REPEAT}"
    if not repeated:
        raise DatasetError(f"no game was played twice: {why}")
    if repeated < FEW * len(episodes):
        warnings.warn(
            f"only {repeated} of {len(episodes)} episodes are of a game that was played twice: {why}",
            stacklevel=2,
        )


def _pair_episodes(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    _require_repeats(episodes, config)
    pairs = preference_pairs(episodes, _find_seed(config))
    if not len(pairs):
        raise DatasetError(
            f"no game was both won and lost: {config.method} compares episodes of the same game; {REPEAT}"
        )
    return pairs


def _add_mismatches(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    return with_mismatches(episodes)


def _require_recorded(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    lacking = int((episodes.facts["logp"] < 0).sum())
    if lacking:
        raise DatasetError(
            f"{lacking} of {len(episodes)} episodes have turns without recorded log-probabilities of what they were "
            f"drawn from, with which {config.method} compares the policy: record rollouts of a language model, without "
            "noise (of a server's at temperature 1, without filters), or choose another method"
        )
    return _keep_all(episodes, config)


def _group_episodes(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    _require_repeats(episodes, config)
    return draw_groups(episodes, _find_seed(config))


def _add_prompt_values(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    _require_difference(episodes, config)
    return with_prompt_values(episodes, lambda returns: losses.soft_mean(returns, config.value_beta))


def _add_advantages(episodes: EncodedEpisodes, config: OreoConfig) -> Items:
    _require_difference(episodes, config)
    return with_group_advantages(episodes)


def _require_difference(episodes: EncodedEpisodes, config: OreoConfig) -> None:
    _require_recorded(episodes, config)
    _require_repeats(episodes, config)
    first = episodes.facts["first"]
    if all((first[alike] == first[alike[0]]).all() for alike in group_by_prompt(episodes)):
        raise DatasetError(
            f"no game came out differently: {config.method} compares episodes of the same game; {REPEAT}"
        )


ITEMS: dict[ItemKind, Callable[[EncodedEpisodes, OreoConfig], Items]] = {
    "episodes": _keep_all,
    "successes": _keep_successful,
    "pairs": _pair_episodes,
    "mismatches": _add_mismatches,
    "sampled": _require_recorded,
    "groups": _group_episodes,
    "valued": _add_prompt_values,
    "compared": _add_advantages,
}
