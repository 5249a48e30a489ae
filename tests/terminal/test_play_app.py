"""Playing on the full screen, driven by Textual's own pilot and, once, through a real terminal."""

import asyncio
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import gymnasium as gym
import hostile  # noqa: F401 (registers it)
import pytest
from players import Believer
from screens import in_a_loop, press, seen

from oreo_agents.agents.agent import Decision
from oreo_agents.cli.play import ENDLESS
from oreo_agents.dataset import load_trajectories
from oreo_agents.errors import OreoError
from oreo_agents.terminal.agent_player import AgentPlayer
from oreo_agents.terminal.command_line import find_agreement
from oreo_agents.terminal.controls import WORDS, Controls
from oreo_agents.terminal.map import read_carried, read_place
from oreo_agents.terminal.play_app import PlayApp
from oreo_agents.terminal.session import Session
from oreo_agents.trajectory import Action


@pytest.fixture
def session():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True, max_episode_steps=ENDLESS)
    yield Session(env, 50, seed=3)
    env.close()


@asynccontextmanager
async def opened(session, agent=None, pause=1000.0, size=(120, 36)):
    app = PlayApp(Controls(session, agent and AgentPlayer(agent, 0)), pause)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield app, pilot
    app.hand.shutdown()


async def settle(pilot):
    """Wait until everything that was ordered is done and shown; what the screen then says."""
    await pilot.pause()
    while pilot.app._jobs:
        await asyncio.sleep(0.005)
    await pilot.pause()
    return "\n".join(seen(pilot.app))


async def say(pilot, line):
    """Enter a line, without the time that its keys would take."""
    pilot.app._line.value = line
    await pilot.press("enter")
    return await settle(pilot)


def is_running(app):
    return app._exit is False


@in_a_loop
async def test_a_person_plays_to_the_win_and_takes_the_last_step_back(session):
    plan = session.info["expert_plan"]
    async with opened(session) as (app, pilot):
        assert f"would: {plan[0]}" in await say(pilot, "hint")
        assert "Nothing to undo" in await say(pilot, "undo")
        for number, command in enumerate(plan):
            shown = await say(pilot, command)
            assert f"> {command}" in shown and f"steps left: {49 - number}" in shown
        assert f"Won in {len(plan)} steps." in shown and shown.count("[x]") == len(session.conditions)
        assert "It is over" in await say(pilot, "look")
        assert "Taken back" in await say(pilot, "undo")
        assert [step.action for step in session.steps] == plan[:-1]
        assert "Won" not in await say(pilot, "goal")
        await say(pilot, "quit")
        assert not is_running(app)


@in_a_loop
async def test_words_answer_where_one_types(session):
    async with opened(session) as (_, pilot):
        shown = await say(pilot, "?")
        assert all(meaning in shown for meaning in WORDS.values())
        assert "go to toaster 1" in await say(pilot, "commands")
        assert "There is no agent here" in await say(pilot, "agent")
        shown = await say(pilot, "goal")
        assert f"{len(session.info['expert_plan'])} commands would do it" in shown
        assert "not yet" in await say(pilot, "map")
        assert not session.steps


@in_a_loop
async def test_a_typo_is_asked_back_and_costs_no_step(session):
    command = session.info["expert_plan"][0]
    async with opened(session) as (_, pilot):
        typo = command.replace("go to", "goto")
        shown = await say(pilot, typo)
        assert "no step taken" in shown and f"Did you mean: {command}" in shown and not session.steps
        assert "Did you mean: " in await say(pilot, typo)
        assert [step.action for step in session.steps] == [typo]  # it was meant


@in_a_loop
async def test_tab_completes_and_the_arrows_bring_lines_back(session):
    async with opened(session) as (app, pilot):
        commands = session.info["admissible_commands"]
        drawers = [one for one in commands if one.startswith("go to dr")]
        await pilot.press(*"inv", "tab")
        assert app._line.value == "inventory"
        await pilot.press("enter", "g", "tab")
        assert app._line.value == "go"  # `go to` and `goal` part there
        await pilot.press("space", "tab", "d", "r", "tab")
        assert app._line.value == find_agreement(drawers)
        for drawer in [*drawers, drawers[0]]:
            shown = await press(pilot, "tab")
            assert app._line.value == drawer and drawers[-1] in shown
        await pilot.press("ctrl+c")
        assert app._line.value == "" and is_running(app)
        await pilot.press("x", "up")
        assert app._line.value == "inventory"
        await pilot.press("down", "ctrl+c")
        assert not is_running(app)


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+d"])
@in_a_loop
async def test_an_empty_line_may_be_left(session, key):
    async with opened(session) as (app, pilot):
        await pilot.press("l", key)
        assert is_running(app)
        await pilot.press("ctrl+c", key)
        assert not is_running(app)


