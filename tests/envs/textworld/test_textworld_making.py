"""Games that have to be made: nobody waits for one but who plays it, and they are made on all cores."""

import threading
import zipfile

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
from gymnasium.vector import AutoresetMode
from oreo_envs.errors import GameFileError
from oreo_envs.textworld import games
from oreo_envs.workers import WorkerFailure

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.rollout.loop import rollout
from oreo_agents.trajectory import Action

SECONDS = 20.0
"""After which a making that nobody lets go on is a failure."""


class Makers:
    """Stand-ins for the workers that make games: each game is the kitchen with the apple, made when it may be."""

    def __init__(self, apple):
        self.apple, self.made = apple, []
        self.may_end = {}
        """By seed, what a making waits for."""

    def hold(self, game):
        """Let a train game's making wait; what is returned ends that."""
        return self.may_end.setdefault(2 * game, threading.Event())

    def call(self, function, challenge, settings, seed, path, deadline):
        if seed in self.may_end and not self.may_end[seed].wait(SECONDS):
            raise WorkerFailure("nobody let it be made")
        self.made.append(seed // 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(self.apple, "game.z8")
            archive.write(self.apple.with_suffix(".json"), "game.json")


@pytest.fixture
def makers(apple, monkeypatch, tmp_path):
    """Of a workshop with two places and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(games, "WORKSHOP", games.Workshop(2))
    makers = games.WORKSHOP._workers = Makers(apple)
    return makers


def make(**options):
    return gym.make("OREO-TextWorld", challenge="simple", disable_env_checker=True, **options)


def test_beginning_waits_for_no_game(makers):
    env = make().unwrapped
    held = makers.hold(7)
    env.begin_reset(seed=1, options={"game": 7})
    assert not env.poll_answer() and not env.poll_answer(0.01)
    held.set()
    assert env.poll_answer(SECONDS) or env.poll_answer(SECONDS)
    assert "Kitchen" in env.reset(seed=1, options={"game": 7})[0]
    env.begin_step("take apple")
    assert env.poll_answer(SECONDS) and env.step("take apple")[1] == 1.0
    assert env.poll_answer()  # nothing is begun
    env.begin_reset(options={"game": 8})
    env.close()
    assert env.poll_answer()


def test_a_game_that_cannot_be_made_is_told_when_it_is_asked_for(makers, monkeypatch):
    monkeypatch.setattr("test_textworld_making.SECONDS", 0.05)
    makers.hold(3)
    env = make().unwrapped
    env.begin_reset(options={"game": 3})
    assert env.poll_answer(5.0)
    with pytest.raises(GameFileError, match=r"simple/.*/train/3: TextWorld did not make it \(nobody let"):
        env.reset(options={"game": 3})
    assert env.reset(options={"game": 4})[1]["game"].endswith("/4")


def test_what_is_asked_for_is_made_before_what_is_only_prepared(makers, monkeypatch):
    monkeypatch.setattr(games, "WORKSHOP", games.Workshop(1))
    games.WORKSHOP._workers = makers
    held = makers.hold(0)
    list_of_games = make().unwrapped.games
    list_of_games.prepare(range(5))
    asked = [list_of_games.order(position) for position in (3, 9, 1)]
    held.set()
    assert all(file.result(SECONDS).exists() for file in asked)
    assert [game for game in makers.made if game][:3] == [3, 9, 1]


class Taker:
    """Takes the apple."""

    name, tokenizer_fingerprint, needs = "taker", None, frozenset()

    def prepare(self, slots):
        """Nothing to remember."""

    def begin(self, slots, assignments):
        """Nothing to remember."""

    def act_many(self, slots, observations, infos):
        return [Decision(Action("take apple")) for _ in slots]


def test_a_rollout_goes_on_while_a_game_is_made(makers):
    held = makers.hold(0)
    listed = make().unwrapped.games
    played = rollout(
        lambda: make_listed(listed), [Assignment(game, game) for game in range(5)], Taker(), slots=2
    )
    seeds = [next(played).seed for _ in range(4)]
    held.set()
    assert sorted(seeds) == [1, 2, 3, 4] and [(one.seed, one.success) for one in played] == [(0, True)]


def make_listed(listed):
    return gym.make("OREO-TextWorld", games=listed, disable_env_checker=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_games_of_a_vector_are_made_side_by_side(makers, mode, monkeypatch):
    both = threading.Barrier(2, timeout=SECONDS)
    made = makers.call

    def meet(*args, **options):
        both.wait()  # broken, where the other game's making waits for this one
        made(*args, **options)

    monkeypatch.setattr(makers, "call", meet)
    vector = gym.make_vec("OREO-TextWorld", num_envs=2, challenge="simple", autoreset_mode=mode)
    _, infos = vector.reset(seed=[1, 2])
    assert list(infos["game"]) == [make().reset(seed=seed)[1]["game"] for seed in (1, 2)]
    assert vector.step(["take apple"] * 2)[2].all()
    *_, infos = vector.step(["look"] * 2) if mode == AutoresetMode.NEXT_STEP else vector.reset()
    assert len(set(infos["game"])) == 2 and len(makers.made) == 4
    vector.close()


def test_a_vector_begins_those_that_are_meant(makers):
    import numpy as np

    vector = gym.make_vec("OREO-TextWorld", num_envs=2, challenge="simple", autoreset_mode="Disabled")
    vector.reset(options={"game": 1})
    assert vector.step(["take apple", "look"])[2].tolist() == [True, False]
    vector.reset(options={"game": 2, "reset_mask": np.array([True, False])})
    assert makers.made == [1, 2]
    assert vector.step(["look", "take apple"])[2].tolist() == [False, True]
    vector.close()
