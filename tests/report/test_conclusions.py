"""Each sentence, on figures whose meaning is plain to the eye."""

from oreo_agents.evaluation.beliefs import Bin, Moment
from oreo_agents.evaluation.pairs import compare_endings
from oreo_agents.report.charts import place_shares
from oreo_agents.report.conclusions import (
    conclude_calibration,
    conclude_pairs,
    conclude_success,
    conclude_values,
)
from oreo_agents.report.summary import Summary
from oreo_agents.trajectory import Trajectory, Turn


def test_calibration():
    def conclude(*pairs):
        """V said so, so many of 100 were won."""
        bins = [Bin(said - 0.05, said + 0.05, said, 100, won) for said, won in pairs]
        return conclude_calibration(place_shares(bins), "share won", "a chance of winning")

    assert conclude((0.2, 21), (0.5, 47), (0.9, 92)).startswith("V can be read as a chance")
    assert "too hopeful: V lies 0.30 above" in conclude((0.5, 20), (0.9, 60))
    assert "too cautious: V lies 0.30 below" in conclude((0.2, 50), (0.5, 80))
    assert conclude((0.2, 50), (0.8, 50)).startswith("V is right on average and wrong in places")


def test_values_over_time():
    def line(*bands):
        return [Moment(step, low, (low + high) / 2, high, 20) for step, (low, high) in enumerate(bands, 1)]

    lost = line((0.1, 0.5), (0.1, 0.4), (0.0, 0.3))
    assert "From step 2 on" in conclude_values(line((0.4, 0.6), (0.5, 0.7), (0.6, 0.9)), lost)
    assert "overlap to the end" in conclude_values(line((0.4, 0.6), (0.5, 0.7), (0.2, 0.9)), lost)
    few = [Moment(step, 0.8, 0.9, 1.0, 3) for step in (1, 2, 3)]
    assert conclude_values(few, lost).startswith("Too few episodes have V (3 won and 20 others)")
    late = [*line((0.1, 0.5)), *(Moment(step, 0.8, 0.9, 1.0, 3) for step in (2, 3))]
    assert "overlap to the end" in conclude_values(
        late, lost
    )  # steps that three have reached count for nothing
    assert "All episodes with V were won" in conclude_values(lost, [])


def test_pairs():
    wins = [(True, 1.0)] * 40 + [(False, 0.0)] * 10
    losses = [(True, 1.0)] * 10 + [(False, 0.0)] * 40
    told = conclude_pairs(compare_endings(losses, wins), ("SFT", "OREO"))
    assert "OREO won 30 games that SFT did not, and SFT 0" in told
    assert "+60.0 points" in told and told.endswith("OREO is better on these games, beyond chance.")
    assert "SFT is better" in conclude_pairs(compare_endings(wins, losses), ("SFT", "OREO"))
    assert "do not tell the two apart" in conclude_pairs(compare_endings(wins, wins), ("SFT", "OREO"))
    assert "no game in common" in conclude_pairs(compare_endings([], []), ("SFT", "OREO"))
    returns = compare_endings([(None, -5.0), (None, 2.0)], [(None, -4.0), (None, 2.0)])
    assert (returns.left, returns.right, returns.both, returns.neither) == (0, 1, 1, 0)
    assert "won" not in conclude_pairs(returns, ("SFT", "OREO"))


def test_success_by_type():
    summary = Summary()
    for kind, won in [("hard", False)] * 40 + [("easy", True)] * 40 + [("even", True), ("even", False)]:
        summary.add(Trajectory((Turn("a", "b", float(won)),), task_type=kind))
    told = conclude_success(summary)
    assert "hard below" in told and "easy above" in told and "even" not in told
