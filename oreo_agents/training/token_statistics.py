"""From hidden states to what the losses need of the vocabulary: the only place where logits exist.

Logits are made for a chunk of action positions at a time, reduced to four numbers a position, and made again in
the backward pass. So memory is a few ``[chunk, vocabulary]`` buffers however long the episodes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Divergence = Literal["reverse", "forward", "none"]


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """Of N action tokens, each ``[N]``."""

    logp: Tensor
    """log pi(token)."""
    entropy: Tensor
    """Of pi at that position (nats); carries no gradient."""
    rho: Tensor
    """log pi(token) - log pi_ref(token); zero without a reference."""
    kl: Tensor
    """Full-vocabulary divergence between pi and pi_ref; zero without a reference or where none is asked for."""


def project_tokens(
    head: nn.Module,
    hidden: Tensor,
    targets: Tensor,
    chunk: int,
    ref_head: nn.Module | None = None,
    ref_hidden: Tensor | None = None,
    divergence: Divergence = "reverse",
) -> TokenStatistics:
    """Statistics of ``targets`` under the distributions that ``head`` makes of ``hidden``.

    Args:
        head: hidden states to logits.
        hidden: ``[N, H]``.
        targets: ``[N]`` token ids.
        chunk: positions whose logits exist at once.
        ref_head: the reference policy's head, or None.
        ref_hidden: ``[N, H]`` of the reference policy.
        divergence: ``reverse`` KL[pi || pi_ref], ``forward`` KL[pi_ref || pi], or ``none``.
    """
    parts = []
    for i in range(0, max(len(targets), 1), chunk):
        part = slice(i, i + chunk)
        ref_part = None if ref_hidden is None else ref_hidden[part]
        arguments = (head, ref_head, hidden[part], ref_part, targets[part], divergence)
        parts.append(
            checkpoint(_project_chunk, *arguments, use_reentrant=False, preserve_rng_state=False)
        )  # nothing is drawn
    return TokenStatistics(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _project_chunk(
    head: nn.Module,
    ref_head: nn.Module | None,
    hidden: Tensor,
    ref_hidden: Tensor | None,
    targets: Tensor,
    divergence: Divergence,
) -> tuple[Tensor, ...]:
    ref_logits = None
    if ref_head is not None and ref_hidden is not None:
        with torch.no_grad():
            ref_logits = ref_head(ref_hidden)
    return token_statistics(head(hidden), ref_logits, targets, divergence)


def token_statistics(
    logits: Tensor, ref_logits: Tensor | None, targets: Tensor, divergence: Divergence
) -> tuple[Tensor, ...]:
    """(logp, entropy, rho, kl) of :class:`TokenStatistics` from logits, ``[N, V]``; float32 inside.

    The reference's logits get no gradient. The backward pass may run once.
    """
    return _ProjectTokens.apply(logits, ref_logits, targets, divergence)


class _ProjectTokens(torch.autograd.Function):
    """Gradients by hand, in place: autograd would keep about ten buffers of ``[N, V]``, this keeps two."""

    @staticmethod
    def forward(ctx, logits, ref_logits, targets, divergence):
        precise = torch.promote_types(logits.dtype, torch.float32)
        log_p = torch.log_softmax(logits, -1, dtype=precise)
        logp = log_p.gather(1, targets[:, None])[:, 0]
        p = log_p.exp()
        entropy = -_multiply_rows(p, log_p)
        ctx.divergence, ctx.dtype = divergence, logits.dtype
        if ref_logits is None:
            ctx.save_for_backward(log_p, targets)
            return logp, entropy, torch.zeros_like(logp), torch.zeros_like(logp)
        log_q = torch.log_softmax(ref_logits, -1, dtype=precise)
        rho = logp - log_q.gather(1, targets[:, None])[:, 0]
        if divergence == "none":
            ctx.save_for_backward(log_p, targets)
            return logp, entropy, rho, torch.zeros_like(logp)
        difference = log_p - log_q
        kl = (
            _multiply_rows(p, difference)
            if divergence == "reverse"
            else -_multiply_rows(log_q.exp(), difference)
        )
        ctx.save_for_backward(log_p, targets, difference, kl)
        ctx.mark_non_differentiable(entropy)
        return logp, entropy, rho, kl

    @staticmethod
    def backward(ctx, grad_logp, _, grad_rho, grad_kl):  # type: ignore[override]
        log_p, targets, *divergence = ctx.saved_tensors
        grad_logp = (grad_logp + grad_rho)[:, None]
        if not divergence:
            grad = log_p.exp_().mul_(-grad_logp)
        elif ctx.divergence == "reverse":  # p (log p - log q - KL)
            difference, kl = divergence
            grad = difference.sub_(kl[:, None]).mul_(grad_kl[:, None]).sub_(grad_logp).mul_(log_p.exp_())
        else:  # p - q
            q = (log_p - divergence[0]).exp_()
            grad = log_p.exp_().mul_(grad_kl[:, None] - grad_logp).sub_(q.mul_(grad_kl[:, None]))
        grad.scatter_add_(1, targets[:, None], grad_logp)
        return grad.to(ctx.dtype), None, None, None


_IN_CACHE = 16
"""Rows whose products a CPU's cache holds."""


def _multiply_rows(x: Tensor, y: Tensor) -> Tensor:
    """Row by row, ``[N, V], [N, V] -> [N]``, in their precision: a product of matrices would be autocast's to round."""
    rows = _IN_CACHE if x.device.type == "cpu" else max(len(x), 1)
    return torch.cat([(a * b).sum(-1) for a, b in zip(x.split(rows), y.split(rows), strict=True)])
