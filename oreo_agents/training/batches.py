"""Encoded episodes <-> rectangular micro-batches. Knows nothing about models or losses.

What a trainer draws at random is an *item*: an episode, or several of them that must be seen together. A batch of
items is cut into micro-batches of similar length, so padding is small, and every optimizer step still sees long
failures and short successes together.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from oreo_agents.errors import DatasetError
from oreo_agents.language.chat import EncodedEpisode

Item = EncodedEpisode | tuple[EncodedEpisode, ...]
MicroBatch = dict[str, Tensor]
"""``[B, T]`` columns of right-padded episodes; ``success`` and ``group`` (which item an episode is of), ``[B]``; the
episodes of an item are neighbours. ``start_mask`` (where sequences begin) and ``thought_mask`` are there where some
episode has several, or thoughts; ``recorded_logp`` and ``prompt_value``, ``[B]``, where every episode has them."""

GROUP = 8
"""Most episodes of a group."""


def collate_items(items: Sequence[Item], pad_id: int, micro_batch_tokens: int) -> list[MicroBatch]:
    """Sort a batch by length and cut it into right-padded micro-batches of at most so many tokens.

    An item is never torn apart, and one longer than ``micro_batch_tokens`` is a micro-batch of its own.
    """
    parts: list[list[tuple[EncodedEpisode, ...]]] = [[]]
    width = rows = 0
    for item in sorted(map(as_episodes, items), key=_measure_longest, reverse=True):
        if parts[-1] and (rows + len(item)) * width > micro_batch_tokens:
            parts.append([])
        if not parts[-1]:
            width, rows = _measure_longest(item), 0
        parts[-1].append(item)
        rows += len(item)
    return [_pad_items(part, pad_id) for part in parts]


def sort_places(places: Sequence[int], items: Sequence[Item]) -> list[int]:
    """The places of a batch's items as :func:`collate_items` has them, the longest first."""
    return sorted(places, key=lambda place: _measure_longest(as_episodes(items[place])), reverse=True)


def as_episodes(item: Item) -> tuple[EncodedEpisode, ...]:
    """The episodes of an item."""
    return item if isinstance(item, tuple) else (item,)


def _measure_longest(episodes: Sequence[EncodedEpisode]) -> int:
    return max(map(len, episodes))


def _pad_items(items: Sequence[tuple[EncodedEpisode, ...]], pad_id: int) -> MicroBatch:
    episodes = [episode for item in items for episode in item]
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
        "group": torch.tensor([i for i, item in enumerate(items) for _ in item]),
    }
    for name in ("recorded_logp", "prompt_value"):
        if None not in (known := [getattr(episode, name) for episode in episodes]):
            batch[name] = torch.tensor(known, dtype=torch.float)
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


def split_batches(micros: list[MicroBatch], count: int) -> list[MicroBatch]:
    """Halve the largest micro-batches until there are ``count``; processes that train together need equally many.

    Args:
        micros: at most ``count`` micro-batches with at least ``count`` items between them, which stay whole.
        count: how many are wanted.
    """
    micros = list(micros)
    while len(micros) < count:
        i = max(range(len(micros)), key=lambda i: len(micros[i]["group"].unique()))
        micro = micros.pop(i)
        items = micro["group"].unique()
        half = int((micro["group"] < items[len(items) // 2]).sum())
        parts = ({k: v[:half] for k, v in micro.items()}, {k: v[half:] for k, v in micro.items()})
        micros[i:i] = [_trim_padding(part) for part in parts]
    return micros


def _trim_padding(micro: MicroBatch) -> MicroBatch:
    width = int(micro["token_mask"].any(0).sum())
    return {name: x if x.ndim == 1 else x[:, :width] for name, x in micro.items()}


def cut_prompt(episode: EncodedEpisode) -> tuple[int, ...]:
    """The ids before the first action: the same for episodes of the same game."""
    return tuple(episode.input_ids[: episode.action_mask.index(True)])


def preference_pairs(episodes: Sequence[EncodedEpisode], seed: int) -> list[Item]:
    """Pairs (successful, failed) with the same prompt, each episode used at most once; drawn from ``seed``."""
    by_prompt: dict[tuple[int, ...], tuple[list, list]] = defaultdict(lambda: ([], []))
    for episode in episodes:
        by_prompt[cut_prompt(episode)][not episode.success].append(episode)
    rng = random.Random(seed)
    pairs: list[Item] = []
    for won, lost in by_prompt.values():
        rng.shuffle(won)
        rng.shuffle(lost)
        pairs.extend(zip(won, lost, strict=False))
    return pairs


def group_by_prompt(episodes: Sequence[EncodedEpisode]) -> list[list[EncodedEpisode]]:
    """The episodes of each prompt, in the order in which prompts are first met."""
    by_prompt: dict[tuple[int, ...], list[EncodedEpisode]] = defaultdict(list)
    for episode in episodes:
        by_prompt[cut_prompt(episode)].append(episode)
    return list(by_prompt.values())


def draw_groups(episodes: Sequence[EncodedEpisode], seed: int) -> list[Item]:
    """Groups of two to :data:`GROUP` episodes with the same prompt, as even as can be; drawn from ``seed``.

    An episode that is alone with its prompt is left out.
    """
    rng = random.Random(seed)
    groups: list[Item] = []
    for alike in group_by_prompt(episodes):
        rng.shuffle(alike)
        count = -(-len(alike) // GROUP)
        groups.extend(tuple(alike[i::count]) for i in range(count) if len(alike) > 1)
    return groups


def with_prompt_values(
    episodes: Sequence[EncodedEpisode], value: Callable[[Tensor], Tensor]
) -> list[EncodedEpisode]:
    """Each episode with what ``value`` makes of the returns of all that have its prompt, sorted by prompt."""
    return [
        replace(episode, prompt_value=known)
        for alike in group_by_prompt(episodes)
        for known in [value(torch.tensor([one.returns[0] for one in alike])).item()]
        for episode in alike
    ]


def with_mismatches(episodes: Sequence[EncodedEpisode]) -> list[Item]:
    """Each episode with what followed another's prompt put after its own (for KTO's reference point).

    Raises:
        DatasetError: an episode of several sequences, which has its prompt in each.
    """
    if any(len(episode.starts) > 1 for episode in episodes):
        raise DatasetError(
            "kto puts each episode after another's prompt, and with this prompt or chat template an episode is several "
            "sequences: choose another method, or a prompt that shows earlier turns as they were"
        )
    others = [*episodes[1:], *episodes[:1]]
    return [(one, _after_prompt_of(one, other)) for one, other in zip(episodes, others, strict=True)]


def _after_prompt_of(one: EncodedEpisode, other: EncodedEpisode) -> EncodedEpisode:
    head, tail = len(cut_prompt(one)), len(cut_prompt(other))

    def joined(name: str) -> list:
        return getattr(one, name)[:head] + getattr(other, name)[tail:]

    columns = ("input_ids", "action_mask", "imitate_mask", "end_mask", "returns")
    return EncodedEpisode(**{name: joined(name) for name in columns}, success=other.success)
