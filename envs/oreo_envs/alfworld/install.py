"""ALFWorld's games put where the environments find them: fetched from the web, or unpacked from local archives.

    release on the web ──► archive in the cache ──┐
    local folders and archives ───────────────────┴──► <root>/json_2.1.1/<split>/<task>/<trial>/game.tw-pddl

Beside each game lies ``traj_data.json``, without which alfworld plays none: the one that came with it, or one that says
what the name of the task folder does.

Only folders that this module made are ever written to, and each becomes visible whole or not at all. Printing
is the command line's business.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from oreo_envs.alfworld.archives import unpack_archive
from oreo_envs.alfworld.download import Progress, Release, fetch_file
from oreo_envs.alfworld.places import (
    ALFWORLD_SPLITS,
    ARCHIVE_SUFFIXES,
    GAME_FILE,
    TRAJECTORY_FILE,
    data_root,
    describe_task,
)
from oreo_envs.alfworld.sources import find_games
from oreo_envs.errors import ConfigurationError, DataNotFoundError, GameFileError, OreoError
from oreo_envs.files import cache_root, in_use, is_unfinished, make_folder, read_json

TEXT_GAMES = Release(
    "https://github.com/alfworld/alfworld/releases/download/0.4.2/json_2.1.3_tw-pddl.zip",
    36_507_267,
    "5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
)
"""ALFWorld's text-only games (MIT licence): 3,553 for training, 140 in seen and 134 in unseen rooms."""

GAMES_FOLDER = "json_2.1.1"
MARKER = ".oreo-agents.json"
"""Lies in every folder that this module made, and says from what."""


# ---------------------------------------------------------------- folders of one's own


@contextmanager
def make_own_folder(target: Path, sources: Sequence[str]) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends well, and nothing otherwise.

    Raises:
        ConfigurationError: ``target`` holds something already, or is in use.
        OreoError: it cannot be written.
    """
    _check_free(target)
    made = False
    try:
        with make_folder(target) as unfinished:
            made = True
            yield unfinished
            (unfinished / MARKER).write_text(json.dumps({"made_by": "oreo-agents", "from": list(sources)}))
    except OSError as error:
        if not made:
            raise OreoError(f"{target} cannot be made ({error.strerror}); choose another folder.") from error
        _check_free(target)  # another run may have been quicker
        raise OreoError(
            f"{target} cannot be written ({error}); free some space or choose another."
        ) from error


def _check_free(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        if in_use(target):
            raise ConfigurationError(
                f"{target} is in use (the folder you are in, or a mounted one) and cannot be replaced; choose a "
                "folder inside it."
            )
        return
    if target.exists() or target.is_symlink():
        whose = "made earlier" if (target / MARKER).exists() else "not made by oreo-agents"
        raise ConfigurationError(
            f"{target} is there already ({whose}) and is left as it is; delete it or choose another folder."
        )


def _check_own(root: Path) -> None:
    """Raise ConfigurationError if ``root`` holds anything that is not from here."""
    games = root / GAMES_FOLDER
    entries = [*_list_entries(root), *_list_entries(games)] if root.is_dir() else []
    strangers = [entry for entry in entries if entry != games and not (entry / MARKER).exists()]
    if strangers or (root.exists() and not root.is_dir()):
        raise ConfigurationError(
            f"{root} holds data that oreo-agents did not put there, and is left as it is; choose another "
            f"folder with --output and set ALFWORLD_DATA to it."
        )


def _list_entries(folder: Path) -> list[Path]:
    """What lies in a folder, save for what an interrupted run left behind."""
    return [path for path in folder.iterdir() if not is_unfinished(path)] if folder.is_dir() else []


# ---------------------------------------------------------------- download


def download_games(
    root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    release: Release = TEXT_GAMES,
) -> Path:
    """Fetch ALFWorld's games into ``root`` (default: ``$ALFWORLD_DATA``, else alfworld's own cache folder).

    An interrupted download goes on where it stopped, in this call or a later one. Returns the folder of the
    splits; where an earlier call has made it already, nothing is fetched. ``valid_train``, which a release need
    not have, comes along where it does.

    Raises:
        ConfigurationError: ``root`` holds data of other origin.
        OreoError: the archive cannot be had, or is not the published one.
    """
    root = data_root(root)
    _check_own(root)
    missing = [split for split in ALFWORLD_SPLITS if not (root / GAMES_FOLDER / split).exists()]
    if set(missing) - {"valid_train"}:
        archive = fetch_file(release, cache_root() / "downloads", progress)
        _install_splits([archive], root, missing)
        archive.unlink(missing_ok=True)
    return root / GAMES_FOLDER


# ---------------------------------------------------------------- unpack


def unpack_games(source: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """Put local games where the environments find them, and index them. Returns the folder of the splits.

    Args:
        source: an archive (tar.xz, tar.gz, zip) or a folder of games. Of a folder with archives in it, those
            named after a split (``train.tar.xz``) or holding ``tw-pddl`` in their name are taken.
        root: data root; default ``$ALFWORLD_DATA``, else alfworld's own cache folder. What an interrupted call has
            put there from the same place is kept.

    Raises:
        ConfigurationError: ``root`` holds data already.
        DataNotFoundError: there are no games in ``source``.
        GameFileError: an archive is damaged.
    """
    source, root = Path(source).expanduser(), data_root(root)
    _check_own(root)
    _install_splits(_find_origins(source), root)
    return root / GAMES_FOLDER


def _install_splits(origins: Sequence[Path], root: Path, splits: Sequence[str] = ALFWORLD_SPLITS) -> None:
    """Make a folder below ``root`` for each of the splits that the origins hold, and index it."""
    found: dict[str, dict[Path, Path]] = {}
    for origin in origins:
        for split, place, file in _list_games(origin):
            if split in splits:
                found.setdefault(split, {})[place] = file
    if not found:
        raise DataNotFoundError(
            f"There are no games in {', '.join(map(str, origins))} whose split is known; {GAME_FILE} files "
            f"should lie in folders like train/<task>/<trial>, or in an archive named after their split."
        )
    there = {
        split for split, games in found.items() if _is_made_from(root / GAMES_FOLDER / split, games, origins)
    }
    lacking = (
        found if there == found.keys() else {one: games for one, games in found.items() if one not in there}
    )
    for split in lacking:
        _check_free(root / GAMES_FOLDER / split)
    for split, games in lacking.items():
        with make_own_folder(root / GAMES_FOLDER / split, [str(origin) for origin in origins]) as unfinished:
            for place, file in games.items():
                _link_or_copy(file, unfinished / place)
                trajectory, target = file.with_name(TRAJECTORY_FILE), (unfinished / place).parent
                if trajectory.is_file():
                    _link_or_copy(trajectory, target / TRAJECTORY_FILE)
                else:
                    _write_trajectory(target)
        find_games(games=root / GAMES_FOLDER / split, include_unsolvable=True)


def _is_made_from(target: Path, games: Mapping[Path, Path], origins: Sequence[Path]) -> bool:
    """Whether an interrupted call has made a split already, from the same games."""
    try:
        made_from = read_json(target / MARKER)["from"]
        same = all((target / place).stat().st_size == file.stat().st_size for place, file in games.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and made_from == list(map(str, origins))


def _find_origins(source: Path) -> list[Path]:
    """The archives of a folder that hold splits; or the folder, or the archive, itself."""
    if not source.exists():
        raise DataNotFoundError(f"{source} does not exist; give a folder or an archive of ALFWorld games.")
    if not source.is_dir():
        return [source]
    archives = [path for path in sorted(source.iterdir()) if path.name.endswith(ARCHIVE_SUFFIXES)]
    return [path for path in archives if _split_in_name(path) or "tw-pddl" in path.name] or [source]


def _split_in_name(path: Path) -> str | None:
    return next((split for split in ALFWORLD_SPLITS if path.name.partition(".")[0] == split), None)


def _list_games(origin: Path) -> Iterator[tuple[str, Path, Path]]:
    """Split, <task>/<trial>/game.tw-pddl and where it lies now, of every game of a folder or archive."""
    if origin.is_file() and not origin.name.endswith(ARCHIVE_SUFFIXES):
        raise GameFileError(f"{origin} is not an archive; give one of {', '.join(ARCHIVE_SUFFIXES)}.")
    folder = origin if origin.is_dir() else unpack_archive(origin)
    for file in sorted(folder.rglob(GAME_FILE)):
        trial = file.relative_to(folder).parent
        inside = (origin.name, *trial.parts[:-2]) if origin.is_dir() else trial.parts[:-2]
        split = next((part for part in reversed(inside) if part in ALFWORLD_SPLITS), _split_in_name(origin))
        if split and len(trial.parts) >= 2:
            yield split, Path(*trial.parts[-2:], GAME_FILE), file


def _link_or_copy(file: Path, target: Path) -> None:
    """A copy; of files in the cache, which nobody edits, a second name suffices where the disk allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if cache_root() in file.parents:
        with suppress(OSError):
            os.link(file, target)
            return
    shutil.copyfile(file, target)


