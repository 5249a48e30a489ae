"""Reading V after candidate actions, over a cache of slots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.slots import SlotModel
from oreo_agents.models.critic import Critic


class CachedCritic:
    """Reads V after each candidate action.

    Args:
        critic: the value network.
        slots: episodes at once.
        max_length: tokens an episode may have.
        compile_backend: compile the passes over candidates; see :class:`~oreo_agents.inference.slots.SlotModel`.
    """

    def __init__(
        self, critic: Critic, slots: int, max_length: int, compile_backend: str | None = None
    ) -> None:
        self.critic = critic
        self.model = SlotModel(critic.backbone, slots, max_length, compile_backend=compile_backend)

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        self.model.clear(slots)

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""
        self.model.cut(slots, lengths)

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens without looking at their values."""
        with torch.inference_mode():
            self.model.extend(slots, chunks)

    def room(self, slots: Sequence[int]) -> list[int]:
        """Tokens that each episode may still grow by."""
        return [self.model.max_length - n for n in self.model.lengths[list(slots)].tolist()]

    def values(self, slots: Sequence[int], prompts: Sequence[Sequence[int]], proposals: Proposals) -> Tensor:
        """Append the prompts and read V after the last token of every candidate, ``[B, K]``."""
        with torch.inference_mode():
            self.model.extend(slots, prompts)
            hidden = self.model.branch(slots, proposals.tree, 0, proposals.tree.ids >= 0)
            return self.critic.read(hidden).gather(1, proposals.last_nodes())

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Commit the chosen candidates, last token included."""
        self.model.commit(slots, *proposals.path(lanes.tolist()))