def test_lines_agree_as_far_as_all_of_them_do():
    assert find_agreement([]) == ""
    assert find_agreement(["look"]) == "look"
    assert find_agreement(["go to bed 1", "go to bed 12", "go to bin 1"]) == "go to b"


@in_a_loop
async def test_an_agent_is_paused_stepped_taken_over_from_and_given_back_to(session):
    agent = Believer()
    async with opened(session, agent, size=(160, 36)) as (app, pilot):
        assert "believer plays, 1000 s between steps" in await press(pilot, "x")
        await pilot.press("minus", "plus", "plus")
        assert app.pause == 250
        assert "believer is paused" in await press(pilot, "space")
        for steps in (1, 2):
            await pilot.press("right")
            shown = await settle(pilot)
            assert [step.action for step in session.steps] == ["look"] * steps
        for words in ("V 0.500", "highest V", "0.135  0.200", "V: expected rest", "step 2"):
            assert words in shown, words
        shown = await press(pilot, "ctrl+c")
        assert "You play now" in shown and app._line.has_focus
        assert "> inventory" in await say(pilot, "inventory")
        app.pause = 0
        session.max_steps = 6
        await say(pilot, "agent")
        while not app.scene.over:
            await asyncio.sleep(0.01)
        shown = await settle(pilot)
        assert "Over after 6 steps, not won." in shown
        assert "believer" in shown and "human" in shown  # who did what
        assert agent.followed == ["look", "look", "inventory"]
        await pilot.press("q")
        assert not is_running(app)
    assert session.trajectory().metadata["players"] == ["believer"] * 2 + ["human"] + ["believer"] * 3


class Ponderer(Believer):
    """Thinks until it is told to stop."""

    def __init__(self):
        self.thinks, self.may_stop = threading.Event(), threading.Event()

    def act_many(self, slots, observations, infos):
        self.thinks.set()
        assert self.may_stop.wait(10)
        return super().act_many(slots, observations, infos)


@in_a_loop
async def test_a_thought_that_was_taken_over_from_is_not_played(session):
    agent = Ponderer()
    app = PlayApp(Controls(session, AgentPlayer(agent, 0)), 0.0)
    async with app.run_test(size=(120, 36)) as pilot:
        while not agent.thinks.is_set():
            await asyncio.sleep(0.005)
        await pilot.press("ctrl+c", *"inventory", "enter")
        assert app._line.value == "" and not session.steps  # keys are answered, the command waits
        agent.may_stop.set()
        await settle(pilot)
        assert [(step.action, step.player) for step in session.steps] == [("inventory", "human")]
    app.hand.shutdown()


class Failing(Believer):
    def act_many(self, slots, observations, infos):
        raise OreoError("the server is out of reach")


@in_a_loop
async def test_what_an_agent_raises_is_the_callers(session):
    async with opened(session, Failing(), pause=0) as (app, _):
        while is_running(app):
            await asyncio.sleep(0.005)
    assert str(app.failure) == "the server is out of reach"


class Thinker(Believer):
    def act_many(self, slots, observations, infos):
        return [Decision(Action("look", said="I think, therefore I look.\nlook"))]


@in_a_loop
async def test_thoughts_are_folded(session):
    async with opened(session, Thinker()) as (_, pilot):
        await pilot.press("right")
        folded = await settle(pilot)
        assert "therefore" not in folded and "thought of 5 words: t unfolds" in folded
        assert "therefore" in await press(pilot, "t")
        assert "thought of 5 words: Ctrl-T unfolds" in await press(pilot, "ctrl+c", "ctrl+t")


