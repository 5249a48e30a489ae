"""Where ALFWorld's games come from, for those who learn on some and are judged on others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.places import ALFWORLD_SPLITS, choose_split, data_root, find_split
from oreo_envs.alfworld.rooms import SPLITS, load_rooms
from oreo_envs.alfworld.sources import GameFiles, find_games
from oreo_envs.catalog import Division, Supply
from oreo_envs.errors import ConfigurationError, DataNotFoundError


class ALFWorldSupply(Supply):
    """ALFWorld's splits on disk and generated ones; every game plays in a numbered room."""

    def default_split(self) -> str:
        """``train`` where ALFWorld's data is found, else ``generated``."""
        return choose_split()

    def judging_split(self, named: Any = None) -> str | None:
        """``valid_seen`` where ALFWorld's data is found, else ``generated_unseen``; none for named games."""
        if named is not None:
            return None
        return "valid_seen" if find_split("valid_seen") else self.entry.judging_split

    def options(
        self,
        split: str,
        data: Path | None = None,
        rooms: Sequence[str] = (),
        left_out: Sequence[str] = (),
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The games themselves, of a place that ``given`` names, or of the split; see :meth:`Supply.options`."""
        named = (given or {}).get("games")
        return {**(given or {}), "games": _find_games(split, data, rooms, left_out, named)}

    def divide(self, source: str | Path) -> Division:
        """``train`` and ``valid_seen`` under ``source``; or its rooms, a fifth of them to be judged in."""
        if find_split("train", source) and find_split("valid_seen", source):
            return Division(
                "valid_seen", {"split": "train"}, {"split": "valid_seen"}, Path(source).expanduser()
            )
        rooms = sorted(set(cast(GameFiles, find_games(games=source)).rooms))
        if len(rooms) < 2:
            raise ConfigurationError(
                f"all games at {source} are in one room: nothing would be left to judge on"
            )
        held_out = random.Random("held-out rooms").sample(rooms, max(1, len(rooms) // 5))
        games = {"split": "train", "options": {"games": str(source)}}
        return Division("rooms_held_out", games, {**games, "rooms": tuple(held_out)})

    def rooms_outside(self, split: str) -> frozenset[str]:
        """The floor plans in which no game of a generated split is made."""
        return frozenset(str(room.number) for room in load_rooms() if room.group != SPLITS[split])


def _find_games(
    split: str, data: Path | None, rooms: Sequence[str], left_out: Sequence[str], named: Any
) -> Games:
    if named is None and split not in ALFWORLD_SPLITS:
        if rooms:
            raise ConfigurationError(f"{split} makes its rooms; rooms can be chosen in {ALFWORLD_SPLITS}")
        return find_games(split)
    place = named or find_split(split, data)
    if place is None:
        raise DataNotFoundError(
            f"{split} is neither a folder nor an archive in {data or data_root()}: "
            "get the games with `oreo-agents data`, or give their folder with --data"
        )
    games = cast(GameFiles, find_games(games=place))
    if unknown := set(rooms).difference(games.rooms):
        raise ConfigurationError(f"{place} has no games in rooms {', '.join(sorted(unknown))}")
    return games.choose_rooms(set(rooms or games.rooms).difference(left_out))
