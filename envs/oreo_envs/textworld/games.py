"""The games of TextWorld that can be played: files, and challenges whose games are made when they are asked for."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, overload

from oreo_envs.errors import ConfigurationError, DataNotFoundError, GameFileError
from oreo_envs.files import PathLike, cache_root
from oreo_envs.named_games import NumberedNames
from oreo_envs.textworld.challenges import KINDS, MadeGame, check_split, parse_level
from oreo_envs.workers import WorkerFailure, WorkerPool, count_cores

SUFFIXES = (".z1", ".z2", ".z3", ".z4", ".z5", ".z6", ".z7", ".z8", ".tw-pddl", ".zip")
"""Of games in folders. A ``.json`` alone has no text: it is played where it is named itself."""
MAKING_SECONDS = 120.0
"""Of CPU time, to make a game; usual are three."""


class TextWorldGames(Protocol):
    """Games by name and position, and where the file of each lies."""

    made_on_demand: bool

    @property
    def names(self) -> Sequence[str]:
        """In the order of their positions."""

    def __len__(self) -> int: ...

    def index(self, value: Any) -> int:
        """The position of a game given by its name, path or position. Raises DataNotFoundError."""

    def path(self, position: int) -> Path:
        """The file of a game. Raises GameFileError."""

    def order(self, position: int) -> Future[Path]:
        """The file of a game, as soon as it is there; or GameFileError."""

    def prepare(self, positions: Iterable[Any]) -> None:
        """Say which games will be played, in which order."""


def find_games(
    challenge: str | None = None,
    level: str | int | None = None,
    split: str = "train",
    games: PathLike | Sequence[PathLike] | TextWorldGames | None = None,
) -> TextWorldGames:
    """The games of a challenge, or those in a folder or file.

    Args:
        challenge: one of TextWorld's; where games are named, they count.
        level: of the challenge, None: its default.
        split: of the challenge.
        games: a game file, a folder of them, several of these, or ``CHALLENGE`` or ``CHALLENGE/LEVEL`` in one word.

    Raises:
        ConfigurationError: there is no such challenge, level or split, or TextWorld is not installed.
        DataNotFoundError: there are no games where they were looked for.
    """
    _require_textworld()
    if isinstance(games, StoryFiles | ChallengeGames):
        return games
    if (named := split_word(games)) is not None:
        games, challenge, level = None, named[0], named[1] or level
    if games is not None:
        listed: Any = [games] if isinstance(games, str | os.PathLike) else games
        return StoryFiles([path for place in listed for path in _list_files(Path(place))])
    return ChallengeGames(*parse_level(challenge or "cooking", level), split)


def split_word(games: Any) -> tuple[str, str] | None:
    """The challenge and the level, perhaps empty, of a word; None of other values, and of a path that is there.

    >>> split_word("cooking/recipe1+take1")
    ('cooking', 'recipe1+take1')
    """
    if not isinstance(games, str) or games.partition("/")[0] not in KINDS or os.path.exists(games):
        return None
    challenge, _, level = games.partition("/")
    return challenge, level


def _require_textworld() -> str:
    try:
        return version("textworld")
    except PackageNotFoundError as error:
        raise ConfigurationError(
            "OREO-TextWorld needs TextWorld, which is not installed here: pip install textworld, with Python 3.12 or "
            "before, a C compiler and make"
        ) from error


def _list_files(place: Path) -> list[Path]:
    place = place.expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataNotFoundError(
            f"{place} is neither a game file (.z1 to .z8, .tw-pddl, .json) nor a folder of them, nor one of "
            f"{', '.join(KINDS)}"
        )
    found = sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not found:
        raise DataNotFoundError(f"there is no game file ({', '.join(SUFFIXES)}) in {place}")
    return found


class StoryFiles:
    """Game files in the order they were named in, those of a folder by path; their names are short, and unique."""

    made_on_demand = False

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(dict.fromkeys(path.absolute() for path in paths))
        common = os.path.commonpath([path.parent for path in self.paths])
        self.names: Sequence[str] = tuple(str(path.relative_to(common)) for path in self.paths)

    def __deepcopy__(self, memo: object) -> StoryFiles:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"StoryFiles({len(self)} games, {self.names[0]} ... {self.names[-1]})"

    def index(self, value: Any) -> int:
        """The position of a game given by its name, its path or its position.

        Raises:
            DataNotFoundError: there is no such game here.
        """
        if isinstance(value, SupportsIndex) and -len(self) <= value.__index__() < len(self):
            return range(len(self))[value]
        if isinstance(value, str | os.PathLike):
            if str(value) in self.names:
                return self.names.index(str(value))
            if (path := Path(value).expanduser().absolute()) in self.paths:
                return self.paths.index(path)
        raise DataNotFoundError(f"there is no game {str(value)!r} among these {len(self)}")

    def text(self, position: int) -> bytes:
        """The content of a game's file. Raises GameFileError."""
        try:
            return self.paths[position].read_bytes()
        except OSError as error:
            raise GameFileError(f"{self.paths[position]} cannot be read ({error.strerror})") from error

    def path(self, position: int) -> Path:
        """The file of a game."""
        return self.paths[position]

    def order(self, position: int) -> Future[Path]:
        """The file of a game, which is there."""
        return _promise_path(self.paths[position])

    def prepare(self, positions: Iterable[Any]) -> None:
        """Nothing to be made."""


