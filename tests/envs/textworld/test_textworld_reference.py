"""The reference: a small part of benchmarks/correctness/alfworld_parity.py, and TextWorld's own games."""

import copy
import json
import os
import pickle
import subprocess
import sys
import warnings

import alfworld_parity as parity
import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.errors import DataNotFoundError, GameFileError
from varied_games import PackagedRules, VariedGames

textworld = pytest.importorskip("textworld")
pytest.importorskip("alfworld")

SMALL = 15
"""A generated game in a bathroom, which TextWorld loads faster than a kitchen."""

WALK = """
import json, sys
import alfworld_parity, fast_downward, quick_textworld
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.textworld_backend import TextWorldWorld

if sys.argv[1] == "quick":
    quick_textworld.remember_parses()
world, games = TextWorldWorld(), GeneratedGames("generated")
answers = []
for number in (15, 15):
    world.load(games.text(number), games.names[number])
    commands = alfworld_parity.CommandSource(games[number], seed=1)
    answers.append(world.reset())
    for _ in range(10):
        answers.append(world.step(commands.next(world.admissible_commands())))
        answers.append([world.won, world.score, world.admissible_commands()])
game = json.loads(games.text(15))
for optimize in (False, True):  # the planner's own translation has fewer variables
    sas = fast_downward.pddl2sas(game["pddl_domain"], game["pddl_problem"], optimize=optimize)[1]
    answers.append(sas.count("begin_variable"))
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def reference():
    from oreo_envs.alfworld.textworld_backend import TextWorldWorld

    return TextWorldWorld()


def test_generated_games_play_as_in_textworld(reference):
    games = GeneratedGames("generated")
    row = parity.compare(reference, games.text(SMALL), games.names[SMALL], steps=25, seed=0)
    assert row["difference"] is None
    assert row["steps"] == 25


@pytest.mark.parametrize("change", [PackagedRules, lambda games: VariedGames(games, 1)])
def test_games_as_no_archive_has_them_play_as_in_textworld(reference, change):
    games = change(GeneratedGames("generated")[SMALL : SMALL + 1])
    row = parity.compare(reference, games.text(0), games.names[0], steps=25, seed=0)
    assert row["difference"] is None
    assert row["steps"] == 25


@pytest.mark.parametrize("split", ["seen_games", "put_games"])
def test_real_games_play_as_in_textworld(reference, split, request):
    games = request.getfixturevalue(split)
    index = parity.choose(games, 1, seed=3)[0]
    row = parity.compare(reference, games.text(index), games.names[index], steps=25, seed=0)
    assert row["difference"] is None
    assert row["steps"] == 25


def test_a_difference_is_found_and_told(reference, monkeypatch):
    games = GeneratedGames("generated")
    monkeypatch.setattr("oreo_envs.alfworld.text.NOT_CARRYING", "Your hands are empty.")
    monkeypatch.setattr(parity.CommandSource, "next", lambda self, admissible: "inventory")
    difference = parity.compare(reference, games.text(SMALL), games.names[SMALL], steps=5, seed=0)[
        "difference"
    ]
    assert difference["what"] == "observation"
    assert difference["native"] == "Your hands are empty."
    assert difference["history"] == ["inventory"]


def test_textworld_without_repeated_work_answers_the_same():
    path = os.pathsep.join(sys.path)  # with benchmarks, which pyproject.toml adds for pytest
    plain, quick = (
        subprocess.run(
            [sys.executable, "-c", WALK, how], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE
        ).stdout
        for how in ("plain", "quick")
    )
    assert len(json.loads(plain)) == 2 * 21 + 2
    assert plain == quick


def test_both_backends_give_the_same_episode():
    episodes = []
    for backend in ("native", "textworld"):
        env = gym.make("OREO-ALFWorld", split="generated", backend=backend)
        episode = [env.reset(seed=0, options={"game": SMALL})]
        episode += [env.step(command) for command in ("look", "dance", *env.unwrapped.game.walkthrough)]
        state_is_kept = env.unwrapped.clone_state()
        env.unwrapped.restore_state(state_is_kept)
        episode.append(env.unwrapped.world.admissible_commands())
        episodes.append(episode)
    assert episodes[0] == episodes[1]
    assert episodes[0][-2][1:4] == (1.0, True, False)


def test_damaged_games_are_refused_by_the_reference_too(reference):
    with pytest.raises(GameFileError, match="TextWorld cannot load"):
        reference.load('{"grammar": "", "pddl_domain": "", "pddl_problem": ""}', "a/b")


def test_any_textworld_game_plays(tmp_path):
    path = tmp_path / "game.tw-pddl"
    path.write_text(GeneratedGames("generated").text(SMALL))
    env = gym.make("OREO-TextWorld", game=str(path), render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.unwrapped.render()
    observation, info = env.reset()
    assert observation == env.render()
    assert "look" in info["admissible_commands"]
    assert (info["won"], info["score"]) == (False, 0.0)
    observation, reward, terminated, truncated, info = env.step("look")
    assert (reward, terminated, truncated) == (0.0, False, False)
    env.unwrapped._ended = True
    with pytest.raises(ResetNeeded):
        env.step("look")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_of_a_textworld_game_opens_it_anew(tmp_path, copied):
    path = tmp_path / "game.tw-pddl"
    path.write_text(GeneratedGames("generated").text(SMALL))
    env = gym.make("OREO-TextWorld", game=str(path), render_mode="ansi")
    observation, _ = env.reset()
    again = copied(env)
    assert (again.spec, again.unwrapped.render_mode) == (env.spec, "ansi")
    assert again.reset()[0] == observation
    assert env.step("look")[0] == again.step("look")[0]


@pytest.mark.filterwarnings("ignore:Game .* is not fully supported")
def test_gymnasiums_checker_is_content_with_a_game_of_textworlds_own(tmp_path):
    maker = textworld.GameMaker()
    kitchen = maker.new_room("Kitchen")
    maker.set_player(kitchen)
    kitchen.add(maker.new(type="f", name="apple"))
    maker.set_quest_from_commands(["take apple"])
    maker.build().save(str(tmp_path / "game.json"))
    env = gym.make("OREO-TextWorld", game=str(tmp_path / "game.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.reset()
    _, reward, terminated, _, info = env.step("take apple")
    assert (reward, terminated, info["won"]) == (1.0, True, True)


def test_missing_and_damaged_textworld_games(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"none\.z8"):
        gym.make("OREO-TextWorld", game=str(tmp_path / "none.z8"))
    (tmp_path / "bad.tw-pddl").write_text("{}")
    with pytest.raises(GameFileError, match=r"bad\.tw-pddl"):
        gym.make("OREO-TextWorld", game=str(tmp_path / "bad.tw-pddl")).reset()
