"""The reference policy: the frozen start of training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oreo_agents.models.adapters import has_adapters
from oreo_agents.models.decoder import lm_head, trunk_of
from oreo_agents.training.layouts import LAYOUTS


class Reference:
    """The frozen start of training: a copy, or the policy itself with its adapters switched off.

    Args:
        policy: where training starts from.
        remember: keep the hidden states before each action of episodes seen once, so that later passes over the
            data need no reference forward. They take ``hidden_size`` numbers an action token, in the precision
            of the run, in the computer's memory; results do not change.
    """

    def __init__(self, policy: PreTrainedModel, remember: bool = False) -> None:
        self.switches_adapters = has_adapters(policy)
        self.model = policy if self.switches_adapters else copy.deepcopy(policy).eval().requires_grad_(False)
        self.head = lm_head(self.model)
        self._known: dict[bytes, Tensor] | None = {} if remember else None

    @torch.no_grad()
    def states(self, layout: str, ids: Tensor, token_mask: Tensor, before_action: Tensor) -> Tensor:
        """Hidden states ``[N, H]`` where ``before_action``, ``[tokens]`` bool, says so."""
        if self._known is None:
            return self._run(layout, ids, token_mask)[before_action]
        keys = [row[mask].cpu().numpy().tobytes() for row, mask in zip(ids, token_mask, strict=True)]
        if not all(key in self._known for key in keys):
            counts = token_mask.sum(1).tolist()
            hidden = self._run(layout, ids, token_mask).split(counts)
            for key, states, chosen in zip(keys, hidden, before_action.split(counts), strict=True):
                self._known[key] = states[chosen].to("cpu", self._precision(ids.device.type))
        return torch.cat([self._known[key] for key in keys]).to(ids.device)

    def _run(self, layout: str, ids: Tensor, token_mask: Tensor) -> Tensor:
        with self._without_adapters() if self.switches_adapters else nullcontext():
            return LAYOUTS[layout](trunk_of(self.model), ids, token_mask)

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        """The start of training, without dropout."""
        training = self.model.training
        self.model.eval()
        with cast(Any, self.model).disable_adapter():
            yield
        self.model.train(training)

    def _precision(self, device: str) -> torch.dtype:
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return next(self.model.parameters()).dtype
