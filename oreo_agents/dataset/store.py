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

import fcntl
import hashlib
import json
import os
import platform
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata as distribution
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from oreo_agents.dataset.schema import COLUMNS, SCHEMA_VERSION, to_row, to_table
from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Trajectory

FORMAT = "oreo-trajectories"
JOURNAL_BYTES = 32 << 20
"""A journal that grows beyond this is compacted into a shard."""
ROW_GROUP = 64
"""Episodes per Parquet row group: what one random access reads."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One Parquet file as ``meta.json`` lists it."""

    file: str
    episodes: int
    bytes: int
    sha256: str


@dataclass(slots=True)
class Meta:
    """The content of ``meta.json``."""

    schema_version: int = SCHEMA_VERSION
    format: str = FORMAT
    env_spec: dict[str, Any] | None = None
    dialect: str | None = None
    """Wording of ALFWorld's placing command, ``move`` or ``put``; None where that has no meaning."""
    author: str | None = None
    licence: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    """sha256 over the shards' sha256, in order."""
    shards: list[ShardInfo] = field(default_factory=list)


# --------------------------------------------------------------------------------------------- writing


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
            env_spec=_spec_values(env_spec),
            dialect=dialect,
            author=author,
            licence=licence,
            metadata=dict(metadata or {}),
        )
        _make_folder(self.path)
        _refuse_foreign_content(self.path)
        self._lock = _acquire_lock(self.path)
        self._journal: int | None = None
        try:
            self._meta = _continued(self.path, given)
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
        self._append_line(_encode(to_row(trajectory)))
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

    def __len__(self) -> int:
        return self._counts.total()

    def set_dialect(self, dialect: str | None) -> None:
        """Say in which wording the episodes are, once that is known.

        Raises:
            DatasetError: the dataset is in another one.
        """
        _require_dialect(self.path, self._meta.dialect, dialect)
        if dialect and self._meta.dialect is None:
            self._meta.dialect = dialect
            write_meta(self.path, self._meta)

    def compact(self) -> None:
        """Turn the journal into a Parquet shard."""
        rows, _ = read_journal(self._journal_path)
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

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _journal_path(self) -> Path:
        return self.path / f"journal-{len(self._meta.shards):05d}.jsonl"

    def _recover_journal(self) -> None:
        """Drop what a crash left: journals already compacted, and the torn last line of the current one."""
        for stale in self.path.glob("journal-*.jsonl"):
            if _number(stale) < len(self._meta.shards):
                stale.unlink()
        _, self._journal_bytes = read_journal(self._journal_path)
        if self._journal_path.exists():
            os.truncate(self._journal_path, self._journal_bytes)

    def _append_line(self, line: bytes) -> None:
        if self._lock is None:
            raise DatasetError(f"{self.path}: the writer is closed")
        with _disk_errors(self._journal_path):
            if self._journal is None:
                self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _write_all(self._journal, line)
            except OSError:
                os.ftruncate(self._journal, self._journal_bytes)
                raise
        self._journal_bytes += len(line)

    def _add_shard(self, table: pa.Table) -> None:
        shard = _write_shard(self.path / f"shard-{len(self._meta.shards):05d}.parquet", table)
        shards = [*self._meta.shards, shard]
        meta = replace(self._meta, shards=shards, content_hash=_content_hash(shards))
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
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None


# --------------------------------------------------------------------------------------------- reading


