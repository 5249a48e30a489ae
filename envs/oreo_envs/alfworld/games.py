"""What a sequence of games is, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

from oreo_envs.alfworld.game import Game
from oreo_envs.alfworld.text import Wording

CACHED_GAMES = 256


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
        """The unparsed game file, in its own wording."""

    def reword(self, wording: Wording, /) -> Self:
        """The same games, each as :meth:`Game.reword` shows it."""


def room_of(name: str) -> str:
    """The room of a game of ALFWorld, e.g. ``224``, from the game's name: the last part of its task folder's."""
    return name.split("/")[0].rsplit("-", 1)[-1]
