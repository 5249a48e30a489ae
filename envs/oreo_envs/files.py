"""Files and folders: replaced whole or not at all, locked, hashed, removed. Knows nothing about what is in them.

What is written lies beside its place, under a hidden name that says which process writes it, until it is complete and
on the disk; then one rename puts it there. What a process left there that was killed is cleared away by the next one
that writes to the same folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from oreo_envs.errors import ConfigurationError

MOST_BYTES = 1 << 30
"""Of a file that is read whole."""

LOCK = ".lock"
"""The file in a folder that says that somebody is at work there."""

PathLike = str | os.PathLike[str]


def cache_root() -> Path:
    """The folder for what this package keeps between runs: ``$XDG_CACHE_HOME/oreo-agents``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oreo-agents"


# ---------------------------------------------------------------- reading


def open_file(path: PathLike) -> BufferedReader:
    """A file to read, and nothing else: what waits for a writer or never ends (a pipe, a device) is refused at once.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: PathLike, most: int = MOST_BYTES) -> bytes:
    """What is in a file.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than ``most`` bytes.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes", os.fspath(path))
    return content


def read_json(path: PathLike) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: as for :func:`read_file`.
        ValueError: it is no JSON.
    """
    try:
        return json.loads(read_file(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


# ---------------------------------------------------------------- writing


@contextmanager
def replace_file(path: PathLike) -> Iterator[Path]:
    """A path to write to, whose file takes the place of ``path`` in one step when the block ends well; folders on the
    way are made.

    A link is followed, and the permissions of the file that is replaced are kept. A device or a pipe is no file to
    replace, and written to itself.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path = _follow_link(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _name_beside(path, "new")
    try:
        yield new
        _sync_file(new)
        if path.exists():
            shutil.copymode(path, new)
        os.replace(new, path)
        _sync_entries(path.parent)
    except OSError as error:
        if error.filename == str(new):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        new.unlink(missing_ok=True)


def write_file(path: PathLike, content: str | bytes) -> None:
    """Write bytes, or text in UTF-8, whole or not at all; see :func:`replace_file`."""
    with replace_file(path) as new:
        if isinstance(content, bytes):
            new.write_bytes(content)
        else:
            new.write_text(content, encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    """Write a value as JSON, as :func:`write_file` does."""
    write_file(path, json.dumps(value, indent=1) + "\n")


@contextmanager
def make_folder(path: PathLike) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` in one step when the block ends well, and nothing otherwise.

    Raises:
        OSError: it cannot be written, or by then there is something at ``path`` that is no empty folder.
    """
    with make_temporary_folder(Path(path)) as new:
        yield new
        _sync_tree(new)
        new.rename(path)
        _sync_entries(Path(path).parent)


@contextmanager
def make_temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to fill; what is left of it when the block ends goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _name_beside(path, "new")
    new.mkdir()
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def replace_folder(path: PathLike, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a new folder, which then takes the place of ``path``; see :func:`put_folder`."""
    path = _follow_link(path)
    with make_temporary_folder(path) as new:
        write(new)
        put_folder(new, path)


def put_folder(new: Path, path: Path) -> None:
    """Move a complete folder to ``path``, and delete what was there.

    Raises:
        OSError: it cannot be moved; the old folder is where it was.
    """
    _sync_tree(new)
    old = _name_beside(path, "old")
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _sync_entries(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder at once: killed meanwhile, this leaves no part of it at its place."""
    gone = _name_beside(path, "new")
    path.rename(gone)
    shutil.rmtree(gone)


def remove_path(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def in_use(folder: Path) -> bool:
    """Whether it is there and cannot be replaced: it is the one this process is in, or a mounted one."""
    return folder.is_dir() and (folder.samefile(Path.cwd()) or folder.is_mount())


# ---------------------------------------------------------------- locks


@contextmanager
def lock_folder(
    folder: PathLike, name: str = LOCK, remedy: str = "choose another --output", wait: bool = False
) -> Iterator[None]:
    """Be the only one at work in ``folder``, among processes and within this one; it is made if needed.

    The lock ends with the block, or with the process however that ends; its file stays and means nothing by itself.

    Args:
        folder: what is written to.
        name: the lock's file in it.
        remedy: what else to do than to wait, for the error.
        wait: until whoever is at work has ended, instead of raising.

    Raises:
        ConfigurationError: somebody else is at work there.
        OSError: it cannot be made, or written to.
    """
    from filelock import FileLock, Timeout  # takes longer to import than all of this package's values

    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder) / name, timeout=-1 if wait else 0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigurationError(
            f"another run is at work in {os.fspath(folder)}: wait for it, or {remedy}"
        ) from error
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- hashes


def hash_file(path: PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any, sort_keys: bool = False) -> str:
    """SHA-256 of JSON values, in hexadecimal digits; other things stand for themselves by their text."""
    return hashlib.sha256(json.dumps(value, default=str, sort_keys=sort_keys).encode()).hexdigest()


# ---------------------------------------------------------------- what is not complete yet

_BESIDE = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.(?P<what>new|old)(\.[^.]+)?",
    re.DOTALL,
)
_EARLIER = re.compile(r"\..*(\.tmp|\.partial|\.old|-unfinished-.*)|\.unpacking-.*", re.DOTALL)
"""The names that 0.1.0 gave."""
_MADE_BY_EARLIER = re.compile(r"\..+-unfinished-[a-z0-9_]{8}|\.unpacking-[a-z0-9_]{8}", re.DOTALL)
"""Of those, the ones that nobody else gives."""
DAY_S = 86_400


def is_unfinished(path: Path) -> bool:
    """Whether a name is that of something that is being written, or was when its process died."""
    return bool(_BESIDE.fullmatch(path.name) or _EARLIER.fullmatch(path.name))


def _name_beside(path: Path, what: str) -> Path:
    """A name of this process for what takes the place of ``path``; what dead ones left under such names goes.

    It ends as ``path`` does, because there are writers that go by the ending.
    """
    clear_leftovers(path.parent)
    owner = f"{_name_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{owner}.{what}{path.suffix}")


def clear_leftovers(folder: Path) -> None:
    """Remove what writers left in a folder that were killed; what they had moved aside goes back to its place.

    The name says who writes: nothing is touched whose process lives, or lived on another machine. Names of 0.1.0 do
    not say it; those go when they are a day old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
        for name in filter(_MADE_BY_EARLIER.fullmatch, names):
            if time.time() - (folder / name).stat().st_mtime > DAY_S:
                remove_path(folder / name)
        for found in filter(None, map(_BESIDE.fullmatch, names)):
            if found["host"] != _name_host() or _is_alive(int(found["process"])):
                continue
            left, place = folder / found.string, folder / found["name"]
            if found["what"] == "old" and not place.exists():
                left.rename(place)
            else:
                remove_path(left)


@cache
def _name_host() -> str:
    """Where a process number means something: the machine, or the container on it."""
    place = platform.node()
    with suppress(OSError):
        place += f" {os.stat('/proc/self/ns/pid').st_ino}"
    return f"{zlib.crc32(place.encode()):08x}"


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there the signal 0 is no question
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _follow_link(path: PathLike) -> Path:
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


# ---------------------------------------------------------------- down to the disk


def _sync_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_entries(folder: Path) -> None:
    """What is in a folder under which name; some file systems cannot be asked for that."""
    if os.name != "nt":
        with suppress(OSError):
            _sync_file(folder)


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            if (file := Path(place, name)).is_file():
                _sync_file(file)
        _sync_entries(Path(place))
