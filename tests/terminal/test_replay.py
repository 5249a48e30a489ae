import subprocess
import sys
import time

import pytest
from episodes import episode

from oreo_agents import cli
from oreo_agents.dataset import load_trajectories
from oreo_agents.terminal.replay import Cursor, render


def test_moves_never_leave_the_episode():
    cursor = Cursor([episode(), episode(5)])
    cursor.move(-1)
    assert cursor.step == 0
    cursor.move(10)
    assert cursor.step == 3  # one past the last: the end
    cursor.change_episode(1)
    assert (cursor.episode, cursor.step) == (1, 0)
    cursor.change_episode(9)
    assert cursor.episode == 1


def test_typing_a_number_jumps_and_a_slash_searches():
    cursor = Cursor([episode(20)])
    for key in "12":
        cursor.type(key)
    cursor.enter()
    assert cursor.step == 11
    for key in "/ROOM 5":
        cursor.type(key)
    cursor.enter()
    assert cursor.step == 5  # past the end it goes on from the beginning
    assert not cursor.find("nowhere")
    assert cursor.step == 5


def test_playing_stops_at_the_end():
    cursor = Cursor([episode(2)], playing=True)
    cursor.tick()
    assert cursor.playing
    cursor.tick()
    assert (cursor.step, cursor.playing) == (2, False)


def test_ten_thousand_steps_stay_responsive():
    cursor = Cursor([episode(10_000)])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        cursor.move(1)
        render(cursor.view(), 80)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


def test_no_colour_where_none_is_wanted(monkeypatch):
    assert "\x1b[1;36m" in render(Cursor([episode()]).view(), 80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;36m" not in render(Cursor([episode()]).view(), 80)


@pytest.mark.parametrize(
    ("options", "games"),
    [
        ([], ["game-1", "game-2", "game-3"]),
        (["--failed"], ["game-2"]),
        (["--min-steps", "10"], ["game-3"]),
        (["--search", "ROOM 39"], ["game-3"]),
        (["--episode", "2"], ["game-2"]),
    ],
)
def test_a_pipe_gets_the_chosen_episodes_whole(recorded, options, games, capsys):
    assert cli.main(["replay", str(recorded), *options]) == 0
    out = capsys.readouterr().out
    assert [game for game in ("game-1", "game-2", "game-3") if game in out] == games
    assert "\x1b" not in out


def test_nothing_to_show_is_said(recorded, tmp_path, capsys):
    assert cli.main(["replay", str(recorded), "--task-type", "fly"]) == 2
    assert "no episode meets the conditions" in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_verification_runs_the_actions_again(tmp_path, capsys):
    path = tmp_path / "played"
    play = [sys.executable, "-m", "oreo_agents.cli", "play", "--split", "generated", "--record", path]
    subprocess.run(play, input="look\ninventory\n", text=True, check=True, capture_output=True)
    assert cli.main(["replay", str(path), "--verify"]) == 0
    assert "verified: happened again exactly" in capsys.readouterr().out
    assert len(load_trajectories(path)) == 1


def test_keys_on_a_real_terminal(terminal, recorded):
    screen = terminal("replay", recorded)
    screen.expect("step 1/3")
    screen.type("\x1b[C")  # right
    screen.expect("room 1")
    screen.type("]")
    screen.expect("episode 2/3")
    screen.type("]")
    screen.expect("episode 3/3")
    screen.type("/room 30\r")
    screen.expect("31/40")
    screen.resize(40)
    screen.type("5\r")
    screen.expect("5/40")
    screen.type("q")
    screen.ends()
