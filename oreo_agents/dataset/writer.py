"""A dataset on disk: a journal while recording, Parquet shards afterwards, ``meta.json`` beside them.

    meta.json              what the dataset is, and which shards belong to it (replaced atomically)
    shard-00000.parquet    episodes, one per row
    journal-00001.jsonl    episodes that will become shard 1, one JSON line each, flushed after every episode
    lock                   held by the one live writer

An episode is safe from ``kill -9`` once :meth:`TrajectoryWriter.append` has returned, and from a power
failure once compacted. A shard counts only when ``meta.json`` names it, and its journal is deleted after
that, so that a crash at any point neither loses nor doubles an episode. Knows nothing about environments.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from oreo_envs.files import hash_file, is_unfinished, lock_folder, replace_file

from oreo_agents.dataset.journal import encode_row, number_of, read_journal, read_pending_rows
from oreo_agents.dataset.meta import (
    Meta,
    ShardInfo,
    describe_spec,
    disk_errors,
    hash_shards,
    list_versions,
    read_meta,
    tell_origin,
    write_meta,
)
from oreo_agents.dataset.schema import to_row, to_table
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.trajectory import Trajectory

LOCK = "lock"
JOURNAL_BYTES = 32 << 20
"""A journal that grows beyond this is compacted into a shard."""
ROW_GROUP = 64
"""Episodes per Parquet row group: what one random access reads."""


class TrajectoryWriter:
    """Appends episodes to a dataset; opening an existing one continues it.

    >>> import tempfile
    >>> from oreo_agents.trajectory import Trajectory, Turn
    >>> with TrajectoryWriter(tempfile.mkdtemp() + "/episodes") as writer:
    ...     writer.append(Trajectory((Turn("You see a door.", "open door", 1.0),), game="door"))
    ...     writer.count(game="door")
    1

    Args:
        path: folder of the dataset; made if absent.
        env_spec: the environment, as a ``gymnasium.envs.registration.EnvSpec`` or as JSON values.
        author: who recorded it.
        licence: under which licence it may be used.
        metadata: JSON values about the dataset; they are added to those of an existing one.
        dialect: ``move`` or ``put`` for ALFWorld, else None.

    Raises:
        DatasetError: the folder holds something else, a damaged dataset, one of another schema version or
            dialect, or another writer is at work on it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        env_spec: Any = None,
        author: str | None = None,
        licence: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        dialect: str | None = None,
    ) -> None:
        self.path = Path(path)
        given = Meta(
            env_spec=describe_spec(env_spec),
            dialect=dialect,
            author=author,
            licence=licence,
            metadata=dict(metadata or {}),
        )
        self._begins = not self.path.exists()
        _make_folder(self.path)
        _refuse_foreign_content(self.path)
        self._lock: ExitStack | None = _acquire_lock(self.path)
        self._journal: int | None = None
        try:
            self._meta = _continue_meta(self.path, given)
            write_meta(self.path, self._meta)
            self._recover_journal()
            self._counts = Counter(_recorded_episodes(self.path, self._meta))
        except BaseException:
            self._release()
            raise

    def append(self, trajectory: Trajectory) -> None:
        """Write one episode to the journal; when this returns, a crash of the process cannot lose it.

        Raises:
            DatasetError: the episode holds values that cannot be stored, or the disk is full;
                what was written before stays readable.
        """
        self._append_line(encode_row(to_row(trajectory)))
        self._counts[trajectory.game, trajectory.agent] += 1
        if self._journal_bytes > JOURNAL_BYTES:
            self.compact()

    def append_table(self, table: pa.Table) -> None:
        """Write many rows of :data:`~oreo_agents.dataset.schema.SCHEMA` as one shard, past the journal."""
        self.compact()
        self._add_shard(table)
        self._counts.update(_games_and_agents(table))

    def count(self, game: str | None = None, agent: str | None = None) -> int:
        """How many episodes are recorded, of one game, by one agent, or of both; resuming asks this."""
        if game is not None and agent is not None:
            return self._counts[game, agent]
        return sum(
            count for (g, a), count in self._counts.items() if game in (None, g) and agent in (None, a)
        )

    def list_agents(self) -> list[str]:
        """Whose episodes are recorded."""
        return sorted({agent for (_, agent), count in self._counts.items() if count})

    def __len__(self) -> int:
        return self._counts.total()

    def set_dialect(self, dialect: str | None) -> None:
        """Say in which wording the episodes are, once that is known.

        Raises:
            DatasetError: the dataset is in another one.
        """
        require_dialect(self.path, self._meta.dialect, dialect)
        if dialect and self._meta.dialect is None:
            self._meta.dialect = dialect
            write_meta(self.path, self._meta)

    def compact(self) -> None:
        """Turn the journal into a Parquet shard.

        Raises:
            DatasetError: the journal does not hold what was written into it, because somebody else has changed or
                deleted it.
        """
        rows, size = read_journal(self._journal_path)
        if size != self._journal_bytes:
            raise DatasetError(
                f"{self._journal_path}: was changed or deleted while it was written to: it holds {size:,} bytes of "
                f"{self._journal_bytes:,}; what is in the shards beside it is whole"
            )
        if rows:
            self._add_shard(to_table(rows))

    def close(self) -> None:
        """Compact, and let other writers in."""
        if self._lock is None:
            return
        try:
            self.compact()
        finally:
            self._release()

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self.drop_empty()
        self.close()

    def drop_empty(self) -> None:
        """Close, and leave no folder where this writer has made it and has no episodes."""
        if self._lock is None or not self._begins or len(self):
            return
        for name in (self._journal_path.name, "meta.json", LOCK):
            (self.path / name).unlink(missing_ok=True)
        self._release()
        with suppress(OSError):  # somebody else's files are in it, or it is gone
            self.path.rmdir()

    @property
    def _journal_path(self) -> Path:
        return self.path / f"journal-{len(self._meta.shards):05d}.jsonl"

    def _recover_journal(self) -> None:
        """Drop what a crash left: journals already compacted, and the torn last line of the current one."""
        for stale in self.path.glob("journal-*.jsonl"):
            if number_of(stale) < len(self._meta.shards):
                stale.unlink()
        _, self._journal_bytes = read_journal(self._journal_path)
        if self._journal_path.exists():
            os.truncate(self._journal_path, self._journal_bytes)

    def _append_line(self, line: bytes) -> None:
        if self._lock is None:
            raise DatasetError(f"{self.path}: the writer is closed")
        with disk_errors(self._journal_path):
            if self._journal is None:
                self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _write_all(self._journal, line)
            except OSError:
                os.ftruncate(self._journal, self._journal_bytes)
                raise
            gone = os.fstat(self._journal).st_nlink == 0
        if gone:
            raise DatasetError(
                f"{self.path}: was deleted while it was written to, with {len(self)} episodes; record again"
            )
        self._journal_bytes += len(line)

    def _add_shard(self, table: pa.Table) -> None:
        shard = _write_shard(self.path / f"shard-{len(self._meta.shards):05d}.parquet", table)
        shards = [*self._meta.shards, shard]
        meta = replace(self._meta, shards=shards, content_hash=hash_shards(shards))
        write_meta(self.path, meta)  # from here on the shard counts, and its journal does not
        compacted, self._meta = self._journal_path, meta
        self._close_journal()
        compacted.unlink(missing_ok=True)

    def _close_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
        self._journal, self._journal_bytes = None, 0

    def _release(self) -> None:
        self._close_journal()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _continue_meta(path: Path, given: Meta) -> Meta:
    """What the dataset says about itself when a writer opens it with ``given``."""
    given.versions = list_versions()
    if not (path / "meta.json").exists():
        given.metadata = {**tell_origin(), **given.metadata}
        return given
    stored = read_meta(path)
    require_dialect(path, stored.dialect, given.dialect)
    for name in ("env_spec", "dialect", "author", "licence"):
        setattr(stored, name, getattr(stored, name) or getattr(given, name))
    stored.metadata.update(given.metadata)
    stored.versions, stored.schema_version = given.versions, given.schema_version
    return stored


