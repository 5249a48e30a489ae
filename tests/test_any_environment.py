"""Somebody else's text environments go the whole way by the command line, with no line written for them."""

import json
import re
import sys
from random import Random

import gymnasium as gym
import pytest
import text_environments  # registers them
from oreo_envs.foreign import read_seed

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.noise import Noise
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.train import EvalGames
from oreo_agents.rollout.loop import rollout

LIFT, ECHO = "text_environments:Lift-v0", "text_environments:Echo-v0"
TINY = ["--device", "cpu", "--batch-size", "8"]


@pytest.fixture(scope="module", params=[LIFT, ECHO], ids=["lift", "echo"])
def runs(request, tmp_path_factory):
    """Episodes of random players, and an agent that imitates the best of them."""
    folder = tmp_path_factory.mktemp("runs")
    record = ["record", "--env", request.param, "--agent", "random", "-n", "32", "--per-game", "4"]
    assert main([*record, "-o", str(folder / "random")]) == 0
    train = ["train", "--method", "sft", "--good", "50%", "--model", "tiny", "--steps", "2", *TINY]
    assert main([*train, "--data", str(folder / "random"), "-o", str(folder / "sft")]) == 0
    return request.param, folder


@pytest.mark.parametrize("method", ["oreo", "rejection"])
def test_it_is_trained_on(runs, method):
    _, folder = runs
    train = ["train", "--method", method, "--model", str(folder / "sft"), "--steps", "2", *TINY]
    assert main([*train, "--data", str(folder / "random"), "-o", str(folder / method)]) == 0


def test_recordings_are_verified_replayed_and_reported(runs, capsys):
    env, folder = runs
    data = str(folder / "random")
    assert main(["dataset", "verify", data, "--env", env]) == 0
    assert "32 of 32 episodes" in capsys.readouterr().out
    assert main(["replay", data, "--episode", "1", "--verify", "--env", env]) == 0
    assert "happened again exactly" in capsys.readouterr().out
    assert main(["report", data, "-o", str(folder / "report.html")]) == 0
    page = (folder / "report.html").read_text()
    assert ("<th>mean return<th>" in page) == (env == LIFT)
    assert len(set(load_trajectories(data).games)) == 8  # four times each


def test_without_its_module_the_files_alone_are_checked(runs, capsys, monkeypatch):
    env, folder = runs
    name = env.partition(":")[2]
    monkeypatch.delitem(gym.registry, name)
    assert main(["dataset", "verify", str(folder / "random")]) == 3
    said = capsys.readouterr().out
    assert (
        "every file as it was written" in said and f"nothing was replayed: the episodes are of {env}" in said
    )
    assert f"--env {env}" in said
    assert main(["replay", str(folder / "random"), "--verify"]) == 2


def test_it_is_judged_where_nobody_learnt(runs, capsys):
    env, folder = runs
    judge = ["eval", "--env", env, "--agent", str(folder / "sft"), "-n", "3", "--max-new-tokens", "4"]
    assert main([*judge, "-o", str(folder / "results.json")]) == 0
    assert "judged on seeds 2,000,000 to 2,999,999" in capsys.readouterr().out
    (result,) = json.loads((folder / "results.json").read_text())
    assert len(result["returns"]) == 3 and result["mean_return"] == pytest.approx(sum(result["returns"]) / 3)
    assert result["max_steps"] == (6 if env == LIFT else 50) and len(result["return_ci95"]) == 2
    defined = [result[key] is not None for key in ("successes", "success_rate", "wilson95", "won")]
    assert defined == [env == ECHO] * 4
    learnt = {int(game.removeprefix("seed ")) for game in load_trajectories(folder / "random").games}
    judged = {int(game.removeprefix("seed ")) for game in result["games"]}
    assert max(learnt) < 1_000_000 and min(judged) >= 2_000_000


def test_rounds_of_it(runs):
    env, folder = runs
    amounts = ["--iterations", "1", "--rollouts", "8", "--episodes", "2", "--method", "rejection"]
    amounts += ["--good", "25%"]  # there always are some; a policy that knows nothing wins little
    words = ["iterate", "--env", env, "--model", str(folder / "sft"), *amounts, "-o", str(folder / "rounds")]
    assert main(words) == 0
    found = json.loads((folder / "rounds" / "results.json").read_text())
    assert [one["round"] for one in found] == [0, 1] and len(found[0]["returns"]) == 2


