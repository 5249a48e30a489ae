"""OREO-TextWorld as an environment; the games that TextWorld makes are played as TextWorld plays them."""

import copy
import json
import os
import pickle
import random
import string
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
import textworld
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from long_tests import LONG
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.errors import ConfigurationError, DataNotFoundError, GameFileError
from oreo_envs.testing import check_text_env
from oreo_envs.textworld.games import find_games
from oreo_envs.textworld.space import COMMANDS
from oreo_envs.textworld.text import clean_feedback
from oreo_envs.wrappers import OfferBranches

LEVELS = [
    ("cooking", "recipe1+take1+open+cook+cut+rooms6", 150),
    ("cooking", "recipe3+take2+open+cook+cut+drop+rooms9", 30),
    ("coin_collector", "5", 20),
    ("coin_collector", "110", 20),
    ("treasure_hunter", "5", 20),
    ("treasure_hunter", "14", 20),
    ("treasure_hunter", "24", 10),
    ("simple", "dense+detailed", 15),
    ("simple", "sparse+brief", 15),
]
"""300 games of the four challenges."""
FEW = [("cooking", "recipe1+take0+cut+drop+rooms1", 2), ("coin_collector", "2", 1)]


@pytest.fixture(scope="module")
def meal():
    """One cooking game in one room."""
    return find_games("cooking", "recipe1+take0+cut+drop+rooms1")


def make(**options):
    return gym.make("OREO-TextWorld", disable_env_checker=True, **options)


def walk(env, plan):
    return [env.step(command) for command in plan]


@pytest.mark.parametrize(("challenge", "level", "count"), LEVELS if LONG else FEW)
@pytest.mark.parametrize("split", ["train", "test"] if LONG else ["train"])
def test_walkthroughs_win_and_collect_the_whole_score(challenge, level, split, count):
    env = make(challenge=challenge, level=level, split=split, rewards="score", expert=True)
    number = count // 2 if LONG else count
    env.unwrapped.games.prepare(range(number))
    for game in range(number):
        _, info = env.reset(options={"game": game})
        assert info["task_type"] == challenge and info["task"]
        steps = walk(env, info["expert_plan"])
        info = steps[-1][4]
        assert info["won"] and not info["lost"] and steps[-1][2]
        assert sum(step[1] for step in steps) == info["score"] == info["max_score"] > 0
        assert info["expert_plan"] == []
    env.close()


def test_a_game_plays_as_in_textworld(meal):
    env = make(games=meal, expert=True)
    observation, info = env.reset(options={"game": 0})
    folder = Path(env.unwrapped._running._host.folder)
    [file] = folder.glob("*/game.z8")
    asked = textworld.EnvInfos(admissible_commands=True, won=True, lost=True, score=True, max_score=True)
    reference = textworld.start(str(file), request_infos=asked)
    state = reference.reset()
    rng = random.Random(0)
    for _ in range(60):
        assert observation == clean_feedback(state.feedback)
        assert info["admissible_commands"] == sorted(set(state.admissible_commands))
        assert (info["won"], info["lost"]) == (bool(state.won), bool(state.lost))
        assert (info["score"], info["max_score"]) == (state.score, state.max_score)
        command = rng.choice([*info["admissible_commands"], "take the fridge", "frobnicate", "eat"])
        if state.won or state.lost:
            observation, info = env.reset(options={"game": 0})
            state = reference.reset()
            continue
        observation, reward, terminated, truncated, info = env.step(command)
        state, _, done = reference.step(command)
        assert (reward, terminated, truncated) == (float(state.won), bool(done), False)
    reference.close()


def test_what_info_says(meal):
    env = make(games=meal)
    _, info = env.reset(seed=3, options={"game": 0})
    assert info["game"] == meal.names[0] and info["action_status"] == "ok"
    assert (info["won"], info["lost"], info["score"]) == (False, False, 0.0)
    assert "cookbook" in info["task"] and "expert_plan" not in info
    first = info["episode_hash"]
    _, _, _, _, info = env.step("examine cookbok")
    assert info["action_status"] == "unparsable" and "examine cookbook" in info["suggestions"]
    assert info["episode_hash"] != first
    assert env.step("examine cookbook")[4]["action_status"] == "ok"
    assert env.step("examine the cookbook")[4]["action_status"] == "ok"
    assert env.step("drop fridge")[4]["action_status"] == "not_applicable"


