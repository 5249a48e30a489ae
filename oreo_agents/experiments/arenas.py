"""Where a suite's games are: every set found once, with a hash of what is in it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oreo_envs.catalog import content_hash, describe
from oreo_envs.errors import DataNotFoundError

from oreo_agents.environments import environments, games_of, identify_play
from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.suite import GameSet, Suite
from oreo_agents.rollout.destination import dialect_of
from oreo_agents.rollout.schedule import UNLIMITED


@dataclass(frozen=True)
class Arena:
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
        return [*identify_play(self.env_id, self.options, self.sha256), len(self.indices)]

    def summary(self) -> dict[str, Any]:
        """What a result file tells of it."""
        return {"games": len(self.indices), "sha256": self.sha256, "dialect": self.dialect}


@dataclass(frozen=True)
class Arenas:
    """Where a suite trains, chooses settings and judges."""

    train: Arena
    dev: Arena | None
    tests: Mapping[str, Arena]
    skipped: Mapping[str, str]
    """Test sets that are not there, and why."""
    generated: Arena | None = None
    """Where the expert is recorded besides the training games."""


def find_arenas(suite: Suite, data: Path | None = None) -> Arenas:
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
            tests[name] = _find_arena(name, suite, games, data)
        except DataNotFoundError as error:
            skipped[name] = str(error)
    if not tests:
        raise DataNotFoundError("no test set is there: " + "; ".join(skipped.values()))
    train = _find_arena("train", suite, suite.train, data, left_out=suite.left_out())
    if suite.train.limit:
        train = draw_games(train, suite.train.limit, 0)
    dev = _find_arena("dev", suite, suite.dev, data) if suite.dev else None
    amount = suite.demonstrations.generated
    generated = _find_arena("generated", suite, _generate_games(suite), data) if amount else None
    return Arenas(train, dev, tests, skipped, generated)


def _generate_games(suite: Suite) -> GameSet:
    """Generated games, played as the training games are."""
    place = describe(suite.environment).games_argument
    return GameSet("generated", options={k: v for k, v in suite.train.options.items() if k != place})


def limit_games(arena: Arena, n: int, seed: int) -> Arena:
    """``arena`` for a recording on ``n`` of its games: drawn, or without end, of which a schedule plays no more.

    Raises:
        ConfigurationError: as for :func:`draw_games`.
    """
    if "games" not in arena.options and len(arena.indices) > UNLIMITED:
        return replace(arena, indices=range(n))
    return draw_games(arena, n, seed)


def draw_games(arena: Arena, n: int, seed: int) -> Arena:
    """``n`` games of a set, drawn at random where they are files, as a set of their own.

    Raises:
        ConfigurationError: its games cannot be listed.
    """
    games = arena.options.get("games")
    if games is None:
        raise ConfigurationError("some of the games can be chosen in ALFWorld only; give episodes instead")
    n = min(n, len(games))
    drawn = random.Random(seed).sample(range(len(games)), n)
    chosen = games[:n] if games.made_on_demand else games.choose(drawn)
    return replace(arena, options={**arena.options, "games": chosen}, indices=range(n))


def list_names(arena: Arena) -> set[str]:
    """The names of its games."""
    names = games_of(environments(arena.env_id, **arena.options)()).names
    return {names[index] for index in arena.indices}


def _find_arena(
    name: str, suite: Suite, games: GameSet, data: Path | None, left_out: Sequence[str] = ()
) -> Arena:
    supply = describe(suite.environment).games
    options = supply.options(games.split, data, games.rooms, left_out, games.options)
    if games.first and "games" in options:
        options["games"] = options["games"][: games.first]
    env = environments(suite.environment, suite.max_steps, **options)()
    sequence = games_of(env)
    indices = _choose_indices(name, min(len(sequence), games.first or len(sequence)), games.limit)
    env.reset(options={"game": indices[0]})
    return Arena(
        name, suite.environment, options, indices, content_hash(sequence, indices), dialect_of(env.unwrapped)
    )


def _choose_indices(name: str, total: int, limit: int | None) -> Sequence[int]:
    if limit is None or limit >= total:
        if total > UNLIMITED and name not in ("train", "generated"):
            raise ConfigurationError(
                f"[test.{name}]: there are {total:,} games: say how many with limit or first"
            )
        return range(total)
    return sorted(random.Random(name).sample(range(total), limit))
