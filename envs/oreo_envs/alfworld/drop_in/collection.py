"""Which games a configuration of alfworld asks for, from an index instead of reading every file anew."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from oreo_envs.alfworld.folder_index import locate_index, read_index, write_index
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.places import GAME_FILE, TRAJECTORY_FILE

DATA_PATHS = {
    "train": "data_path",
    "eval_in_distribution": "eval_id_data_path",
    "eval_out_of_distribution": "eval_ood_data_path",
}
"""Where each of alfworld's splits has its folder in the configuration."""

Row = list[Any]
"""Task type, whether the game is solvable (None where its file does not say), and both files' sizes and times."""


def collect_game_files(env: Any, verbose: bool = False) -> None:
    """Set ``game_files`` and ``num_games`` of an ``AlfredTWEnv``, and print what alfworld prints.

    Games come in the order of ``os.walk(topdown=False)``, as from alfworld's own method. What the files say is kept in
    the cache folder, and read again of those that are new or have changed.
    """
    config = env.config
    assert len(config["env"]["task_types"]) > 0
    wanted = {TASK_TYPES[n - 1] for n in config["env"]["task_types"] if n in range(1, len(TASK_TYPES) + 1)}
    folder = os.path.expandvars(config["dataset"][DATA_PATHS[env.train_eval]])
    say: Callable[[str], None] = print if verbose else _keep_quiet
    say("Collecting solvable games...")
    env.game_files = [path for path, row in _read_folder(folder, say) if _is_wanted(path, row, wanted, say)]
    print(f"Overall we have {len(env.game_files)} games in split={env.train_eval}")
    if not env.game_files:
        warnings.warn(
            f"no game of {folder} can be played here, and TextWorld's reset() would wait for one for ever: it takes "
            f"folders with {GAME_FILE} and {TRAJECTORY_FILE}, which `oreo-agents data` fetches or generates",
            stacklevel=2,
        )
    limit = config["dataset"]["num_train_games" if env.train_eval == "train" else "num_eval_games"]
    if limit > 0:
        env.game_files = env.game_files[:limit]
    env.num_games = len(env.game_files)
    print(f"{'Training' if env.train_eval == 'train' else 'Evaluating'} with {env.num_games} games")


def _keep_quiet(_: str) -> None:
    pass


def _is_wanted(path: str, row: Row, wanted: set[str], say: Callable[[str], None]) -> bool:
    task_type, solvable = row[:2]
    if task_type not in wanted:
        say("Skipping task type")
    elif row[2] is None:
        say(f"Skipping missing game! {path}")
    elif solvable is None:
        print(f"-> Skipping missing solvable key! {path}")
    elif not solvable:
        say(f"Skipping known {path}, unsolvable game!")
    else:
        return True
    return False


def _read_folder(folder: str, say: Callable[[str], None]) -> Iterator[tuple[str, Row]]:
    """The path of each game of a folder, whether it is there or not, with what is known of it."""
    index_file = locate_index("collection", os.path.abspath(folder))
    known = read_index(index_file)
    index: dict[str, Row] = {}
    for place, files in _walk_up(folder):
        if "movable" in place or "Sliced" in place:
            say(f"Movable & slice trajs not supported {place}")
            continue
        stamps = [_read_stamp(files.get(GAME_FILE)), _read_stamp(files[TRAJECTORY_FILE])]
        key = place[len(folder) :].lstrip(os.sep)
        path = files[GAME_FILE].path if GAME_FILE in files else os.path.join(place, GAME_FILE)
        row = known.get(key)
        if row is None or row[2:] != stamps:
            row = [*_read_game(files[TRAJECTORY_FILE].path, path if stamps[0] else None), *stamps]
        index[key] = row
        yield path, row
    if index != known:
        write_index(index_file, index)


def _read_game(trajectory: str, game: str | None) -> tuple[str, bool | None]:
    with open(trajectory) as file:
        task_type = json.load(file)["task_type"]
    if game is None:
        return task_type, None
    with open(game) as file:
        content = json.load(file)
    return task_type, bool(content["solvable"]) if "solvable" in content else None


def _read_stamp(file: os.DirEntry[str] | None) -> list[int] | None:
    try:
        status = file.stat() if file is not None else None
    except OSError:
        return None
    return None if status is None else [status.st_size, status.st_mtime_ns]


def _walk_up(folder: str) -> list[tuple[str, dict[str, os.DirEntry[str]]]]:
    """The folders with a trajectory file, in the order of ``os.walk(topdown=False)``, and that file and the game."""
    found: list[tuple[str, dict[str, os.DirEntry[str]]]] = []

    def walk(place: str) -> None:
        places, files = [], {}
        with suppress(OSError), os.scandir(place) as entries:  # as os.walk leaves out what it cannot read
            for entry in entries:
                if entry.is_dir():
                    if not entry.is_symlink():
                        places.append(entry.path)
                elif entry.name in (GAME_FILE, TRAJECTORY_FILE):
                    files[entry.name] = entry
        for one in places:
            walk(one)
        if TRAJECTORY_FILE in files:
            found.append((place, files))

    walk(folder)
    return found
