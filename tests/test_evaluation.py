"""Results against counts made by hand, and files that are whole or not there."""

import json
from pathlib import Path

import gymnasium as gym
import pytest
from learning import ToyRoom, Visitor, episode

from oreo_agents.evaluation import evaluate, pick_games, play, summarise, write_json
from oreo_agents.statistics import wilson
from oreo_agents.trajectory import Trajectory, Turn


def rooms():
    return gym.wrappers.TimeLimit(ToyRoom(), 4)


def test_pick_games_is_a_sample_that_depends_on_the_seed_alone():
    assert pick_games(rooms, None) == pick_games(rooms, 12) == pick_games(rooms, 99) == list(range(12))
    picked = pick_games(rooms, 5, seed=1)
    assert picked == pick_games(rooms, 5, seed=1) != pick_games(rooms, 5, seed=2)
    assert len(set(picked)) == 5 and set(picked) <= set(range(12))


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_play_keeps_the_order_of_the_games(slots):
    games = [5, 0, 7, 0, 2]
    episodes = play(rooms, Visitor(), games, seed=3, slots=slots)
    assert [episode.game for episode in episodes] == [f"room-{game}" for game in games]
    assert len({episode.seed for episode in episodes}) == 5  # a game named twice has other randomness


def test_evaluate_counts_what_happened():
    """A visitor of desks 1 and 2 wins two rooms of three: at once, in two steps, never (four steps)."""
    result, episodes = evaluate(rooms, Visitor((1, 2)), list(range(6)), "visits", slots=2, progress=False)
    assert [len(episode) for episode in episodes] == [1, 2, 4, 1, 2, 4]
    assert result["won"] == [True, True, False, True, True, False]
    assert (result["method"], result["n"], result["successes"]) == ("visits", 6, 4)
    assert result["games"] == [f"room-{i}" for i in range(6)]
    assert result["mean_steps"] == pytest.approx(14 / 6)
    assert result["mean_steps_success"] == pytest.approx(6 / 4)
    assert result["tokens_per_episode"] == pytest.approx(8 * 14 / 6)
    assert result["by_task_type"] == {"kind-0": {"n": 3, "successes": 2}, "kind-1": {"n": 3, "successes": 2}}


def test_summarise_by_hand():
    def played(statuses, reward, kind):
        turns = tuple(Turn("seen", "said", 0.0, status) for status in statuses[:-1])
        return Trajectory((*turns, Turn("seen", "said", reward, statuses[-1])), task_type=kind, game=kind)

    result = summarise(
        [
            played(["ok", "unparsable", "ok"], 1.0, "heat"),
            played(["not_applicable", "ok"], 0.0, "cool"),
            played([None, "ok", "ok", "ok", "ok"], 0.0, "heat"),
        ],
        "by hand",
        seconds=6.0,
    )
    assert result["success_rate"] == pytest.approx(1 / 3)
    assert result["wilson95"] == list(wilson(1, 3))
    assert result["invalid_action_rate"] == pytest.approx(2 / 10)
    assert result["mean_steps"] == pytest.approx(10 / 3)
    assert result["mean_steps_success"] == 3
    assert result["seconds_per_episode"] == 2.0
    assert result["tokens_per_episode"] == 0
    assert result["by_task_type"] == {"cool": {"n": 1, "successes": 0}, "heat": {"n": 2, "successes": 1}}
    assert result["won"] == [True, False, False] and result["games"] == ["heat", "cool", "heat"]
    assert json.loads(json.dumps(result)) == result


def test_no_success_has_no_length():
    assert summarise([episode(won=False)], "lost", 1.0)["mean_steps_success"] == 0


def test_write_json_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "result.json"
    write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def full(self, data, *args, **kwargs):
        with self.open("w") as file:
            file.write(data[:5])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"b": 3})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
