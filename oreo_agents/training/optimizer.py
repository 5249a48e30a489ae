"""Muon for the weight matrices, AdamW for the rest: several times fewer steps than AdamW for a decoder from scratch.

Knows parameters and gradients; which network they belong to, and its rates, are the trainer's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al. 2024, "Muon")."""


def orthogonalize_matrices(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values near one, ``[N, R, C] -> [N, R, C]``, by Newton-Schulz iteration in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class MuonAdamW(torch.optim.AdamW):
    """One optimizer, two rules: groups with ``muon=True`` hold matrices only, the others take AdamW's step.

    Muon's step is scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable", 0.2 sqrt(max(R, C))), so one
    learning rate serves both. A step consumes the gradients of Muon's groups.

    Args:
        groups: parameter groups, each with ``muon`` and, as for AdamW, ``lr`` and so on.
        momentum: Muon's, in Nesterov's form.
        options: AdamW's; its decoupled weight decay is of both.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float = 0.95, **options: Any) -> None:
        super().__init__([{"momentum": momentum, **group} for group in groups], **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient; AdamW passes over those that Muon has moved."""
        for group in self.param_groups:
            if group["muon"] and (parameters := [p for p in group["params"] if p.grad is not None]):
                self._muon(parameters, group)
        return super().step(closure)

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        by_shape = defaultdict(list)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        for (rows, columns), alike in by_shape.items():
            updates = orthogonalize_matrices(
                torch.stack([self._nesterov(p, group["momentum"]) for p in alike])
            )
            size = 0.2 * math.sqrt(max(rows, columns))
            torch._foreach_add_(alike, list(updates), alpha=-group["lr"] * size)
        for parameter in parameters:
            parameter.grad = None

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        state, gradient = self.state[parameter], cast(Tensor, parameter.grad)
        if not state:
            state |= {
                "step": torch.zeros(()),
                "momentum": torch.zeros_like(gradient),
            }  # AdamW's loader asks for a step
        return gradient.lerp(state["momentum"].lerp_(gradient, 1 - momentum), momentum)


def list_matrices(network: nn.Module) -> list[Tensor]:
    """The parameters that Muon is for: weights of linear layers inside the network, not its embedding or heads."""
    inner = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Linear) and min(module.weight.shape) > 1
    }
    outer = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    outer |= {id(head.weight) for module in network.modules() if (head := _find_head(module)) is not None}
    return [p for p in network.parameters() if id(p) in inner - outer]


def _find_head(module: nn.Module) -> nn.Module | None:
    find = getattr(module, "get_output_embeddings", None)
    return find() if find else None