def test_a_burnt_ingredient_loses():
    env = make(challenge="cooking", level="recipe2+take0", rewards="score")
    _, info = env.reset(options={"game": 0})
    [food] = [line.removeprefix("drop ") for line in info["admissible_commands"] if line.startswith("drop ")][
        :1
    ]
    for _ in range(4):
        _, reward, terminated, truncated, info = env.step(f"cook {food} with stove")
        if terminated:
            break
    assert (info["lost"], info["won"], terminated, truncated) == (True, False, True, False)
    assert reward == 0.0 or reward == 1.0
    with pytest.raises(ResetNeeded):
        env.step("look")


def test_mistakes_cannot_be_taken_back_and_nothing_is_saved(meal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make(games=meal)
    opening, _ = env.reset(options={"game": 0})
    for command in ("undo", "save", "restart", "quit", "take knife. undo", "transcript"):
        observation, reward, terminated, _, info = env.step(command)
        assert observation == "That's not a verb I recognise."
        assert (reward, terminated, info["action_status"]) == (0.0, False, "unparsable")
    assert env.reset(options={"game": 0})[0] == opening
    assert not list(tmp_path.iterdir())


def test_strange_commands_are_commands(meal):
    env = make(games=meal)
    env.reset(options={"game": 0})
    for command in (
        "",
        "   ",
        "look\nlook",
        "\u00e9\ud800\x00",
        "x" * 5000,
        "take " * 100,
        "'\"<>[]",
        *string.punctuation,
        *(f"{sign}help me" for sign in string.punctuation),
        *(f"look{sign}" for sign in string.punctuation),
        "\\oodK caring about this place.inventory",
        "1",
        "g",
    ):
        observation, _, terminated, _, info = env.step(command)
        assert isinstance(observation, str) and not terminated
        assert info["action_status"] in ("ok", "unparsable", "not_applicable")
    assert "Ingredients" in env.step("examine cookbook")[0]


def test_gymnasiums_and_our_own_checker_are_content(meal, apple):
    env = make(games=str(apple))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    check_text_env(lambda: make(games=str(apple)), ["look", "take carrot", "nonsense", "take apple"])
    check_text_env(lambda: make(games=meal.path(0)), ["look", "inventory", "nonsense", "undo"])


EPISODE = """
import json, sys
import gymnasium as gym, oreo_envs
env = gym.make("OREO-TextWorld", challenge="coin_collector", level=2, split="test", disable_env_checker=True)
observation, info = env.reset(options={"game": 0})
seen = [observation, info]
for command in ("look", "go north", "go south", "go east", "go west", "take coin"):
    seen += env.step(command)
    if seen[-3]:
        break
json.dump(seen, sys.stdout)
"""


def test_a_game_is_the_same_made_and_played_in_any_process(tmp_path):
    episodes = []
    for number in ("1", "2"):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": number,
            "XDG_CACHE_HOME": str(tmp_path / number),
        }
        episodes.append(
            subprocess.run([sys.executable, "-c", EPISODE], env=environment, stdout=subprocess.PIPE).stdout
        )
    assert len(json.loads(episodes[0])) > 6
    assert episodes[0] == episodes[1]


def test_a_second_run_finds_the_games_in_the_cache(meal, monkeypatch):
    env = make(games=meal)
    env.reset(options={"game": 0})
    monkeypatch.setattr(
        "oreo_envs.textworld.games.WORKSHOP._accept", lambda *_, **__: pytest.fail("made again")
    )
    make(challenge="cooking", level="drop+cut").reset(options={"game": 0})


# ---------------------------------------------------------------- snapshots


@pytest.mark.parametrize("kind", ["meal", "apple", "pddl"])
def test_snapshots_are_exact(kind, meal, apple, tmp_path):
    branches = {"meal": 1500, "apple": 400, "pddl": 100} if LONG else {"meal": 60, "apple": 40, "pddl": 4}
    if kind == "pddl":
        (tmp_path / "game.tw-pddl").write_text(GeneratedGames("generated").text(15))
    env = make(
        games=meal if kind == "meal" else str(apple) if kind == "apple" else tmp_path / "game.tw-pddl"
    ).unwrapped
    rng = random.Random(1)

    def play(commands):
        seen = []
        for command in commands:
            seen.append(env.step(command))
            if seen[-1][2]:
                break
        return seen

    def choose(info, length):
        return [rng.choice([*info["admissible_commands"], "look", "undo", "nonsense"]) for _ in range(length)]

    _, info = env.reset(options={"game": 0})
    kept = [(env.clone_state(), info)]
    for _ in range(branches[kind]):
        state, info = rng.choice(kept)
        env.restore_state(state)
        path = choose(info, 3)
        seen = play(path)
        if not seen[-1][2]:
            kept = [*kept[-100:], (env.clone_state(), seen[-1][4])]
        env.restore_state(state)
        assert play(path) == seen
        env.restore_state(state)
        assert env._running.commands == state.commands
    env.close()


