"""A game that hangs, crashes or is damaged costs its own episode, and nothing else."""

import os
import random
import signal
import time

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
import textworld_games
from gymnasium.error import ResetNeeded
from long_tests import LONG
from oreo_envs.errors import GameFileError, OreoError
from oreo_envs.textworld import running
from oreo_envs.workers import PATIENCE

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.rollout.loop import rollout

MUTATED = 3000 if LONG else 30
STARTING_SECONDS = 20.0
"""For a worker that has to be begun anew, on a busy machine."""


def make(games):
    return gym.make("OREO-TextWorld", games=games, disable_env_checker=True)


@pytest.fixture
def hurried(monkeypatch):
    """Deadlines of a fraction of a second, once the interpreters are there."""
    monkeypatch.setattr(running, "STEP_SECONDS", 0.3)


@pytest.fixture
def broken(tmp_path):
    """Games that hang or crash: at once, or after some commands."""
    read, hang, crash = textworld_games.READ, textworld_games.JUMP_HERE, textworld_games.ILLEGAL
    return {
        "hangs later": textworld_games.write_program(tmp_path / "a.z5", 3 * read + hang),
        "crashes later": textworld_games.write_program(tmp_path / "b.z5", 3 * read + crash),
    }


def test_a_hung_game_costs_its_episode_and_others_of_its_worker_go_on(apple, broken, hurried, monkeypatch):
    monkeypatch.setattr(running, "count_cores", lambda: 1)
    monkeypatch.setattr(running, "INTERPRETERS", running.Interpreters())
    envs = [make(str(apple)), make(broken["hangs later"]), make(str(apple))]
    for env in envs:
        env.reset()
    sound = [env.step("take carrot") for env in (envs[0], envs[2])]
    assert sound[0] == sound[1]
    lost = 0
    for _ in range(4):
        for env in envs:
            env.unwrapped.begin_step("look")
        assert envs[0].step("look") == envs[2].step("look")
        try:
            envs[1].step("look")
        except GameFileError as error:
            assert "a.z5: TextWorld cannot play it on" in str(error)
            lost += 1
            break
    assert lost == 1
    with pytest.raises(ResetNeeded):
        envs[1].step("look")
    assert envs[0].step("inventory") == envs[2].step("inventory")
    assert "carrot" in envs[0].step("inventory")[0]
    assert envs[0].step("take apple")[1] == 1.0


def test_a_game_that_crashes_ends_its_episode_alone(apple, broken):
    envs = [make(str(apple)), make(broken["crashes later"])]
    for env in envs:
        env.reset()
    ended = 0
    for _ in range(5):
        envs[0].step("look")
        try:
            if envs[1].step("look")[2]:
                ended = 1
                break
        except GameFileError as error:
            assert "b.z5" in str(error)
            ended = 1
            break
    assert ended == 1
    assert envs[0].step("take apple")[1] == 1.0


