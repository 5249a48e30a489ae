from math import inf, nan

import pytest
from episodes import HOSTILE, episode, printed

from oreo_agents.evaluation.beliefs import compute_advantage, explain_choice, merge_candidates
from oreo_agents.printable import make_printable
from oreo_agents.terminal.map import map_table, read_map
from oreo_agents.terminal.views import SideBySide, StepView, Transcript, candidate_table, draw_sparkline
from oreo_agents.trajectory import Candidate, Trajectory, Turn


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "view",
    [StepView(episode(), 1), SideBySide((episode(), episode(5)), ("one", "two"), 1), Transcript(episode())],
)
def test_views_fit_the_width(view, width):
    lines = printed(view, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("> go to room 1" in line for line in lines)


def test_a_step_shows_what_the_agent_believed():
    out = printed(StepView(episode(), 2))
    assert "step 3/3  won in 3 steps" in out
    assert "V 0.200  advantage +0.100" in out
    words = " ".join(out.split())
    assert (
        "> go to room 2 0.607 0.200 wait 0.135 -0.300 chosen: highest V by 0.5" in words
    )  # exp(-0.5), exp(-2)


def test_the_step_after_the_last_shows_the_end():
    assert "not won: step limit after 3 steps" in printed(StepView(episode(won=False), 3))


def test_hostile_text_is_shown_and_never_obeyed():
    trajectory = Trajectory(
        (Turn(HOSTILE, HOSTILE, value=0.1, action_status=HOSTILE, candidates=(Candidate(HOSTILE),)),),
        game=HOSTILE,
        task=HOSTILE,
        agent=HOSTILE,
        final_observation=HOSTILE,
    )
    for step in (0, 1):
        out = printed(StepView(trajectory, step), 200)
        assert "[bold]x[/bold] \\x1b[2J" in out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)


@pytest.mark.parametrize("code", [*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2028, 0xD800])
def test_every_control_code_is_made_visible(code):
    assert chr(code) not in make_printable(f"a{chr(code)}b")


def test_ordinary_text_is_kept():
    assert make_printable("1 ≤ x\n\tÅngström 猫") == "1 ≤ x\n    Ångström 猫"


def test_plain_ascii_where_the_console_has_nothing_else():
    out = printed(StepView(episode(text="naïve ≤"), 1), encoding="ascii")
    assert "na\\xefve" in out


def test_sparkline_spans_lowest_to_highest_and_fits():
    assert draw_sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert draw_sparkline([-1.0, None, 1.0], 8, ascii_only=True) == "_ #"
    assert len(draw_sparkline(list(range(1000)), 30)) == 30
    assert draw_sparkline([2.0, 2.0], 8) == "▁▁"
    assert draw_sparkline([None], 8) == draw_sparkline([], 8) == draw_sparkline([nan], 8) == ""


def test_values_that_are_no_numbers_are_gaps():
    assert draw_sparkline([0.0, nan, 7.0, inf, -inf], 8) == "▁ █  "
    turns = tuple(Turn("", "a", value=value) for value in (0.5, nan, inf))
    assert "V nan" in printed(Transcript(Trajectory(turns)))


def test_advantage_is_what_the_action_changed():
    """V foretells its own turn's reward, so a won step that was foreseen is no surprise."""
    turns = (Turn("", "a", 0.0, value=0.9), Turn("", "b", 1.0, value=1.0), Turn("", "c", 0.0, value=0.0))
    assert compute_advantage(Trajectory(turns), 1) == pytest.approx(0.1)
    assert compute_advantage(Trajectory(turns), 2) == 0.0


def test_equal_candidates_are_shown_once():
    turn = Turn(
        "", "look", candidates=(Candidate("look", -1.0, 0.5), Candidate("wait"), Candidate("look", -1.0, 0.5))
    )
    assert merge_candidates(turn) == [(Candidate("look", -1.0, 0.5), 2), (Candidate("wait"), 1)]
    assert printed(candidate_table(turn)).count("look (2 times)") == 1


def test_advantage_needs_two_values():
    assert compute_advantage(episode(), 0) is None
    assert compute_advantage(episode(values=False), 1) is None


def test_reason_tells_ties_and_defeats():
    def of(*values):
        return explain_choice(Turn("", "a", candidates=tuple(map(Candidate, "abc", [None] * 3, values))))

    assert (of(0.5, 0.2), of(0.5, 0.5), of(0.1, 0.5), of(0.5), of(0.5, None), of()) == (
        "highest V by 0.3",
        "tied for V",
        "not the highest V",
        "the only proposal",
        "the only one that was judged",
        "",
    )


def test_the_map_follows_what_is_seen_taken_and_put():
    observations = [
        "-= Welcome =-\n\nYou are in the middle of a room. Looking quickly around you, you see a desk 1, "
        "a safe 1, and a shelf 2.\n\nYour task is to: put some pen in safe.",
        "You arrive at desk 1. On the desk 1, you see a pen 1, and a mug 2.",
        "You pick up the pen 1 from the desk 1.",
        "You open the safe 1. The safe 1 is open. In it, you see nothing.",
        "You move the pen 1 to the safe 1.",
    ]
    assert read_map(observations) == {"desk 1": ["mug 2"], "safe 1": ["pen 1"], "shelf 2": None}
    assert "not yet  shelf 2" in printed(map_table(read_map(observations)))
