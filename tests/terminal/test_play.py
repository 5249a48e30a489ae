import io
import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import pytest
from episodes import HOSTILE, printed
from oreo_envs.spaces import Text as OpenText
from players import Believer
from rich.console import Console
from rich.text import Text

import oreo_agents  # noqa: F401 (registers the environments)
from oreo_agents.agents import load
from oreo_agents.cli import program as cli
from oreo_agents.cli.play import ENDLESS
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.terminal.agent_player import AgentPlayer
from oreo_agents.terminal.controls import Controls, ask_back
from oreo_agents.terminal.panel import Beside, Panel
from oreo_agents.terminal.play import watch_agent
from oreo_agents.terminal.session import Session
from oreo_agents.trajectory import Action

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture
def session():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True, max_episode_steps=ENDLESS)
    yield Session(env, 50, seed=3)
    env.close()


@pytest.fixture
def play(forks):
    """Types lines into a pipe and gives back what was said."""

    def play(path, lines, *options):
        command = ["-m", "oreo_agents.cli", "play", "--split", "generated", "--seed", "3", "--record", path]
        return forks.run(
            [*command, *options], input="\n".join(lines), text=True, check=True, capture_output=True
        ).stdout

    return play


def test_undo_restores_the_game_exactly(session):
    before = session.env.unwrapped.clone_state()
    first = session.step("look")
    session.step(session.info["expert_plan"][0])
    assert session.undo() == first
    assert session.undo() == session.opening[0]
    assert session.env.unwrapped.clone_state() == before
    assert not session.steps


class Toll(gym.Env):
    """Every turn costs a half, the last one earns 7; it ends itself after three."""

    observation_space = action_space = OpenText()

    def reset(self, *, seed=None, options=None):
        self.turns = 0
        return "A road.", {}

    def step(self, action):
        self.turns += 1
        return "On.", 7.0 if self.turns == 3 else -0.5, self.turns == 3, False, {}


def test_rewards_before_the_end_are_shown_and_no_limit_that_is_not_the_environments(monkeypatch, capsys):
    gym.register("Toll-v0", Toll)
    gym.register("LimitedToll-v0", Toll, max_episode_steps=9)
    lines = iter(["a", "b", "goal", "c"])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    assert cli.main(["play", "--env", "Toll-v0", "--plain"]) == 0
    said = capsys.readouterr().out
    assert "reward: -0.5  return: -0.5" in said and "reward: -0.5  return: -1" in said
    assert "Reward: -0.5, return so far: -1." in said
    assert "reward: 7  return: 6" in said and "return 6 in 3 steps" in said and "left" not in said
    lines = iter(["a", "b", "c"])
    assert cli.main(["play", "--env", "LimitedToll-v0", "--plain"]) == 0
    assert "steps left: 8" in capsys.readouterr().out
    lines = iter(["a", "b", "c"])
    assert cli.main(["play", "--env", "Toll-v0", "--plain", "--max-steps", "5"]) == 0
    assert "steps left: 4" in capsys.readouterr().out


def test_a_reward_at_the_end_alone_is_not_shown(session):
    session.step("look")
    assert session.score is None
    for command in session.info["expert_plan"]:
        session.step(command)
    assert session.over and session.score is None and session.steps_left == 50 - len(session.steps)


def test_what_was_taken_back_is_not_recorded(session):
    plan = session.info["expert_plan"]
    session.step("inventory")
    session.undo()
    for command in plan:
        session.step(command)
    trajectory = session.trajectory()
    assert [turn.action for turn in trajectory.turns] == plan
    assert trajectory.success and trajectory.terminated and not trajectory.truncated


def test_how_an_agents_replies_came_about_is_recorded(session):
    session.step(Action("look", cut=True, text_only=True), "agent")
    assert session.trajectory("mine").metadata == {"cut_turns": [0], "text_only": True}


def test_the_step_limit_truncates(session):
    session.max_steps = 2
    session.step("look")
    assert not session.over
    session.step("look")
    assert session.over and session.trajectory().truncated


