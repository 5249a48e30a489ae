"""Encoded episodes <-> rectangular micro-batches. Knows nothing about models or losses.

What a trainer draws at random is an *item*: an episode, or a pair of them that must be seen together. A batch of
items is cut into micro-batches of similar length, so padding is small, and every optimizer step still sees long
failures and short successes together.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import EncodedEpisode, EncodedEpisodes, gather_episodes

Item = EncodedEpisode | tuple[EncodedEpisode, EncodedEpisode]
MicroBatch = dict[str, Tensor]
"""``[B, T]`` columns of right-padded episodes, and ``success``, ``[B]``; the episodes of a pair are neighbours.
``start_mask`` (where sequences begin) and ``thought_mask`` are there where some episode has several, or thoughts."""


class Items(Sequence[Item]):
    """What is drawn at random, as places in encoded episodes; an item is made when it is indexed.

    Args:
        episodes: what items are made of.
        places: ``[N]``, an episode each, or ``[N, 2]``, a pair each.
        mismatched: the second of a pair is what followed its prompt, put after the prompt of the first.
    """

    def __init__(self, episodes: EncodedEpisodes, places: np.ndarray, mismatched: bool = False) -> None:
        self.episodes, self.places, self.mismatched = episodes, places, mismatched

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        """An item for an integer, a view for a slice."""
        if isinstance(index, slice):
            return Items(self.episodes, self.places[index], self.mismatched)
        if self.places.ndim == 1:
            return self.episodes[self.places[index]]
        one, other = (self.episodes[place] for place in self.places[index])
        return one, _after_prompt_of(one, other) if self.mismatched else other

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence in any of them."""
        facts = self.episodes.facts[self.places]
        if not self.mismatched:
            return int(facts["longest"].max(initial=0))
        mixed = facts[:, 0]["prompt"] + facts[:, 1]["tokens"] - facts[:, 1]["prompt"]
        return int(max(facts[:, 0]["longest"].max(initial=0), mixed.max(initial=0)))

    def list_digests(self) -> list[bytes]:
        """:attr:`EncodedEpisode.digest` of every episode in them, in order."""
        if self.mismatched:
            return [episode.digest for item in self for episode in as_episodes(item)]
        return self.episodes[self.places.ravel()].digests


NO_ITEMS = Items(gather_episodes(()), np.empty(0, np.int64))


def collate_items(items: Sequence[Item], pad_id: int, micro_batch_tokens: int) -> list[MicroBatch]:
    """Sort a batch by length and cut it into right-padded micro-batches of at most so many tokens.

    A pair is never torn apart, and an item longer than ``micro_batch_tokens`` is a micro-batch of its own.
    """
    groups: list[list[EncodedEpisode]] = [[]]
    width = 0
    for item in sorted(map(as_episodes, items), key=_measure_longest, reverse=True):
        width = width if groups[-1] else _measure_longest(item)
        if groups[-1] and (len(groups[-1]) + len(item)) * width > micro_batch_tokens:
            groups.append([])
            width = _measure_longest(item)
        groups[-1].extend(item)
    return [_pad_episodes(group, pad_id) for group in groups]


def sort_places(places: Sequence[int], items: Sequence[Item]) -> list[int]:
    """The places of a batch's items as :func:`collate_items` has them, the longest first."""
    return sorted(places, key=lambda place: _measure_longest(as_episodes(items[place])), reverse=True)


def as_episodes(item: Item) -> tuple[EncodedEpisode, ...]:
    """The one or two episodes of an item."""
    return item if isinstance(item, tuple) else (item,)


def _measure_longest(episodes: Sequence[EncodedEpisode]) -> int:
    return max(map(len, episodes))