def test_a_snapshot_outlives_its_interpreter_and_its_environment(meal):
    from oreo_envs.textworld.running import INTERPRETERS

    env, other = make(games=meal).unwrapped, make(games=meal).unwrapped
    env.reset(options={"game": 0})
    for command in ("look", "undo", "take cookbook"):
        env.step(command)
    state = env.clone_state()
    after = env.step("inventory")
    INTERPRETERS.close()
    env.restore_state(state)
    assert env.step("inventory") == after
    env.close()
    other.restore_state(pickle.loads(pickle.dumps(state)))
    assert other.step("inventory") == after
    INTERPRETERS.close()
    assert other.step("inventory")[0] == after[0]  # what was begun before goes on in a new one


def test_actions_can_be_tried_before_they_are_played(apple):
    env = OfferBranches(make(games=str(apple)))
    _, info = env.reset()
    tried = info["branch"].step("take apple")
    assert (tried.reward, tried.ended) == (1.0, True)
    assert info["branch"].step("look").ended is False
    assert env.step("take apple")[1:3] == (1.0, True)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_opens_the_game_anew(apple, copied):
    env = make(game=apple, render_mode="ansi", rewards="score", expert=True)
    observation, _ = env.reset()
    again = copied(env)
    assert (again.spec, again.unwrapped.render_mode, again.unwrapped.rewards) == (env.spec, "ansi", "score")
    assert again.reset()[0] == observation == again.render()
    assert env.step("look")[0] == again.step("look")[0]


def test_memory_stays_flat(apple):
    env = make(games=str(apple))
    resets = 500 if LONG else 60

    def measure():
        process = env.unwrapped._running._host._worker._process.pid
        sizes = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in ("self", process)]
        return [int(size) * os.sysconf("SC_PAGESIZE") / 2**20 for size in sizes]

    for number in range(resets):
        env.unwrapped.close()
        env.reset()
        env.step("look")
        if number == resets // 3:
            before = measure()
    after = measure()
    assert after[0] - before[0] < 8 and after[1] - before[1] < 8, (before, after)


# ---------------------------------------------------------------- many at once


def test_a_vector_environment_plays_as_single_ones(apple):
    vector = gym.make_vec("OREO-TextWorld", num_envs=3, games=str(apple))
    single = make(games=str(apple))
    opening, _ = single.reset()
    observations, _ = vector.reset(seed=1)
    assert list(observations) == [opening] * 3
    observations, rewards, terminations, _, _ = vector.step(["take apple", "look", "take carrot"])
    assert rewards.tolist() == [1.0, 0.0, 0.0] and terminations.tolist() == [True, False, False]
    assert observations[1] == single.step("look")[0]
    observations, _, terminations, _, _ = vector.step(["look", "take apple", "look"])
    assert observations[0] == opening and terminations.tolist() == [False, True, False]
    vector.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_way_of_starting_over(apple, mode):
    vector = gym.make_vec("OREO-TextWorld", num_envs=2, games=str(apple), autoreset_mode=mode)
    vector.reset(seed=0)
    vector.step(["take apple", "look"])
    if mode == AutoresetMode.DISABLED:
        import numpy as np

        vector.reset(options={"reset_mask": np.array([True, False])})
    observations, *_ = vector.step(["look", "look"])
    assert "Kitchen" in observations[0]
    vector.close()


def test_begun_work_must_be_finished_as_it_was_begun(apple):
    env = make(games=str(apple)).unwrapped
    env.begin_reset(options={"game": 0})
    env.reset(options={"game": 0})
    env.begin_step("take apple")
    with pytest.raises(ConfigurationError, match="must be followed by step"):
        env.step("look")
    assert env.step("take apple")[1] == 1.0
    with pytest.raises(ResetNeeded):
        env.begin_step("look")


# ---------------------------------------------------------------- files


