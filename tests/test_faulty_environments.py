"""An environment of somebody else's that breaks down costs the episode in which it does, and says where."""

import json
import re

import faulty_environments
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from oreo_agents.agents.load import load_agent
from oreo_agents.cli import main
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.errors import EpisodeError
from oreo_agents.rollout.ray_pool import pickle
from oreo_agents.rollout.wrapper import RecordTrajectories

MODULE = "faulty_environments"
FAULTS = {
    "raise": r"step 2: its step raised RuntimeError: the motor is hot \(faulty_environments.py, line \d+, in fail\)",
    "reset": r"its reset raised RuntimeError: the motor is hot \(faulty_environments.py, line \d+, in reset\)",
    "nan": "step 2: its reward is nan, and has to be a finite number",
    "none": "step 2: its reward is None, and has to be a finite number",
    "number": "step 2: its observation is int, and has to be a text",
    "four": r"step 2: its step has to return observation, reward, terminated, truncated, info \(ValueError: not enough",
}


def record(env_id, path, n=30):
    return main(["record", "--env", f"{MODULE}:{env_id}", "--agent", "random", "-n", str(n), "-o", str(path)])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_costs_its_episode_and_is_named(tmp_path, capsys, fault):
    """A third of the seeds fail, always; what is whole is kept, and the next run tries the others again."""
    assert record(f"Some-{fault}-v0", tmp_path / "d") == 1
    said = " ".join(capsys.readouterr().out.split())
    kept = load_trajectories(tmp_path / "d")
    seeds = [int(game.removeprefix("seed ")) for game in kept.games]
    assert 10 < len(kept) < 30 and all(seed % 3 for seed in seeds)
    assert f"{30 - len(kept)} could not be played: {MODULE}:Some-{fault}-v0, seed " in said
    assert re.search(rf"seed (\d+)(, )?(: )?{FAULTS[fault]}", said)
    assert int(re.search(r"-v0, seed (\d+)", said)[1]) % 3 == 0
    assert record(f"Some-{fault}-v0", tmp_path / "d") == 1
    assert "0 episodes in" in (again := capsys.readouterr().out) and f"{30 - len(kept)} could not" in again
    assert len(load_trajectories(tmp_path / "d")) == len(kept)


def test_where_nothing_was_kept_nothing_comes_next(tmp_path, capsys):
    assert record("Faulty-raise-v0", tmp_path / "d", 3) == 1
    said = capsys.readouterr().out
    assert "3 could not be played" in said and "next:" not in said


@pytest.mark.parametrize("fault", FAULTS)
def test_where_every_episode_fails_alike_it_is_said_once_and_soon(tmp_path, capsys, fault):
    assert record(f"Faulty-{fault}-v0", tmp_path / "d", 300) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the first 8 episodes have all failed alike: ")
    assert re.search(FAULTS[fault], said) and "Traceback" not in said


def test_an_evaluation_counts_what_failed_and_tries_it_again(tmp_path, capsys):
    judge = ["eval", "--env", f"{MODULE}:Some-raise-v0", "--agent", "random", "-n", "30"]
    for _ in range(2):
        assert main([*judge, "-o", str(tmp_path / "r.json")]) == 1
        (found,) = json.loads((tmp_path / "r.json").read_text())
        assert found["n"] + len(found["errors"]) == 30 and 0 < len(found["errors"]) < 20
        assert re.search(FAULTS["raise"], " ".join(capsys.readouterr().err.split()))
    judge[2] = f"{MODULE}:Faulty-reset-v0"
    assert main(judge) == 2
    assert "the first 8 episodes have all failed alike" in capsys.readouterr().err


def test_failures_of_this_project_are_not_hidden():
    """Of agents, for one: only what an environment raises is an EpisodeError."""
    from oreo_agents.agents.agent import Assignment
    from oreo_agents.environments import environments
    from oreo_agents.rollout.loop import rollout

    agent = load_agent("random", env_id=f"{MODULE}:Some-raise-v0")
    agent.act_many = lambda *_: [][0]
    with pytest.raises(IndexError):
        list(rollout(environments(f"{MODULE}:Some-raise-v0"), [Assignment("seed 1", 1)], agent))