def _write_trajectory(trial: Path) -> None:
    """The file that alfworld's collector and its handcoded expert read beside a game."""
    task = describe_task(trial.parent.name)
    if task is not None:
        (trial / TRAJECTORY_FILE).write_text(json.dumps(task))


def write_games(
    out: str | os.PathLike[str] | None,
    count: int,
    split: str = "generated",
    seed: int = 0,
    task_types: Sequence[str] | None = None,
    rooms: Sequence[str] | None = None,
    difficulty: str = "normal",
    progress: Progress | None = None,
) -> Path:
    """Write ``count`` generated games as ``<out>/<task>/<trial>/game.tw-pddl``, for alfworld too. Returns ``out``.

    Args:
        out: a folder that is not there yet, or is empty.
        count: how many games.
        split: ``generated`` or ``generated_unseen``: in which rooms.
        seed: which games; 0 gives those of the split of the same name.
        task_types: some of ALFWorld's six, in equal shares; default all that the rooms can host.
        rooms: some of kitchen, living room, bedroom, bathroom; default all.
        difficulty: easy, normal or hard.
        progress: called with the games written and ``count``.

    Raises:
        ConfigurationError: ``out`` is missing, or holds something already, or ``count`` is not positive.
        OreoError: an unknown split, task type, room or difficulty, or a task that no such room can host.
    """
    from oreo_envs.alfworld.game import TASK_TYPES
    from oreo_envs.alfworld.generator.draw import Difficulty, hosted_task_types
    from oreo_envs.alfworld.generator.games import Recipe
    from oreo_envs.alfworld.rooms import ROOM_KINDS, SPLITS

    if out is None or count < 1:
        raise ConfigurationError("Generating needs a folder (--output) and a positive number of games.")
    kinds = ROOM_KINDS if rooms is None else tuple(rooms)
    tasks = hosted_task_types(split, kinds) if task_types is None and split in SPLITS else task_types
    recipe = Recipe(split, seed, tuple(tasks or TASK_TYPES), kinds, cast(Difficulty, difficulty))
    out = Path(out).expanduser()
    with make_own_folder(out, [repr(recipe)]) as unfinished:
        for index in range(count):
            folder = unfinished / recipe.name(index)
            folder.mkdir(parents=True)
            (folder / GAME_FILE).write_text(recipe.text(index))
            _write_trajectory(folder)
            if progress:
                progress(index + 1, count)
    return out