def test_folders_files_and_lists_of_them(apple, tmp_path):
    for place in ("a", "b/c"):
        (tmp_path / place).mkdir(parents=True)
        for suffix in (".z8", ".json"):
            (tmp_path / place / f"game{suffix}").write_bytes(apple.with_suffix(suffix).read_bytes())
    (tmp_path / "notes.txt").write_text("no game")
    games = make(games=tmp_path).unwrapped.games
    assert list(games.names) == ["a/game.z8", "b/c/game.z8"] and games.made_on_demand is False
    assert games.index(tmp_path / "b/c/game.z8") == 1 and games.text(0) == apple.read_bytes()
    listed = make(games=[tmp_path / "b/c/game.z8", str(tmp_path / "a"), tmp_path / "a/game.z8"])
    assert list(listed.unwrapped.games.names) == ["b/c/game.z8", "a/game.z8"]
    _, info = listed.reset(options={"game": "a/game.z8"})
    assert info["game"] == "a/game.z8"
    with pytest.raises(DataNotFoundError, match="no game 'c'"):
        listed.reset(options={"game": "c"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match="no game file"):
        make(games=tmp_path / "empty")
    with pytest.raises(DataNotFoundError, match=r"none\.z8 is neither a game file .* nor one of cooking"):
        make(game=tmp_path / "none.z8")


def test_games_of_other_formats_play(tmp_path):
    path = tmp_path / "game.tw-pddl"
    path.write_text(GeneratedGames("generated").text(15))
    env = make(game=path, render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.unwrapped.render()
    observation, info = env.reset()
    assert observation == env.render() and "look" in info["admissible_commands"]
    assert env.step("look")[1:4] == (0.0, False, False)


def test_a_z_machine_game_without_textworlds_knowledge_plays(apple, tmp_path):
    bare = tmp_path / "bare.z8"
    bare.write_bytes(apple.read_bytes())
    env = make(game=bare)
    observation, info = env.reset()
    assert "-= Kitchen =-" in observation and info["admissible_commands"] == []
    state = env.unwrapped.clone_state()
    first = env.step("look")
    assert first[4]["action_status"] == "ok"
    env.unwrapped.restore_state(state)
    assert env.unwrapped.step("look") == first


@pytest.mark.parametrize("epsilon", [None, 0.6])
def test_random_players_have_something_to_say_where_no_commands_are_listed(apple, tmp_path, epsilon):
    from oreo_agents.agents.noise import NoisyAgent
    from oreo_agents.agents.scripted import ScriptedAgent
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.rollout.record import record

    (bare := tmp_path / "bare.z8").write_bytes(apple.read_bytes())
    episodes = []
    for name in ("first", "second"):
        agent = ScriptedAgent("expert" if epsilon else "random", "OREO-TextWorld")
        agent = NoisyAgent(agent, epsilon) if epsilon else agent
        record(agent, tmp_path / name, "OREO-TextWorld", games=str(bare), max_steps=12)
        episodes += load_trajectories(tmp_path / name)
    assert episodes[0].turns == episodes[1].turns
    noise = episodes[0].metadata["noise_turns"] if epsilon else range(12)
    said = {episodes[0].turns[turn].action for turn in noise}
    assert said <= set(COMMANDS) and len(said) > 2


def test_the_space_of_actions_takes_any_text_and_samples_commands(apple):
    env = make(games=str(apple))
    assert "action_space" not in env.reset()[1]
    env.action_space.seed(5)
    sampled = [env.action_space.sample() for _ in range(200)]
    env.action_space.seed(5)
    assert sampled == [env.action_space.sample() for _ in range(200)]
    assert set(sampled) == set(COMMANDS) and "say xyzzy" in env.action_space


def test_options_that_cannot_be(apple):
    with pytest.raises(ValueError, match="rewards='dense' is none of"):
        make(games=str(apple), rewards="dense")
    with pytest.raises(ConfigurationError, match="give one of them"):
        make(games=str(apple), challenge="cooking")


def test_damaged_games_are_refused(tmp_path, apple):
    for name, content in (
        ("bad.tw-pddl", b"{}"),
        ("bad.json", b"[]"),
        ("bad.zip", b"PK"),
        ("bad.ulx", b"Glul"),
    ):
        (tmp_path / name).write_bytes(content)
        env = make(game=tmp_path / name)
        with pytest.raises(GameFileError, match=name):
            env.reset()
        with pytest.raises(ResetNeeded):
            env.unwrapped.step("look")


def test_without_textworld_it_says_what_to_install(monkeypatch, apple):
    from importlib.metadata import PackageNotFoundError

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("oreo_envs.textworld.games.version", missing)
    with pytest.raises(ConfigurationError, match=r"pip install textworld.* a C compiler and make"):
        make(games=str(apple))
