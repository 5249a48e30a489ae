"""Where TextWorld's games come from, for those who learn on some and are judged on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oreo_envs.catalog import Division, Supply
from oreo_envs.errors import ConfigurationError
from oreo_envs.textworld.games import ChallengeGames, find_games, split_word


class TextWorldSupply(Supply):
    """Challenges, whose splits share no game; and game files, which have no splits."""

    def default_split(self) -> str:
        """Games to learn on."""
        return "train"

    def options(
        self,
        split: str,
        data: Path | None = None,
        rooms: Sequence[str] = (),
        left_out: Sequence[str] = (),
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """See :meth:`Supply.options`; no games of TextWorld's lie in a data folder."""
        return super().options(split, None, rooms, left_out, given)

    def spell_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """``games="CHALLENGE/LEVEL"`` as ``challenge`` and ``level``; see :meth:`Supply.spell_options`."""
        named = split_word(options.get("games"))
        if named is None:
            return dict(options)
        told = dict(zip(("challenge", "level"), named, strict=True))
        return {name: x for name, x in options.items() if name != "games"} | {
            k: x for k, x in told.items() if x
        }

    def divide(self, source: str | Path) -> Division:
        """A challenge's train games to learn on and its test games to be judged on; files cannot be told apart."""
        games = find_games(games=str(source))
        if not isinstance(games, ChallengeGames):
            raise ConfigurationError(
                f"the game files of {source} are not divided into some to learn on and some to be judged on: "
                "name a challenge, such as cooking/recipe1+take1, or write a suite"
            )
        train, test = ({"split": split, "options": {"games": str(source)}} for split in ("train", "test"))
        return Division("unseen_games", train, test)
