import numpy as np
import pytest

from oreo_agents.evaluation.beliefs import Beliefs, Moment
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.trajectory import Trajectory, Turn


def beliefs(*episodes):
    found = Beliefs()
    for won, values in episodes:
        turns = [Turn("", "a", float(won and i == len(values) - 1), value=v) for i, v in enumerate(values)]
        found.add(Trajectory(tuple(turns)))
    return found


def test_calibration_by_hand():
    bins = beliefs((True, [0.55, 0.58, 0.95]), (False, [0.52, 0.15]), (False, [0.11])).calibration()
    assert [(one.episodes, one.won) for one in bins] == [(2, 0), (2, 1), (1, 1)]
    assert [round(one.low, 6) for one in bins] == [0.1, 0.5, 0.9]
    assert bins[1].predicted == pytest.approx((0.55 + 0.58 + 0.52) / 3)
    assert bins[1].interval == wilson_interval(1, 2)


def test_returns_still_to_come_by_hand():
    """Rewards -1, 3, 2: from each step on 4, 5, 2 are to come. V 4.8 and 5 share the last of ten ranges of 1 to 5."""
    turns = [Turn("", "a", reward, value=value) for reward, value in ((-1.0, 4.8), (3.0, 5.0), (2.0, 1.0))]
    found = Beliefs()
    found.add(Trajectory(tuple(turns), outcome="undefined"))
    assert [(one.predicted, one.mean, one.episodes) for one in found.compare_returns()] == [
        (1.0, 2.0, 1),
        (pytest.approx(4.9), 4.5, 1),
    ]
    assert found.compare_returns()[0].interval == (-np.inf, np.inf) and found.calibration() == []


def test_a_calibrated_critic_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    values = rng.random(20_000)
    found = beliefs(*((bool(rng.random() < value), [float(value)]) for value in values))
    for one in found.calibration():
        assert one.won / one.episodes == pytest.approx(one.predicted, abs=0.04)


def test_values_outside_zero_and_one_widen_the_ranges_and_odd_ones_are_left_out():
    bins = beliefs((True, [-1.0, 1.5, None, float("nan"), float("inf")]), (False, [None])).calibration()
    assert (bins[0].low, bins[-1].high) == (-1.0, 1.5)
    assert sum(one.episodes for one in bins) == 2


def test_time_is_told_apart_by_outcome_with_numpys_quartiles():
    columns = np.array([[0.1, 0.4, 0.7], [0.2, 0.5, 0.8], [0.9, 0.0, 0.3], [0.3, 0.3, 0.3]])
    found = beliefs(*((True, row.tolist()) for row in columns), (False, [1.0]))
    low, high = np.quantile(columns, [0.25, 0.75], axis=0)
    for step, moment in enumerate(found.over_time(True)):
        assert (moment.step, moment.episodes) == (step + 1, 4)
        assert (moment.low, moment.mean, moment.high) == pytest.approx(
            (low[step], columns[:, step].mean(), high[step])
        )
    assert found.over_time(False) == [Moment(1, 1.0, 1.0, 1.0, 1)]


def test_long_episodes_are_averaged_over_neighbouring_steps():
    moments = beliefs((False, [0.0, 1.0] * 500)).over_time(False)
    assert len(moments) == 50
    assert {moment.mean for moment in moments} == {0.5}
    assert moments[0].step == 10.5  # steps 1 to 20


def test_nothing_known_is_nothing_drawn():
    assert Beliefs().calibration() == Beliefs().over_time(True) == Beliefs().compare_returns() == []
