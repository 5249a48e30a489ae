import subprocess
import sys

import gymnasium as gym
import pytest

import oreo_agents  # noqa: F401 (registers the environments)
from oreo_agents import cli
from oreo_agents.dataset import load_trajectories
from oreo_agents.terminal.play import ENDLESS, Session


@pytest.fixture
def session():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True, max_episode_steps=ENDLESS)
    yield Session(env, 50, seed=3)
    env.close()


def play(path, lines, *options):
    command = [sys.executable, "-m", "oreo_agents.cli", "play", "--split", "generated", "--seed", "3"]
    done = subprocess.run(
        [*command, "--record", path, *options], input="\n".join(lines), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_undo_restores_the_game_exactly(session):
    before = session.env.unwrapped.clone_state()
    first = session.step("look")
    session.step(session.info["expert_plan"][0])
    assert session.undo() == first
    assert session.undo() == session.opening[0]
    assert session.env.unwrapped.clone_state() == before
    assert not session.can_undo


def test_what_was_taken_back_is_not_recorded(session):
    plan = session.info["expert_plan"]
    session.step("inventory")
    session.undo()
    for command in plan:
        session.step(command)
    trajectory = session.trajectory("me")
    assert [turn.action for turn in trajectory.turns] == plan
    assert trajectory.success and trajectory.terminated and not trajectory.truncated


def test_the_step_limit_truncates(session):
    session.max_steps = 2
    session.step("look")
    assert not session.over
    session.step("look")
    assert session.over and session.trajectory("me").truncated


def test_a_pipe_plays_with_hints_and_end_of_input_keeps_the_episode(tmp_path):
    out = play(tmp_path / "d", ["hint", "undo", "go to the moon", "goal", "map", "?", "commands"])
    for said in (
        "The expert would:",
        "Nothing to undo.",
        "Nothing happens.",
        "commands would do it",
        "not yet",
    ):
        assert said in out
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert [turn.action for turn in trajectory.turns] == ["go to the moon"]
    assert not (trajectory.terminated or trajectory.truncated)


def test_a_second_episode_continues_the_dataset(tmp_path):
    play(tmp_path / "d", ["look"])
    play(tmp_path / "d", [], "--agent", "expert", "--pause", "0")
    human, expert = load_trajectories(tmp_path / "d")
    assert (human.agent, expert.agent) == ("human", "expert")
    assert expert.success


def test_a_task_type_can_be_asked_for(tmp_path, capsys):
    assert "heat some" in play(tmp_path / "d", [], "--task-type", "pick_heat")
    assert cli.main(["play", "--split", "generated", "--task-type", "fly"]) == 2
    assert "no game here has the task type 'fly'" in capsys.readouterr().err


def test_unknown_environments_are_named(capsys):
    assert cli.main(["play", "--env", "OREO-Chess"]) == 2
    assert "OREO-Chess" in capsys.readouterr().err


def test_a_person_plays_to_the_win(terminal, tmp_path, session):
    screen = terminal("play", "--split", "generated", "--seed", 3, "--record", tmp_path / "d")
    plan = session.info["expert_plan"]
    screen.expect_prompt()
    screen.type("hint\r")
    screen.expect(f"would: {plan[0]}")
    screen.expect_prompt()
    screen.type("inv\t")  # completion runs in the background, so Enter waits for it
    screen.expect("> inventory")
    screen.type("\r")
    screen.expect("You are not carrying anything")
    screen.expect_prompt()
    screen.type("undo\r")
    screen.expect("Taken back")
    screen.resize(60)
    for command in plan:
        screen.expect_prompt()
        screen.type(command + "\r")
        screen.expect("> " + command)
    screen.expect(f"Won in {len(plan)} steps")
    screen.ends()
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert trajectory.success
    assert [turn.action for turn in trajectory.turns] == plan


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "end-of-input"])
def test_leaving_keeps_the_recording(terminal, tmp_path, key):
    screen = terminal("play", "--split", "generated", "--record", tmp_path / "d")
    screen.expect_prompt()
    screen.type("look\r")
    screen.expect("> look")
    screen.expect_prompt()
    screen.type(key)
    screen.expect("Recorded in")
    screen.ends()
    assert len(load_trajectories(tmp_path / "d")[0]) == 1