class ChallengeGames(Sequence[MadeGame]):
    """The games of one challenge, level and split, without end; a game is made when it is first asked for, and kept.

    >>> games = ChallengeGames("coin_collector", "5", "test")
    >>> games.names[7], games.index("coin_collector/5/test/7")
    ('coin_collector/5/test/7', 7)
    """

    made_on_demand = True
    LENGTH = 1_000_000

    def __init__(self, challenge: Any, level: str, split: str = "train") -> None:
        """Raises ConfigurationError: the challenge has no such split."""
        check_split(challenge, split)
        self.challenge, self.level, self.split = challenge, level, split
        self.names = NumberedNames(f"{self.challenge}/{self.level}/{self.split}", self.LENGTH)
        self._folder = cache_root() / "textworld" / _require_textworld()

    def __deepcopy__(self, memo: object) -> ChallengeGames:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __reduce__(self) -> tuple[Any, ...]:
        return ChallengeGames, (self.challenge, self.level, self.split)

    def __len__(self) -> int:
        return self.LENGTH

    @overload
    def __getitem__(self, position: SupportsIndex) -> MadeGame: ...
    @overload
    def __getitem__(self, position: slice) -> list[MadeGame]: ...
    def __getitem__(self, position: SupportsIndex | slice) -> MadeGame | list[MadeGame]:
        if isinstance(position, slice):
            return [self[number] for number in range(len(self))[position]]
        return MadeGame(self.challenge, self.level, self.split, range(len(self))[position])

    def __repr__(self) -> str:
        return f"ChallengeGames({self.challenge!r}, {self.level!r}, {self.split!r})"

    def index(self, value: Any, *_: Any) -> int:  # type: ignore[override]
        """The position of a game given by its name, its position or itself.

        Raises:
            DataNotFoundError: there is no such game here.
        """
        if isinstance(value, SupportsIndex) and -len(self) <= value.__index__() < len(self):
            return range(len(self))[value]
        name = value.name if isinstance(value, MadeGame) else str(value)
        prefix, _slash, number = name.rpartition("/")
        if (
            re.fullmatch("0|[1-9][0-9]{0,5}", number)
            and prefix == f"{self.challenge}/{self.level}/{self.split}"
        ):
            return int(number)
        raise DataNotFoundError(f"there is no game {name!r} in {self.challenge}/{self.level}/{self.split}")

    def path(self, position: int) -> Path:
        """The file of a game, which is made if it is not there.

        Raises:
            GameFileError: TextWorld makes no such game.
        """
        return self.order(position).result()

    def order(self, position: int) -> Future[Path]:
        """The file of a game as soon as it is made, before all that is only prepared; or GameFileError."""
        game = self[position]
        return WORKSHOP.order(game, self._place(game))

    def is_made(self, position: int) -> bool:
        """Whether a game is in the cache."""
        return self._place(self[position]).exists()

    def prepare(self, positions: Iterable[Any]) -> None:
        """Begin to make games, on all cores, in this order; what they are asked for meanwhile comes first."""
        games = [self[self.index(position)] for position in positions]
        WORKSHOP.begin((game, self._place(game)) for game in games)

    def _place(self, game: MadeGame) -> Path:
        return self._folder / f"{game.name}.zip"


class Workshop:
    """Makes games in worker processes, one on each core, beside whatever else goes on."""

    def __init__(self, size: int) -> None:
        self._size, self._workers = size, WorkerPool(size)
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def begin(self, games: Iterable[tuple[MadeGame, Path]]) -> None:
        """Make these, where they are not there, after those that wait already."""
        with self._lock:
            for game, path in games:
                if path not in self._ordered and not path.exists():
                    self._accept(game, path, self._later)

    def order(self, game: MadeGame, path: Path) -> Future[Path]:
        """The file of a game, which is made before those that were only begun; or GameFileError."""
        if path.exists():
            return _promise_path(path)
        with self._lock:
            if path not in self._ordered:
                self._accept(game, path, self._first)
            elif (game, path) in self._later:
                self._later.remove((game, path))
                self._first.append((game, path))
            return self._ordered[path]

    def _accept(self, game: MadeGame, path: Path, queue: deque[tuple[MadeGame, Path]]) -> None:
        self._ordered[path] = Future()
        queue.append((game, path))
        if self._busy < self._size:
            self._busy += 1
            threading.Thread(target=self._make_waiting, daemon=True).start()

    def _make_waiting(self) -> None:
        while True:
            with self._lock:
                if not (queue := self._first or self._later):
                    self._busy -= 1
                    return
                game, path = queue.popleft()
                ordered = self._ordered[path]
            try:
                if not path.exists():  # another process may have made it
                    arguments = (game.challenge, game.settings, game.seed, path)
                    self._workers.call(
                        "oreo_envs.textworld.making:make_game", *arguments, deadline=MAKING_SECONDS
                    )
                ordered.set_result(path)
            except (WorkerFailure, OSError) as failure:  # whoever waits for the game is told
                error = GameFileError(f"{game.name}: TextWorld did not make it ({failure})")
                error.__cause__ = failure
                ordered.set_exception(error)
            except Exception as error:
                ordered.set_exception(error)
            with self._lock:
                del self._ordered[path]

    def _forget(self) -> None:
        """Nothing is made; a forked child has none of its parent's threads."""
        self._lock = threading.Lock()
        self._first, self._later = deque[tuple[MadeGame, Path]](), deque[tuple[MadeGame, Path]]()
        self._ordered: dict[Path, Future[Path]] = {}
        self._busy = 0


def _promise_path(path: Path) -> Future[Path]:
    there: Future[Path] = Future()
    there.set_result(path)
    return there


WORKSHOP = Workshop(count_cores())
"""Of this process."""
