"""What OreoTrainer takes as data: paths, trajectories, Hugging Face datasets of messages, or encoded episodes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.importers import OUTCOMES, parse_records
from oreo_agents.dataset.reader import TrajectoryDataset
from oreo_agents.errors import DatasetError
from oreo_agents.language.chat import Chat, EncodedEpisode
from oreo_agents.models.return_scale import ReturnScale
from oreo_agents.trajectory import Trajectory

MESSAGES = ("messages", "conversations")
REMEDY = (
    "give a folder of recorded episodes, what load_trajectories returns, trajectories, or a Hugging Face dataset with "
    "the columns messages (role, content) and reward"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that was trained on."""

    name: str
    """Of its folder or on the Hub; empty where that is not known."""
    episodes: int
    sha256: str | None = None
    """Of what was recorded."""


@dataclass(frozen=True, slots=True)
class Data:
    """Episodes, and the datasets that they are from, where those are known."""

    episodes: Sequence[Trajectory | EncodedEpisode]
    sources: tuple[Source, ...] = ()

    def encode(self, chat: Chat, discount: float = 1.0) -> list[EncodedEpisode]:
        """The episodes as token ids; those that are encoded already stay as they are.

        A warning says how many are not what a model has sampled, but the text of it.

        Args:
            chat: of the model.
            discount: what later rewards count, see :class:`oreo_agents.models.return_scale.ReturnScale`.

        Raises:
            DatasetError: an episode was sampled with another tokenizer or prompt, or one that is encoded already is to
                be discounted.
        """
        episodes = list(self.episodes)
        if discount != 1 and any(isinstance(one, EncodedEpisode) for one in episodes):
            raise DatasetError("episodes that are encoded already cannot be discounted: give trajectories")
        if all(isinstance(one, EncodedEpisode) for one in episodes):
            return cast(list[EncodedEpisode], episodes)
        played = [one for one in episodes if isinstance(one, Trajectory)]
        if spelt := sum("text_only" in one.metadata for one in played):
            warnings.warn(
                f"{spelt} of {len(played)} episodes were played through a server that gave no token ids: they are "
                "trained on as text, which may be spelt with other tokens than were sampled",
                stacklevel=2,
            )
        scale = ReturnScale(discount=discount)
        return [
            one if isinstance(one, EncodedEpisode) else _encode_discounted(chat, one, scale)
            for one in episodes
        ]


def _encode_discounted(chat: Chat, trajectory: Trajectory, scale: ReturnScale) -> EncodedEpisode:
    return replace(chat.encode(scale.discount_rewards(trajectory)), return_=trajectory.return_)


def read_data(given: Any, name: str = "train_dataset", outcomes: bool = True) -> Data:
    """The episodes of anything that OreoTrainer takes.

    Args:
        given: a path or several, trajectories (also a :class:`TrajectoryDataset`), encoded episodes, or rows with
            ``messages`` (``role``, ``content``) or ``conversations`` (``from``, ``value``) and a reward: one number
            for the episode or a list with one for each turn of the assistant.
        name: what an error calls it.
        outcomes: rows without a reward are an error.

    Raises:
        DatasetError: it is none of these, or a dataset is damaged.
    """
    if isinstance(given, str | os.PathLike):
        found = load_trajectories(given)
        return Data(cast(Sequence[Trajectory], found), _list_sources(found, Path(given).name))
    if isinstance(given, TrajectoryDataset):
        return Data(cast(Sequence[Trajectory], given), _list_sources(given, ""))
    if isinstance(given, Data):
        return given
    columns = getattr(given, "column_names", None)
    if isinstance(columns, list):
        _require_columns(columns, name, outcomes)
        return Data(
            parse_records(given), (Source(str(getattr(given.info, "dataset_name", "") or ""), len(given)),)
        )
    if isinstance(given, Sequence | Iterable) and not isinstance(given, Mapping):
        return _read_several(list(given), name, outcomes)
    raise DatasetError(f"{name} is of type {type(given).__name__}: {REMEDY}")


def _read_several(given: list[Any], name: str, outcomes: bool) -> Data:
    kinds = {type(one).__name__ for one in given}
    if all(isinstance(one, str | os.PathLike) for one in given) and given:
        parts = [read_data(one, name) for one in given]
        return Data(
            [episode for part in parts for episode in part.episodes],  # type: ignore[arg-type]
            tuple(source for part in parts for source in part.sources),
        )
    if all(isinstance(one, Mapping) for one in given) and given:
        for one in given:
            _require_columns(list(one), name, outcomes)
        return Data(parse_records(given))
    if not all(isinstance(one, Trajectory | EncodedEpisode) for one in given):
        raise DatasetError(f"{name} is a list of {', '.join(sorted(kinds))}: {REMEDY}")
    return Data(given)


def _require_columns(columns: Sequence[str], name: str, outcomes: bool) -> None:
    has = f"{name} has the columns {', '.join(columns) or '(none)'}"
    if not set(MESSAGES) & set(columns):
        raise DatasetError(f"{has}, none with what was said: name it messages, a list of role and content")
    if outcomes and not set(OUTCOMES) & set(columns):
        raise DatasetError(f"{has}, none with the outcome: add reward, a number for each episode")


def _list_sources(found: TrajectoryDataset, name: str) -> tuple[Source, ...]:
    return tuple(
        Source(name, sum(shard.episodes for shard in meta.shards), meta.content_hash) for meta in found.metas
    )
