from collections.abc import Iterator
from pathlib import Path

import pytest
import shared_data
from drop_in_parity import write_trials
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.sources import GameFiles, find_games

REAL_DATA = shared_data.ALFWORLD


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the package caches out of the user's folders, and the user's data out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ALFWORLD_DATA", str(tmp_path_factory.mktemp("no-data")))
        yield


def _real_games(archive: str) -> GameFiles:
    if not (REAL_DATA / archive).exists():
        pytest.skip(f"the real games are not here: {REAL_DATA / archive}")
    games = find_games(games=REAL_DATA / archive)
    assert isinstance(games, GameFiles)
    return games


@pytest.fixture(scope="session")
def seen_games() -> GameFiles:
    """The 140 games of the seen split, move wording."""
    return _real_games("valid_seen.tar.xz")


@pytest.fixture(scope="session")
def put_games() -> GameFiles:
    """The solvable games of the seen split in the old put wording."""
    return _real_games("put_grammar_valid_seen.tar.xz")


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Generated games with the file beside each that alfworld's collector asks for."""
    folder = tmp_path_factory.mktemp("trials")
    return write_trials(GeneratedGames("generated"), range(12, 18), folder / "json_2.1.1" / "valid_seen")
