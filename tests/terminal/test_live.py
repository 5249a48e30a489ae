import re
import threading
import time
from dataclasses import replace

import pytest
from episodes import HOSTILE, episode, printed
from rich.console import Group

from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.terminal import progress
from oreo_agents.terminal.live import Tally, watch_episodes
from oreo_agents.terminal.progress import progress_bar
from oreo_agents.trajectory import Trajectory, Turn


def tally(*outcomes):
    counted = Tally()
    for won in outcomes:
        counted.add(episode(won=won))
    return counted


def test_success_has_wilsons_interval():
    low, high = wilson_interval(2, 3)
    assert tally(True, False, True).success() == f"66.7% won [{100 * low:.1f}, {100 * high:.1f}], 2 of 3"
    assert Tally().success() == "none won [0.0, 100.0], 0 of 0"
    assert list(Tally().lines()) == []


@pytest.mark.parametrize("defined", [True, False])
def test_what_has_ended_first_is_told_without_an_interval_until_all_have(defined):
    """Of episodes that are played at once the short ones end first, and these are won more often."""
    counted = Tally(total=3)
    damaged = Trajectory((), game="damaged", truncated=True, metadata={"failed": True, "ended": "damaged"})
    told = []
    for one in (episode(), damaged, episode(won=False)):
        counted.add(one if defined else replace(one, outcome="undefined"))
        told.append(next(counted.lines()).plain)
    first, last = (
        ("100.0% won", "50.0% won [9.5, 90.5], 1 of 2") if defined else ("mean return 1", "mean return 0.5 [")
    )
    assert all(line.startswith(f"so far {first}, 1 ") and "[" not in line for line in told[:2])
    assert told[2].startswith(last)


def test_replies_that_were_cut_are_told_where_there_are_any():
    counted = tally(True)
    assert counted.cuts() == "" and not any("cut" in line.plain for line in counted.lines())
    counted.add(replace(episode(), metadata={"cut_turns": [0, 2]}))
    assert sum(line.plain.startswith("2 of 6 replies (33.3%) were cut") for line in counted.lines()) == 1


def test_an_episode_that_could_not_be_played_counts_for_nothing():
    counted = tally(True)
    counted.add(Trajectory((), game="damaged", truncated=True, metadata={"failed": True, "ended": "damaged"}))
    assert counted.success() == tally(True).success() and counted.newest.success


def test_the_newest_episode_is_told_with_its_last_action():
    out = printed(Group(*tally(True, False).lines()))
    assert "newest: open it  not won: step limit after 3 steps" in out
    assert "> go to room 2" in out
    assert "pick 1/2" in out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_line_fits(width):
    lines = printed(Group(*tally(True).lines()), width).splitlines()
    assert len(lines) == 5 and max(map(len, lines)) <= width


def test_hostile_episodes_are_told_and_never_obeyed():
    counted = Tally()
    counted.add(
        Trajectory((Turn(HOSTILE, HOSTILE),), task=HOSTILE, task_type=HOSTILE, final_observation=HOSTILE)
    )
    out = printed(Group(*counted.lines()), 200)
    assert out.count("[bold]x[/bold]") == 4
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)


def test_a_pipe_gets_a_line_now_and_then_and_every_episode_passes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    episodes = [episode(), episode(won=False)]

    def play():
        yield episodes[0]
        time.sleep(0.3)  # nothing ends meanwhile, and a line comes all the same
        yield episodes[1]

    assert list(watch_episodes(play(), 2, "mine")) == episodes
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert re.match(r"mine 1/2  \d+ s  so far 100\.0% won, 1 of 1  .* episodes/s  .* steps/s$", lines[-1])
    assert progress_bar().disable and not any(one.name == "heartbeat" for one in threading.enumerate())
    monkeypatch.setattr(progress, "QUIET", 60.0)
    assert list(watch_episodes(iter(episodes), 2, "mine")) == episodes
    assert capsys.readouterr().err == ""


def test_a_pipe_is_told_of_work_that_has_no_end_yet(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    with progress_bar() as bar:
        task = bar.add_task("downloading", total=None)
        bar.update(task, completed=3)
        time.sleep(0.2)
    assert re.match(r"downloading 3  \d+ s$", capsys.readouterr().err.splitlines()[0])


@pytest.mark.parametrize("columns", [40, 80])
def test_an_evaluation_is_watched_on_a_real_terminal(terminal, columns):
    command = ("eval", "--agent", "expert", "--split", "generated", "-n", 30, "--num-envs", 4)
    screen = terminal(*command, columns=columns)
    screen.ends()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.written.decode())
    assert "newest: " in text and "episodes/s" in text and "30/30" in text
    assert re.search(r"100\.0% won \[88\.6, 100\.0\], 30 of 30", text)
