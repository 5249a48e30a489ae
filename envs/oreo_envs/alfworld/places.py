"""Where ALFWorld's data lie on this machine, and what their folders and files are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"
"""Lies beside a game file, and says what ALFRED has asked for there. Alfworld plays no game without it."""
ALFWORLD_SPLITS = ("train", "valid_train", "valid_seen", "valid_unseen")
GENERATED_SPLITS = ("generated", "generated_unseen")
ARCHIVE_SUFFIXES = (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
PathLike = str | os.PathLike[str]


def choose_split() -> str:
    """The split that is meant where none is named: ``train`` where ALFWorld's data is found, else ``generated``."""
    return "train" if find_split("train") else "generated"


def data_root(root: PathLike | None = None) -> Path:
    """``root``, else ``$ALFWORLD_DATA``, else alfworld's default cache folder."""
    return Path(root or os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


def find_split(split: str, root: PathLike | None = None) -> Path | None:
    """The folder or archive of one of ALFWorld's splits under ``root`` (default: the data root), if there."""
    root = data_root(root)
    places = [
        root / "json_2.1.1" / split,
        root / split,
        *(root / (split + suffix) for suffix in ARCHIVE_SUFFIXES),
    ]
    return next((place for place in places if place.exists()), None)


def resolve_path(path: Path) -> Path:
    """The path without links."""
    return Path(os.path.realpath(path))


def describe_task(folder: str) -> dict[str, Any] | None:
    """What a trajectory file says of the games in a task folder, from the folder's name; None if it is no such name.

    >>> describe_task("pick_and_place_simple-AppleSliced-None-Fridge-30")["pddl_params"]["object_target"]
    'Apple'
    """
    parts = folder.rsplit("-", 4)
    if len(parts) != 5:
        return None
    task_type, thing, container, place, _ = parts
    lit = task_type == "look_at_obj_in_light"
    return {
        "task_type": task_type,
        "pddl_params": {
            "mrecep_target": "" if container == "None" else container,
            "object_sliced": thing.endswith("Sliced"),
            "object_target": thing.removesuffix("Sliced"),
            "parent_target": "" if lit else place,
            "toggle_target": place if lit else "",
        },
    }
