import pytest
import textworld_games

pytest.importorskip("textworld")


@pytest.fixture(scope="session")
def apple(tmp_path_factory):
    """A kitchen with an apple; taking it wins."""
    return textworld_games.make_apple_game(tmp_path_factory.mktemp("apple") / "apple.z8")
