"""Archives of games, unpacked into the cache folder once per content. Nothing in them is trusted."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from oreo_envs.alfworld.game_file import MAX_BYTES
from oreo_envs.alfworld.places import GAME_FILE, PathLike
from oreo_envs.errors import GameFileError, OreoError
from oreo_envs.files import cache_root, hash_file, make_folder

MAX_UNPACKED_BYTES = 4_000_000_000
ENCRYPTED = 1
"""The bit that says so among the flags of a member of a zip archive."""


def unpack_archive(archive: PathLike) -> Path:
    """Unpack the game files of an archive into the cache folder, once per content, and return that folder.

    Raises:
        GameFileError: the archive is damaged, encrypted, too large, or has a member that would leave its folder.
        OreoError: the cache folder cannot be written.
    """
    archive = Path(archive)
    folder = cache_root() / "games" / _content_hash(archive)
    if folder.is_dir():
        return folder
    try:
        with make_folder(folder) as unfinished:
            _extract_games(archive, unfinished)
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zipfile.BadZipFile,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise GameFileError(f"{archive} is damaged ({error}); fetch it again.") from error
    except OSError as error:
        if not folder.is_dir():  # else another process has just finished the same work
            raise OreoError(
                f"{archive} cannot be unpacked to {folder.parent} ({error.strerror or error}): free some space "
                f"there, or set XDG_CACHE_HOME to a folder that can be written."
            ) from error
    return folder


def _content_hash(path: Path) -> str:
    try:
        return hash_file(path)[:32]
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}.") from error


def _extract_games(archive: Path, folder: Path) -> None:
    total = 0
    for name, size, content in _list_members(archive):
        total += size
        if total > MAX_UNPACKED_BYTES:
            raise GameFileError(f"{archive} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes.")
        relative = PurePosixPath(name)
        if relative.name != GAME_FILE:
            continue
        if relative.is_absolute() or ".." in relative.parts:
            raise GameFileError(f"{archive} has the member {name!r}, which would leave its folder.")
        if size > MAX_BYTES:
            raise GameFileError(
                f"{archive}: {name} has {size:,} bytes; a game file has at most {MAX_BYTES:,}."
            )
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with content() as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)


def _list_members(archive: Path) -> Iterator[tuple[str, int, Any]]:
    """Name, size and opener of each regular file in an archive, in the order they are stored."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if info.flag_bits & ENCRYPTED:
                    raise GameFileError(f"{archive} is encrypted: unpack it, and give the folder.")
                if not info.is_dir():
                    yield info.filename, info.file_size, lambda info=info: zipped.open(info)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, member.size, lambda member=member: _open_member(tar, member)


def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.TarError(f"{member.name} has no content")
    return content