@in_a_loop
async def test_steps_are_looked_back_at_by_key_and_mouse(session):
    plan = session.info["expert_plan"]
    async with opened(session) as (app, pilot):
        for command in plan[:3]:
            await say(pilot, command)
        shown = await press(pilot, "pageup", "pageup")
        assert app.looked == 1 and "step 2" in shown
        await press(pilot, "pagedown", "pagedown")
        assert app.looked is None
        row = next(row for row, line in enumerate(seen(app)) if f"> {plan[2]}" in line)
        await pilot.click(offset=(12, row))
        assert app.looked == 2
        await say(pilot, "inventory")
        assert app.looked is None
        assert "take over; the word" in await press(pilot, "f1")
        await pilot.press("ctrl+c")
        assert app.screen is app.panes and is_running(app)


@pytest.mark.parametrize("width", [60, 80, 120])
@in_a_loop
async def test_every_width_shows_all_that_matters(session, width):
    plan = session.info["expert_plan"]
    async with opened(session, size=(width, 30)) as (app, pilot):
        await say(pilot, plan[0])
        shown = await say(pilot, plan[1])
        told = " ".join(seen(app)[-1].split())
        for words in (
            session.observation[:20],
            f"> {plan[1]}",
            "[ ] ",
            "steps left: 48",
            "carrying: kettle 1",
        ):
            assert words in shown, words
        for key in ("^c clear", "tab complete", "^d leave"):
            assert key in told, key
        assert all(len(line) <= width for line in seen(app))


@in_a_loop
async def test_hostile_games_are_shown_and_never_obeyed():
    session = Session(gym.make("Hostile-v0"), 50)
    async with opened(session, size=(200, 50)) as (_, pilot):
        for line in ("hint", "goal", "commands", "map", "look", "undo"):
            shown = await say(pilot, line)
            assert "[bold]x[/bold] \\x1b[2J" in shown, line
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), line


def test_place_and_hands_are_those_of_the_game(session):
    """What the texts say agrees with the engine's own state, in both of ALFWorld's wordings."""
    for wording in ("move", "put"):
        env = gym.make("OREO-ALFWorld", split="generated", expert=True, wording=wording)
        for seed in range(6):
            observation, info = env.reset(seed=seed)
            said = [observation]
            for command in ["inventory", *info["expert_plan"]]:
                said.append(env.step(command)[0])
                world = env.unwrapped.world
                held = [] if world.held < 0 else [world.game.objects[world.held].name]
                here = [
                    world.game.receptacles[place].name for place in world.game.receptacles_at[world.location]
                ]
                assert read_carried(said) == held
                assert read_place(said) in here or (not here and "middle" in read_place(said))
        env.close()


def test_plain_play_imports_neither_textual_nor_torch():
    code = (
        "import sys; from oreo_agents.cli.program import main;"
        "main(['play', '--plain', '--split', 'generated']);"
        "assert not {'textual', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], input="look\n", text=True, check=True, capture_output=True)


def test_a_person_plays_on_a_real_terminal(terminal, tmp_path, session):
    screen = terminal("play", "--split", "generated", "--seed", 3, "--record", tmp_path / "d")
    first, *_ = session.info["expert_plan"]
    screen.expect("Type a command; Tab completes")
    screen.type("go to xyz\x03hint\r")  # Ctrl-C clears
    screen.expect(f"would: {first}")
    screen.type(f"{first}\r")
    screen.expect("steps left: 49")
    screen.resize(60)
    screen.type("inv\t\rlookk\x7f\r")
    screen.expect("steps left: 47")
    screen.type("\x03")
    screen.expect("Recorded in")
    screen.ends()
    (trajectory,) = load_trajectories(tmp_path / "d")
    assert [turn.action for turn in trajectory.turns] == [first, "inventory", "look"]
    assert b"\x1b[?1049h" in screen.written and b"Stopped after 3 steps." in screen.written


@pytest.mark.parametrize(("option", "term"), [(["--plain"], "xterm"), ([], "dumb")])
def test_a_terminal_gets_it_printed_where_that_is_wanted(terminal, option, term):
    screen = terminal("play", "--split", "generated", *option, term=term)
    screen.expect_prompt()
    screen.type("quit\r")
    screen.expect("Stopped after 0 steps")
    screen.ends()
    assert b"\x1b[?1049h" not in screen.written
