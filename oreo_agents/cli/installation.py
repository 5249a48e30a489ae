"""What can be wrong with an installation: packages, device, cache, disk, data, engine, servers, one by one."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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


DISTRIBUTION = "oreo-agents"
SHOWN = ("torch", "transformers", "gymnasium", "textworld", "alfworld")
"""Packages whose version is told; of the others only what is missing or too old."""
BUILT = ("textworld", "alfworld")
"""Packages that something is compiled for, and that little depends on."""
FOR_DEVELOPERS = ("dev", "all")
"""Extras that are no part of what a user may miss."""
SLOW_STEPS_PER_S = 5_000
LITTLE_SPACE = 5e9
"""Bytes; a model with its checkpoints soon takes as much."""


def check_installation(
    root: str | os.PathLike[str] | None = None, endpoints: Sequence[str] = ()
) -> Iterator[Check]:
    """Check everything, the quick things first; never raises for what it finds.

    Args:
        root: of ALFWorld's data; default: where the environments look.
        endpoints: servers that are to be reached.
    """
    root = data_root(root)
    yield _check_python()
    yield from _check_packages()
    yield _check_compiler()
    yield _check_cache()
    yield from _check_space((Path.cwd(), cache_root(), root))
    yield from (_check_split(root, split) for split in ALFWORLD_SPLITS)
    yield _check_speed()
    yield from _check_torch()
    yield from map(_check_endpoint, endpoints)


def _check_python() -> Check:
    version = platform.python_version()
    if sys.version_info >= (3, 13):
        return Check("python", "note", version, 'backend="textworld" needs Python 3.12 or older')
    return Check("python", "ok", version)


def _check_packages() -> Iterator[Check]:
    """What the package itself says that it needs, and what its extras do."""
    from packaging.requirements import Requirement

    try:
        own = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            DISTRIBUTION,
            "note",
            "not installed, only on the path",
            "pip install DIR, the folder of the project",
        )
        return
    yield Check(DISTRIBUTION, "ok", own.version)
    needed = [Requirement(line) for line in own.requires or ()]
    for one in needed:
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            found = _find_version(one.name)
            if found is None or not one.specifier.contains(found, prereleases=True):
                status: Literal["note", "wrong"] = "note" if one.name in BUILT else "wrong"
                missing = "not installed" if found is None else f"{found}, which is too old"
                yield Check(one.name, status, missing, f"pip install '{one.name}{one.specifier}'")
            elif one.name in SHOWN:
                yield Check(one.name, "ok", found)
    for extra in own.metadata.get_all("Provides-Extra") or ():
        if extra not in FOR_DEVELOPERS:
            of_extra = [one for one in needed if one.marker and _is_of_extra(one.marker, extra)]
            lacking = [one for one in of_extra if _find_version(one.name) is None]
            if lacking:
                mend = " ".join(f"'{one.name}{one.specifier}'" for one in lacking)
                names = ", ".join(one.name for one in lacking)
                yield Check(f"[{extra}]", "note", f"without {names}", f"pip install {mend}")
            else:
                yield Check(f"[{extra}]", "ok", ", ".join(one.name for one in of_extra))


def _is_of_extra(marker: Any, extra: str) -> bool:
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_compiler() -> Check:
    if _find_version("textworld") or sys.version_info >= (3, 13):
        return Check("compiler", "ok", "not needed")
    missing = [name for name in ("cc", "make") if shutil.which(name) is None]
    if missing:
        remedy = (
            "install a C compiler and make (Debian, Ubuntu: apt-get install build-essential), then textworld"
        )
        return Check(
            "compiler", "note", f"TextWorld is built with {' and '.join(missing)}, not found", remedy
        )
    return Check("compiler", "ok", "cc and make, for TextWorld")


def _check_torch() -> Iterator[Check]:
    """Torch as it is when it is imported: that it is installed says little."""
    try:
        import torch

        from oreo_agents.models.decoder import best_device, fast_bf16

        device, fast = best_device().type, fast_bf16()
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except Exception as error:  # whatever it is, it is what the user has to know
        yield Check(
            "device", "wrong", f"torch cannot be imported: {error}", "pip install --force-reinstall torch"
        )
        return
    if cards:
        named = ", ".join(f"{card.name} ({card.total_memory / 1e9:.0f} GB)" for card in cards)
        yield Check("device", "ok", f"{device}: {named}, CUDA {torch.version.cuda}")
    elif shutil.which("nvidia-smi"):
        remedy = "install the torch build for its driver: https://pytorch.org/get-started"
        yield Check(
            "device", "wrong", f"{device}: torch {torch.__version__} does not find the NVIDIA card", remedy
        )
    else:
        yield Check("device", "ok", f"{device}, {torch.get_num_threads()} threads; no CUDA")
    yield Check(
        "bfloat16",
        "ok",
        "in hardware: the default of training" if fast else "slow here: float32 is the default",
    )


def _check_endpoint(url: str) -> Check:
    import httpx

    name = "endpoint"
    try:
        answer = httpx.get(f"{url.rstrip('/')}/models", timeout=10)
        answer.raise_for_status()
        models = [str(one["id"]) for one in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        remedy = "start the server, or mend the address, which goes up to and including /v1"
        return Check(name, "wrong", f"{url} does not answer: {error}", remedy)
    except (ValueError, KeyError, TypeError):
        return Check(name, "wrong", f"{url} does not list models", "give the address up to and including /v1")
    return Check(name, "ok", f"{url} has {', '.join(models) or 'no model'}")


def _check_cache() -> Check:
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check("cache", "ok", str(folder))
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder that can be written"
        return Check("cache", "note", f"{folder} cannot be written ({error.strerror})", remedy)


def _check_space(folders: Iterable[Path]) -> Iterator[Check]:
    """Free space, once for each disk."""
    seen = set()
    for folder in folders:
        there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
        disk = there.stat().st_dev
        if disk in seen:
            continue
        seen.add(disk)
        free = shutil.disk_usage(there).free
        found = f"{free / 1e9:,.1f} GB free at {there}"
        yield (
            Check("disk", "ok", found)
            if free > LITTLE_SPACE
            else Check("disk", "note", found, "free some: models, checkpoints and games are kept there")
        )


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
