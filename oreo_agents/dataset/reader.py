"""Reading a dataset: columns as arrays, episodes one at a time, and views that select among them.

Nothing is loaded until asked for: a view is an array of row numbers over memory-mapped shards.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pyarrow as pa
from oreo_envs.files import clear_leftovers, is_unfinished, lock_folder, make_temporary_folder
from oreo_envs.suggestions import suggest_word

from oreo_agents.dataset.journal import read_pending_rows
from oreo_agents.dataset.meta import Meta, read_meta
from oreo_agents.dataset.schema import SCHEMA, from_row, to_table
from oreo_agents.dataset.shards import JournalShard, Shard, is_damaged, open_shard, read_column
from oreo_agents.dataset.writer import LOCK, TrajectoryWriter
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.trajectory import UNDEFINED, Trajectory, Turn, settle_success

if TYPE_CHECKING:
    import datasets
    import pandas

SHARD_EPISODES = 4096
"""Episodes per shard of a saved view."""

READ_EPISODES = 32
"""Episodes that iterating reads at once."""

Condition = Any
"""What a column must be: a value, one of several, or a function from the column to a boolean array."""


def load_trajectories(path: str | os.PathLike[str], skip_damaged: bool = False) -> TrajectoryDataset:
    """Open recorded episodes, read-only; also while they are recorded, or after their writer died.

    Args:
        path: a dataset, or a folder whose subfolders are datasets (such as the parts of a sharded recording).
        skip_damaged: leave out shards whose bytes are not those that were written, with a warning,
            instead of raising.

    Raises:
        DatasetError: there is no dataset at ``path``, or part of it is damaged.
    """
    return concatenate_datasets(*(_load_dataset(folder, skip_damaged) for folder in find_datasets(path)))


def find_datasets(path: str | os.PathLike[str]) -> list[Path]:
    """The dataset at a path, or those in its subfolders.

    Raises:
        DatasetError: there are none.
    """
    folder = Path(path)
    if folder.is_file():
        if (judged := folder.with_suffix(".episodes")).is_dir():
            raise DatasetError(f"{folder}: holds figures; the episodes that they are of are in {judged}")
        raise DatasetError(
            f"{folder}: is a file, and recorded episodes are a folder: make one of it with "
            f"oreo-agents dataset import {folder} --format messages -o DIR (or the format that it has)"
        )
    if (folder / "meta.json").exists():
        return [folder]
    found = [meta.parent for meta in sorted(folder.glob("[!.]*/meta.json"))]
    if not found:
        raise DatasetError(
            f"{folder}: no recorded episodes here "
            f"({'no meta.json in it or its subfolders' if folder.exists() else 'there is no such folder'}); "
            "record some with: oreo-agents record"
        )
    return found


def concatenate_datasets(*datasets: TrajectoryDataset) -> TrajectoryDataset:
    """The episodes of all ``datasets``, in order; nothing is copied."""
    shards = tuple(dict.fromkeys(shard for dataset in datasets for shard in dataset._shards))
    first_row = dict(zip(shards, _compute_offsets(shards), strict=False))
    rows = [
        np.concatenate(
            [np.arange(first_row[shard], first_row[shard] + shard.episodes) for shard in dataset._shards]
            or [np.arange(0)]
        )[dataset._rows]
        for dataset in datasets
    ]
    metas = tuple({id(meta): meta for dataset in datasets for meta in dataset.metas}.values())
    return TrajectoryDataset(shards, np.concatenate(rows or [np.arange(0)]), metas)


def merge_datasets(
    paths: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> TrajectoryDataset:
    """Write one new dataset with the episodes of several, all or none, and return them.

    Raises:
        DatasetError: a source is damaged, or ``output`` holds something already.
    """
    require_new(output)
    merged = concatenate_datasets(*(load_trajectories(path) for path in paths))
    write_dataset(merged, output)
    return merged


def require_new(output: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something; what a killed writer left there goes.

    Raises:
        DatasetError: it does.
    """
    _clear_interrupted_merge(Path(output))
    _refuse_content(Path(output))


