"""From logits to candidates: which tokens are drawn, and which candidates are still the same."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oreo_agents.inference.filters import Filters
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.tree import Tree

ALL = Filters()
"""Any token may be drawn."""

_BELOW_1 = 1 - 2**-24
"""A random number that was rounded up to 1 would choose the last token, which may not be drawn where it is left out."""


class _Lanes:
    """K candidates of B slots while they grow; those that are equal so far stand on the same node."""

    def __init__(self, batch: int, k: int, end_id: int, device: torch.device) -> None:
        self.end_id = end_id
        self.tree = Tree.empty(batch, device)
        self._place = torch.zeros(batch, k, dtype=torch.long, device=device)  # among the newest hidden states
        self._node = torch.full_like(self._place, -1)
        self._counts = torch.zeros_like(self._place)
        self._done = torch.zeros_like(self._place, dtype=torch.bool)
        self._nodes: list[Tensor] = []
        self._logprobs: list[Tensor] = []
        self._drawn: list[Tensor] = []

    def advance(
        self, logits: Tensor, uniforms: Tensor, temperature: float, filters: Filters = ALL
    ) -> np.ndarray:
        """One more token on every lane that has not ended.

        Args:
            logits: ``[B, n, V]`` after each of the nodes the lanes stand on.
            uniforms: ``[B, K]``, see :func:`pick_tokens`; not on the device.
            temperature: of the sampling.
            filters: of the sampling.

        Returns:
            Which of the new nodes are to be continued, ``[B, n]`` counted from the first; all that the device is asked
            for.
        """
        each = uniforms[:, None, :].expand(-1, logits.shape[1], -1)
        if uniforms.isnan().all():
            choices = _pick_likeliest(logits, self._place.shape[1])
        else:
            choices, probs = _draw_tokens(logits, each.to(logits.device), temperature, filters)
            if draws_from_other(uniforms, temperature, filters):
                drawn = probs.gather(-1, choices).log()
                self._drawn.append(drawn.gather(1, self._place[:, None])[:, 0])
        token = choices.gather(1, self._place[:, None])[:, 0]
        logprobs = logits.log_softmax(-1).flatten(1)
        self._logprobs.append(logprobs.gather(1, self._place * logits.shape[-1] + token))
        self._counts += ~self._done
        ended = self._done | (token == self.end_id)
        place, width, going = _number_distinct(self._node * logits.shape[-1] + token, ended, self._done)
        new = torch.full((2, len(place), width + 1), -1, dtype=torch.long, device=token.device)
        new[0].scatter_(1, place, token)
        new[1].scatter_(1, place, self._node)
        self._node = torch.where(self._done, self._node, self.tree.size + place)
        self.tree = self.tree.grow(new[0, :, :width], new[1, :, :width])
        self._nodes.append(self._node)
        widest = max(going)
        self._done, self._place = ended, place.clamp(max=max(widest - 1, 0))
        return np.arange(widest) < np.array(going)[:, None]

    def proposals(self) -> Proposals:
        """The candidates as they are."""
        nodes, logprobs = torch.stack(self._nodes, 1), torch.stack(self._logprobs, 1)
        drawn = torch.stack(self._drawn, 1) if self._drawn else None
        return Proposals(self.tree, nodes, logprobs, self._counts, drawn=drawn)


def _number_distinct(keys: Tensor, ended: Tensor, done: Tensor) -> tuple[Tensor, int, list[int]]:
    """Number the distinct keys of every row, those that go on before those that have ended.

    Args:
        keys: ``[B, K]`` which lanes are the same.
        ended: ``[B, K]`` lanes that do not go on.
        done: ``[B, K]`` lanes that ended before and get no number.

    Returns:
        Numbers ``[B, K]`` (for done lanes, one that nobody else has), how many there are at most, and of these how
        many go on in every row, ``[B]``.
    """
    lanes = torch.arange(keys.shape[1], device=keys.device)
    same = (keys[:, :, None] == keys[:, None, :]) & ~done[:, None, :]
    first = torch.where(same, lanes, len(lanes)).amin(2)
    is_first = first == lanes
    going, ending = is_first & ~ended, is_first & ended
    number = torch.where(ended, going.sum(1, keepdim=True) + ending.cumsum(1), going.cumsum(1)) - 1
    width, *going_on = torch.cat([is_first.sum(1).amax(0, keepdim=True), going.sum(1)]).tolist()
    return torch.where(done, width, number.gather(1, first.clamp(max=len(lanes) - 1))), width, going_on


def pick_tokens(logits: Tensor, uniforms: Tensor, temperature: float, filters: Filters = ALL) -> Tensor:
    """Inverse-CDF sampling of K tokens per distribution, ``[..., V], [..., K] -> [..., K]``; NaN means argmax."""
    if uniforms.isnan().all():
        return _pick_likeliest(logits, uniforms.shape[-1])
    return _draw_tokens(logits, uniforms, temperature, filters)[0]


def draws_from_other(uniforms: Tensor, temperature: float, filters: Filters) -> bool:
    """Whether all is drawn, and from another distribution than the policy's own at temperature 1."""
    return (temperature != 1 or bool(filters)) and not bool(uniforms.isnan().any())


def filter_logits(logits: Tensor, filters: Filters) -> Tensor:
    """``[..., V]`` with minus infinity for what may not be drawn; the filters follow one another as in transformers."""
    if 0 < filters.top_k < logits.shape[-1]:
        least = logits.topk(int(filters.top_k)).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if filters.top_p < 1:
        ascending, places = logits.sort(-1)
        tail = ascending.softmax(-1).cumsum(-1) <= 1 - filters.top_p
        tail[..., -1] = False
        logits = logits.masked_fill(tail.scatter(-1, places, tail), -torch.inf)
    if filters.min_p > 0:
        probs = logits.softmax(-1)
        logits = logits.masked_fill(probs < filters.min_p * probs.amax(-1, keepdim=True), -torch.inf)
    return logits


def _pick_likeliest(logits: Tensor, k: int) -> Tensor:
    return logits.argmax(-1, keepdim=True).expand(*logits.shape[:-1], k)


def _draw_tokens(
    logits: Tensor, uniforms: Tensor, temperature: float, filters: Filters
) -> tuple[Tensor, Tensor]:
    """Tokens, ``[..., K]``, and the distribution that they are drawn from, ``[..., V]``."""
    best = _pick_likeliest(logits, uniforms.shape[-1])
    scaled = logits / temperature
    if filters:
        scaled = filter_logits(scaled, filters)
        uniforms = uniforms.clamp(max=_BELOW_1)
    probs = scaled.softmax(-1)
    cdf = probs.cumsum(-1)
    sampled = torch.searchsorted(cdf, uniforms.nan_to_num() * cdf[..., -1:], right=True)
    return torch.where(uniforms.isnan(), best, sampled.clamp(max=logits.shape[-1] - 1)), probs
