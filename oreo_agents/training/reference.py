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
from oreo_agents.training.rows import TokenRows


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

    def shard(self, precision: Any = None) -> None:
        """Leave to each process its part of every layer (FSDP2); all then ask for states as often as each other.

        A reference that remembers stays whole, as no two processes remember the same; one that is the policy itself is
        sharded with it.

        Args:
            precision: the policy's ``MixedPrecisionPolicy``, so that both round alike.
        """
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # since torch 2.6, as FSDP2

        if self.switches_adapters or self._known is not None:
            return
        names = set(self.model._no_split_modules or ())
        for layer in [module for module in self.model.modules() if type(module).__name__ in names]:
            fully_shard(layer, reshard_after_forward=True, mp_policy=precision or MixedPrecisionPolicy())

    @torch.no_grad()
    def states(self, layout: str, rows: TokenRows) -> Tensor:
        """Hidden states before each action token, ``[A, H]``."""
        before = rows.actions - 1
        if self._known is None:
            return self._run(layout, rows).index_select(0, before)
        keys = rows.keys
        if not all(key in self._known for key in keys):
            hidden = self._run(layout, rows)
            chosen = torch.zeros(len(hidden), dtype=torch.bool, device=hidden.device).index_fill(
                0, before, True
            )
            parts = zip(keys, hidden.split(rows.counts), chosen.split(rows.counts), strict=True)
            for key, states, kept in parts:
                self._known[key] = states[kept].to("cpu", self._precision(hidden.device.type))
        return torch.cat([self._known[key] for key in keys]).to(rows.ids.device, non_blocking=True)

    def _run(self, layout: str, rows: TokenRows) -> Tensor:
        with self._without_adapters() if self.switches_adapters else nullcontext():
            return LAYOUTS[layout](trunk_of(self.model), rows)

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