def write_dataset(merged: TrajectoryDataset, output: str | os.PathLike[str]) -> None:
    """Write a view as one new dataset, whole or not at all.

    Raises:
        DatasetError: there are no episodes in it, or ``output`` holds something already.
    """
    folder = Path(output)
    require_new(folder)
    if not len(merged):
        raise DatasetError(f"{folder}: no episode meets the conditions; drop one of them")
    with make_temporary_folder(folder / "merged") as complete:
        merged.save(complete)
        with lock_folder(folder, LOCK):
            _refuse_content(folder)
            for file in sorted(complete.iterdir(), key=lambda file: file.name == "meta.json"):
                if file.name != LOCK:
                    file.rename(folder / file.name)  # meta.json last: what has none is no dataset


class TrajectoryDataset:
    """A sequence of episodes, each read when indexed; a slice or an array of indices gives a view.

    >>> import tempfile
    >>> from oreo_agents.trajectory import Trajectory, Turn
    >>> path = tempfile.mkdtemp() + "/episodes"
    >>> with TrajectoryWriter(path) as writer:
    ...     for reward in (0.0, 1.0):
    ...         writer.append(Trajectory((Turn("You see a door.", "open door", reward),), game="door"))
    >>> dataset = load_trajectories(path)
    >>> len(dataset), dataset.returns.tolist(), dataset.filter(success=True)[0].turns[0].action
    (2, [0.0, 1.0], 'open door')
    """

    def __init__(self, shards: tuple[Shard, ...], rows: np.ndarray, metas: tuple[Meta, ...]) -> None:
        """``rows`` number the episodes across ``shards``; use :func:`load_trajectories` instead."""
        self._shards, self._rows, self.metas = shards, rows, metas
        self._first_rows = _compute_offsets(shards)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int | np.integer) -> Trajectory: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> TrajectoryDataset: ...

    def __getitem__(
        self, index: int | np.integer | slice | np.ndarray | Sequence[int]
    ) -> Trajectory | TrajectoryDataset:
        """An episode for an integer, a view for a slice, an array of indices or a boolean mask."""
        if isinstance(index, (int, np.integer)):
            return from_row(next(self._read_rows(self._rows[np.array([index])])))
        return self._view(self._rows[index])

    def __iter__(self) -> Iterator[Trajectory]:
        for start in range(0, len(self), READ_EPISODES):
            yield from map(from_row, self._read_rows(self._rows[start : start + READ_EPISODES]))

    def __repr__(self) -> str:
        return f"TrajectoryDataset({len(self)} episodes, {len(set(self.games))} games)"

    # ---------------------------------------------------------------- columns, one entry per episode

    def column(self, name: str) -> np.ndarray:
        """A per-episode column as an array [len(self)], without reading any text of the episodes.

        Raises:
            DatasetError: no such column.
        """
        if name not in SCHEMA.names or pa.types.is_list(SCHEMA.field(name).type):
            raise DatasetError(
                f"no column {name!r}{suggest_word(name, SCALAR_COLUMNS)}; choose one of {', '.join(SCALAR_COLUMNS)}"
            )
        if not self._shards:
            return np.empty(0, dtype=object)
        return np.concatenate([read_column(shard, name) for shard in self._shards])[self._rows]

    @property
    def success(self) -> np.ndarray:
        """Whether each episode was won, bool [len(self)]; not won where that is not defined."""
        return self._settled.astype(bool)

    @property
    def defines_success(self) -> bool:
        """Whether of every episode it is known if it was won, see :func:`oreo_agents.trajectory.settle_success`."""
        return all(one is not None for one in self._settled)

    @property
    def _settled(self) -> np.ndarray:
        said = self.column("success")
        if all(one is not None for one in said):
            return said
        return np.array(settle_success(self.column("env_id").tolist(), said.tolist()), dtype=object)

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, float64 [len(self)]."""
        return self.column("return").astype(np.float64)

    @property
    def lengths(self) -> np.ndarray:
        """Turns in each episode, int32 [len(self)]."""
        return self.column("length").astype(np.int32)

    @property
    def games(self) -> np.ndarray:
        """Game of each episode, str [len(self)]."""
        return self.column("game")

    @property
    def task_types(self) -> np.ndarray:
        """Task type of each episode, str [len(self)]."""
        return self.column("task_type")

    @property
    def agents(self) -> np.ndarray:
        """Who played each episode, str [len(self)]."""
        return self.column("agent")

    @property
    def env_ids(self) -> np.ndarray:
        """Of the environment that each episode was played in, ``[N]``; empty where that is not known."""
        known = np.array([shard.env_id for shard in self._shards], dtype=object)
        return known[np.searchsorted(self._first_rows, self._rows, side="right") - 1]

    def identify(self) -> str:
        """SHA-256 of which episodes these are, and in which order, without reading them."""
        digest = hashlib.sha256(self._rows.astype(np.int64).tobytes())
        for shard in self._shards:
            digest.update(shard.identify().encode())
        return digest.hexdigest()

    # ---------------------------------------------------------------- selecting

    def sort_stored(self) -> tuple[TrajectoryDataset, np.ndarray]:
        """A view in the order in which the episodes lie, which reads fastest, and where in it each of these is."""
        order = np.argsort(self._rows, kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return self[order], places

    def filter(
        self, predicate: Callable[[Trajectory], bool] | None = None, **conditions: Condition
    ) -> TrajectoryDataset:
        """The episodes that meet every condition.

        Keywords name columns (``game``, ``agent``, ``success``, ``length``, ...; ``return_`` for the return)
        and are fast; ``predicate`` has to read each episode that they leave.

        >>> dataset = TrajectoryDataset((), np.arange(0), ())
        >>> len(dataset.filter(success=True, agent=["expert", "shortest"], length=lambda n: n < 20))
        0

        Raises:
            DatasetError: no such column, or what it is to be is of another kind than what is in it; won or lost
                ones are asked for, and no episode says which it is.
        """
        return self[self.where(predicate, **conditions)]

    def where(
        self, predicate: Callable[[Trajectory], bool] | None = None, **conditions: Condition
    ) -> np.ndarray:
        """The places, from 0, of the episodes that :meth:`filter` keeps."""
        keep = np.ones(len(self), dtype=bool)
        for name, condition in conditions.items():
            values = self._settled if name == "success" else self.column(name := name.rstrip("_"))
            _require_kind(name, condition)
            if name == "success" and not callable(condition) and condition is not None:
                self._require_success(
                    "dataset filter --min-return or --max-return, in Python filter(return_=...)"
                )
            keep &= _meets_condition(values, condition)
        places = np.flatnonzero(keep)
        if predicate is None:
            return places
        return places[np.array([bool(predicate(trajectory)) for trajectory in self[places]], dtype=bool)]

    def split(self, fraction: float, seed: int = 0) -> tuple[TrajectoryDataset, TrajectoryDataset]:
        """Two views with no game in common; the first has ``fraction`` of the games.

        Raises:
            DatasetError: fewer than two games, or a fraction outside (0, 1).
        """
        games = self.games
        distinct = sorted(set(games), key=str)
        if len(distinct) < 2 or not 0 < fraction < 1:
            raise DatasetError(
                f"cannot split {len(distinct)} game(s) at {fraction}: a split is by game, never within one, "
                "and needs two games and a fraction between 0 and 1"
            )
        count = min(max(round(fraction * len(distinct)), 1), len(distinct) - 1)
        order = np.random.default_rng(seed).permutation(len(distinct))[:count]
        first = _is_among(games, [distinct[number] for number in order])
        return self[first], self[~first]

    def shuffle(self, seed: int = 0) -> TrajectoryDataset:
        """The same episodes in random order."""
        return self._view(np.random.default_rng(seed).permutation(self._rows))

    def sample(
        self,
        count: int,
        seed: int = 0,
        by: Literal["uniform", "success", "return", "length"] = "uniform",
        replacement: bool = False,
    ) -> TrajectoryDataset:
        """``count`` random episodes; ``by`` says which are likelier.

        ``success`` draws won episodes only, ``return`` in proportion to the return (above the worst
        one, if that is negative), ``length`` in inverse proportion to the number of turns.

        Raises:
            DatasetError: fewer than ``count`` episodes could be drawn, or by success, and no episode says of it.
        """
        weights = self._weights(by)
        available = int(np.count_nonzero(weights))
        if count > available and not (replacement and available):
            raise DatasetError(
                f"cannot sample {count} episodes by {by}: only {available} of {len(self)} qualify"
            )
        probabilities = weights / weights.sum() if count else None
        generator = np.random.default_rng(seed)
        return self[generator.choice(len(self), count, replacement, probabilities)]

    def _require_success(self, instead: str) -> None:
        if len(self) and all(one is None for one in self._settled):
            raise DatasetError(f"{UNDEFINED} ({instead})")

    def _weights(self, by: str) -> np.ndarray:
        if by == "uniform":
            return np.ones(len(self))
        if by == "success":
            self._require_success("--by return")
            return self.success.astype(np.float64)
        if by == "return":
            return self.returns - min(self.returns.min(initial=0.0), 0.0)
        if by == "length":
            return 1.0 / np.maximum(self.lengths, 1)
        raise DatasetError(f"cannot sample by {by!r}; choose uniform, success, return or length")

    def merge(self, *others: TrajectoryDataset) -> TrajectoryDataset:
        """These episodes followed by those of ``others``; see :func:`concatenate_datasets`."""
        return concatenate_datasets(self, *others)

    # ---------------------------------------------------------------- other libraries

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each episode: game, agent, success, return, length, ... without texts of the turns.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigurationError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame({name: self.column(name) for name in SCALAR_COLUMNS})

    def to_dataset(self) -> datasets.Dataset:
        """A Hugging Face dataset with a row for each episode, as :class:`oreo_agents.OreoTrainer` takes it, too.

        It has ``messages`` (``role``, ``content``), ``rewards`` (one for each message of the assistant), ``reward``
        (their sum), ``success``, ``game``, ``task_type``, ``agent`` and ``env_id``.
        Token ids of rollouts are not in it.

        Raises:
            ConfigurationError: datasets is not installed.
        """
        try:
            import datasets
        except ImportError as error:
            raise ConfigurationError("to_dataset needs datasets: pip install datasets") from error
        return datasets.Dataset.from_list([_describe_episode(episode) for episode in self if len(episode)])

    # ---------------------------------------------------------------- whole datasets

    def save(self, path: str | os.PathLike[str], **description: Any) -> None:
        """Write this view as a dataset of its own, or add it to an existing one.

        Args:
            path: folder of the dataset to make or to continue.
            description: ``author``, ``licence``, ``metadata``, as :class:`TrajectoryWriter` takes them;
                what all sources agree on is kept.
        """
        agreed = {name: self.agreed(name) for name in ("env_spec", "author", "licence", "dialect")}
        sources = {"sources": [meta.content_hash for meta in self.metas]}
        metadata = {**sources, **description.pop("metadata", {})}
        with TrajectoryWriter(path, **{**agreed, **description, "metadata": metadata}) as writer:
            self.save_to(writer)

    def save_to(self, writer: TrajectoryWriter) -> None:
        """Append the episodes of this view to an open dataset, without going through its journal."""
        for table in self._tables():
            writer.append_table(table)

    def agreed(self, name: str) -> Any:
        """What every source of these episodes says in its ``meta.json`` under ``name``, else None."""
        values = [getattr(meta, name) for meta in self.metas]
        return values[0] if values and all(value == values[0] for value in values) else None

    def check_files(self) -> None:
        """Compare the bytes of every shard with what was written.

        Raises:
            DatasetError: a shard is damaged.
        """
        for shard in self._shards:
            shard.check()

    def require_tokenizer(self, fingerprint: str) -> None:
        """Check that every episode with token ids was sampled with this tokenizer and chat template.

        Raises:
            DatasetError: some were not; their token ids would mean other words.
        """
        others = {name for name in self.column("tokenizer") if name not in (None, fingerprint)}
        if others:
            raise DatasetError(
                f"episodes were sampled with tokenizer {', '.join(sorted(others))}, model: {fingerprint}; "
                "their token ids do not fit: train the model they came from, or drop their token ids"
            )

    def _view(self, rows: np.ndarray) -> TrajectoryDataset:
        return TrajectoryDataset(self._shards, rows, self.metas)

    def _read_rows(self, rows: np.ndarray) -> Iterator[dict[str, Any]]:
        """Those that lie one after the other are read together."""
        numbers = np.searchsorted(self._first_rows, rows, side="right") - 1
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(numbers) != 0)) + 1
        for run, number in zip(np.split(rows, cuts), numbers[[0, *cuts]], strict=True):
            yield from self._shards[number].list_rows(int(run[0] - self._first_rows[number]), len(run))

    def _tables(self) -> Iterator[pa.Table]:
        """The rows of this view in order, as tables of at most ``SHARD_EPISODES``."""
        for start in range(0, len(self), SHARD_EPISODES):
            yield self._table(self._rows[start : start + SHARD_EPISODES])

    def _table(self, rows: np.ndarray) -> pa.Table:
        numbers = np.searchsorted(self._first_rows, rows, side="right") - 1
        touched = np.unique(numbers)
        parts = [
            self._shards[number].table().take(rows[numbers == number] - self._first_rows[number])
            for number in touched
        ]
        by_shard = np.argsort(numbers, kind="stable")  # where each row of the parts belongs
        return pa.concat_tables(parts).take(np.argsort(by_shard, kind="stable"))


FindThought = Callable[[Turn], str]
"""What an agent said in a turn before it named its action; all that it said where it named none."""


def make_messages(turns: Iterable[Turn], find_thought: FindThought | None = None) -> list[dict[str, str]]:
    """Turns as chat messages: the ``user`` says what is seen, the ``assistant`` what is done.

    Args:
        turns: of an episode.
        find_thought: finds what becomes ``reasoning_content``, with the command alone as ``content``; None:
            ``content`` is the whole reply, as it was said.
    """
    messages = list[dict[str, str]]()
    for turn in turns:
        messages.append({"role": "user", "content": turn.observation})
        said = {"role": "assistant", "content": str(turn.said or turn.action)}
        if find_thought:
            thought = find_thought(turn)
            named = thought != turn.said
            said |= (
                {"reasoning_content": thought, "content": str(turn.action)}
                if named
                else {"reasoning_content": ""}
            )
        messages.append(said)
    return messages


def _describe_episode(episode: Trajectory) -> dict[str, Any]:
    told = {name: getattr(episode, name) for name in ("success", "game", "task_type", "agent", "env_id")}
    return {
        "messages": make_messages(episode.turns),
        "rewards": list(episode.rewards),
        "reward": episode.return_,
        **told,
    }


def _clear_interrupted_merge(folder: Path) -> None:
    """Remove what a merge moved into its place that was killed before ``meta.json`` made a dataset of it."""
    before = set(folder.glob(".merged.*.new"))
    clear_leftovers(folder)
    if any(not left.exists() for left in before) and not (folder / "meta.json").exists():
        for shard in folder.glob("shard-*.parquet"):
            shard.unlink()


def _refuse_content(folder: Path) -> None:
    held = [folder] if folder.is_file() else folder.iterdir() if folder.exists() else ()
    if any(entry.name != LOCK and not is_unfinished(entry) for entry in held):
        raise DatasetError(f"{folder}: is there already; choose a new folder")


def _load_dataset(path: Path, skip_damaged: bool) -> TrajectoryDataset:
    pending = read_pending_rows(path, skip_damaged)
    meta = read_meta(path)
    env_id = str((meta.env_spec or {}).get("id", ""))
    shards: list[Shard] = [
        open_shard(path, info, env_id)
        for info in meta.shards
        if not (skip_damaged and is_damaged(path, info))
    ]
    if pending:
        shards.append(JournalShard(to_table(pending), env_id))
    return TrajectoryDataset(tuple(shards), np.arange(sum(shard.episodes for shard in shards)), (meta,))


def _compute_offsets(shards: tuple[Shard, ...]) -> np.ndarray:
    return np.cumsum([0, *(shard.episodes for shard in shards)])[: len(shards)]


def _is_among(values: np.ndarray, allowed: Collection[Any]) -> np.ndarray:
    members = allowed if isinstance(allowed, range) else set(allowed)  # np.isin is slow on texts
    return np.fromiter((value in members for value in values.tolist()), dtype=bool, count=len(values))


_KINDS = {"bool": ((bool, np.bool_), "True or False"), "string": ((str,), "a text")}
_NUMBER = ((int, float, np.number), "a number")


def _require_kind(name: str, condition: Condition) -> None:
    """Refuse a text where numbers are, and the like: no episode would ever meet it."""
    if callable(condition):
        return
    kinds, words = _KINDS.get(str(SCHEMA.field(name).type), _NUMBER)
    several = isinstance(condition, Collection) and not isinstance(condition, str)
    for one in condition if several else [condition]:
        if one is not None and not isinstance(one, kinds):
            raise DatasetError(f"{name} is {words}, not {one!r}")


def _meets_condition(values: np.ndarray, condition: Condition) -> np.ndarray:
    if callable(condition):
        return np.asarray(condition(values), dtype=bool)
    if isinstance(condition, Collection) and not isinstance(condition, str):
        return _is_among(values, condition)
    if isinstance(condition, str):  # numpy takes a zero byte at the end of a text for padding
        return _is_among(values, [condition])
    return np.asarray(values == condition, dtype=bool)


SCALAR_COLUMNS = tuple(field.name for field in SCHEMA if not pa.types.is_list(field.type))