def test_a_pipe_plays_with_hints_and_end_of_input_keeps_the_episode(play, tmp_path):
    out = play(tmp_path / "d", ["hint", "undo", *["go to the moon"] * 2, "goal", "map", "?", "commands"])
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


def test_a_typo_is_asked_back_and_costs_no_step(play, tmp_path, session):
    (plan, *_) = session.info["expert_plan"]
    typo, other = plan.replace("go to", "goto"), plan.replace("go to", "go ot")
    out = play(tmp_path / "d", [typo, other, "quti", plan, plan.replace("go to", "go")])
    assert (
        out.count("no step taken") == 4
        and out.count(f"Did you mean: {plan}") == 2
        and "Did you mean: quit?" in out
    )
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert [turn.action for turn in trajectory.turns] == [plan]

    before = session.env.unwrapped.clone_state()
    assert ask_back(session, typo) and not ask_back(session, "open fridge 1"), "the game knows such commands"
    assert session.env.unwrapped.clone_state() == before and not session.steps


def test_a_second_episode_continues_the_dataset(play, tmp_path):
    play(tmp_path / "d", ["look"])
    play(tmp_path / "d", [], "--agent", "expert", "--pause", "0")
    human, expert = load_trajectories(tmp_path / "d")
    assert (human.agent, expert.agent) == ("human", "expert")
    assert expert.success


def test_what_cannot_be_recorded_is_not_played(tmp_path, monkeypatch, capsys):
    command = ["play", "--split", "generated", "--seed", "3", "--record"]
    monkeypatch.setattr("oreo_agents.terminal.play.play_session", lambda *_: pytest.fail("played"))
    (tmp_path / "file").touch()
    TrajectoryWriter(tmp_path / "put", dialect="put").close()
    with TrajectoryWriter(tmp_path / "locked"):
        for name, reason in (("file", "cannot be a dataset"), ("locked", "is recording into it")):
            assert cli.main([*command, str(tmp_path / name)]) == 2
            assert reason in capsys.readouterr().err
    assert cli.main([*command, str(tmp_path / "put")]) == 2
    assert "in the 'put' wording, not 'move'" in capsys.readouterr().err


def test_nothing_played_leaves_nothing_behind(play, tmp_path):
    play(tmp_path / "d", [])
    assert not (tmp_path / "d").exists()
    play(tmp_path / "d", ["look"])
    play(tmp_path / "d", ["goal"])
    episodes = load_trajectories(tmp_path / "d")
    assert len(episodes) == 1 and episodes.agreed("dialect") == "move"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "utf-8:strict"}])
def test_bytes_that_are_no_text_are_question_marks(tmp_path, locale):
    command = [sys.executable, "-m", "oreo_agents.cli", "play", "--split", "generated"]
    subprocess.run(
        [*command, "--record", tmp_path / "d"],
        input=b"look \xff\n" * 2,  # the second is meant
        check=True,
        capture_output=True,
        env={**os.environ, **locale},
    )
    assert load_trajectories(tmp_path / "d")[0].turns[0].action == "look ?"


def test_environments_without_text_are_refused(capsys):
    assert cli.main(["play", "--env", "CartPole-v1"]) == 2
    assert "CartPoleEnv takes actions of Discrete, not text" in capsys.readouterr().err


