import re
from dataclasses import replace

import pytest
from episodes import HOSTILE, episode

from oreo_agents.cli import program as cli
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.terminal.cursor import Cursor
from oreo_agents.trajectory import Candidate, Trajectory, Turn


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
    cursor.enter("12")
    assert cursor.step == 11
    cursor.enter("/ROOM 5")
    assert cursor.step == 5  # past the end it goes on from the beginning
    assert not cursor.find("nowhere")
    assert cursor.step == 5


def test_playing_stops_at_the_end():
    cursor = Cursor([episode(2)], playing=True)
    cursor.tick()
    assert cursor.playing
    cursor.tick()
    assert (cursor.step, cursor.playing) == (2, False)


def test_the_next_failure_is_found():
    cursor = Cursor([episode(), episode(), episode(won=False), episode()])
    assert cursor.next_failure() and cursor.episode == 2
    assert not cursor.next_failure() and cursor.episode == 2
    assert "no further episode" in cursor.status()


def test_hostile_text_never_reaches_the_terminal_as_control(terminal, tmp_path):
    hostile = Turn(HOSTILE, HOSTILE, value=0.1, action_status=HOSTILE, candidates=(Candidate(HOSTILE),))
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(
            Trajectory((hostile,), game=HOSTILE, task=HOSTILE, agent=HOSTILE, final_observation=HOSTILE)
        )
    screen = terminal("replay", tmp_path / "d", columns=200)
    screen.expect("step 1/1")
    screen.type("\x1b[C")
    screen.expect("abandoned after 1 step")
    screen.type("q")
    screen.ends()
    shapes = set(
        re.findall(rb"\x1b\][^\x07\x1b]*\x07", screen.written)
    )  # of the mouse's pointer: Textual's own
    assert shapes <= {b"\x1b]22;default\x07", b"\x1b]22;text\x07"}
    for control in (b"\x1b]0;owned", "\x9b31m".encode(), "\u202e".encode()):
        assert control not in screen.written
    assert b"[bold]x[/bold] \\x1b[2J" in screen.written


@pytest.mark.parametrize("coloured", [True, False])
def test_no_colour_where_none_is_wanted(terminal, recorded, monkeypatch, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not coloured:
        monkeypatch.setenv("NO_COLOR", "1")
    screen = terminal("replay", recorded)
    screen.expect("step 1/3")
    assert (
        any(cell.fg == "cyan" for row in screen.screen.buffer.values() for cell in row.values()) is coloured
    )
    screen.type("q")
    screen.ends()


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


def test_cut_replies_are_told_below_their_episode(tmp_path, capsys):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode(game="whole"))
        writer.append(replace(episode(game="broken off"), metadata={"cut_turns": [1]}))
    assert cli.main(["replay", str(tmp_path / "d")]) == 0
    whole, broken = capsys.readouterr().out.split("broken off", 1)
    assert "were cut" not in whole and "1 of 3 replies (33.3%) were cut" in broken


def test_nothing_to_show_is_said(recorded, tmp_path, capsys):
    assert cli.main(["replay", str(recorded), "--task-type", "fly"]) == 2
    assert "no episode meets the conditions" in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.fixture
def played(forks, tmp_path):
    """A recorded game of which the second observation was forged afterwards, and the same unforged."""
    play = ["-m", "oreo_agents.cli", "play", "--split", "generated", "--record", tmp_path / "true"]
    forks.run(play, input="look\ninventory\n", check=True, capture_output=True)
    true = load_trajectories(tmp_path / "true")
    forged = replace(true[0].turns[1], observation="You see [bold]gold[/bold].")
    with TrajectoryWriter(tmp_path / "forged", env_spec=true.agreed("env_spec")) as writer:
        writer.append(replace(true[0], turns=(true[0].turns[0], forged)))
    return tmp_path


def test_verification_plays_the_actions_again(played, capsys):
    assert cli.main(["replay", str(played / "true"), "--verify"]) == 0
    assert "verified: happened again exactly" in capsys.readouterr().out
    assert cli.main(["replay", str(played / "forged"), "--verify"]) == 1
    assert "differs at step 1 (observation)" in capsys.readouterr().out


def test_what_a_replay_led_to_is_shown_where_it_differs(terminal, played):
    screen = terminal("replay", played / "forged", "--verify")
    screen.expect("differs at step 1 (observation)")
    screen.type("\x1b[C")
    screen.expect("You see [bold]gold[/bold].")
    screen.expect("played again it is:")
    screen.expect("You are in the middle of a room")
    screen.type("q")
    screen.ends()


def test_two_runs_beside_each_other(recorded, tmp_path, capsys):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode(5, "You see a cat.", game="game-1", won=False))
    assert cli.main(["replay", str(recorded), "--episode", "1", "--compare", str(tmp_path / "other")]) == 0
    out = capsys.readouterr().out
    left, right = ("\n".join(line[half] for line in out.splitlines()) for half in (slice(38), slice(38, 80)))
    assert "a door. (1)" in left and "a cat. (1)" in right and "a cat. (4)" in right
    assert "won in 3 steps" in out and "not won: step limit after 5 steps" in out


def test_keys_on_a_real_terminal(terminal, recorded):
    screen = terminal("replay", recorded)
    screen.expect("step 1/3")
    screen.type("\x1b[C")  # right
    screen.expect("step 2/3")
    screen.type("]")
    screen.expect("episode 2/3")
    screen.type("]")
    screen.expect("episode 3/3")
    screen.type("/room 30\r")
    screen.expect("31/40")
    screen.resize(60)
    screen.type("5\r")
    screen.expect("5/40")
    screen.type("/room 30")
    screen.expect("/room 30")
    screen.type("\x03")  # Ctrl-C leaves the line
    screen.expect("episode 3/3")
    screen.type("l")
    screen.expect("6/40")
    screen.type("/room 30\x03")  # all at once, as pasted
    screen.type("l")
    screen.expect("7/40")
    screen.type("?")
    screen.expect("next episode not won")
    screen.type("q")
    screen.type("[")
    screen.expect("episode 2/3")
    screen.type("\x1b[<0;10;6M\x1b[<0;10;6m")  # a click on the second step
    screen.expect("step 2/3")
    screen.type("q")
    screen.ends()


def test_ctrl_c_ends_it(terminal, recorded):
    screen = terminal("replay", recorded)
    screen.expect("step 1/3")
    screen.type("\x03")
    screen.ends()


@pytest.mark.parametrize(("option", "term"), [(["--plain"], "xterm"), ([], "dumb")])
def test_a_terminal_gets_it_printed_where_that_is_wanted(terminal, recorded, option, term):
    screen = terminal("replay", recorded, "--episode", "1", *option, term=term)
    screen.ends()
    assert b"won in 3 steps" in screen.written and b"\x1b[?1049h" not in screen.written
    assert b"go to room 2" in screen.written


def test_a_filter_does_not_change_what_is_compared(tmp_path, capsys):
    """The failure is the second episode of its game, and so stands beside the second of the other run."""
    for name, lengths in (("one", (3, 4)), ("two", (5, 6))):
        with TrajectoryWriter(tmp_path / name) as writer:
            for number, steps in enumerate(lengths):
                writer.append(episode(steps, won=number == 0))
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    assert cli.main(["replay", one, "--failed", "--compare", two, "--episode", "1"]) == 0
    out = capsys.readouterr().out
    assert "one (2 of 2)" in out and "two (2 of 2)" in out
    assert "step 1/4" in out and "step 1/6" in out and "step 1/5" not in out
