"""Where a suite's games are: every set found once, with a hash of what is in it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oreo_envs.alfworld.data import ALFWORLD_SPLITS, GameFiles, data_root, find_games, find_split, room_of
from oreo_envs.errors import DataNotFoundError

from oreo_agents.bench.suite import GameSet, Suite
from oreo_agents.environments import ALFWORLD, content_hash, environments, games_of, made_from
from oreo_agents.errors import ConfigurationError
from oreo_agents.recorder import dialect_of

FOLDERS = {"OREO-GSM8K": "gsm8k", "OREO-MATH": "math"}
"""What the place of their problems is called below the data folder."""


@dataclass(frozen=True)
class Found:
    """A set of games that is there."""

    name: str
    env_id: str
    options: Mapping[str, Any]
    """Of the environment."""
    indices: Sequence[int]
    """The games of the environment that belong to the set."""
    sha256: str
    """Of the games' names and contents."""
    dialect: str | None

    @property
    def made_from(self) -> list[Any]:
        """What play on it depends on."""
        return made_from(self.env_id, self.options, self.sha256)

    def summary(self) -> dict[str, Any]:
        """What a result file tells of it."""
        return {"games": len(self.indices), "sha256": self.sha256, "dialect": self.dialect}


@dataclass(frozen=True)
class Arenas:
    """Where a suite trains, chooses settings and judges."""

    train: Found
    dev: Found | None
    tests: Mapping[str, Found]
    skipped: Mapping[str, str]
    """Test sets that are not there, and why."""
    generated: Found | None = None
    """Where the expert is recorded besides the training games."""


def find(suite: Suite, data: Path | None = None) -> Arenas:
    """All sets of games of a suite.

    Args:
        suite: says which.
        data: folder with the splits of ALFWorld, or with ``gsm8k`` and ``math``; default: where the environments
            look by themselves.

    Raises:
        DataNotFoundError: there are no games to train on, or to choose settings on.
        ConfigurationError: a room is unknown.
    """
    tests, skipped = {}, {}
    for name, games in suite.tests.items():
        try:
            tests[name] = _found(name, suite, games, data)
        except DataNotFoundError as error:
            skipped[name] = str(error)
    if not tests:
        raise DataNotFoundError("no test set is there: " + "; ".join(skipped.values()))
    train = _found("train", suite, suite.train, data, left_out=suite.left_out())
    if suite.train.limit:
        train = some_of(train, suite.train.limit, 0)
    dev = _found("dev", suite, suite.dev, data) if suite.dev else None
    shown = suite.demonstrations.generated
    generated = _found("generated", suite, GameSet("generated"), data) if shown else None
    return Arenas(train, dev, tests, skipped, generated)


def some_of(found: Found, n: int, seed: int) -> Found:
    """``n`` games of a set, drawn at random where they are files, as a set of their own.

    Raises:
        ConfigurationError: its games cannot be listed.
    """
    games = found.options.get("games")
    if games is None:
        raise ConfigurationError("some of the games can be chosen in ALFWorld only; give episodes instead")
    n = min(n, len(games))
    if isinstance(games, GameFiles):
        chosen = find_games(games=[games.paths[i] for i in random.Random(seed).sample(range(len(games)), n)])
    else:
        chosen = games[:n]
    return replace(found, options={**found.options, "games": chosen}, indices=range(n))


def _found(name: str, suite: Suite, games: GameSet, data: Path | None, left_out: Sequence[str] = ()) -> Found:
    options = dict(games.options)
    if suite.environment == ALFWORLD:
        options["games"] = _alfworld(games, data, left_out)
    else:
        options["split"] = games.split
        if data and suite.environment in FOLDERS:
            options.setdefault("data", data / FOLDERS[suite.environment])
    env = environments(suite.environment, suite.max_steps, **options)()
    sequence = games_of(env)
    indices = _indices(name, len(sequence), games.limit)
    env.reset(options={"game": indices[0]})
    return Found(
        name, suite.environment, options, indices, content_hash(sequence, indices), dialect_of(env.unwrapped)
    )


def _alfworld(games: GameSet, data: Path | None, left_out: Sequence[str]) -> Any:
    if games.split not in ALFWORLD_SPLITS:
        if games.rooms:
            raise ConfigurationError(
                f"{games.split} makes its rooms; rooms can be chosen in {ALFWORLD_SPLITS}"
            )
        return find_games(games.split)
    place = find_split(games.split, data)
    if place is None:
        raise DataNotFoundError(
            f"{games.split} is neither a folder nor an archive in {data or data_root()}: "
            "get the games with `oreo-agents data`, or give their folder with --data"
        )
    found = find_games(games=place)
    assert isinstance(found, GameFiles)
    rooms = [room_of(name) for name in found.names]
    if unknown := set(games.rooms).difference(rooms):
        raise ConfigurationError(f"{place} has no games in rooms {', '.join(sorted(unknown))}")
    paths = [
        path
        for path, room in zip(found.paths, rooms, strict=True)
        if room not in left_out and (not games.rooms or room in games.rooms)
    ]
    return find_games(games=paths)


def _indices(name: str, total: int, limit: int | None) -> Sequence[int]:
    if limit is None or limit >= total:
        return range(total)
    return sorted(random.Random(name).sample(range(total), limit))
