"""Encoded episodes <-> rectangular micro-batches. Knows nothing about models or losses.

What a trainer draws at random is an *item*: an episode, or several of them that must be seen together. A batch of
items is cut into micro-batches of similar length, so padding is small, and every optimizer step still sees long
failures and short successes together.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import EncodedEpisode, EncodedEpisodes, gather_episodes

Item = EncodedEpisode | tuple[EncodedEpisode, ...]
MicroBatch = dict[str, Tensor]
"""``[B, T]`` columns of right-padded episodes; ``success`` and ``group`` (which item an episode is of), ``[B]``; the
episodes of an item are neighbours. ``start_mask`` (where sequences begin) and ``thought_mask`` are there where some
episode has several, or thoughts; ``recorded_logp``, ``group_advantages`` and, ``[B]``, ``prompt_value``, where every
episode has them."""

PlacedBatch = dict[str, Any]
"""A micro-batch on the device: its columns, ``rows`` (:class:`oreo_agents.training.rows.TokenRows`), and what the host
knows: ``weight``, what it counts in its batch, and ``tokens``."""

GROUP = 8
"""Most episodes of a group."""
DISCOUNT = 0.95
"""Of the returns that GiGPO compares turns by (arXiv 2505.10978); its episodes are compared without."""


@dataclass(frozen=True, eq=False)
class Items(Sequence[Item]):
    """What is drawn at random, as places in encoded episodes; an item is made when it is indexed."""

    episodes: EncodedEpisodes
    """What items are made of."""
    places: np.ndarray
    """``[N]``, an episode each, or ``[N, W]``, up to W each; -1 stands for none."""
    mismatched: bool = False
    """The second of a pair is what followed its prompt, put after the prompt of the first."""
    prompt_values: Sequence[float] | None = None
    """:attr:`EncodedEpisode.prompt_value` of each."""
    advantages: Sequence[Sequence[float]] | None = None
    """Of each episode's actions; their tokens get them as :attr:`EncodedEpisode.group_advantages`."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        """An item for an integer, a view for a slice."""
        places = self.places[index]
        if isinstance(index, slice):
            values, advantages = self.prompt_values, self.advantages
            return replace(
                self,
                places=places,
                prompt_values=values and values[index],
                advantages=advantages and advantages[index],
            )
        if self.places.ndim > 1:
            first, *others = (self.episodes[place] for place in places[places >= 0])
            return first, *(_after_prompt_of(first, one) if self.mismatched else one for one in others)
        episode = self.episodes[int(places)]
        if self.prompt_values is not None:
            episode = replace(episode, prompt_value=self.prompt_values[index])
        if self.advantages is not None:
            episode = replace(episode, group_advantages=_spread_actions(episode, self.advantages[index]))
        return episode

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence in any of them."""
        facts = self.episodes.facts
        if not self.mismatched:
            return int(facts["longest"][self._drawn].max(initial=0))
        one, other = facts[self.places].T
        mixed = one["prompt"] + other["tokens"] - other["prompt"]
        return int(max(one["longest"].max(initial=0), mixed.max(initial=0)))

    def list_digests(self) -> list[bytes]:
        """:attr:`EncodedEpisode.digest` of every episode in them, in order."""
        if self.mismatched:
            return [episode.digest for item in self for episode in as_episodes(item)]
        return self.episodes[self._drawn].digests

    @property
    def _drawn(self) -> np.ndarray:
        """The places of all episodes in them, in order."""
        return self.places[self.places >= 0]


NO_ITEMS = Items(gather_episodes(()), np.empty(0, np.int64))


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
    for name in ("recorded_logp", "group_advantages"):
        if all(getattr(episode, name) is not None for episode in episodes):
            batch[name] = column(name, 0.0)
    if None not in (values := [episode.prompt_value for episode in episodes]):
        batch["prompt_value"] = torch.tensor(values)
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


def group_by_prompt(episodes: EncodedEpisodes) -> list[list[int]]:
    """The places of the episodes of each prompt, in the order in which prompts are first met."""
    by_prompt: dict[bytes, list[int]] = defaultdict(list)
    for place, prompt in enumerate(episodes.facts["prompt_digest"]):
        by_prompt[prompt.tobytes()].append(place)
    return list(by_prompt.values())


def preference_pairs(episodes: EncodedEpisodes, seed: int) -> Items:
    """Pairs (successful, failed) with the same prompt, each episode used at most once; drawn from ``seed``."""
    rng = random.Random(seed)
    successful = (episodes.facts["success"] == 1).tolist()
    pairs: list[tuple[int, int]] = []
    for alike in group_by_prompt(episodes):
        won = [place for place in alike if successful[place]]
        lost = [place for place in alike if not successful[place]]
        rng.shuffle(won)
        rng.shuffle(lost)
        pairs.extend(zip(won, lost, strict=False))
    return Items(episodes, np.array(pairs, np.int64).reshape(-1, 2))


def draw_groups(episodes: EncodedEpisodes, seed: int) -> Items:
    """Groups of two to :data:`GROUP` episodes with the same prompt, as even as can be; drawn from ``seed``.

    An episode that is alone with its prompt is left out.
    """
    rng = random.Random(seed)
    groups: list[list[int]] = []
    for alike in group_by_prompt(episodes):
        rng.shuffle(alike)
        count = -(-len(alike) // GROUP)
        groups.extend(alike[i::count] for i in range(count) if len(alike) > 1)
    filled = [group + [-1] * (GROUP - len(group)) for group in groups]
    return Items(episodes, np.array(filled, np.int64).reshape(-1, GROUP))


def with_prompt_values(episodes: EncodedEpisodes, value: Callable[[Tensor], Tensor]) -> Items:
    """Each episode with what ``value`` makes of the returns of all that have its prompt, sorted by prompt."""
    groups, first = group_by_prompt(episodes), episodes.facts["first"]
    values = [
        known
        for alike in groups
        for known in [value(torch.tensor(first[alike].tolist())).item()] * len(alike)
    ]
    return Items(episodes, _chain_places(groups), prompt_values=values)


def with_group_advantages(episodes: EncodedEpisodes) -> Items:
    """Each episode with GiGPO's advantages (arXiv 2505.10978, its omega 1), sorted by prompt.

    An episode's return is compared with those after the same prompt, the discounted return of each of its turns with
    those of turns in the same state; both are centred and divided by the standard deviation. Where the environment said
    no state (:attr:`EncodedEpisode.states`), the same state is the same history: what was read and said before, token
    for token.
    """
    groups = group_by_prompt(episodes)
    advantages = [one for alike in groups for one in _compare_episodes([*episodes[alike]])]
    return Items(episodes, _chain_places(groups), advantages=advantages)


def _chain_places(groups: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([place for group in groups for place in group], np.int64)


def _compare_episodes(alike: Sequence[EncodedEpisode]) -> list[list[float]]:
    """The advantage of each action of each episode."""
    of_episodes = _standardise_values([one.returns[0] for one in alike])
    returns = [_discount_rewards(one) for one in alike]
    met: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for i, one in enumerate(alike):
        for turn, (begin, _) in enumerate(list_actions(one)):
            state = tuple(one.input_ids[:begin]) if one.states is None else one.states[turn]
            met[state].append((i, turn))
    advantages = [[0.0] * len(of_turns) for of_turns in returns]
    for turns in met.values():
        compared = _standardise_values([returns[i][turn] for i, turn in turns])
        for (i, turn), advantage in zip(turns, compared, strict=True):
            advantages[i][turn] = of_episodes[i] + advantage
    return advantages


def _spread_actions(episode: EncodedEpisode, values: Sequence[float]) -> list[float]:
    """For each token of an action the value of that action, elsewhere zero."""
    column = [0.0] * len(episode)
    for (begin, end), value in zip(list_actions(episode), values, strict=True):
        column[begin:end] = [value] * (end - begin)
    return column


def list_actions(episode: EncodedEpisode) -> list[tuple[int, int]]:
    """Where each action begins and, exclusively, ends."""
    ends = [i + 1 for i, end in enumerate(episode.end_mask) if end]
    return [
        (episode.action_mask.index(True, before), end)
        for before, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _discount_rewards(episode: EncodedEpisode) -> list[float]:
    """The discounted return of each action."""
    to_go = [episode.returns[begin] for begin, _ in list_actions(episode)]
    total, out = 0.0, []
    for now, later in reversed(list(zip(to_go, [*to_go[1:], 0.0], strict=True))):
        total = now - later + DISCOUNT * total
        out.append(total)
    return out[::-1]


def _standardise_values(values: Sequence[float]) -> list[float]:
    """Centred and divided by the standard deviation; zeros where all are the same."""
    if len(set(values)) < 2:
        return [0.0] * len(values)
    centre, spread = mean(values), stdev(values)
    return [(value - centre) / spread for value in values]


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

    def joined(name: str) -> Any:
        return getattr(one, name)[:head] + getattr(other, name)[tail:]

    columns = ("input_ids", "action_mask", "imitate_mask", "end_mask", "returns")
    joint: dict[str, Any] = {name: joined(name) for name in columns}
    return EncodedEpisode(**joint, success=other.success)
