"""What can be asked of TextWorld's generators, and that the splits share nothing."""

import pytest
from oreo_envs.errors import ConfigurationError, DataNotFoundError
from oreo_envs.textworld.challenges import KINDS, MadeGame, check_split, parse_level
from oreo_envs.textworld.games import ChallengeGames, find_games
from textworld.challenges.registration import CHALLENGES


def test_every_challenge_is_one_of_textworlds():
    assert {f"tw-{name}" for name in KINDS} == set(CHALLENGES)


@pytest.mark.parametrize(
    ("challenge", "level", "spelt"),
    [
        ("cooking", "cut+recipe2+take1", "recipe2+take1+cut+rooms1"),
        ("cooking", "rooms12+drop+cook+open+recipe5+take5", "recipe5+take5+open+cook+drop+rooms12"),
        ("coin_collector", 7, "7"),
        ("treasure_hunter", "30", "30"),
        ("simple", "sparse+none", "sparse+none"),
    ],
)
def test_a_level_has_one_spelling(challenge, level, spelt):
    assert parse_level(challenge, level) == (challenge, spelt) == parse_level(challenge, spelt)


@pytest.mark.parametrize(
    ("challenge", "level"),
    [
        ("cooking", "recipe1+take2"),
        ("cooking", "recipe6"),
        ("cooking", "rooms7"),
        ("cooking", "boil"),
        ("cooking", "cook1"),
        ("cooking", ""),
        ("cooking", "recipe\u00b2"),
        ("coin_collector", 0),
        ("coin_collector", 160),
        ("coin_collector", "hard"),
        ("treasure_hunter", 31),
        ("simple", "dense"),
        ("chess", None),
    ],
)
def test_other_levels_are_refused_with_what_there_is(challenge, level):
    with pytest.raises(ConfigurationError, match=r"choose|write|1 to"):
        parse_level(challenge, level)


def test_the_default_levels_are_levels():
    for name, kind in KINDS.items():
        assert parse_level(name) == (name, kind.default)


def test_the_settings_are_those_of_textworlds_generator():
    game = MadeGame("cooking", "recipe2+take1+cook+rooms6", "unseen", 3)
    asked = {"recipe": 2, "take": 1, "go": 6, "open": False, "cook": True, "cut": False, "drop": False}
    assert game.settings == {**asked, "split": "test", "recipe_seed": 0}
    assert MadeGame("simple", "dense+brief", "test", 0).settings == {
        "rewards": "dense",
        "goal": "brief",
        "test": False,
    }


def test_the_splits_share_no_seed():
    seeds = {
        split: {MadeGame("cooking", "recipe1+take0+rooms1", split, number).seed for number in range(500)}
        for split in ("train", "test")
    }
    assert len(seeds["train"]) == len(seeds["test"]) == 500
    assert not seeds["train"] & seeds["test"]


def test_splits_that_a_challenge_does_not_have():
    check_split("cooking", "unseen")
    with pytest.raises(ConfigurationError, match="take the split test"):
        check_split("coin_collector", "unseen")
    with pytest.raises(ConfigurationError, match="no split 'valid_seen'"):
        find_games("cooking", split="valid_seen")


def test_games_are_found_by_name_position_and_themselves():
    games = find_games(games="cooking/cut+recipe1+take1", split="test")
    assert repr(games) == "ChallengeGames('cooking', 'recipe1+take1+cut+rooms1', 'test')"
    assert games.names[17] == "cooking/recipe1+take1+cut+rooms1/test/17"
    assert [games.index(value) for value in (games.names[17], 17, games[17], -1)] == [17, 17, 17, 999_999]
    assert games.names[:2] == [games.names[0], games.names[1]]
    for wrong in (
        "cooking/recipe1+take1+cut+rooms1/train/17",
        "17x",
        games.names[1] + "\u0663",
        1_000_000,
        None,
    ):
        with pytest.raises(DataNotFoundError, match="there is no game"):
            games.index(wrong)
    assert find_games(games=games) is games
    assert isinstance(find_games(), ChallengeGames)
