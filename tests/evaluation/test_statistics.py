import numpy as np
import pytest

from oreo_agents.evaluation.statistics import (
    paired_difference,
    qualify_intervals,
    t_interval,
    wilson_interval,
)


# Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_published_intervals(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=6e-5)


def test_wilson_bounds_solve_the_score_equation():
    n, z = 140, 2.5758293035489004
    for successes in (0, 3, 70, 139, 140):
        rate = successes / n
        for bound in wilson_interval(successes, n, confidence=0.99):
            assert n * (rate - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound), abs=1e-9)


def test_wilson_is_symmetric_in_success_and_failure():
    low, high = wilson_interval(7, 50)
    assert wilson_interval(43, 50) == pytest.approx((1 - high, 1 - low))


def test_wilson_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_refuses_what_is_no_proportion(arguments):
    with pytest.raises(ValueError):
        wilson_interval(*arguments)


def test_paired_difference_of_one_seed_matches_the_normal_interval():
    rng = np.random.default_rng(1)
    a, b = rng.random(400) < 0.7, rng.random(400) < 0.5
    difference = a.astype(float) - b
    half = 1.96 * difference.std() / np.sqrt(400)
    mean, low, high = paired_difference(a, b)
    assert mean == pytest.approx(difference.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.008)


def test_pairing_removes_the_spread_between_games():
    easy = np.arange(200) % 2
    mean, low, high = paired_difference(easy + 0.1, easy)
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_disagreeing_seeds_widen_the_interval():
    games = np.zeros(100)
    agree = paired_difference(np.full((3, 100), 0.2), np.tile(games, (3, 1)))
    disagree = paired_difference(np.outer([0.0, 0.2, 0.4], np.ones(100)), np.tile(games, (3, 1)))
    assert agree.mean == pytest.approx(disagree.mean) == pytest.approx(0.2)
    assert agree.high - agree.low == pytest.approx(0.0)
    assert (disagree.low, disagree.high) == pytest.approx((0.0, 0.4))


def test_paired_difference_is_reproducible_and_antisymmetric():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 3, 50))
    there, back = paired_difference(a, b, seed=3), paired_difference(b, a, seed=3)
    assert there == paired_difference(a, b, seed=3)
    assert there == pytest.approx((-back.mean, -back.high, -back.low))


def test_paired_difference_refuses_unpaired_outcomes():
    with pytest.raises(ValueError, match="one shape"):
        paired_difference([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])


def test_the_t_interval_is_students():
    """His own data (1908): hours of sleep gained by ten patients; R's t.test gives this."""
    gained = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    assert t_interval(gained) == pytest.approx((-0.5297804, 2.0297804), abs=5e-4)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622)])
def test_the_t_interval_has_the_published_quantiles(degrees, quantile):
    """Abramowitz and Stegun (1964), table 26.10; values of which the standard error is 1."""
    half = (degrees * (degrees + 1) / 2) ** 0.5
    low, high = t_interval([-half, half, *[0.0] * (degrees - 1)])
    assert (low, high) == pytest.approx((-quantile, quantile), abs=6e-4)
    assert t_interval([0.5]) is None


def test_what_few_trainings_leave_out_is_said():
    assert "leave out how another training" in qualify_intervals(1)
    assert [bool(qualify_intervals(seeds)) for seeds in (2, 4, 5, 9)] == [True, True, False, False]
    assert "which takes 5" in qualify_intervals(3)


def test_the_t_interval_covers_trainings_as_often_as_it_says():
    rng = np.random.default_rng(3)
    drawn = rng.normal(0.5, 0.1, size=(4000, 3))
    bounds = [t_interval(list(row)) for row in drawn]
    assert np.mean([low <= 0.5 <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.015)


def test_one_training_has_no_t_interval():
    assert t_interval([0.5]) is None and t_interval([]) is None
    assert t_interval([0.5] * 100) == (0.5, 0.5)