def test_a_list_of_games_is_kept_apart():
    splits = {
        split: list(games_of(environments("text_environments:Spell-v0", split=split)()).names)
        for split in ("train", "dev", "test", "all")
    }
    assert splits["test"] == ["word 4", "word 9"] and splits["dev"] == ["word 3"]
    assert sorted([*splits["train"], *splits["dev"], *splits["test"]]) == splits["all"]
    env = environments("text_environments:Spell-v0", split="test")()
    assert env.reset(options={"game": 1})[0] == "Say j."
    assert env.reset(options={"game": "word 4"})[1]["game"] == "word 4"


def test_one_with_words_of_its_own_for_splits_is_recorded_and_judged(tmp_path, caplog, capsys):
    """What it refuses is asked of seeds, which are said; its own words are taken, on seeds of their own."""
    env, few = ["--env", "text_environments:Divided-v0", "-n", "3"], str(tmp_path / "few")
    assert main(["record", "--agent", "random", *env, "-o", str(tmp_path / "many")]) == 0
    assert not caplog.messages, "it knows train"
    judge = ["eval", "--agent", "random", *env]
    assert main([*judge, "-o", str(tmp_path / "test.json")]) == 0
    (said,) = caplog.messages
    assert "refuses split='test': seeds 2,000,000 to 2,999,999 stand for it" in said
    assert "judged on seeds 2,000,000 to 2,999,999" in capsys.readouterr().out
    assert main([*judge, "--split", "validation", "-o", str(tmp_path / "validation.json")]) == 0
    assert main(["record", "--agent", "random", *env, "--split", "validation", "-o", few]) == 0
    assert main(["dataset", "verify", few, *env[:2]]) == 0
    played = {
        name: {
            (one.turns[0].observation[:8], read_seed(one.game) // 1_000_000)
            for one in load_trajectories(tmp_path / name)
        }
        for name in ("many", "test.episodes", "validation.episodes", "few")
    }
    assert played == {
        "many": {("One of m", 0)},
        "test.episodes": {("One of m", 2)},
        "validation.episodes": {("One of f", 1)},
        "few": {("One of f", 1)},
    }
    assert main([*judge, "--split", "validatoin"]) == 2


def test_a_list_that_is_divided_in_its_own_words_asks_for_one_of_them():
    env_id = "text_environments:DividedWords-v0"
    with pytest.raises(ConfigurationError, match=r"refuses split='test' \(no split test\): .* with --split"):
        environments(env_id, split="test")
    assert list(games_of(environments(env_id, split="hard")()).names) == [f"word {i}" for i in range(4, 10)]


def test_the_return_that_the_registration_names_is_success():
    make = environments("text_environments:Goal-v0")
    won = {}
    for game in range(40):
        (episode,) = rollout(make, [Assignment(game, game)], ScriptedAgent("random", LIFT))
        won[episode.success] = episode
    assert won[True].return_ >= 15 and won[False].return_ < 15
    asked = environments(LIFT, success_return=-4.0)
    (episode,) = rollout(asked, [Assignment(won[False].game, won[False].seed)], ScriptedAgent("random", LIFT))
    assert episode.success == (episode.return_ >= -4.0)


@pytest.mark.parametrize("name", [LIFT, ECHO])
def test_actions_are_tried_without_being_played(name):
    """By copies where it can be copied, by playing again where not: the episode is as it would have been."""
    make = environments(name, branches=True)
    env, plain = make(), make()
    (observation, info), _ = env.reset(options={"game": "seed 5"}), plain.reset(options={"game": "seed 5"})
    first, second = ("up", "open") if name == LIFT else (observation[4], observation[5])
    tried = info["branch"].step(first)
    assert tried.step(second).ended and tried.step(second).turns == 2
    for action in (first, second):
        assert env.step(action)[:4] == plain.step(action)[:4]


def test_a_person_goes_back(capsys, monkeypatch):
    lines = iter(["b", "undo", "quit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    assert main(["play", "--env", ECHO, "--seed", "3"]) == 0
    assert "Taken back." in capsys.readouterr().out


def test_noise_without_commands_is_any_action(tmp_path):
    told = {"action_space": text_environments.Echo.action_space}
    noise = Noise(0.5, Random(0))
    said = [noise.disturb("hello", told) for _ in range(40)]
    assert set(said) == {"hello", "a", "b"}
    assert main(["record", "--env", ECHO, "--agent", "expert", "-n", "1", "-o", str(tmp_path / "a")]) == 2
    assert not (tmp_path / "a").exists()


def test_an_unknown_module_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["record", "--env", "no_such_module:Lift-v0", "-o", "x"])
    assert "no_such_module" in capsys.readouterr().err
    assert main(["record", "--env", "text_environments:Nothing-v0", "-o", "x"]) == 2
    assert "text_environments has no environment 'Nothing-v0'; it registers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            "clinic:Lift-v0",
            r"run the command in the folder where clinic.py lies, set PYTHONPATH to that folder",
        ),
        (
            "mine/clinic.py:Lift-v0",
            r"mine/clinic.py is a file.* in mine with --env clinic:Lift-v0, or set PYTHONPATH",
        ),
        ("mine/clinic:Lift-v0", r"mine/clinic is a file.* in mine with --env clinic:Lift-v0"),
        ("clinic.py:Lift-v0", r"run the command in this folder with --env clinic:Lift-v0"),
        ("needy:Lift-v0", "no module named 'no_such_thing': install it"),
    ],
)
def test_a_module_that_is_not_found_is_told_where_to_lie(tmp_path, monkeypatch, named, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needy.py").write_text("import no_such_thing")
    with pytest.raises(ConfigurationError, match=message):
        environments(named)


BROKEN = {
    "ValueError: no number": "raise ValueError('no number')",
    "NameError: name 'Txt' is not defined": "Txt()",
    "FileNotFoundError: .*nowhere.txt'": "open('nowhere.txt')",
}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        *BROKEN.items(),
        ("SyntaxError: invalid syntax", "def (:"),
        ("SystemExit: 3", "raise SystemExit(3)"),
        ("Malformed environment ID", "gym.register('a b', 1)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(tmp_path, monkeypatch, capsys, message, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    (tmp_path / "broken.py").write_text(f"import gymnasium as gym\n{code}")
    with pytest.raises(
        ConfigurationError, match=rf"^broken cannot be imported: .*{message}.* \(broken.py, line 2"
    ):
        environments("broken:Lift-v0")
    with pytest.raises(SystemExit):
        main(["record", "--env", "broken:Lift-v0", "-o", "x"])
    assert re.search(rf"--env: broken cannot be imported: .*{message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("message", "code"), [*BROKEN.items(), ("KeyError: 'a'", "{}['a']"), ("AssertionError", "assert 0")]
)
def test_an_environment_that_cannot_be_made_is_told_with_its_line(tmp_path, monkeypatch, message, code):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unmade", raising=False)
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    (tmp_path / "unmade.py").write_text(
        f"import gymnasium as gym\nclass Unmade(gym.Env):\n  def __init__(self):\n    {code}\n"
        "gym.register('Unmade-v0', Unmade)"
    )
    where = r"\(unmade.py, line 4, in __init__\)$"
    with pytest.raises(ConfigurationError, match=rf"^unmade:Unmade-v0 cannot be made: {message} {where}"):
        environments("unmade:Unmade-v0", split="train")


def test_what_is_missed_is_said():
    from oreo_envs.testing import check_text_env, list_missing

    with pytest.raises(
        AssertionError, match=r"a step after the end must raise .*after_end=False does not ask for it"
    ):
        check_text_env(lambda: gym.make("Lift-v0"), ["up", "open"])

    check_text_env(lambda: gym.make("Lift-v0"), ["up", "open"], after_end=False)
    assert [line.split(":")[0] for line in list_missing(gym.make("Lift-v0"))] == [
        "info has no won",
        "info has no action_status",
        "info has no task",
        "info has no expert_plan",
    ]
    assert "max_episode_steps" in list_missing(gym.make("Echo-v0"))[-1]
    assert not any("won" in line.split(":")[0] for line in list_missing(gym.make("Goal-v0")))

    class Counting(text_environments.Lift):
        opened = 0

        def step(self, action):
            Counting.opened += action == "open"
            return f"Opened {Counting.opened} times.", *super().step(action)[1:]

    with pytest.raises(AssertionError, match="an episode is its seed"):
        check_text_env(lambda: gym.wrappers.OrderEnforcing(Counting()), ["up", "up", "open"], after_end=False)


def test_a_space_that_lacks_characters_is_explained():
    from oreo_envs.testing import check_text_env

    class Terse(text_environments.Lift):
        observation_space = gym.spaces.Text(500)

    with pytest.raises(AssertionError, match=r"its charset has no ' \.'; take oreo_envs.spaces.Text\(\)"):
        check_text_env(lambda: gym.wrappers.OrderEnforcing(Terse()), ["up"], after_end=False)


def test_what_is_no_option_no_split_and_no_text_is_said_in_one_sentence():
    with pytest.raises(ConfigurationError, match="OREO-ALFWorld has no option 'splt': did you mean split"):
        environments("OREO-ALFWorld", splt="generated")
    with pytest.raises(ConfigurationError, match="no split 'generated_unsen': did you mean generated_unseen"):
        EvalGames(split="generated_unsen")
    env = environments("OREO-ALFWorld", split="generated")()
    env.reset(seed=1)
    with pytest.raises(gym.error.InvalidAction, match="An action is a text"):
        env.step(3)
