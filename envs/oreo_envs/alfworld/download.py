"""A file fetched from the web, with resume and checksum."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from oreo_envs.errors import OreoError
from oreo_envs.files import hash_file, lock_folder

Progress = Callable[[int, int], None]
"""Called with the amount done and the total: bytes of a download, games of a generation."""


@dataclass(frozen=True, slots=True)
class Release:
    """A file on the web, with what makes sure that it is the right one."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


ATTEMPTS = 4
TIMEOUT_S = 30.0
CHUNK = 1 << 18


def fetch_file(release: Release, folder: Path, progress: Progress | None = None) -> Path:
    """Download one file into ``folder``, with resume and checksum, and return its path.

    Raises:
        OreoError: it cannot be had, or is not the published one.
    """
    complete, partial = folder / release.name, folder / (release.name + ".part")
    if complete.exists():
        return complete
    try:
        with lock_folder(folder, remedy="pass a local archive with --from"):
            if complete.exists():  # another run has just fetched it
                return complete
            _receive_file(release, partial, progress)
            found = hash_file(partial)
            if found != release.sha256:
                partial.unlink()
                raise OreoError(
                    f"{release.url} is not the published file (its sha256 starts with {found[:12]}, not "
                    f"{release.sha256[:12]}); it was deleted: try again, or pass a good archive with --from."
                )
            partial.replace(complete)
    except OSError as error:
        raise OreoError(
            f"{release.url} cannot be downloaded ({_explain_error(error)}); run the command again to go on from "
            f"{partial}, or pass a local archive with --from."
        ) from error
    return complete


def _receive_file(release: Release, partial: Path, progress: Progress | None) -> None:
    """Append what is still missing of a file, trying again when the connection breaks. Raises OSError."""
    broken: OSError = ConnectionError("the connection ended before the file did")
    for attempt in range(ATTEMPTS):
        time.sleep(0.2 * attempt)
        try:
            _receive_once(release, partial, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is there does not fit what is served
                partial.unlink(missing_ok=True)
            elif error.code < 500:
                raise
            broken = error
        except OSError as error:
            broken = error
        except HTTPException as error:
            broken = ConnectionError(repr(error))
        if partial.exists() and partial.stat().st_size >= release.size:
            return
    raise broken


def _receive_once(release: Release, partial: Path, progress: Progress | None) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if have >= release.size:
        return
    headers = {"Range": f"bytes={have}-", "User-Agent": "oreo-agents"}
    request = urllib.request.Request(release.url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == 206
        with open(partial, "ab" if resumed else "wb") as file:
            _copy_chunks(response, file, have if resumed else 0, release.size, progress)


def _copy_chunks(source: BinaryIO, file: BinaryIO, done: int, total: int, progress: Progress | None) -> None:
    while chunk := source.read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        if progress:
            progress(done, total)
        if done > total:
            return  # more than was published: the checksum will tell


def _explain_error(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or error
    return f"HTTP {error.code} {reason}" if isinstance(error, urllib.error.HTTPError) else str(reason)
