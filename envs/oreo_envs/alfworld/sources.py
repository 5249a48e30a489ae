"""Where games are found: split names, folders, single files and archives, all as one lazy sequence.

Nothing is ever written into a data folder. What is worth keeping (an index of each folder, games unpacked
from archives) lies in the user's cache folder and is replaced whole or not at all.
"""

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, SupportsIndex, overload

from oreo_envs.alfworld.archives import unpack_archive
from oreo_envs.alfworld.folder_index import IndexedGame, index_folder
from oreo_envs.alfworld.game import Game
from oreo_envs.alfworld.game_file import game_name, load_game, read_game_file
from oreo_envs.alfworld.games import CACHED_GAMES, Games, room_of
from oreo_envs.alfworld.places import (
    ALFWORLD_SPLITS,
    ARCHIVE_SUFFIXES,
    GAME_FILE,
    GENERATED_SPLITS,
    PathLike,
    choose_split,
    data_root,
    find_split,
    resolve_path,
)
from oreo_envs.alfworld.text import Wording
from oreo_envs.errors import DataNotFoundError


class GameFiles(Sequence[Game]):
    """Game files in the order of their games' names, read when asked for; the last few games are kept.

    ``names``, ``paths``, ``task_types`` and ``rooms`` are known without reading a file.
    """

    made_on_demand = False

    def __init__(self, entries: Sequence[IndexedGame], wording: Wording | None = None):
        """Some games; shown in a wording, or each in its own."""
        self.wording = wording
        self.names = tuple(entry.name for entry in entries)
        self.paths = tuple(entry.path for entry in entries)
        self.task_types = tuple(entry.task_type for entry in entries)
        self._positions = {name: position for position, name in reversed(list(enumerate(self.names)))}
        self._cache: dict[int, Game] = {}

    def __deepcopy__(self, memo: object) -> "GameFiles":
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, position: SupportsIndex) -> Game: ...
    @overload
    def __getitem__(self, position: slice) -> "GameFiles": ...
    def __getitem__(self, position: SupportsIndex | slice) -> "Game | GameFiles":
        if isinstance(position, slice):
            return self._only(range(len(self))[position])
        index = range(len(self))[position]
        game = self._cache.get(index)
        if game is None:
            if len(self._cache) >= CACHED_GAMES:
                self._cache.clear()
            game = load_game(self.paths[index], self.names[index])
            game = self._cache[index] = game.reword(self.wording or game.wording)
        return game

    def __repr__(self) -> str:
        return (
            f"GameFiles({len(self)} games, {self.names[0]} ... {self.names[-1]})"
            if self.names
            else "GameFiles()"
        )

    def index(self, value: Any, *_: Any) -> int:  # type: ignore[override]
        """Position of a game given by its name, its path, its position or itself.

        Raises:
            DataNotFoundError: there is no such game here.
        """
        if isinstance(value, Game):
            value = value.name
        if isinstance(value, SupportsIndex) and -len(self) <= value.__index__() < len(self):
            return range(len(self))[value]
        if isinstance(value, str | os.PathLike):
            position = self._positions.get(str(value))
            return self._position_of(Path(value)) if position is None else position
        raise self._not_found(value)

    def text(self, index: int) -> bytes:
        """The content of a game file. Raises GameFileError."""
        return read_game_file(self.paths[index])

    def reword(self, wording: Wording) -> "GameFiles":
        """The same games, shown as files of that generation of ALFWorld's."""
        return self if wording == self.wording else self._only(range(len(self)), wording)

    @property
    def rooms(self) -> list[str]:
        """The room of each game."""
        return [room_of(name) for name in self.names]

    def choose(self, positions: Iterable[int]) -> "GameFiles":
        """Some of the games, in the same order.

        Raises:
            DataNotFoundError: that leaves none.
        """
        chosen = self._only(sorted(positions))
        if not len(chosen):
            raise DataNotFoundError(f"None of these {len(self)} games is left; choose others.")
        return chosen

    def choose_rooms(self, rooms: Collection[str], inside: bool = True) -> "GameFiles":
        """The games in some rooms, or all others. Raises DataNotFoundError if there are none."""
        return self.choose(i for i, room in enumerate(self.rooms) if (room in rooms) == inside)

    def _only(self, positions: Iterable[int], wording: Wording | None = None) -> "GameFiles":
        known = [(self.names[i], self.paths[i], self.task_types[i]) for i in positions]
        return GameFiles([IndexedGame(*game, solvable=True) for game in known], wording or self.wording)

    def _position_of(self, path: Path) -> int:
        wanted = resolve_path(path)
        for position, known in enumerate(self.paths):
            # comparing folder names first spares resolving thousands of paths
            alike = known.parent.name in (wanted.parent.name, wanted.name)
            if alike and resolve_path(known) in (wanted, wanted / GAME_FILE):
                return position
        raise self._not_found(path)

    def _not_found(self, value: Any) -> DataNotFoundError:
        return DataNotFoundError(f"There is no game {str(value)!r} among these {len(self)} games.")


