"""The index of a folder of games, kept in the cache folder: opening thousands of games reads none of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.game_file import MAX_BYTES, game_name
from oreo_envs.alfworld.places import GAME_FILE, resolve_path
from oreo_envs.errors import DataNotFoundError, GameFileError
from oreo_envs.files import cache_root, open_file, read_json, write_file


class IndexedGame(NamedTuple):
    """What the index tells of a game without parsing it."""

    name: str
    path: Path
    task_type: str
    """Empty where the folder is not named after one of ALFWorld's task types."""
    solvable: bool


def index_folder(folder: Path) -> list[IndexedGame]:
    """List the games of a folder, reading only those that are new or changed since the last time."""
    folder = resolve_path(folder)
    index_file = locate_index("index", str(folder))
    known = read_index(index_file)
    index: dict[str, list[Any]] = {}
    for relative, stamp in _scan_folder(str(folder)):
        before = known.get(relative)
        index[relative] = (
            before if before and before[:2] == stamp else [*stamp, *_peek_at_game(folder / relative)]
        )
    if index != known:
        write_index(index_file, index)
    return [
        IndexedGame(game_name(folder / relative), folder / relative, task_type, solvable)
        for relative, (_, _, task_type, solvable) in index.items()
    ]


def _scan_folder(folder: str) -> Iterator[tuple[str, list[int]]]:
    """Relative path and [size, modification time] of every game file below a folder, links to folders included.

    A link into what is listed anyway is not followed, so that no game comes twice and no circle is walked.
    """
    waiting, listed = [folder], [os.path.realpath(folder)]
    links: list[str] = []
    while waiting or links:
        if not waiting:
            place = links.pop()
            target = os.path.realpath(place)
            if any(os.path.commonpath((target, one)) in (target, one) for one in listed):
                continue
            listed.append(target)
            waiting.append(place)
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_dir():
                        links.append(entry.path)
                    elif entry.name == GAME_FILE:
                        status = entry.stat()
                        yield os.path.relpath(entry.path, folder), [status.st_size, status.st_mtime_ns]
        except OSError as error:
            raise DataNotFoundError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _peek_at_game(path: Path) -> tuple[str, bool]:
    """Task type by the folder's name, and whether the file calls its game solvable; no parsing."""
    task_type = game_name(path).partition("-")[0]
    try:
        with open_file(path) as file:
            content = file.read(MAX_BYTES)
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}.") from error
    key = content.rfind(b'"solvable"')
    unsolvable = key >= 0 and re.match(rb'"solvable"\s*:\s*false', content[key : key + 40]) is not None
    return task_type if task_type in TASK_TYPES else "", not unsolvable


def locate_index(kind: str, folder: str) -> Path:
    """Where the index of a kind for a folder is kept."""
    return cache_root() / kind / (hashlib.sha256(folder.encode()).hexdigest()[:32] + ".json")


def read_index(path: Path) -> dict[str, list[Any]]:
    """The rows of four that an index has; none where it is missing or damaged."""
    try:
        index = read_json(path)
    except (OSError, ValueError):
        return {}
    well_formed = isinstance(index, dict) and all(
        isinstance(row, list) and len(row) == 4 for row in index.values()
    )
    return index if well_formed else {}


def write_index(path: Path, index: dict[str, list[Any]]) -> None:
    """Keep the index if the cache folder can be written; it only saves time."""
    with suppress(OSError):
        write_file(path, json.dumps(index))
