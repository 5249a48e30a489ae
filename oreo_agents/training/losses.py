"""The equations of OREO (arXiv 2412.16145) and of the methods beside it, as pure tensor -> tensor functions.

Knows nothing about models, tokenizers or files.

Notation, the paper's: ``B`` episodes, ``T`` positions. Position ``p`` stands for the state after token
``p``; ``rho[:, p]`` is the log-ratio log pi(token p) - log pi_ref(token p) of the token *at* ``p``, zero
where that token is not an action. A value at ``p`` therefore looks at all log-ratios at ``q > p``, and the
state in which the token at ``p`` was chosen is ``p - 1``.

Arguments that several functions share:
    values: ``[B, T]``, V after token ``p``; policy losses detach it.
    rho: ``[B, T]`` log-ratios of action tokens, zero elsewhere; value losses detach it.
    returns: ``[B, T]`` rewards still to come after token ``p``.
    action_mask: ``[B, T]`` bool, token ``p`` is an action.
    end_mask: ``[B, T]`` bool, token ``p`` is the last of an action.
    beta: weight of the log-ratio in the soft return (Eq. 3).
    weights: ``[B]`` importance weights of whole episodes.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

Number = TypeVar("Number", float, Tensor)

CLIP = 0.2
"""How far a ratio may go from 1 in PPO's objective and still carry gradient; its paper's value, and GiGPO's."""


