"""Which episodes are good, by success, a return or a share."""

import pytest

from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import EncodedEpisode, gather_episodes
from oreo_agents.training.objectives import mark_good


def marked(returns, rule=None, success=None):
    episodes = (EncodedEpisode([0], [True], [True], [True], [r], success, return_=r) for r in returns)
    return [one.success for one in mark_good(gather_episodes(episodes), rule)]


def test_success_where_it_is_defined():
    assert marked([0.0, 1.0], success=True) == [True, True]
    with pytest.raises(DatasetError, match="good must be a return, or a share"):
        marked([0.0, 1.0], "success")


def test_a_quarter_where_it_is_not():
    assert marked([3.0, -5.0, 20.0, 4.0, 1.0, 2.0, 5.0, 0.0]) == [
        x in (20.0, 5.0) for x in (3, -5, 20, 4, 1, 2, 5, 0)
    ]


def test_a_return_or_another_share():
    assert marked([3.0, -5.0, 20.0], "3") == [True, False, True]
    assert marked([3.0, -5.0, 20.0], "100%") == [True, True, True]
    assert marked([3.0, -5.0, 20.0], "1%", success=True) == [False, False, True]


def test_equal_returns_are_all_good_or_none():
    assert marked([5.0, 1.0, 1.0, 1.0], "50%") == [True, False, False, False]
    assert marked([1.0, 1.0, 1.0, 0.0], "25%") == [True, True, True, False]
    assert marked([2.0, 2.0]) == [True, True]