def test_an_error_comes_home_from_another_process():
    error = EpisodeError("here")
    error.cause = "why"
    assert (str(again := pickle.loads(pickle.dumps(error))), again.cause) == ("here", "why")


@pytest.mark.parametrize("fault", ["nan", "none", "number"])
def test_a_recorder_keeps_whole_episodes_alone(tmp_path, fault):
    env = RecordTrajectories(gym.make(f"Some-{fault}-v0"), tmp_path / "d", agent="me")
    for seed in (1, 3, 4):
        env.reset(seed=seed)
        env.step("up")
        if seed == 3:
            with pytest.raises(EpisodeError, match=rf"Some-{fault}-v0, seed 3, {FAULTS[fault]}"):
                env.step("up")
            env.step("up")
        else:
            env.step("open")
    env.close()
    assert load_trajectories(tmp_path / "d").column("seed").tolist() == [1, 4]


def test_a_vector_of_them_keeps_the_others(tmp_path):
    envs = SyncVectorEnv([lambda: gym.make("Some-nan-v0")] * 3)
    env = RecordTrajectories(envs, tmp_path / "d", agent="me")
    env.reset(seed=[1, 3, 4])
    env.step(["up"] * 3)
    with pytest.raises(EpisodeError, match="seed 3, step 2: its reward is nan"):
        env.step(["up"] * 3)
    env.step(["up"] * 3)
    env.close()
    kept = load_trajectories(tmp_path / "d")
    assert kept.column("seed").tolist() == [1, 4] and kept.lengths.tolist() == [3, 3]
    assert np.isfinite(kept.returns).all()


def test_a_recording_with_such_rewards_is_called_so(tmp_path, episode, capsys):
    """Made by an earlier version: its mean return is not 0."""
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode(reward=float("nan"), outcome="undefined"))
        writer.append(episode(reward=2.0, outcome="undefined"))
    assert main(["dataset", "info", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().out
    assert "mean return undefined" in said and "no number | 1" in said


def test_an_episode_that_does_not_happen_again_because_it_fails(tmp_path, capsys):
    assert record("Some-raise-v0", tmp_path / "d") == 1
    capsys.readouterr()
    verify = ["dataset", "verify", str(tmp_path / "d"), "--env", f"{MODULE}:Some-raise-v0"]
    assert main(verify) == 0
    faulty_environments.Faulty.fail, kept = None, faulty_environments.Faulty.fail
    try:
        faulty_environments.Faulty.reset, whole = broken_reset, faulty_environments.Faulty.reset
        assert main(verify) == 1
    finally:
        faulty_environments.Faulty.reset, faulty_environments.Faulty.fail = whole, kept
    assert "its reset raised LookupError: gone" in " ".join(capsys.readouterr().out.split())


def broken_reset(self, **options):
    raise LookupError("gone")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_person_who_plays_is_told(monkeypatch, capsys, fault):
    monkeypatch.setattr("builtins.input", lambda *_: "up")
    assert main(["play", "--env", f"{MODULE}:Faulty-{fault}-v0", "--seed", "3"]) == 2
    assert re.search(FAULTS[fault], " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize("command", ["play", "record --agent random -n 2 -o x", "eval --agent random -n 2"])
def test_actions_that_are_no_text_are_refused_at_once(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "--env", f"{MODULE}:Discrete-v0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Lift takes actions of Discrete, not text") and not list(tmp_path.iterdir())


def test_what_breaks_down_while_looking_ahead_costs_its_episode(policy, tokenizer, critic):
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.environments import environments
    from oreo_agents.rollout.loop import rollout
    from oreo_agents.rollout.schedule import assign_games

    agent = OreoAgent(policy, tokenizer, critic, select="lookahead", k=2)
    make_env = environments(f"{MODULE}:Some-raise-v0", branches=True)
    played = list(rollout(make_env, assign_games(range(3), 0), agent))
    assert sorted(bool(episode.metadata.get("failed")) for episode in played) == [False, False, True]
