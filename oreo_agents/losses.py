"""The equations of OREO (arXiv 2412.16145) as pure tensor -> tensor functions.

Knows nothing about models, tokenizers or files.

Notation, the paper's: ``B`` episodes, ``T`` positions. Position ``p`` stands for the state after token
``p``; ``rho[:, p]`` is the log-ratio log pi(token p) - log pi_ref(token p) of the token *at* ``p``, zero
where that token is not an action. A value at ``p`` therefore looks at all log-ratios at ``q > p``.
"""

from __future__ import annotations

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked positions of each episode, then over episodes: every episode weighs the same.

    Args:
        x: ``[B, T]``.
        mask: ``[B, T]`` bool; an episode without any masked position contributes zero.
    """
    per_episode = (x * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return per_episode.mean()


def sum_after(rho: Tensor) -> Tensor:
    """``out[:, p] = sum_{q > p} rho[:, q]``, shape ``[B, T]``."""
    return rho.flip(1).cumsum(1).flip(1) - rho


def value_loss(values: Tensor, rho: Tensor, returns: Tensor, state_mask: Tensor, beta: float) -> Tensor:
    """Eq. 8: regress V(s_t) on R_t - beta * sum_{i >= t} rho_i; the policy is a constant.

    Args:
        values: ``[B, T]``, V after token ``p``.
        rho: ``[B, T]`` log-ratios of action tokens, zero elsewhere (detached here).
        returns: ``[B, T]`` rewards still to come after token ``p``.
        state_mask: ``[B, T]`` bool, positions where the critic is read.
        beta: weight of the log-ratio in the soft return.
    """
    target = returns - beta * sum_after(rho.detach())
    return masked_mean((values - target) ** 2, state_mask)


def token_policy_loss(
    values: Tensor, rho: Tensor, returns: Tensor, action_mask: Tensor, beta: float
) -> Tensor:
    """Eq. 9: the soft Bellman error at each action token, later log-ratios under stop-gradient.

    Its gradient with respect to log pi(a_t) is ``2 * beta * delta_t / (T * B)``.

    Args:
        values: ``[B, T]``, V after token ``p`` (detached here).
        rho: ``[B, T]`` log-ratios of action tokens, zero elsewhere.
        returns: ``[B, T]`` rewards still to come after token ``p``.
        action_mask: ``[B, T]`` bool, token ``p`` is an action; its state is ``p - 1``.
        beta: weight of the log-ratio in the soft return.
    """
    rho_next = rho[:, 1:]
    later = sum_after(rho)[:, 1:].detach()
    delta = values[:, :-1].detach() - returns[:, :-1] + beta * (rho_next + later)
    return masked_mean(delta**2, action_mask[:, 1:])


def kl_divergence(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """L_reg per position: the full-vocabulary reverse KL[pi || pi_ref], ``[N, V], [N, V] -> [N]``."""
    logp, ref_logp = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (logp.exp() * (logp - ref_logp)).sum(-1)
