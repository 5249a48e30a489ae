"""Puzzles whose moves run out unseen: what imitation of won episodes comes to, worked out exactly."""

from functools import cache
from itertools import product
from statistics import mean

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the environments)
import pytest
from oreo_envs.puzzles.timed import ENDLESS, KEPT, draw_spare

MOST = 40


def play_by_table(puzzle):
    """The chance of the demonstrator, and of the likeliest command among its won episodes in every position.

    Both are those of infinitely many episodes: a wasted move leaves KEPT of the chance to win, so an episode that is
    won in n moves weighs KEPT ** n.
    """
    start = puzzle.start._replace(left=ENDLESS)
    moves, open_positions = {}, [start]
    while open_positions:
        here = open_positions.pop()
        moves[here] = {name: to._replace(left=ENDLESS) for name, to in puzzle.commands(here).items()}
        open_positions += [to for to in {*moves[here].values()} - {*moves, *open_positions}]
    shares = {here: puzzle.demonstrate(here) for here in moves}
    chance = {here: float(puzzle.is_solved(here)) for here in moves}
    for _ in range(400):
        for here, said in shares.items():
            if said:
                chance[here] = sum(share * KEPT * chance[moves[here][name]] for name, share in said.items())
    fewest = len(puzzle.find_way(start))
    here, made = start, 0
    while not puzzle.is_solved(here) and made < MOST:
        won = {name: share * chance[moves[here][name]] for name, share in shares[here].items()}
        here, made = moves[here][max(won, key=won.__getitem__)], made + 1
    return chance[start] / KEPT**fewest, KEPT ** (made - fewest) * puzzle.is_solved(here)


@pytest.mark.parametrize(("task", "most"), [("jugs", 0.05), ("shortest_path", 0.65)])
def test_imitating_wins_without_end_does_not_end_the_habit(task, most):
    """Where whoever wastes no move always wins."""
    puzzles = gym.make("OREO-Puzzles", task=task).unwrapped.games[:25]
    demonstrator, imitation = (mean(column) for column in zip(*map(play_by_table, puzzles), strict=True))
    assert 0.1 < demonstrator < 0.35
    assert imitation <= most


@pytest.mark.parametrize(
    ("task", "spare"), [*product(["jugs", "shortest_path"], [0, 2, 4]), ("countdown", None)]
)
def test_with_a_known_number_of_moves_imitating_wins_would_be_enough(task, spare):
    """As it is in countdown, where every move takes a number away."""
    for puzzle in gym.make("OREO-Puzzles", task=task).unwrapped.games[:6]:

        @cache
        def find_chance(here, puzzle=puzzle):
            if puzzle.is_solved(here):
                return 1.0
            moves = puzzle.commands(here)
            return sum(share * find_chance(moves[name]) for name, share in puzzle.demonstrate(here).items())

        here = puzzle.start
        if spare is not None:
            here = here._replace(left=len(puzzle.find_way(here)) + spare)
        while moves := puzzle.commands(here):
            shares = puzzle.demonstrate(here)
            here = moves[max(shares, key=lambda name: shares[name] * find_chance(moves[name]))]
        assert puzzle.is_solved(here)


def test_spare_moves_are_as_likely_as_said():
    spare = [draw_spare(f"puzzle {number}") for number in range(20_000)]
    for wasted in (1, 2, 5, 10):
        assert mean(drawn >= wasted for drawn in spare) == pytest.approx(KEPT**wasted, abs=0.012)
    assert spare[:50] == [draw_spare(f"puzzle {number}") for number in range(50)]


def test_how_many_moves_are_left_is_not_told():
    for task in ("jugs", "shortest_path"):
        puzzle = gym.make("OREO-Puzzles", task=task).unwrapped.games[0]
        assert puzzle.show(puzzle.start) == puzzle.show(puzzle.start._replace(left=1))
        assert puzzle.plan(puzzle.start) and not puzzle.plan(puzzle.start._replace(left=0))
        assert puzzle.demonstrate(puzzle.start) == puzzle.demonstrate(puzzle.start._replace(left=1))


def test_that_there_is_no_way_is_known_after_each_place_once(monkeypatch):
    """Moves that run out are no places of their own: ten thousand of them would be searched through."""
    from oreo_envs.puzzles.shortest_path import ShortestPath

    looked, commands = [], ShortestPath.commands
    monkeypatch.setattr(ShortestPath, "commands", lambda self, at: looked.append(at) or commands(self, at))
    walled = [["*", "O", "X", "O"], ["O", "O", "X", "#"]]
    puzzle = ShortestPath("walled", {"matrix": walled, "solution": []})
    assert puzzle.find_way(puzzle.start) is None and len(looked) == 4
