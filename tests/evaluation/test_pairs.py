import random

from oreo_agents.evaluation.pairs import compare_endings, pair_games
from oreo_agents.evaluation.statistics import paired_difference


def test_every_episode_is_in_one_pair_and_pairs_are_of_one_game():
    generator = random.Random(0)
    left, right = ([generator.choice("abcd") for _ in range(20)] for _ in range(2))
    pairs = pair_games(left, right)
    assert sorted(one for one, _ in pairs if one is not None) == list(range(20))
    assert sorted(other for _, other in pairs if other is not None) == list(range(20))
    both = [(one, other) for one, other in pairs if None not in (one, other)]
    assert all(left[one] == right[other] for one, other in both)
    assert len(both) == sum(min(left.count(game), right.count(game)) for game in "abcd")


def test_wins_and_losses_by_hand():
    found = compare_endings(
        [(True, 1.0), (True, 1.0), (False, 0.0), (False, 0.0)],
        [(True, 1.0), (False, 0.0), (True, 1.0), (False, 0.0)],
    )
    assert (found.both, found.left, found.right, found.neither, found.games) == (1, 1, 1, 1, 4)
    assert found.difference == paired_difference([1, 0, 1, 0], [1, 1, 0, 0])


def test_returns_count_where_one_episode_does_not_say_who_won():
    found = compare_endings([(True, 1.0), (None, 3.0)], [(False, 2.0), (None, 3.0)])
    assert not found.counts and (found.left, found.right, found.both, found.neither) == (0, 1, 1, 0)
