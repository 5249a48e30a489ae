"""``meta.json``: what a dataset is, and which shards belong to it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata as distribution
from pathlib import Path
from typing import Any

from oreo_envs.files import read_json, write_file

from oreo_agents.dataset.schema import SCHEMA_VERSION
from oreo_agents.errors import DatasetError
from oreo_agents.formats import require_format
from oreo_agents.provenance import find_commit

FORMAT = "oreo-trajectories"


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


def read_meta(path: Path) -> Meta:
    """Parse ``meta.json`` of the dataset at ``path``.

    Raises:
        DatasetError: there is none, it is damaged, or of another format or schema version.
    """
    file = path / "meta.json"
    try:
        values = read_json(file)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        require_format(str(file), values["schema_version"], SCHEMA_VERSION, DatasetError)
        return _require_sound(
            Meta(**{**values, "shards": [ShardInfo(**shard) for shard in values["shards"]]})
        )
    except OSError as error:
        raise DatasetError(
            f"{path}: not a dataset of recorded episodes ({error.strerror}: meta.json)"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{file}: damaged or not a dataset of recorded episodes ({error})") from error


def meta_so_far(path: Path) -> Meta:
    """What the dataset at ``path`` says of itself; nothing where there is none yet.

    Raises:
        DatasetError: its ``meta.json`` is damaged, or of another format or schema version.
    """
    return read_meta(path) if (path / "meta.json").exists() else Meta()


def write_meta(path: Path, meta: Meta) -> None:
    """Replace ``meta.json`` in one step."""
    try:
        content = json.dumps(asdict(meta), indent=1, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: its description cannot be stored as JSON ({error})") from error
    with disk_errors(path / "meta.json"):
        write_file(path / "meta.json", content)


@contextmanager
def disk_errors(file: Path) -> Iterator[None]:
    """Say of a failing disk which file was to be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{file}: cannot write ({error.strerror or error}); every episode before this one is safe: "
            "free some space or mend the permissions, then open the dataset again"
        ) from error


def _require_sound(meta: Meta) -> Meta:
    """``meta`` itself; ValueError where a field could not have been written by :func:`write_meta`."""
    texts = (meta.dialect, meta.author, meta.licence, meta.content_hash)
    shards = all(
        isinstance(shard.file, str)
        and Path(shard.file).name == shard.file  # never a path out of the folder
        and "\0" not in shard.file
        and isinstance(shard.sha256, str)
        and type(shard.episodes) is type(shard.bytes) is int
        and 0 <= shard.episodes <= shard.bytes  # an episode takes more than a byte
        for shard in meta.shards
    )
    described = all(
        isinstance(values, dict) for values in (meta.versions, meta.metadata, meta.env_spec or {})
    )
    if not (shards and described and all(text is None or isinstance(text, str) for text in texts)):
        raise ValueError("a field has the wrong type")
    return meta


def hash_shards(shards: list[ShardInfo]) -> str:
    """SHA-256 over the shards' own, in order."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()


def describe_spec(spec: Any) -> dict[str, Any] | None:
    """An environment's specification as JSON values."""
    if spec is None or isinstance(spec, dict):
        return spec
    try:
        return json.loads(spec.to_json())
    except (ValueError, TypeError, AttributeError):  # a callable entry point or a path has no JSON form
        known = {"id": spec.id, "max_episode_steps": spec.max_episode_steps, "kwargs": spec.kwargs}
        if spec.reward_threshold is not None:
            known["reward_threshold"] = spec.reward_threshold
        return json.loads(json.dumps(known, default=str))


def list_versions() -> dict[str, str]:
    """Of Python, and of the libraries that episodes depend on."""
    names = ("oreo-agents", "gymnasium", "pyarrow", "alfworld", "textworld")
    return {"python": platform.python_version(), **{name: _find_version(name) for name in names}}


def tell_origin() -> dict[str, str]:
    """The day on which a dataset is begun, in UTC, and the commit of the program, where it is a checkout."""
    commit = _find_own_commit()
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", **({"commit": commit} if commit else {})}


@lru_cache(maxsize=1)
def _find_own_commit() -> str | None:
    """Of the code that runs, which is what it was when it was first asked for."""
    return find_commit()


def _find_version(name: str) -> str:
    try:
        return distribution.version(name)
    except distribution.PackageNotFoundError:
        return "absent"
