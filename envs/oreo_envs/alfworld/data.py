"""Where games are found: split names, folders, single files and archives, all as one lazy sequence.

Nothing is ever written into a data folder. What is worth keeping (an index of each folder, games unpacked
from archives) lies in the user's cache folder and is replaced whole or not at all.
"""

import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, Protocol, SupportsIndex, overload, runtime_checkable

from oreo_envs.alfworld.game import MAX_BYTES, TASK_TYPES, Game, game_name, load_game, read_game_file
from oreo_envs.errors import DataNotFoundError, GameFileError, OreoError

GAME_FILE = "game.tw-pddl"
ALFWORLD_SPLITS = ("train", "valid_seen", "valid_unseen")
GENERATED_SPLITS = ("generated", "generated_unseen")
ARCHIVE_SUFFIXES = (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
MAX_UNPACKED_BYTES = 4_000_000_000
CACHED_GAMES = 256
ENCRYPTED = 1
"""The bit that says so among the flags of a member of a zip archive."""

PathLike = str | os.PathLike[str]


class IndexedGame(NamedTuple):
    """What the index tells of a game without parsing it."""

    name: str
    path: Path
    task_type: str
    """Empty where the folder is not named after one of ALFWorld's task types."""
    solvable: bool


@runtime_checkable
class Games(Protocol):
    """A lazy sequence of games: game files on disk, or generated ones."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each game."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Game:
        """The parsed game."""

    def index(self, name: Any, /) -> int:
        """Position of a game given by name, path or position. Raises DataNotFoundError."""

    def text(self, index: int, /) -> str | bytes:
        """The unparsed game file."""


class GameFiles(Sequence[Game]):
    """Game files in the order of their games' names, read when asked for; the last few games are kept.

    ``names``, ``paths``, ``task_types`` and ``rooms`` are known without reading a file.
    """

    made_on_demand = False

    def __init__(self, entries: Sequence[IndexedGame]):
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
            game = self._cache[index] = load_game(self.paths[index], self.names[index])
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

    def _only(self, positions: Iterable[int]) -> "GameFiles":
        known = [(self.names[i], self.paths[i], self.task_types[i]) for i in positions]
        return GameFiles([IndexedGame(*game, solvable=True) for game in known])

    def _position_of(self, path: Path) -> int:
        wanted = _real(path)
        for position, known in enumerate(self.paths):
            # comparing folder names first spares resolving thousands of paths
            alike = known.parent.name in (wanted.parent.name, wanted.name)
            if alike and _real(known) in (wanted, wanted / GAME_FILE):
                return position
        raise self._not_found(path)

    def _not_found(self, value: Any) -> DataNotFoundError:
        return DataNotFoundError(f"There is no game {str(value)!r} among these {len(self)} games.")


def find_games(
    split: str | None = None,
    games: PathLike | Sequence[PathLike] | Games | None = None,
    include_unsolvable: bool = False,
) -> Games:
    """Find games by split name or by where they lie.

    Args:
        split: train, valid_seen, valid_unseen (ALFWorld's own, from the data root), generated or
            generated_unseen. None means train where ALFWorld's data is found, else generated.
        games: a folder, a game file, an archive (tar.xz, tar.gz, zip), several of those, or games already
            found. Excludes `split`.
        include_unsolvable: also list games that their file declares to be unsolvable.

    Raises:
        DataNotFoundError: nothing was found, with the place and the remedy.
        GameFileError: an archive is damaged.
    """
    if games is not None:
        if split is not None:
            raise DataNotFoundError(f"Give either split={split!r} or games={games!r}, not both.")
        if isinstance(games, Games):
            return games
        return _open_sources([games] if isinstance(games, str | os.PathLike) else games, include_unsolvable)
    split = split or choose_split()
    if split in GENERATED_SPLITS:
        from oreo_envs.alfworld.generator import GeneratedGames

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


def choose_split() -> str:
    """The split that is meant where none is named: ``train`` where ALFWorld's data is found, else ``generated``."""
    return "train" if find_split("train") else "generated"


def room_of(name: str) -> str:
    """The room of a game of ALFWorld, e.g. ``224``, from the game's name: the last part of its task folder's."""
    return name.split("/")[0].rsplit("-", 1)[-1]


def data_root() -> Path:
    """``$ALFWORLD_DATA``, or alfworld's default cache folder."""
    return Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


def cache_root() -> Path:
    """The folder for what this package keeps between runs: ``$XDG_CACHE_HOME/oreo-agents``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oreo-agents"


def find_split(split: str, root: PathLike | None = None) -> Path | None:
    """The folder or archive of one of ALFWorld's splits under ``root`` (default: the data root), if there."""
    root = data_root() if root is None else Path(root).expanduser()
    places = [
        root / "json_2.1.1" / split,
        root / split,
        *(root / (split + suffix) for suffix in ARCHIVE_SUFFIXES),
    ]
    return next((place for place in places if place.exists()), None)


def _open_sources(sources: Sequence[PathLike], include_unsolvable: bool) -> GameFiles:
    entries = [entry for source in sources for entry in _entries(Path(source).expanduser())]
    playable = [entry for entry in entries if entry.solvable or include_unsolvable]
    if not playable:
        looked = ", ".join(map(str, sources)) or "an empty list"
        why = "only games declared unsolvable" if entries else f"no {GAME_FILE} files"
        raise DataNotFoundError(
            f"There are {why} in {looked}; give a folder, game file or archive of ALFWorld games."
        )
    return GameFiles(sorted(playable, key=lambda entry: (entry.name, str(entry.path))))


def _entries(source: Path) -> list[IndexedGame]:
    if source.is_dir():
        return _index_folder(source)
    if source.name.endswith(ARCHIVE_SUFFIXES) and source.is_file():
        return _index_folder(unpack_archive(source))
    if source.is_file():
        path = _real(source)
        return [IndexedGame(game_name(path), path, "", True)]
    raise DataNotFoundError(
        f"{source} does not exist; give a folder, game file or archive of ALFWorld games."
    )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


# ---------------------------------------------------------------- the index of a folder


def _index_folder(folder: Path) -> list[IndexedGame]:
    """List the games of a folder, reading only those that are new or changed since the last time."""
    folder = _real(folder)
    index_file = cache_root() / "index" / (hashlib.sha256(str(folder).encode()).hexdigest()[:32] + ".json")
    known = _read_index(index_file)
    index: dict[str, list[Any]] = {}
    for relative, stamp in _scan(str(folder)):
        before = known.get(relative)
        index[relative] = before if before and before[:2] == stamp else [*stamp, *_peek(folder / relative)]
    if index != known:
        _write_index(index_file, index)
    return [
        IndexedGame(game_name(folder / relative), folder / relative, task_type, solvable)
        for relative, (_, _, task_type, solvable) in index.items()
    ]


def _scan(folder: str) -> Iterator[tuple[str, list[int]]]:
    """Relative path and [size, modification time] of every game file below a folder."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.name == GAME_FILE:
                        status = entry.stat()
                        yield os.path.relpath(entry.path, folder), [status.st_size, status.st_mtime_ns]
        except OSError as error:
            raise DataNotFoundError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _peek(path: Path) -> tuple[str, bool]:
    """Task type by the folder's name, and whether the file calls its game solvable; no parsing."""
    task_type = game_name(path).partition("-")[0]
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES)
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}.") from error
    key = content.rfind(b'"solvable"')
    unsolvable = key >= 0 and re.match(rb'"solvable"\s*:\s*false', content[key : key + 40]) is not None
    return task_type if task_type in TASK_TYPES else "", not unsolvable


def _read_index(path: Path) -> dict[str, list[Any]]:
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    well_formed = isinstance(index, dict) and all(
        isinstance(row, list) and len(row) == 4 for row in index.values()
    )
    return index if well_formed else {}


def _write_index(path: Path, index: dict[str, list[Any]]) -> None:
    """Keep the index if the cache folder can be written; it only saves time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(index, file)
        os.replace(file.name, path)
    except OSError:
        return


# ---------------------------------------------------------------- archives


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
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=".unpacking-", ignore_cleanup_errors=True
        ) as unfinished:
            _unpack(archive, Path(unfinished))
            os.rename(unfinished, folder)
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
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}.") from error


def _unpack(archive: Path, folder: Path) -> None:
    total = 0
    for name, size, content in _members(archive):
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


def _members(archive: Path) -> Iterator[tuple[str, int, Any]]:
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
                yield member.name, member.size, lambda member=member: _opened(tar, member)


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.TarError(f"{member.name} has no content")
    return content