def masked_mean(x: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the masked positions of each episode, then over episodes: every episode weighs the same.

    Args:
        x: ``[B, T]``.
        mask: ``[B, T]`` bool; an episode without any masked position contributes zero.
        weights: ``[B]``, of whole episodes; one each if None.
    """
    per_episode = (x * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return per_episode.mean() if weights is None else (per_episode * weights).mean()


def sum_after(rho: Tensor) -> Tensor:
    """``out[:, p] = sum_{q > p} rho[:, q]``, shape ``[B, T]``."""
    return rho.flip(1).cumsum(1).flip(1) - rho


def turn_starts(action_mask: Tensor, end_mask: Tensor) -> Tensor:
    """The first token of every action, ``[B, T]`` bool, also where one action follows another at once."""
    continued = pad((action_mask & ~end_mask)[:, :-1], (1, 0))
    return action_mask & ~continued


# --- OREO's critic ------------------------------------------------------------------------------------------


def value_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    state_mask: Tensor,
    beta: float,
    clip: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 8: regress V(s_t) on R_t - beta * sum_{i >= t} rho_i; the policy is a constant.

    Args:
        state_mask: ``[B, T]`` bool, positions where the critic is read.
        clip: bound on the absolute summed log-ratio.
    """
    target = soft_returns(rho, returns, beta, clip)
    return masked_mean((values - target) ** 2, state_mask, weights)


def answered_value_loss(
    values: Tensor,
    target_values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    end_mask: Tensor,
    state_mask: Tensor,
    beta: float,
    clip: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 8 in states where a token is due; after an action, V of the state that the environment answers with.

    Nothing is chosen while the environment answers, so Eq. 3 has both values equal, reward aside. As a target the
    second is free of what the policy did later: what an action leads to is learnt from one answer, not from outcomes.

    Args:
        target_values: ``[B, T]``, what targets are made of (detached here).
        state_mask: ``[B, T]`` bool, positions where the critic is read.
    """
    ahead = one_step_targets(target_values, returns, action_mask)
    target = torch.where(end_mask, ahead, soft_returns(rho, returns, beta, clip))
    return masked_mean((values - target) ** 2, state_mask, weights)


def soft_returns(rho: Tensor, returns: Tensor, beta: float, clip: float | None = None) -> Tensor:
    """Eq. 7's right-hand side at every position, ``[B, T]``: what the critic learns to predict."""
    to_go = sum_after(rho.detach())
    return returns - beta * (to_go if clip is None else to_go.clamp(-clip, clip))


def importance_weights(rho: Tensor, limit: float = 1.0) -> Tensor:
    """exp(min(limit, sum_t rho_t)) of each episode, ``[B]``: clipped from above only, as the authors do."""
    return rho.detach().sum(1).clamp(max=limit).exp()


# --- OREO's policy: one soft Bellman error, four choices of where it is taken and what carries gradient -----


def token_policy_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 9: the soft Bellman error at each action token, later log-ratios under stop-gradient.

    Its gradient with respect to log pi(a_t) is ``2 * beta * delta_t / (T * B)``.
    """
    return _bellman_error(values, rho, rho, returns, action_mask, beta, weights)


def step_policy_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    end_mask: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 9 with whole turns as actions: an action's log-ratio is the sum over its tokens."""
    starts = turn_starts(action_mask, end_mask)
    turn = starts.cumsum(1)
    turn_rho = torch.zeros_like(rho).scatter_add(1, turn.clamp(max=rho.shape[1] - 1), rho)
    own = turn_rho.gather(1, turn.clamp(max=rho.shape[1] - 1))
    return _bellman_error(values, rho, own, returns, starts, beta, weights)


def response_policy_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Eq. 10: the soft Bellman error of the whole episode, in its first state only."""
    first = action_mask & (action_mask.cumsum(1) == 1)
    return _bellman_error(values, rho, sum_after(rho) + rho, returns, first, beta, weights)


def path_policy_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Multi-step path consistency without stop-gradient (PCL, arXiv 1702.08892; DQO, arXiv 2410.09302).

    As large as Eq. 9, but a token gets the gradient of every error before it: it grows with position.
    """
    return _bellman_error(values, rho, sum_after(rho) + rho, returns, action_mask, beta, weights)


def _bellman_error(
    values: Tensor,
    rho: Tensor,
    live: Tensor,
    returns: Tensor,
    mask: Tensor,
    beta: float,
    weights: Tensor | None,
) -> Tensor:
    """(V - R + beta * log-ratio to go)^2 in the states before masked tokens; only ``live`` carries gradient."""
    to_go = live + (sum_after(rho) + rho - live).detach()
    delta = values[:, :-1].detach() - returns[:, :-1] + beta * to_go[:, 1:]
    return masked_mean(delta**2, mask[:, 1:], weights)


def one_step_policy_loss(
    values: Tensor,
    rho: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """(V(s_t) - r_t - V(s_{t+1}) + beta * rho_t)^2; s_{t+1} is the state of the next action token.

    Observations are skipped over, and after the last action there is nothing to be had.
    """
    target = one_step_targets(values, returns, action_mask)
    delta = values[:, :-1].detach() - target[:, 1:] + beta * rho[:, 1:]
    return masked_mean(delta**2, action_mask[:, 1:], weights)


def one_step_targets(values: Tensor, returns: Tensor, action_mask: Tensor) -> Tensor:
    """r_t + V(s_{t+1}) of the token at every position, ``[B, T]``; s_{t+1} is where the next action token is due."""
    due = pad(action_mask[:, 1:], (0, 1))
    next_value, next_return = (_at_next(x.detach(), due) for x in (values, returns))
    return returns - next_return + next_value


def _at_next(x: Tensor, mask: Tensor) -> Tensor:
    """``out[:, p]`` is ``x`` at the first masked position from ``p`` on; 0 where there is none."""
    length = x.shape[1]
    positions = torch.arange(length, device=x.device).expand_as(x)
    where = torch.where(mask, positions, length).flip(1).cummin(1).values.flip(1)
    return pad(x, (0, 1)).gather(1, where)


def _at_last(x: Tensor, mask: Tensor) -> Tensor:
    """``out[:, p]`` is ``x`` at the last masked position up to ``p``; 0 where there is none."""
    return _at_next(x.flip(1), mask.flip(1)).flip(1)


# --- regularisers: KL of the policy to the reference --------------------------------------------------------


def sampled_kl(rho: Tensor) -> Tensor:
    """The k3 estimator exp(-rho) - 1 + rho of KL[pi || pi_ref] at the tokens of the data, ``[B, T]``.

    Unbiased only for tokens that pi itself sampled; recorded ones are another policy's.
    """
    return torch.expm1(-rho) + rho


def effective_temperature(beta: float, alpha: Number, tokens: float | Tensor = 1.0) -> Number:
    """How much advantage it takes for the loss to tilt the odds of an action by e: beta + alpha / (2 beta tokens).

    Near the reference and on its own actions, Eq. 9 with alpha * KL is E[(beta rho - A)^2] + alpha E[rho^2] / 2 in a
    state, since every form of the KL is rho^2 / 2 to second order. It is least at rho = A / (beta + alpha / (2 beta)),
    and a policy tilted by exp(A / temperature) is the best one for reward - temperature * KL. At the paper's beta =
    0.03 and alpha = 0.01 that is 0.197, not 0.03: an advantage of 0.1 multiplies odds by e^0.5.

    Args:
        beta: weight of the log-ratio.
        alpha: weight of the KL, which is a mean over tokens.
        tokens: how many tokens' log-ratios one error sums: 1 at token level, those of a turn at step level, those of an
            episode at response level.
    """
    return beta + alpha / (2 * beta * tokens)  # type: ignore[return-value]


# --- baselines ----------------------------------------------------------------------------------------------


def imitation_loss(logp: Tensor, token_weights: Tensor) -> Tensor:
    """Cross-entropy, every token by its weight.

    Args:
        logp: ``[B, T]`` log-probabilities of the tokens.
        token_weights: ``[B, T]``.
    """
    return -(logp * token_weights).sum() / token_weights.sum().clamp(min=1e-8)


def dpo_loss(rho: Tensor, beta: float) -> Tensor:
    """DPO (arXiv 2305.18290, Eq. 7) over the action tokens of whole episodes.

    Args:
        rho: ``[2 * B, T]``, rows in pairs: a preferred episode, then the other.
    """
    ratio = rho.sum(1)
    return -logsigmoid(beta * (ratio[0::2] - ratio[1::2])).mean()


def kto_loss(rho: Tensor, success: Tensor, reference_point: Tensor, beta: float) -> Tensor:
    """KTO (arXiv 2402.01306, Eq. 8), both kinds of episodes weighing the same.

    Args:
        success: ``[B]`` bool.
        reference_point: scalar, see :func:`kto_reference_point`.
    """
    ratio = rho.sum(1)
    gain = torch.where(success, ratio - reference_point, reference_point - ratio)
    return (1 - torch.sigmoid(beta * gain)).mean()


def kto_reference_point(ratios: Tensor) -> Tensor:
    """KTO's z_0: the mean log-ratio of episodes that follow prompts not their own, at least 0.

    Args:
        ratios: ``[B]``, summed over the mismatched episodes' action tokens.
    """
    return ratios.detach().mean().clamp(min=0)


def tapered_loss(logp: Tensor, success: Tensor, recorded_logp: Tensor) -> Tensor:
    """TOPR (arXiv 2503.14286, Sec. 3): reward 1 for a good episode, -1 for another, its ratio clipped to [0, 1].

    Its gradient is that of -log pi of good episodes, and of min(1, pi / mu) * log pi of the others: what the policy no
    longer does is not pushed down further. mu is who played.

    Args:
        logp: ``[B, T]`` log-probabilities of the action tokens, zero elsewhere.
        success: ``[B]`` bool.
        recorded_logp: ``[B, T]``, log mu of the action tokens, zero elsewhere.
    """
    own = logp.sum(1)
    taper = (own - recorded_logp.sum(1)).detach().clamp(max=0).exp()
    return -torch.where(success, own, -taper * own).mean()


def balance_loss(rho: Tensor, returns: Tensor, group: Tensor, beta: float) -> Tensor:
    """Trajectory balance with the group's estimate of the partition function (TBA, arXiv 2503.18929; VarGrad).

    (V - R + beta * rho)^2 of whole episodes, V the mean of R - beta * rho in an episode's group, without gradient: beta
    squared times the paper's (log Z + log pi - log pi_ref - R / beta)^2, with V = beta * log Z.

    Args:
        group: ``[B]``, which episodes are of the same group.
    """
    ratio, total = rho.sum(1), returns[:, 0]
    soft = (total - beta * ratio).detach()
    together = (group[:, None] == group).to(soft)
    value = together @ soft / together.sum(1)
    return ((value - total + beta * ratio) ** 2).mean()


def optimal_advantage_loss(
    logp: Tensor, returns: Tensor, recorded_logp: Tensor, prompt_value: Tensor, beta: float
) -> Tensor:
    """OAPL (arXiv 2602.19362, Eq. 3): (beta * (log pi - log mu) - (R - V))^2 of whole episodes; mu is who played.

    Args:
        logp: ``[B, T]`` log-probabilities of the action tokens, zero elsewhere.
        recorded_logp: ``[B, T]``, log mu of the action tokens, zero elsewhere.
        prompt_value: ``[B]``, V of the prompt, see :func:`soft_mean`.
        beta: the paper's beta_2.
    """
    advantage = returns[:, 0] - prompt_value
    return ((beta * (logp - recorded_logp).sum(1) - advantage) ** 2).mean()


def soft_mean(returns: Tensor, beta: float) -> Tensor:
    """beta * log mean exp(R / beta), a scalar: V of a prompt from its episodes (OAPL, Eq. 2), beta the paper's beta_1.

    Args:
        returns: ``[N]``, of whole episodes.
        beta: near 0 it is the maximum, large the mean.
    """
    return beta * ((returns / beta).logsumexp(0) - math.log(len(returns)))


def clipped_loss(
    logp: Tensor, group_advantages: Tensor, recorded_logp: Tensor, action_mask: Tensor
) -> Tensor:
    """PPO's clipped objective at every action token (arXiv 1707.06347, Eq. 7), as GiGPO has it (arXiv 2505.10978).

    Args:
        logp: ``[B, T]`` log-probabilities of the action tokens.
        group_advantages: ``[B, T]``, see :func:`oreo_agents.training.batches.with_group_advantages`.
        recorded_logp: ``[B, T]``, log mu of the same tokens; mu is who played.
    """
    ratio = (logp - recorded_logp).exp()
    bounded = ratio.clamp(1 - CLIP, 1 + CLIP)
    return -masked_mean(torch.minimum(ratio * group_advantages, bounded * group_advantages), action_mask)


def iql_value_loss(
    values: Tensor,
    target_values: Tensor,
    returns: Tensor,
    action_mask: Tensor,
    end_mask: Tensor,
    expectile: float,
) -> Tensor:
    """Turn-level IQL (arXiv 2110.06169, Eqs. 5 and 6) for a critic read before and after each action.

    After an action the critic is Q(s_t, a_t) and regresses on r_t + V(s_{t+1}); before it, it is V(s_t) and
    regresses on an upper expectile of Q.

    Args:
        target_values: ``[B, T]``, what targets are made of (a slowly moving copy's values; detached here).
        expectile: 0.5 is the mean, 1 the maximum over the data's actions.
    """
    starts = turn_starts(action_mask, end_mask)
    q_error = one_step_targets(target_values, returns, action_mask) - values
    v_error = _at_next(target_values.detach(), end_mask)[:, 1:] - values[:, :-1]
    v_weight = torch.where(v_error > 0, expectile, 1 - expectile)
    return masked_mean(q_error**2, end_mask) + masked_mean(v_weight * v_error**2, starts[:, 1:])


def turn_advantages(values: Tensor, action_mask: Tensor, end_mask: Tensor) -> Tensor:
    """V after the action minus V before it, at every token of the action, ``[B, T]``, detached."""
    starts = turn_starts(action_mask, end_mask)
    before = _at_last(pad(values.detach()[:, :-1], (1, 0)), starts)
    return (_at_next(values.detach(), end_mask) - before) * action_mask


def advantage_weighted_loss(logp: Tensor, advantages: Tensor, action_mask: Tensor, beta: float) -> Tensor:
    """Imitation weighted by exp(advantage / beta), at most 100 (IQL, Eq. 7; AWAC, arXiv 2006.09359).

    Args:
        logp: ``[B, T]`` log-probabilities of the action tokens.
        advantages: ``[B, T]``, see :func:`turn_advantages`.
    """
    weight = (advantages / beta).exp().clamp(max=100)
    return -masked_mean(weight * logp, action_mask)