def find_games(
    split: str | None = None,
    games: PathLike | Sequence[PathLike] | Games | None = None,
    include_unsolvable: bool = False,
    wording: Wording | None = None,
) -> Games:
    """Find games by split name or by where they lie.

    Args:
        split: train, valid_train, valid_seen, valid_unseen (ALFWorld's own, from the data root), generated or
            generated_unseen. None means train where ALFWorld's data is found, else generated.
        games: a folder, a game file, an archive (tar.xz, tar.gz, zip), several of those, or games already
            found. Excludes `split`.
        include_unsolvable: also list games that their file declares to be unsolvable.
        wording: show every game as files of that generation of ALFWorld's; None: each as its file is.

    Raises:
        DataNotFoundError: nothing was found, with the place and the remedy.
        GameFileError: an archive is damaged.
    """
    found = _find_games(split, games, include_unsolvable)
    return found if wording is None else found.reword(wording)


@lru_cache
def _tell_choice(split: str, root: Path) -> None:
    """Say once which games are played where nobody has said which; silenced as any logger is."""
    real = f"games are ALFWorld's {split} split in {root}"
    found = real if split == "train" else f"games are generated, {root} has none"
    logging.getLogger(__name__).warning(f"OREO-ALFWorld: {found}; split= or games= chooses others")


def _find_games(
    split: str | None, games: PathLike | Sequence[PathLike] | Games | None, include_unsolvable: bool
) -> Games:
    if games is not None:
        if split is not None:
            raise DataNotFoundError(f"Give either split={split!r} or games={games!r}, not both.")
        if isinstance(games, Games):
            return games
        return _open_sources([games] if isinstance(games, str | os.PathLike) else games, include_unsolvable)
    if split is None:
        split = choose_split()
        _tell_choice(split, data_root())
    if split in GENERATED_SPLITS:
        from oreo_envs.alfworld.generator.games import GeneratedGames

        return GeneratedGames(split)
    if split not in ALFWORLD_SPLITS:
        known = ", ".join(ALFWORLD_SPLITS + GENERATED_SPLITS)
        raise DataNotFoundError(f"There is no split {split!r}; the splits are {known}.")
    source = find_split(split)
    if source is None:
        raise DataNotFoundError(
            f"The split {split!r} is neither a folder nor an archive in {data_root()}: get the games with "
            f"`oreo-agents data`, set ALFWORLD_DATA to their folder, or use split='generated'."
        )
    return _open_sources([source], include_unsolvable)


def _open_sources(sources: Sequence[PathLike], include_unsolvable: bool) -> GameFiles:
    entries = [entry for source in sources for entry in _index_source(Path(source).expanduser())]
    playable = [entry for entry in entries if entry.solvable or include_unsolvable]
    if not playable:
        looked = ", ".join(map(str, sources)) or "an empty list"
        why = "only games declared unsolvable" if entries else f"no {GAME_FILE} files"
        raise DataNotFoundError(
            f"There are {why} in {looked}; give a folder, game file or archive of ALFWorld games."
        )
    return GameFiles(sorted(playable, key=lambda entry: (entry.name, str(entry.path))))


def _index_source(source: Path) -> list[IndexedGame]:
    if source.is_dir():
        return index_folder(source)
    if source.name.endswith(ARCHIVE_SUFFIXES) and source.is_file():
        return index_folder(unpack_archive(source))
    if source.is_file():
        path = resolve_path(source)
        return [IndexedGame(game_name(path), path, "", True)]
    raise DataNotFoundError(
        f"{source} does not exist; give a folder, game file or archive of ALFWorld games."
    )
