"""What a dataset's episodes lie in: Parquet files, read when asked for and checked, or rows in memory."""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from oreo_envs.files import hash_file

from oreo_agents.dataset.meta import ShardInfo
from oreo_agents.dataset.schema import EARLIER_SCHEMAS, SCHEMA, to_rows, upgrade_table
from oreo_agents.errors import DatasetError


@dataclass(frozen=True, slots=True, eq=False)
class JournalShard:
    """Episodes not compacted yet, in memory."""

    rows: pa.Table
    env_id: str = ""
    """Of the environment that they were played in, where that is known."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return self.rows.num_rows

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """All episodes, or some columns of them."""
        return self.rows if columns is None else self.rows.select(columns)

    def identify(self) -> str:
        """What tells its content from others'."""
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, self.rows.schema) as stream:
            stream.write_table(self.rows)
        return hashlib.sha256(sink.getbuffer()).hexdigest()

    def check(self) -> None:
        """Nothing to check: every line was parsed."""

    def list_rows(self, first: int, count: int) -> list[dict[str, Any]]:
        """So many episodes."""
        return to_rows(self.rows.slice(first, count))


@dataclass(frozen=True, slots=True)
class ParquetShard:
    """One file; ``stamp`` (its modification time) tells a replaced file from the one cached."""

    path: str
    episodes: int
    sha256: str
    stamp: int
    env_id: str = ""
    """Of the environment that its episodes were played in, where that is known."""

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """All episodes, or some columns of them."""
        table = _call_reader(self, lambda: self._read(columns))
        if table.num_rows != self.episodes:
            raise _make_error(self.path, f"{table.num_rows} episodes of {self.episodes}")
        return table

    def identify(self) -> str:
        """What tells its content from others': of a file that was replaced by hand, the time, too."""
        return f"{self.sha256} {self.stamp}"

    def _read(self, columns: list[str] | None) -> pa.Table:
        table = _open_file(self).read(columns=columns)
        return upgrade_table(table) if columns is None else table

    def check(self) -> None:
        """Compare the file's bytes with what was written."""
        if hash_file(Path(self.path)) != self.sha256:
            raise _make_error(self.path, "its bytes are not those that were written")

    def list_rows(self, first: int, count: int) -> list[dict[str, Any]]:
        """So many episodes; reads their row groups."""
        size, rows = _group_size(self), list[dict[str, Any]]()
        while len(rows) < count:
            group, place = divmod(first + len(rows), size)
            found = to_rows(_row_group(self, group).slice(place, count - len(rows)))
            if not found:
                raise _make_error(self.path, f"episode {first + len(rows)} is not in it")
            rows += found
        return rows


Shard = JournalShard | ParquetShard


@lru_cache(maxsize=256)
def _open_file(shard: ParquetShard) -> pq.ParquetFile:
    file = pq.ParquetFile(shard.path, memory_map=True, page_checksum_verification=True)
    known = any(file.schema_arrow.equals(schema) for schema in (SCHEMA, *EARLIER_SCHEMAS))
    if not known or file.metadata.num_rows != shard.episodes:
        raise OSError("it is another Parquet file")
    return file


@lru_cache(maxsize=16)
def _row_group(shard: ParquetShard, group: int) -> pa.Table:
    return _call_reader(shard, lambda: upgrade_table(_open_file(shard).read_row_group(group)))


def _group_size(shard: ParquetShard) -> int:
    return max(1, _call_reader(shard, lambda: _open_file(shard).metadata.row_group(0).num_rows))


NEVER_NULL = ("length", "return")
"""Columns of numbers that every episode has."""


@lru_cache(maxsize=4096)
def read_column(shard: Shard, name: str) -> np.ndarray:
    """A per-episode column as an array [episodes]."""
    values = shard.table([name]).column(name)
    if pa.types.is_string(values.type):  # one Python string per distinct value, not per row
        codes = values.combine_chunks().dictionary_encode()
        texts = np.array([*codes.dictionary.to_pylist(), None], dtype=object)
        return texts[codes.indices.fill_null(len(texts) - 1).to_numpy()]
    if values.null_count and name in NEVER_NULL:
        place = shard.path if isinstance(shard, ParquetShard) else "journal"
        raise _make_error(place, f"an episode has no {name}")
    if values.null_count:
        return np.array(values.to_pylist(), dtype=object)
    return values.to_numpy()


def _call_reader(shard: ParquetShard, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, pa.ArrowException, IndexError, UnicodeDecodeError) as error:
        raise _make_error(shard.path, error) from error


def _make_error(file: object, why: object) -> DatasetError:
    return DatasetError(f"{file}: damaged ({why}); load_trajectories(path, skip_damaged=True) reads the rest")


def open_shard(path: Path, info: ShardInfo, env_id: str = "") -> ParquetShard:
    """A shard that ``meta.json`` lists; DatasetError where the file is not of the size that was written."""
    file = path / info.file
    try:
        status = file.stat()
    except OSError as error:
        raise _make_error(file, error.strerror) from error
    if not stat.S_ISREG(status.st_mode):
        raise _make_error(file, "it is no regular file")
    if status.st_size != info.bytes:
        raise _make_error(file, f"{status.st_size} bytes, {info.bytes} were written")
    return ParquetShard(str(file), info.episodes, info.sha256, status.st_mtime_ns, env_id)


def is_damaged(path: Path, info: ShardInfo) -> bool:
    """Whether a shard's bytes are not those that were written; warns of it."""
    try:
        damaged = hash_file(path / info.file) != info.sha256
    except OSError:
        damaged = True
    if damaged:
        warnings.warn(f"{path / info.file}: damaged, {info.episodes} episodes left out", stacklevel=4)
    return damaged
