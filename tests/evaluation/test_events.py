from dataclasses import replace

import pytest
from episodes import episode

from oreo_agents.evaluation.events import Event, find_difference, find_surprise, list_events
from oreo_agents.trajectory import Trajectory, Turn


def turns(*rows):
    return tuple(Turn(observation, "act", 0.0, status, value=value) for observation, status, value in rows)


def test_what_stands_out_by_hand():
    """V 0.5, 0.8, 0.7, 0.4: advantages +0.3, -0.1, -0.3; a fifth of 0 to 1 is 0.2."""
    rows = ("a", "ok", 0.5), ("b", "ok", 0.8), ("c", "not_applicable", 0.7), ("d", "ok", 0.4)
    found = list_events(Trajectory(turns(*rows)))
    assert [(event.step, event.kind) for event in found] == [(1, "surprise"), (2, "invalid"), (3, "surprise")]
    assert [event.advantage for event in found] == [pytest.approx(0.3), None, pytest.approx(-0.3)]


def test_a_surprise_is_measured_by_the_range_of_v():
    rows = ("a", None, -10.0), ("b", None, -9.0), ("c", None, -5.0)
    assert [event.step for event in list_events(Trajectory(turns(*rows)))] == [2]  # 4 of 11; 1 of 11 is none


def test_the_last_step_of_a_won_episode_is_its_win():
    assert Event(2, "won") in list_events(episode(3))
    assert not list_events(episode(3, won=False))


def test_a_command_that_changes_no_letter_is_invalid_where_nobody_says():
    rows = ("a", None, None), ("a", None, None), ("b", None, None)
    assert list_events(Trajectory(turns(*rows))) == [Event(0, "invalid")]


def test_an_environment_with_nothing_to_say_does_not_call_a_command_invalid():
    """Mathematics: the problem is the first observation, every later one is empty."""
    rows = ("a problem", None, None), ("", None, None), ("", None, None), ("", None, None)
    assert list_events(Trajectory(turns(*rows))) == []


def test_the_greatest_surprise_and_the_deepest_fall():
    """V 0.5, 0.8, 0.7, 0.6 without rewards: advantages +0.3, -0.1, -0.1."""
    found = Trajectory(turns(*(("a", "ok", value) for value in (0.5, 0.8, 0.7, 0.6))))
    assert find_surprise(found) == Event(1, "surprise", pytest.approx(0.3))
    assert find_surprise(found, falls=True) == Event(2, "surprise", pytest.approx(-0.1))
    assert find_surprise(Trajectory(turns(("a", "ok", None), ("b", "ok", float("nan"))))) is None


def test_values_that_are_no_numbers_surprise_nobody():
    rows = ("a", None, 0.1), ("b", None, float("nan")), ("c", None, 0.1)
    assert list_events(Trajectory(turns(*rows))) == []
    assert list_events(Trajectory(())) == []


def test_where_two_runs_part():
    one = episode(5)
    assert find_difference(one, episode(5)) is None
    assert find_difference(one, replace(one, turns=one.turns[:3])) == 3
    other = replace(one.turns[2], action="wait")
    assert find_difference(one, replace(one, turns=(*one.turns[:2], other, *one.turns[3:]))) == 2
    assert find_difference(one, episode(5, "You see a cat.")) == 0
    assert find_difference(one, replace(one, final_observation="You won.")) == 5
