"""The full screen, driven by Textual's own pilot."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from episodes import HOSTILE, episode
from screens import in_a_loop, press, seen
from textual.geometry import Region

from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.evaluation.pairs import find_partners
from oreo_agents.terminal.cursor import Cursor
from oreo_agents.terminal.curve import draw_curve, locate_column, locate_step
from oreo_agents.terminal.entries import list_entries
from oreo_agents.terminal.excerpt import SHOWN, cut_text
from oreo_agents.terminal.replay_app import ReplayApp
from oreo_agents.trajectory import Candidate, Trajectory, Turn

LONG = 10_000_000


@asynccontextmanager
async def opened(episodes, size=(120, 34), others=(), **options):
    if others:
        games = [[one.game for one in run] for run in (episodes, others)]
        options |= {"others": others, "partners": find_partners(*games)}
    app = ReplayApp(Cursor(episodes, **options))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


@in_a_loop
async def test_keys_lead_through_the_episode():
    async with opened([episode(40), episode(won=False, game="game-2"), episode(5, game="game-3")]) as (
        app,
        pilot,
    ):
        for keys, episode_step in {
            ("right", "right", "left"): (0, 1),
            ("pagedown",): (0, 11),
            ("end",): (0, 40),
            ("home",): (0, 0),
            ("1", "2", "enter"): (0, 11),
            ("slash", *"room", "space", *"30", "enter"): (0, 30),
            ("f",): (1, 0),
            ("right_square_bracket",): (2, 0),
            ("left_square_bracket", "left_square_bracket"): (0, 0),
            ("w",): (0, 39),
            ("w", "w"): (2, 4),
        }.items():
            await press(pilot, *keys)
            assert (app.cursor.episode, app.cursor.step) == episode_step, keys
        assert "no further win" in (await press(pilot, "w"))


@in_a_loop
async def test_surprises_and_invalid_commands_are_marked_and_found():
    turns = list(episode(40).turns)  # V falls from 0.9 to 0 at 10, 20 and 30
    turns[15] = replace(turns[15], action_status="unparsable")
    async with opened([replace(episode(40), turns=tuple(turns))]) as (app, pilot):
        assert "advantage -0.90  surprise" in await press(pilot, "s")
        assert app.cursor.step == 10
        await press(pilot, "s")
        assert app.cursor.step == 20
        assert "invalid" in await press(pilot, "X")
        assert app.cursor.step == 15
        assert "no earlier invalid command" in await press(pilot, "X")


@in_a_loop
async def test_the_transcript_follows_the_step_and_the_wheel():
    async with opened([episode(400)]) as (app, pilot):
        shown = await press(pilot, *"250", "enter")
        assert "> go to room 249" in shown and "> go to room 248" in shown and "step 250/400" in shown
        left = app.query_one("#left")
        before = seen(app)[0]
        left.on_mouse_scroll_up(None)
        await pilot.pause()
        assert before != seen(app)[0] and app.cursor.step == 249
        await press(pilot, "home")
        row = next(row for row, line in enumerate(seen(app)) if "go to room 2" in line)
        await pilot.click(offset=(12, row))
        await pilot.pause()
        assert app.cursor.step == 2


@in_a_loop
async def test_a_click_on_the_curve_goes_there():
    async with opened([episode(40)]) as (app, pilot):
        await pilot.click("CurvePane", offset=(7 + 2 * 25, 2))  # a step has two of the 113 columns
        await pilot.pause()
        assert app.cursor.step == 25


@in_a_loop
async def test_thoughts_are_folded():
    turn = Turn("Here.", "look", said="I think, therefore I look.\nlook")
    async with opened([Trajectory((turn,))]) as (_, pilot):
        folded = await press(pilot, "home")
        assert "therefore" not in folded and "thought of 5 words" in folded
        assert "therefore" in await press(pilot, "t")


@in_a_loop
async def test_the_list_is_narrowed_by_outcome_and_words(recorded):
    async with opened(load_trajectories(recorded)) as (app, pilot):
        assert "3 of 3 episodes" in await press(pilot, "e")
        shown = await press(pilot, "tab", "tab")
        assert "1 of 3 episodes" in shown and "game-2" in shown and "game-1" not in shown
        shown = await press(pilot, "tab", *"GAME-3")
        assert "1 of 3 episodes" in shown and "game-3" in shown
        await press(pilot, "enter")
        assert app.cursor.episode == 2
        await press(pilot, "e", "up", "escape")
        assert app.cursor.episode == 2
        await press(pilot, "e", "up", "enter")
        assert app.cursor.episode == 1
        await press(pilot, "e")
        await pilot.click("EntryList", offset=(5, 0))
        await pilot.pause()
        assert app.cursor.episode == 0


@in_a_loop
async def test_the_list_says_where_winning_is_not_defined(tmp_path):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(Trajectory((Turn("A road.", "on", 7.0),), outcome="undefined"))
    async with opened(load_trajectories(tmp_path / "d")) as (_, pilot):
        shown = await press(pilot, "e")
        assert " 1 step  " in shown and "outcome: all" in shown
        assert "winning is not defined in these episodes" in await press(pilot, "tab")


def test_a_dataset_lists_what_its_episodes_say(tmp_path):
    undefined = replace(episode(game="game-4"), outcome="undefined")
    episodes = [episode(), episode(won=False, game="game-2"), undefined]
    with TrajectoryWriter(tmp_path / "d") as writer:
        for one in episodes:
            writer.append(one)
    listed = list_entries(load_trajectories(tmp_path / "d"))
    assert listed == list_entries(episodes)
    assert [entry.outcome for entry in listed] == ["won", "not won", "return 1"]


@in_a_loop
async def test_two_runs_with_names_and_where_they_part():
    mine = episode(6)
    turns = (*mine.turns[:3], replace(mine.turns[3], action="wait"), *mine.turns[4:])
    theirs = replace(mine, turns=turns, agent="them")
    async with opened([mine], others=[theirs], names=("runs/a", "runs/b")) as (app, pilot):
        shown = await press(pilot, "d")
        assert app.cursor.step == 3
        assert shown.count("runs/a") == 3 and shown.count("runs/b") == 2  # over transcript and step, under V
        assert "first difference: step 4" in shown and "V of runs/a" in shown
        marked = [line for line in seen(app) if "first difference" in line]
        assert marked[0].count("first difference") == 2  # in both, beside each other
        assert "> wait" in shown and "> go to room 3" in shown
        assert "runs/b" not in await press(pilot, "c")


@in_a_loop
async def test_of_a_game_played_several_times_the_kth_stands_beside_the_kth():
    mine = [episode(3), episode(4, game="game-2"), episode(5), episode(6)]
    theirs = [episode(7), episode(8), episode(9, game="game-3")]
    async with opened(mine, others=theirs, names=("one", "two")) as (app, pilot):
        shown = await press(pilot, "home")
        assert len(app.cursor.other) == 7 and "one (1 of 3)" in shown and "two (1 of 2)" in shown
        assert "alone: not in two" in await press(pilot, "right_square_bracket")
        await press(pilot, "right_square_bracket")
        assert len(app.cursor.trajectory) == 5 and len(app.cursor.other) == 8
        shown = await press(pilot, "right_square_bracket")
        assert app.cursor.other is None and "alone: two has 2 of its 3 episodes" in shown
        assert "no other run" in await press(pilot, "d")


@in_a_loop
async def test_what_is_searched_for_is_marked(recorded):
    async with opened(load_trajectories(recorded)) as (app, pilot):
        await press(pilot, "slash", *"ROOM", "enter")
        strips = app.query_one("#left").render_lines(Region(0, 0, 80, 20))
        marked = [part.text for strip in strips for part in strip if part.style and part.style.reverse]
        assert marked.count("room") >= 2


@in_a_loop
async def test_a_step_is_copied_as_it_can_be_shown():
    hostile = Turn(HOSTILE, "look")
    async with opened([Trajectory((hostile,), final_observation="Done.")]) as (app, pilot):
        assert "copied" in await press(pilot, "y")
        assert (
            app.clipboard.endswith("> look\n") and "\\x1b[2J" in app.clipboard and "\x1b" not in app.clipboard
        )
        await press(pilot, "end", "y")
        assert app.clipboard == "Done.\n"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@in_a_loop
async def test_every_width_shows_all_that_matters(width):
    async with opened([episode(40)], size=(width, 34)) as (app, pilot):
        shown = await press(pilot, "right")
        for words in (
            "step 2/40",
            "> go to room 1",
            "wait",
            "V 0.100",
            "W won",
            "? keys",
            "q quit",
            "episode 1/1",
        ):
            assert words in shown, words
        assert all(len(line) <= width for line in seen(app))
        curve = next(line for line in seen(app) if "└" in line)
        each = (width - 7) // 40
        assert len(curve.rstrip()) == 7 + 40 * each
        for step, sign in ((1, "^"), (39, "W")):
            columns = slice(7 + step * each, 7 + (step + 1) * each)
            assert curve[columns].strip("\u2500") == sign


@in_a_loop
async def test_hostile_text_is_shown_and_never_obeyed():
    hostile = Turn(
        HOSTILE, HOSTILE, value=0.1, action_status=HOSTILE, candidates=(Candidate(HOSTILE),), said=HOSTILE * 2
    )
    told = dict.fromkeys(("game", "task", "task_type", "agent", "final_observation"), HOSTILE)
    bad = Trajectory((hostile, hostile), **told)
    options = {"others": [replace(episode(), game=HOSTILE)], "names": (HOSTILE, HOSTILE)}
    async with opened([bad, bad], size=(200, 40), **options) as (_, pilot):
        for key in ("right", "t", "c", "end", "e", "escape"):
            shown = await press(pilot, key)
            assert "[bold]x[/bold] \\x1b[2J" in shown, key
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), key
        assert "[red]" in await press(pilot, "slash", *"[red]", "enter")


@in_a_loop
async def test_playing_goes_on_under_another_screen():
    async with opened([episode(40)]) as (app, pilot):
        app.cursor.speed = 64
        await press(pilot, "space", "question_mark")
        for _ in range(100):
            await asyncio.sleep(0.05)
            if app.cursor.step > 2:
                break
        assert app.cursor.step > 2
        await press(pilot, "escape", "space")
        assert not app.cursor.playing


def _big_episodes():
    long = replace(episode(10_000), game="long")
    text, hostile = "x" * LONG, HOSTILE * (LONG // len(HOSTILE))
    turns = (
        replace(episode().turns[0], observation=hostile, action=text, said=hostile),
        replace(episode().turns[1], observation="a\n" * (LONG // 2)),
        Turn(text, "look", candidates=tuple(Candidate(f"do {n}") for n in range(1000))),
    )
    return {"long": long, "big": replace(episode(), turns=turns, final_observation=hostile, task=text)}


@pytest.mark.parametrize("name", ["long", "big"])
@in_a_loop
async def test_what_is_long_opens_and_answers_at_once(name):
    """CPU time beyond what an ordinary episode takes; the best of three tries."""
    big = _big_episodes()[name]

    async def measure(one, tries=3):
        best = {}
        for _ in range(tries):
            start = time.process_time()
            async with opened([one, one]) as (_, pilot):
                best["open"] = min(time.process_time() - start, best.get("open", 9))
                for key in ("right", "end", "left", "home", "s", "]"):
                    start = time.process_time()
                    await press(pilot, key)
                    best[key] = min(time.process_time() - start, best.get(key, 9))
        return best

    usual, found = await measure(episode()), await measure(big)
    late = {
        key: found[key] - usual[key]
        for key in found
        if found[key] - usual[key] > (0.5 if key == "open" else 0.1)
    }
    assert late == {}


def test_what_is_cut_is_said():
    assert cut_text("a" * SHOWN) == "a" * SHOWN
    assert cut_text("a" * LONG).endswith("a ... (9,998,000 more characters)")
    assert cut_text("a\n" * 1000).count("\n") == 99


def test_the_curve_has_a_scale_and_every_step_its_column():
    lines = draw_curve(episode(11, values=True), [], 10, (40, 6)).plain.splitlines()
    assert [line[:7].strip() for line in lines[:4]] == ["1 │", "│", "│", "0 │"]
    assert lines[0][7:40:3] == " " * 8 + "▁▄ " and lines[3][7:40:3] == "▁▄▇███████▁"  # 1 + 31 V eighths
    assert lines[3][7:40] == "".join(3 * one for one in "▁▄▇███████▁")  # 33 columns for 11 steps
    for steps in (1, 7, 40, 10_000):
        one = episode(steps, values=False)
        columns = [locate_column(one, step, 40) for step in range(steps)]
        assert columns == sorted(columns) and columns[-1] < 40
        assert all(columns[locate_step(one, column, 40)] == column for column in set(columns))
    assert "there is no V" in draw_curve(episode(values=False), [], 0, (60, 6)).plain


@in_a_loop
async def test_place_things_carried_and_map_stand_beside_where_the_texts_tell():
    from learning import WINNING
    from learning import episode as play

    async with opened([play(WINNING)]) as (_, pilot):
        assert "carrying: nothing" in await press(pilot, "home")
        text = await press(pilot, "5", "enter")  # the mug was taken from the desk
        assert "at: desk 1" in text and "carrying: mug 1" in text
        assert "desk 1    pen 2, desklamp 1" in " ".join(text.split("\n")) or "pen 2, desklamp 1" in text
        text = await press(pilot, "end")
        assert "at: shelf 1" in text and "carrying: nothing" in text
    async with opened([episode(3)]) as (_, pilot):
        assert "carrying" not in await press(pilot, "end")
