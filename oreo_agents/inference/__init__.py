"""Text engines: candidates from a policy, values from a critic, search on top. Tokens in, tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from oreo_agents.inference.filters import Filters
    from oreo_agents.inference.proposals import Proposals


class Engine(Protocol):
    """What proposes actions, whether the model is in this process or behind a server. Episodes live in slots."""

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""

    def propose(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        temperature: float,
        filters: Filters = ...,
    ) -> Proposals:
        """K candidates for each slot, after appending ``prompts`` to what it holds.

        Args:
            slots: B slots.
            prompts: what is new since the last call, per slot.
            uniforms: ``[B, max_new_tokens, K]`` in [0, 1), the randomness of every choice; NaN: the likeliest.
            temperature: of the sampling.
            filters: which tokens may be drawn; default: any.
        """

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Append the chosen candidate, ``lanes`` ``[B]``, to each slot."""

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens that were not proposed here."""