def test_a_killed_interpreter_costs_no_episode_that_waits(apple):
    env = make(str(apple))
    env.reset()
    env.step("take carrot")
    os.kill(env.unwrapped._running._host._worker._process.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert "carrot" in env.step("inventory")[0]
    assert env.step("take apple")[1] == 1.0


def test_a_rollout_loses_the_episodes_of_broken_games_and_no_other(apple, broken, hurried, tmp_path):
    (tmp_path / "damaged.z8").write_bytes(apple.read_bytes()[:5000])
    names = [str(apple), str(broken["hangs later"]), str(tmp_path / "damaged.z8"), str(apple)]
    env = make([apple, broken["hangs later"], tmp_path / "damaged.z8"])
    episodes = [Assignment(name, seed) for seed, name in enumerate(names)]
    agent = ScriptedAgent("random", "OREO-TextWorld")
    agent.act_many = lambda slots, observations, infos: [decide("take apple") for _ in slots]
    played = list(
        rollout(lambda: gym.wrappers.TimeLimit(make(env.unwrapped.games), 6), episodes, agent, slots=4)
    )
    assert len(played) == 4
    assert sorted((episode.seed, episode.success) for episode in played if episode.success) == [
        (0, True),
        (3, True),
    ]
    failed = {episode.game: episode.metadata["ended"] for episode in played if episode.metadata.get("failed")}
    assert any("a.z5" in reason for reason in failed.values()), failed


def decide(command):
    from oreo_agents.agents.agent import Decision
    from oreo_agents.trajectory import Action

    return Decision(Action(command))


def test_mutated_files_give_one_family_of_errors_in_bounded_time(apple, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "OPENING_SECONDS", 3.0)
    monkeypatch.setattr(running, "STEP_SECONDS", 0.5)
    bound = STARTING_SECONDS + PATIENCE * (3.0 + 2 * 0.5)
    rng, refused, slowest = random.Random(7), 0, 0.0
    sound = {suffix: apple.with_suffix(suffix).read_bytes() for suffix in (".z8", ".json")}
    for number in range(MUTATED):
        for suffix, content in sound.items():
            mutated = mutate(rng, content) if number % 3 or suffix == ".z8" else content
            (tmp_path / f"game{suffix}").write_bytes(mutated)
        env = make(tmp_path / "game.z8")
        start = time.perf_counter()
        try:
            env.reset()
            for command in ("look", "take apple"):
                if env.step(command)[2]:
                    break
        except OreoError as error:
            assert isinstance(error, GameFileError) and "game.z8" in str(error)
            refused += 1
        env.close()
        slowest = max(slowest, time.perf_counter() - start)
    assert refused > MUTATED // 10 and slowest < bound
    env = make(str(apple))
    env.reset()
    assert env.step("take apple")[1] == 1.0


def test_a_game_that_hangs_while_it_opens_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "OPENING_SECONDS", 0.5)
    env = make(textworld_games.write_program(tmp_path / "a.z5", textworld_games.JUMP_HERE))
    start = time.perf_counter()
    with pytest.raises(GameFileError, match=r"a\.z5: TextWorld cannot play it on"):
        env.reset()
    assert time.perf_counter() - start < STARTING_SECONDS + PATIENCE * 0.5


@pytest.mark.parametrize("outcome", ["victory", "game_over"])
def test_what_jericho_knows_of_a_game_is_told(tmp_path, monkeypatch, outcome):
    """It comes without games: here it takes a program of ours for one that it knows, with 5 points a command."""
    from jericho import FrotzEnv
    from oreo_envs.textworld.interpreter import OpenGame

    load = FrotzEnv.load

    def know(frotz, *args):
        load(frotz, *args)
        frotz.is_fully_supported, frotz._bindings = True, {"seed": 12, "walkthrough": "north/south"}

    monkeypatch.setattr(FrotzEnv, "load", know)
    points = [0]
    for name in ("get_score", "get_moves", "get_player_location"):
        monkeypatch.setattr(FrotzEnv, name, lambda frotz: points[0])
    monkeypatch.setattr(FrotzEnv, "get_max_score", lambda frotz: 20)
    for name in ("victory", "game_over"):
        monkeypatch.setattr(FrotzEnv, name, lambda frotz, name=name: name == outcome and points[0] == 10)
    path = textworld_games.write_program(tmp_path / "known.z5", 4 * textworld_games.READ)
    game = OpenGame(str(path), True, str(tmp_path))
    told = [game.reset()]
    for command, points[0] in (("north", 5), ("south", 10)):
        told.append(game.step(command))
    assert [(one.score, one.max_score, one.ended) for one in told] == [
        (0, 20, False),
        (5, 20, False),
        (10, 20, True),
    ]
    assert (told[-1].won, told[-1].lost) == (outcome == "victory", outcome == "game_over")
    assert [one.plan for one in told] == [("north", "south"), ("south",), ()]
    assert not any(one.won or one.lost or one.commands for one in told[:2])
    game.close()


def mutate(rng, content):
    """Cut it short, change some bytes, take some out, or put some in."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 8, 200])):
        at = rng.randrange(min(len(data), rng.choice([64, 4096, len(data)])) or 1)
        match rng.randrange(5):
            case 0:
                del data[at : at + rng.randrange(1, 9)]
            case 1:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 2 if rng.random() < 0.1:
                del data[at:]
            case _:
                data[at : at + 1] = rng.randbytes(1)
        data = data or bytearray(b"\x00")
    return bytes(data)