def read_meta(path: Path) -> Meta:
    """Parse ``meta.json`` of the dataset at ``path``.

    Raises:
        DatasetError: there is none, it is damaged, or of another format or schema version.
    """
    file = path / "meta.json"
    try:
        values = json.loads(file.read_bytes())
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        version = values["schema_version"]
        if version == SCHEMA_VERSION:
            return _sound(Meta(**{**values, "shards": [ShardInfo(**shard) for shard in values["shards"]]}))
    except OSError as error:
        raise DatasetError(
            f"{path}: not a dataset of recorded episodes ({error.strerror}: meta.json)"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{file}: damaged or not a dataset of recorded episodes ({error})") from error
    raise DatasetError(
        f"{file}: schema version {version}, but this oreo-agents reads version {SCHEMA_VERSION}; "
        "use the version of oreo-agents that recorded it"
    )


def meta_so_far(path: Path) -> Meta:
    """What the dataset at ``path`` says of itself; nothing where there is none yet.

    Raises:
        DatasetError: its ``meta.json`` is damaged, or of another format or schema version.
    """
    return read_meta(path) if (path / "meta.json").exists() else Meta()


def read_journal(path: Path, skip_damaged: bool = False) -> tuple[list[dict[str, Any]], int]:
    """The rows of a journal, and the byte at which they end: a torn last line lies behind it.

    Raises:
        DatasetError: a line before the last is damaged, and ``skip_damaged`` does not ask for a warning.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
    except FileNotFoundError:
        return [], 0
    rows = [_parse(line) for line in lines]
    for damaged in [number for number, row in enumerate(rows, start=1) if row is None]:
        message = f"{path}: line {damaged} is damaged"
        if not skip_damaged:
            raise DatasetError(f"{message}; load_trajectories(path, skip_damaged=True) reads the rest")
        warnings.warn(f"{message}, left out", stacklevel=2)
    return [row for row in rows if row is not None], sum(len(line) + 1 for line in lines)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pending_rows(path: Path, skip_damaged: bool = False) -> list[dict[str, Any]]:
    """Rows that are in a journal and in no shard yet; safe to call while a writer is at work."""
    # Journals are read before meta.json: one that vanishes in between is then listed there as a shard.
    journals = sorted(path.glob("journal-*.jsonl"), key=_number)
    pending = [(_number(journal), read_journal(journal, skip_damaged)[0]) for journal in journals]
    compacted = len(read_meta(path).shards)
    return [row for number, rows in pending if number >= compacted for row in rows]


# --------------------------------------------------------------------------------------------- details


def write_meta(path: Path, meta: Meta) -> None:
    """Replace ``meta.json`` in one step."""
    try:
        content = json.dumps(asdict(meta), indent=1, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: its description cannot be stored as JSON ({error})") from error
    with replacing(path / "meta.json") as temporary:
        temporary.write_bytes(content)


def _sound(meta: Meta) -> Meta:
    """``meta`` itself; ValueError where a field could not have been written by :func:`write_meta`."""
    texts = (meta.dialect, meta.author, meta.licence, meta.content_hash)
    shards = all(
        isinstance(shard.file, str)
        and Path(shard.file).name == shard.file  # never a path out of the folder
        and isinstance(shard.sha256, str)
        and type(shard.episodes) is type(shard.bytes) is int
        and shard.episodes >= 0
        for shard in meta.shards
    )
    described = all(
        isinstance(values, dict) for values in (meta.versions, meta.metadata, meta.env_spec or {})
    )
    if not (shards and described and all(text is None or isinstance(text, str) for text in texts)):
        raise ValueError("a field has the wrong type")
    return meta


def _continued(path: Path, given: Meta) -> Meta:
    """What the dataset says about itself when a writer opens it with ``given``."""
    given.versions = _library_versions()
    if not (path / "meta.json").exists():
        return given
    stored = read_meta(path)
    _require_dialect(path, stored.dialect, given.dialect)
    for name in ("env_spec", "dialect", "author", "licence"):
        setattr(stored, name, getattr(stored, name) or getattr(given, name))
    stored.metadata.update(given.metadata)
    stored.versions = given.versions
    return stored


def _require_dialect(path: Path, stored: str | None, given: str | None) -> None:
    if stored and given and stored != given:
        raise DatasetError(
            f"{path}: holds episodes in the {stored!r} wording, not {given!r}; "
            "write to another folder or convert them first"
        )


def _refuse_foreign_content(path: Path) -> None:
    # a crash before the first meta.json leaves at most the lock and a temporary file
    foreign = [entry.name for entry in path.iterdir() if entry.name not in ("lock", ".meta.json.tmp")]
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
    for row in pending_rows(path):
        yield row["game"], row["agent"]


def _games_and_agents(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table.column("game").to_pylist(), table.column("agent").to_pylist(), strict=True)


def _encode(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, check_circular=False).encode() + b"\n"
    except (TypeError, ValueError) as error:  # e.g. a lone surrogate
        raise DatasetError(f"an episode of {row['game']!r} cannot be stored: {error}") from error


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and tuple(row) == COLUMNS else None


def _write_shard(file: Path, table: pa.Table) -> ShardInfo:
    with replacing(file) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=ROW_GROUP,
            write_page_checksum=True,
            write_statistics=False,
        )
        return ShardInfo(file.name, table.num_rows, temporary.stat().st_size, file_sha256(temporary))


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``file`` in one step when all went well."""
    temporary = file.with_name(f".{file.name}.tmp")
    with _disk_errors(file):
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _disk_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{file}: cannot write ({error.strerror or error}); every episode before this one is safe: "
            "free some space or mend the permissions, then open the dataset again"
        ) from error


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _acquire_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); choose another path") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DatasetError(
            f"{path}: another process or writer is recording into it; wait for it, or record into another "
            "folder and merge"
        ) from error
    return descriptor


def _content_hash(shards: list[ShardInfo]) -> str:
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()


def _spec_values(spec: Any) -> dict[str, Any] | None:
    if spec is None or isinstance(spec, dict):
        return spec
    try:
        return json.loads(spec.to_json())
    except (ValueError, TypeError, AttributeError):  # a callable entry point or a path has no JSON form
        known = {"id": spec.id, "max_episode_steps": spec.max_episode_steps, "kwargs": spec.kwargs}
        return json.loads(json.dumps(known, default=str))


def _library_versions() -> dict[str, str]:
    names = ("oreo-agents", "gymnasium", "pyarrow", "alfworld", "textworld")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return distribution.version(name)
    except distribution.PackageNotFoundError:
        return "absent"


def _number(journal: Path) -> int:
    digits = journal.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
