"""What OreoTrainer takes as data: paths, trajectories, Hugging Face datasets of messages, or encoded episodes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.importers import OUTCOMES, parse_records
from oreo_agents.dataset.reader import TrajectoryDataset, concatenate_datasets
from oreo_agents.environments import is_same_id, keep_options, unite_ids
from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import EncodedEpisode
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
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """In which they were played, where that is known: by id, the options that say which kind of games."""


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
        return _describe_recorded(found, _list_sources(found, Path(given).name))
    if isinstance(given, TrajectoryDataset):
        return _describe_recorded(given, _list_sources(given, ""))
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
        found = concatenate_datasets(*(cast(TrajectoryDataset, part.episodes) for part in parts))
        return _describe_recorded(found, tuple(source for part in parts for source in part.sources))
    if all(isinstance(one, Mapping) for one in given) and given:
        for one in given:
            _require_columns(list(one), name, outcomes)
        return Data(parse_records(given))
    if not all(isinstance(one, Trajectory | EncodedEpisode) for one in given):
        raise DatasetError(f"{name} is a list of {', '.join(sorted(kinds))}: {REMEDY}")
    played = {one.env_id for one in given if isinstance(one, Trajectory) and one.env_id}
    return Data(given, environments={env_id: {} for env_id in unite_ids(played)})


def _require_columns(columns: Sequence[str], name: str, outcomes: bool) -> None:
    has = f"{name} has the columns {', '.join(columns) or '(none)'}"
    if not set(MESSAGES) & set(columns):
        raise DatasetError(f"{has}, none with what was said: name it messages, a list of role and content")
    if outcomes and not set(OUTCOMES) & set(columns):
        raise DatasetError(f"{has}, none with the outcome: add reward, a number for each episode")


def _describe_recorded(found: TrajectoryDataset, sources: tuple[Source, ...]) -> Data:
    return Data(cast(Sequence[Trajectory], found), sources, list_environments(found))


def list_environments(found: TrajectoryDataset) -> dict[str, dict[str, Any]]:
    """In which environments recorded episodes were played: by id, the options of :func:`keep_options` on which all
    datasets of it agree; nothing of those that do not say it."""
    played = unite_ids(map(str, filter(None, set(found.column("env_id")))))
    told: dict[str, list[dict[str, Any]]] = {env_id: [] for env_id in played}
    for spec in (meta.env_spec or {} for meta in found.metas):
        options = spec.get("kwargs") or {}
        env_id = next((one for one in played if is_same_id(spec.get("id"), one)), None)
        if env_id and isinstance(options, dict):
            told[env_id].append(keep_options(env_id, options))
    return {env_id: _find_agreed(options) for env_id, options in told.items()}


def _find_agreed(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = several or [{}]
    return {name: x for name, x in first.items() if all(one.get(name) == x for one in others)}


def _list_sources(found: TrajectoryDataset, name: str) -> tuple[Source, ...]:
    return tuple(
        Source(name, sum(shard.episodes for shard in meta.shards), meta.content_hash) for meta in found.metas
    )