def require_dialect(path: Path, stored: str | None, given: str | None) -> None:
    """Raise DatasetError if a dataset is in one wording and an episode in another."""
    if stored and given and stored != given:
        raise DatasetError(
            f"{path}: holds episodes in the {stored!r} wording, not {given!r}; "
            "write to another folder or convert them first"
        )


def _refuse_foreign_content(path: Path) -> None:
    # a crash before the first meta.json leaves at most the lock and a temporary file
    foreign = [entry.name for entry in path.iterdir() if entry.name != LOCK and not is_unfinished(entry)]
    if foreign and not (path / "meta.json").exists():
        raise DatasetError(
            f"{path}: holds {foreign[0]!r} and no meta.json; record into a new or empty folder"
        )


def _recorded_episodes(path: Path, meta: Meta) -> Iterator[tuple[str, str]]:
    for shard in meta.shards:
        try:
            yield from _games_and_agents(pq.read_table(path / shard.file, columns=["game", "agent"]))
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{path / shard.file}: damaged ({error}); copy the rest with "
                "load_trajectories(path, skip_damaged=True).save(new_path) and continue there"
            ) from error
    for row in read_pending_rows(path):
        yield row["game"], row["agent"]


def _games_and_agents(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table.column("game").to_pylist(), table.column("agent").to_pylist(), strict=True)


def _write_shard(file: Path, table: pa.Table) -> ShardInfo:
    with disk_errors(file), replace_file(file) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=ROW_GROUP,
            write_page_checksum=True,
            write_statistics=False,
        )
        return ShardInfo(file.name, table.num_rows, temporary.stat().st_size, hash_file(temporary))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be a dataset folder ({error.strerror}); choose another path"
        ) from error


def _acquire_lock(path: Path) -> ExitStack:
    held = ExitStack()
    try:
        held.enter_context(lock_folder(path, LOCK))
    except ConfigurationError as error:
        raise DatasetError(
            f"{path}: another process or writer is recording into it; wait for it, or record into another "
            "folder and merge"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); choose another path") from error
    return held