def test_a_pause_without_end_is_a_long_one(session, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    session.max_steps = 2
    watch_agent(Controls(session, AgentPlayer(Believer(), 0)), Console(quiet=True), 1e300)
    (pause,) = pauses
    assert 1e9 <= pause < 9e9  # what the system's clock can do


def test_a_task_type_can_be_asked_for(play, tmp_path, capsys):
    assert "heat some" in play(tmp_path / "d", [], "--task-type", "pick_heat")
    assert cli.main(["play", "--split", "generated", "--task-type", "fly"]) == 2
    assert (
        "no game here has the task type 'fly': choose one of look_at_obj_in_light," in capsys.readouterr().err
    )
    assert "heat some" in play(tmp_path / "e", [], "--task-type", "heat")


def test_the_panel_follows_the_goal(session):
    goals = [Panel("", session.conditions, 9)]
    for command in session.info["expert_plan"]:
        session.step(command)
        goals.append(Panel("", session.conditions, 9))
    marks = [printed(goal.column(False)).count("[x]") for goal in goals]
    assert marks[-1] == len(session.conditions) > marks[0]


@pytest.mark.parametrize(("width", "beside"), [(40, False), (79, False), (80, True), (200, True)])
def test_the_panel_stands_beside_the_text_where_there_is_room(width, beside):
    panel = Panel("cool some wine", [("cool wine", True), ("wine in the cabinet that is far away", False)], 7)
    lines = printed(Beside(Text("You see a door. " * 20), panel), width).splitlines()
    assert max(map(len, lines)) <= width
    assert ("door" in next(line for line in lines if "[x] cool wine" in line)) == beside
    for whole in ("[x] cool wine", "steps left: 7"):
        assert any(whole in line for line in lines)


def test_a_terminal_without_unicode_gets_ascii():
    printed(Beside(Text("na\\xefve"), Panel("a task", [("b", True)], 7)), 80, "ascii").encode("ascii")


def test_an_agent_plays_and_says_what_it_believes(monkeypatch, capsys, tmp_path):
    """A stand-in for a trained agent: it proposes two commands and has a value for each."""
    monkeypatch.setattr(load, "load_agent", lambda *given, **options: Believer())
    command = ["play", "--split", "generated", "--agent", "small", "--max-steps", "2", "--pause", "0"]
    assert cli.main([*command, "--record", str(tmp_path / "d")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "> look reward 0 ok prob. 0.368 V 0.500" in out
    assert "> look 0.368 0.500 wait 0.135 0.200 chosen: highest V by 0.3" in out
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert (trajectory.agent, trajectory.tokenizer) == ("believer", "fingerprint")
    assert trajectory.turns[0].token_ids == (1, 2)


@pytest.mark.parametrize("agent", ["expert", "shortest", "random"])
def test_players_without_a_model_play_here_too(agent, capsys, tmp_path):
    command = [
        "play",
        "--split",
        "generated",
        "--seed",
        "3",
        "--agent",
        agent,
        "--max-steps",
        "3",
        "--pause",
        "0",
    ]
    assert cli.main([*command, "--record", str(tmp_path / "d")]) == 0
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert trajectory.agent == agent and len(trajectory) == 3


def test_what_a_person_did_and_took_back_an_agent_learns_before_it_goes_on(session):
    agent = Believer()
    player = AgentPlayer(agent, 0)
    session.step(player.act(session), "believer")
    session.step("inventory")
    session.step("look")
    session.undo()
    assert player.act(session) == "look"
    assert agent.followed == ["look", "inventory"]
    session.step("look", "believer")
    player.act(session)
    assert agent.followed == ["look", "inventory"]  # nobody else acted since
    assert session.trajectory().metadata["players"] == ["believer", "human", "believer"]


def test_hostile_games_are_shown_and_never_obeyed(monkeypatch, capsys, tmp_path):
    words = ["hint", "goal", "commands", "map", "undo", HOSTILE, "undo"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(words)))
    assert cli.main(["play", "--env", "hostile:Hostile-v0", "--record", str(tmp_path / "d")]) == 0
    out = capsys.readouterr().out
    assert out.count("[bold]x[/bold]") > 6
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)


def test_an_interrupted_step_has_not_happened(session, monkeypatch):
    """Ctrl-C between the environment's step and the session's note of it leaves both where they were."""
    session.step("look")
    before = session.env.unwrapped.clone_state()
    step = session.env.step

    def interrupted(action):
        step(action)
        raise KeyboardInterrupt

    monkeypatch.setattr(session.env, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.step(session.info["expert_plan"][0])
    assert session.env.unwrapped.clone_state() == before
    assert [one.action for one in session.steps] == ["look"]


def test_an_interrupted_thought_is_begun_anew(session):
    agent = Believer()
    player = AgentPlayer(agent, 0)
    session.step(player.act(session), "believer")
    agent.act_many, act_many = None, agent.act_many
    with pytest.raises(TypeError):  # stands for Ctrl-C in the middle of a forward pass
        player.act(session)
    agent.act_many = act_many
    player.act(session)
    assert agent.followed == ["look"]


@pytest.mark.parametrize("command", ["play", "replay"])
def test_the_c_locale_gets_plain_ascii(recorded, tmp_path, command):
    options = {"play": ["--env", "hostile:Hostile-v0"], "replay": [recorded]}[command]
    environment = {
        "LC_ALL": "C",
        "PYTHONPATH": f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    run = [sys.executable, "-m", "oreo_agents.cli", command, *options]
    done = subprocess.run(run, input=b"map\n", capture_output=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and len(done.stdout) > 100


def test_no_seed_is_another_game_each_time(capsys, monkeypatch):
    openings = set()
    for _ in range(3):
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert cli.main(["play", "--split", "generated"]) == 0
        openings.add(capsys.readouterr().out)
    assert len(openings) > 1


def test_a_wrong_answer_is_set_right(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hint\n#### -12345\n"))
    assert cli.main(["play", "--env", "OREO-Reasoning", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert "The expert would:" in out
    assert "Over after 1 step, not won. The answer is " in out


def test_unknown_environments_are_named(capsys):
    assert cli.main(["play", "--env", "OREO-Chess"]) == 2
    assert "OREO-Chess" in capsys.readouterr().err


def test_a_person_plays_to_the_win(terminal, tmp_path, session):
    screen = terminal("play", "--plain", "--split", "generated", "--seed", 3, "--record", tmp_path / "d")
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
    screen = terminal("play", "--plain", "--split", "generated", "--record", tmp_path / "d")
    screen.expect_prompt()
    screen.type("look\r")
    screen.expect("> look")
    screen.expect_prompt()
    screen.type(key)
    screen.expect("Recorded in")
    screen.ends()
    assert len(load_trajectories(tmp_path / "d")[0]) == 1


def test_a_person_takes_over_from_an_agent_and_gives_back(terminal, tmp_path):
    command = ("play", "--plain", "--split", "generated", "--seed", 3, "--agent", "expert", "--pause", 30)
    screen = terminal(*command, "--record", tmp_path / "d")
    screen.expect("steps left: 49")
    screen.type("\x03")
    screen.expect("You play now")
    screen.expect_prompt()
    screen.type("inventory\r")
    screen.expect("You are not carrying anything")
    screen.expect_prompt()
    screen.type("agent\r")
    screen.expect("steps left: 47")
    screen.type("\x03")
    screen.expect_prompt()
    screen.type("\x04")
    screen.expect("Recorded in")
    screen.ends()
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert trajectory.agent == "expert and human"
    assert trajectory.metadata["players"] == ["expert", "human", "expert"]


def test_hostile_games_leave_a_real_terminal_alone(terminal, tmp_path):
    screen = terminal("play", "--plain", "--env", "hostile:Hostile-v0")
    screen.expect_prompt()
    screen.type("\t")
    screen.expect("commands")  # the menu of completions
    screen.type("\x03")
    screen.expect("Stopped after 0 steps")
    screen.ends()
    for control in (b"\x1b]0;owned", "\x9b31m".encode(), "\u202e".encode(), b"\x07"):
        assert control not in screen.written


def test_loading_an_agent_is_said_before_it_takes_its_time(monkeypatch, capsys):
    said = []

    def load_agent(*args, **options):
        said.append(capsys.readouterr().err)
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "load_agent", load_agent)
    cli.main(["play", "--agent", "small", "--split", "generated", "--plain"])
    assert said == ["loading small ...\n"]
