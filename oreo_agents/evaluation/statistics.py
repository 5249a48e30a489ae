"""Intervals for success rates: what an evaluation of a few hundred games can and cannot claim.

Knows nothing about agents or files; counts and arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from statistics import NormalDist, mean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Difference(NamedTuple):
    """A mean difference and its bootstrap interval."""

    mean: float
    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion, as two fractions between 0 and 1.

    Without observations nothing is known and the interval is (0, 1).

    >>> tuple(round(bound, 4) for bound in wilson_interval(81, 263))
    (0.2553, 0.3662)
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    z = _normal_quantile(confidence)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Mean of ``a - b`` over the same games, with a percentile bootstrap interval.

    Args:
        a: Outcomes of shape ``[games]`` or ``[seeds, games]``; column g is the same game in both arrays.
        b: Outcomes of the same shape.
        confidence: Coverage of the interval.
        resamples: Bootstrap samples. Each draws games, and independently seeds, with replacement.
        seed: Makes the interval reproducible.

    """
    difference = np.atleast_2d(np.asarray(a, dtype=float)) - np.atleast_2d(_same_shape(b, a))
    seeds, games = difference.shape
    if difference.size == 0:
        raise ValueError("paired_difference needs at least one game")
    rng = np.random.default_rng(seed)
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    game_counts = rng.multinomial(games, np.full(games, 1 / games), size=resamples)
    means = ((seed_counts @ difference) * game_counts).sum(axis=1) / difference.size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(difference.mean()), float(low), float(high))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval (1908) of a mean over trainings, each value one seed's; None of fewer than two.

    It takes the trainings as drawn from all possible ones and the games as given, where :func:`paired_difference` draws
    both: with few seeds it is the wider and the more honest of the two on how another training would come out.

    >>> tuple(round(bound, 3) for bound in t_interval([0.5, 0.6, 0.7]))
    (0.352, 0.848)
    """
    return mean_interval(len(values), mean(values), stdev(values)) if len(values) > 1 else None


def mean_interval(n: int, mean: float, spread: float) -> tuple[float, float]:
    """Student's 95 % interval of a mean; of fewer than two observations, where nothing is known of their spread, all
    numbers.

    Args:
        n: observations.
        mean: of them.
        spread: their standard deviation, with n - 1.

    >>> tuple(round(bound, 2) for bound in mean_interval(200, 3.0, 5.0))
    (2.28, 3.72)
    """
    if n < 2:
        return -inf, inf
    quantile = _T_QUANTILES[min(n, len(_T_QUANTILES) + 1) - 2]
    half = quantile * spread / sqrt(n)
    return mean - half, mean + half


def qualify_intervals(seeds: int) -> str:
    """What intervals over games and so many trainings leave out, in words; empty where nothing is to be said."""
    if seeds == 1:
        return "intervals are over games alone and leave out how another training would come out"
    if seeds < RANKING:
        return f"too few to rank methods, which takes {RANKING}"
    return ""


RANKING = 5
"""Trainings of each method that a ranking takes: with fewer, t-intervals are wider than most differences."""

_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""The 97.5 % point of Student's t with 1, 2, ... degrees of freedom; beyond, the last is a little too wide."""


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _same_shape(b: ArrayLike, a: ArrayLike) -> np.ndarray:
    if np.shape(a) != np.shape(b):
        raise ValueError(f"paired outcomes must have one shape, got {np.shape(a)} and {np.shape(b)}")
    return np.asarray(b, dtype=float)
