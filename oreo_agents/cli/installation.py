"""What can be wrong with an installation: Python, packages, cache, data and the engine, looked at one by one."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oreo_envs.alfworld.places import ALFWORLD_SPLITS, data_root, find_split
from oreo_envs.alfworld.sources import find_games
from oreo_envs.errors import DataNotFoundError, GameFileError, OreoError
from oreo_envs.files import cache_root


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "note", "wrong"]
    """``note``: works without, but something is left out."""
    finding: str
    remedy: str = ""


PACKAGES = ("gymnasium", "torch", "transformers", "safetensors", "pyarrow", "rich", "textworld", "alfworld")
SLOW_STEPS_PER_S = 5_000


def check_installation(root: str | os.PathLike[str] | None = None) -> list[Check]:
    """Check Python, packages, data, cache and speed; never raises for what it finds."""
    root = data_root(root)
    return [
        _check_python(),
        *map(_check_package, PACKAGES),
        _check_cache(),
        *(_check_split(root, split) for split in ALFWORLD_SPLITS),
        _check_speed(),
    ]


def _check_python() -> Check:
    version = platform.python_version()
    if sys.version_info >= (3, 13):
        return Check("python", "note", version, 'backend="textworld" needs Python 3.12 or older')
    return Check("python", "ok", version)


def _check_package(name: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        status: Literal["note", "wrong"] = "note" if name in ("textworld", "alfworld") else "wrong"
        return Check(name, status, "not installed", f"pip install {name}")


def _check_cache() -> Check:
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check("cache", "ok", str(folder))
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder that can be written"
        return Check("cache", "note", f"{folder} cannot be written ({error.strerror})", remedy)


def _check_split(root: Path, split: str) -> Check:
    remedy = "oreo-agents data (or oreo-agents data --from ARCHIVE); generated games need none"
    place = find_split(split, root)
    if place is None:
        return Check(split, "note", f"no games in {root}", remedy)
    try:
        games = find_games(games=place)
        for index in _pick_evenly(len(games), 20):
            games[index]
    except (DataNotFoundError, GameFileError) as error:
        return Check(split, "wrong", str(error), f"delete {place} and run oreo-agents data again")
    except OreoError as error:  # the cache is to blame, and the data stay as they are
        return Check(split, "wrong", str(error))
    return Check(split, "ok", f"{len(games):,} games in {place}")


def _pick_evenly(length: int, count: int) -> Iterable[int]:
    return range(0, length, max(1, length // count))


def _check_speed() -> Check:
    from oreo_envs.alfworld.generator.games import GeneratedGames
    from oreo_envs.alfworld.world import World

    game = GeneratedGames()[0]
    world, steps = World(game), 0
    start = time.perf_counter()
    while time.perf_counter() - start < 0.1:
        world.reset()
        for command in game.walkthrough:
            world.step(command)
        steps += len(game.walkthrough)
    if not world.won:
        return Check(
            "engine", "wrong", "a generated game's walkthrough does not win", "reinstall oreo-agents"
        )
    rate = steps / (time.perf_counter() - start)
    finding = f"{rate:,.0f} steps a second on one core"
    return Check("engine", "ok" if rate > SLOW_STEPS_PER_S else "note", finding)