def _pad_episodes(episodes: Sequence[EncodedEpisode], pad_id: int) -> MicroBatch:
    width = _measure_longest(episodes)

    def column(name: str, fill: Any) -> Tensor:
        return torch.tensor([[*getattr(e, name), *[fill] * (width - len(e))] for e in episodes])

    batch = {
        "input_ids": column("input_ids", pad_id),
        "token_mask": torch.tensor([[i < len(e) for i in range(width)] for e in episodes]),
        "action_mask": column("action_mask", False),
        "imitate_mask": column("imitate_mask", False),
        "end_mask": column("end_mask", False),
        "returns": column("returns", 0.0),
        "success": torch.tensor([episode.success for episode in episodes]),
    }
    if any(len(e.starts) > 1 for e in episodes):
        batch["start_mask"] = _mark_tokens([e.starts for e in episodes], width)
    if any(e.thoughts for e in episodes):
        batch["thought_mask"] = _mark_tokens([e.thoughts for e in episodes], width)
    return batch


def _mark_tokens(positions: Sequence[Sequence[int]], width: int) -> Tensor:
    mask = torch.zeros(len(positions), width, dtype=torch.bool)
    for row, marked in zip(mask, positions, strict=True):
        row[list(marked)] = True
    return mask


def split_batches(micros: list[MicroBatch], count: int, rows: int = 1) -> list[MicroBatch]:
    """Halve the largest micro-batches until there are ``count``; processes that train together need equally many.

    Args:
        micros: at most ``count`` micro-batches with at least ``count * rows`` rows between them.
        count: how many are wanted.
        rows: rows of an item, which stay together.
    """
    micros = list(micros)
    while len(micros) < count:
        i = max(range(len(micros)), key=lambda i: len(micros[i]["input_ids"]))
        micro = micros.pop(i)
        half = len(micro["input_ids"]) // (2 * rows) * rows
        parts = ({k: v[:half] for k, v in micro.items()}, {k: v[half:] for k, v in micro.items()})
        micros[i:i] = [_trim_padding(part) for part in parts]
    return micros


def _trim_padding(micro: MicroBatch) -> MicroBatch:
    width = int(micro["token_mask"].any(0).sum())
    return {name: x if x.ndim == 1 else x[:, :width] for name, x in micro.items()}


def cut_prompt(episode: EncodedEpisode) -> tuple[int, ...]:
    """The ids before the first action: the same for episodes of the same game."""
    return tuple(episode.input_ids[: episode.action_mask.index(True)])


def preference_pairs(episodes: EncodedEpisodes, seed: int) -> Items:
    """Pairs (successful, failed) with the same prompt, each episode used at most once; drawn from ``seed``."""
    by_prompt: dict[bytes, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    facts = episodes.facts
    for place, (prompt, success) in enumerate(zip(facts["prompt_digest"], facts["success"], strict=True)):
        by_prompt[prompt.tobytes()][not success].append(place)
    rng = random.Random(seed)
    pairs: list[tuple[int, int]] = []
    for won, lost in by_prompt.values():
        rng.shuffle(won)
        rng.shuffle(lost)
        pairs.extend(zip(won, lost, strict=False))
    return Items(episodes, np.array(pairs, np.int64).reshape(-1, 2))


def with_mismatches(episodes: EncodedEpisodes) -> Items:
    """Each episode with what followed another's prompt put after its own (for KTO's reference point).

    Raises:
        DatasetError: an episode of several sequences, which has its prompt in each.
    """
    if (episodes.facts["sequences"] > 1).any():
        raise DatasetError(
            "kto puts each episode after another's prompt, and with this prompt or chat template an episode is several "
            "sequences: choose another method, or a prompt that shows earlier turns as they were"
        )
    places = np.arange(len(episodes))
    return Items(episodes, np.stack([places, np.roll(places, -1)], 1), mismatched=True)


def _after_prompt_of(one: EncodedEpisode, other: EncodedEpisode) -> EncodedEpisode:
    head, tail = len(cut_prompt(one)), len(cut_prompt(other))

    def joined(name: str) -> list:
        return getattr(one, name)[:head] + getattr(other, name)[tail:]

    columns = ("input_ids", "action_mask", "imitate_mask", "end_mask", "returns")
    return EncodedEpisode(**{name: joined(name) for name in columns}, success=other.success)
