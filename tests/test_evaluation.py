"""Results against counts made by hand, and files that are whole or not there."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import pytest
from learning import ToyRoom, Visitor, episode

from oreo_agents.agents import Decision
from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.store import TrajectoryWriter
from oreo_agents.errors import EngineError
from oreo_agents.evaluation import evaluate, pick_games, play, summarise, write_json
from oreo_agents.statistics import wilson
from oreo_agents.trajectory import Action, Trajectory, Turn


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
    def played(statuses, reward, kind, **metadata):
        turns = tuple(Turn("seen", "said", 0.0, status) for status in statuses[:-1])
        return Trajectory(
            (*turns, Turn("seen", "said", reward, statuses[-1])), task_type=kind, game=kind, metadata=metadata
        )

    result = summarise(
        [
            played(["ok", "unparsable", "ok"], 1.0, "heat", seconds=6.0, tokens={"prompt": 30, "critic": 3}),
            played(["not_applicable", "ok"], 0.0, "cool"),
            played([None, "ok", "ok", "ok", "ok"], 0.0, "heat"),
        ],
        "by hand",
    )
    assert result["success_rate"] == pytest.approx(1 / 3)
    assert result["wilson95"] == list(wilson(1, 3))
    assert result["invalid_action_rate"] == pytest.approx(2 / 10)
    assert result["mean_steps"] == pytest.approx(10 / 3)
    assert result["mean_steps_success"] == 3
    assert result["seconds_per_episode"] == 2.0
    assert result["tokens_per_episode"] == 11
    assert result["cost_per_episode"] == {
        "steps": pytest.approx(10 / 3),
        "prompt_tokens": 10,
        "generated_tokens": 0,
        "critic_tokens": 1,
        "simulated_steps": 0,
    }
    assert result["errors"] == result["ended_early"] == {}
    assert result["by_task_type"] == {"cool": {"n": 1, "successes": 0}, "heat": {"n": 2, "successes": 1}}
    assert result["won"] == [True, False, False] and result["games"] == ["heat", "cool", "heat"]
    assert json.loads(json.dumps(result)) == result


def test_no_success_has_no_length():
    assert summarise([episode(won=False)], "lost")["mean_steps_success"] == 0


def test_episodes_that_failed_are_no_failures_of_the_policy():
    def ended(game, **metadata):
        return Trajectory((Turn("seen", "said", 0.0),), game=game, truncated=True, metadata=metadata)

    broken = ended("b", ended="the server answers 500", failed=True)
    result = summarise([episode(game="a"), broken, ended("c", ended="full")], "m")
    assert (result["n"], result["successes"], result["games"]) == (2, 1, ["a", "c"])
    assert result["errors"] == {"b": "the server answers 500"}
    assert result["ended_early"] == {"full": 1}
    with pytest.raises(EngineError, match=r"none of 2 episodes.*the server answers 500"):
        summarise([broken, broken], "m")


def test_finished_episodes_are_kept_and_not_played_again(tmp_path):
    """Stopped after some episodes and resumed, with failures in between, it ends as if never stopped."""

    class Dying(Visitor):
        """Stops in its fifth turn; before that, game 1 cannot be played."""

        turns = 0

        def act_many(self, slots, observations, infos):
            self.turns += 1
            if self.turns == 5:
                raise KeyboardInterrupt
            decisions = super().act_many(slots, observations, infos)
            broken = Decision(Action(""), end="timeout", failed=True)
            return [
                broken if info["game"] == "room-1" else decision
                for decision, info in zip(decisions, infos, strict=True)
            ]

    games = list(range(8))
    whole, _ = evaluate(rooms, Visitor(), games, "visits", slots=2, progress=False)
    with TrajectoryWriter(tmp_path / "episodes") as journal, pytest.raises(KeyboardInterrupt):
        evaluate(rooms, Dying(), games, "visits", slots=2, progress=False, journal=journal)
    diary = []
    with TrajectoryWriter(tmp_path / "episodes") as journal:
        before = len(journal)
        again, _ = evaluate(
            lambda: gym.wrappers.TimeLimit(ToyRoom(diary), 4),
            Visitor(),
            games,
            "visits",
            slots=2,
            progress=False,
            journal=journal,
        )
    assert 0 < before < 7 and len(diary) == 8 - before and 1 in diary
    assert {**again, "seconds_per_episode": 0} == {**whole, "seconds_per_episode": 0}


EVAL = [sys.executable, "-m", "oreo_agents.cli", "eval", "--agent", "random", "--split", "generated"]


def test_killed_and_resumed_it_ends_with_the_identical_file(tmp_path):
    """``kill -9`` in the middle of a real evaluation."""
    whole, killed = tmp_path / "whole" / "r.json", tmp_path / "killed" / "r.json"
    command = [*EVAL, "-n", "400", "--max-steps", "30", "--num-envs", "8", "-o"]
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "r.episodes" / "random-greedy" / "journal-00000.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 100_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not killed.exists()
    kept = journal.read_bytes().count(b"\n")
    assert 0 < kept < 400
    subprocess.run([*command, str(killed)], check=True, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()
    assert len(load_trajectories(journal.parent)) == 400

    other = subprocess.run([*command, str(killed), "--seed", "1"], capture_output=True, text=True)
    assert other.returncode == 2 and "another evaluation" in other.stderr


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
