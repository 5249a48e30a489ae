"""What can be learnt from a guide with costly habits, worked out and played."""

import random
from itertools import product
from math import prod

import pytest
from oreo_envs.puzzles.habits import HABIT_SHARE, PLACES, Ways


def play(way, choose):
    position = way.start
    taken = []
    while way.commands(position):
        place = way.places[position.passed]
        taken.append((place, choose(place, way, position)))
        position = way.commands(position)[taken[-1][1]]
    return way.is_solved(position), taken


def demonstrate(chooser):
    def choose(place, way, position):
        shares = way.demonstrate(position)
        return chooser.choices(list(shares), list(shares.values()))[0]

    return choose


def success(policy):
    """By enumeration of what is done in each place and of how it falls, not by the formula of the docstring."""
    return sum(
        prod(
            policy[place.name][command] * place.odds[command]
            for place, command in zip(PLACES, way, strict=True)
        )
        for way in product(*(place.odds for place in PLACES))
    )


GUIDE = {place.name: {place.habit: HABIT_SHARE, place.other: 1 - HABIT_SHARE} for place in PLACES}


def test_the_numbers_of_the_docstring():
    habits = {place.name: {place.habit: 1.0, place.other: 0.0} for place in PLACES}
    sure = {place.name: {command: float(command == place.sure) for command in place.odds} for place in PLACES}
    contrary = {place.name: {place.habit: 0.0, place.other: 1.0} for place in PLACES}
    assert success(sure) == 1
    assert success(habits) == pytest.approx(0.0778, abs=1e-4)
    assert success(GUIDE) == pytest.approx(0.1177, abs=1e-4)
    assert success(contrary) == pytest.approx(0.6)


def test_ways_are_what_the_odds_say():
    ways, chooser = Ways(size=4000), random.Random(3)
    assert all(play(way, lambda place, *_: place.sure)[0] for way in ways[:200])
    for choose, expected in ((lambda place, *_: place.habit, 0.0778), (demonstrate(chooser), 0.1177)):
        rate = sum(play(way, choose)[0] for way in ways) / len(ways)
        assert rate == pytest.approx(expected, abs=4 * (expected * (1 - expected) / len(ways)) ** 0.5)


def test_among_the_ways_that_arrive_every_habit_is_still_the_mode():
    """0.6 p / (0.6 p + 1 - p) in each place, from episodes of the guide."""
    ways, chooser = Ways(size=30_000), random.Random(5)
    arrived = [taken for won, taken in (play(way, demonstrate(chooser)) for way in ways) if won]
    for place in PLACES:
        kept = sum(command == place.habit for taken in arrived for there, command in taken if there == place)
        odds = place.habit_odds * HABIT_SHARE
        expected = odds / (odds + place.other_odds * (1 - HABIT_SHARE))
        assert expected > 0.77
        assert kept / len(arrived) == pytest.approx(expected, abs=0.03)
