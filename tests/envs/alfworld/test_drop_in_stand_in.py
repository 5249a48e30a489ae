"""Programs written for alfworld where neither alfworld nor TextWorld is installed."""

import io
import json
import os
import random
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from oreo_envs.alfworld import drop_in
from oreo_envs.alfworld.drop_in import stand_in
from oreo_envs.alfworld.install import write_games
from oreo_envs.errors import UnsupportedGameError

from oreo_agents import load_trajectories

ROOT = Path(__file__).resolve().parents[3]

WITHOUT_ALFWORLD = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in ("alfworld", "textworld"):
            return super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""

NEW_FORM = """
import numpy as np
import alfworld.agents.modules.generic as generic
from alfworld.agents.environment import get_environment

config = generic.load_config()
env = get_environment(config["env"]["type"])(config, train_eval="train")
env = env.init_env(batch_size=1)
obs, info = env.reset()
done = [False]
while not done[0]:
    command = np.random.choice(list(info["admissible_commands"])[0])
    obs, scores, done, info = env.step([command])
print("played", obs[0])
"""
OLD_FORM = NEW_FORM.replace(
    "from alfworld.agents.environment import get_environment",
    "import alfworld.agents.environment as environment",
).replace('get_environment(config["env"]["type"])', 'getattr(environment, config["env"]["type"])')
ENVIRONMENT = "alfworld.agents.environment"
INSTALL = "from oreo_envs.alfworld import drop_in\ndrop_in.install()\n"

CHILDREN = """
import multiprocessing
import sys

def play(config):
    import alfworld.agents.environment as environment
    env = environment.AlfredTWEnv(config, train_eval="eval_in_distribution").init_env(batch_size=2)
    env.reset()
    return env.step(["look", "dance"])

if __name__ == "__main__":
    method = sys.argv.pop()
    from alfworld.agents.modules.generic import load_config
    config = load_config()
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.map(play, [config])
        pool.close()
        pool.join()
    print("alike", there == [play(config)])
"""


def make_config(method="dqn", expert="handcoded", shuffle=False, limit=8, count=-1):
    games = "$ALFWORLD_DATA/json_2.1.1/"
    return {
        "dataset": {
            "data_path": games + "train",
            "eval_id_data_path": games + "valid_seen",
            "eval_ood_data_path": games + "valid_unseen",
            "num_train_games": count,
            "num_eval_games": count,
        },
        "logic": {
            "domain": "$ALFWORLD_DATA/logic/alfred.pddl",
            "grammar": "$ALFWORLD_DATA/logic/alfred.twl2",
        },
        "env": {
            "type": "AlfredTWEnv",
            "domain_randomization": shuffle,
            "task_types": [1, 2, 3, 4, 5, 6],
            "expert_type": expert,
            "goal_desc_human_anns_prob": 0.0,
        },
        "general": {"training_method": method},
        "rl": {"training": {"max_nb_steps_per_episode": limit}},
        "dagger": {"training": {"max_nb_steps_per_episode": limit}},
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Generated games where alfworld's configuration looks for them."""
    root = tmp_path_factory.mktemp("data")
    write_games(root / "json_2.1.1" / "train", 6)
    write_games(root / "json_2.1.1" / "valid_seen", 6, seed=1)
    return root


@pytest.fixture
def here(data, monkeypatch):
    """The data for this process."""
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    return data


@pytest.fixture
def run(data, tmp_path):
    """Run Python with the arguments, and without alfworld and TextWorld."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(WITHOUT_ALFWORLD)
    (tmp_path / "config.json").write_text(json.dumps(make_config("dagger")))  # JSON is YAML
    places = [tmp_path / "hidden", ROOT / "envs", ROOT]
    settings = {"PYTHONPATH": os.pathsep.join(map(str, places)), "ALFWORLD_DATA": str(data)}

    def run_python(*arguments, **more):
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **settings, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run_python


def make_batch(batch_size=1, split="eval_in_distribution", **config):
    with redirect_stdout(io.StringIO()):
        return stand_in.AlfredTWEnv(make_config(**config), train_eval=split).init_env(batch_size)


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("program", [NEW_FORM, OLD_FORM])
def test_alfworlds_first_program_runs(run, tmp_path, program):
    """With its own configuration, whose expert is not here."""
    (tmp_path / "install.py").write_text(INSTALL + program)
    done = run("install.py", "config.json")
    assert (done.returncode, "\nplayed " in done.stdout) == (0, True), done.stderr
    assert "Overall we have 6 games in split=train\nTraining with 6 games" in done.stdout
    assert (
        "infos have no extra.expert_plan and no facts here: the handcoded expert takes alfworld"
        in done.stderr
    )

    (tmp_path / "program.py").write_text(program)
    assert "No module named 'alfworld'" in run("program.py", "config.json").stderr
    done = run("-m", "oreo_envs.alfworld.drop_in", "--record", "kept", "program.py", "config.json")
    assert (done.returncode, "\nplayed " in done.stdout) == (0, True), done.stderr
    counts = re.search(
        r"drop_in: 1 episodes, (\d) steps, \d+\.\d\d s in the environment$", done.stderr.strip()
    )
    (folder,) = (tmp_path / "kept").iterdir()
    assert counts is not None
    assert [(len(episode.turns), episode.agent) for episode in load_trajectories(folder)] == [
        (int(counts[1]), "program")
    ]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_that_a_program_starts_have_the_names(run, tmp_path, method):
    if not hasattr(os, "fork") and method != "spawn":
        pytest.skip("there is no fork")
    (tmp_path / "children.py").write_text(CHILDREN)
    done = run("-m", "oreo_envs.alfworld.drop_in", "children.py", "config.json", method)
    assert done.stdout.endswith("alike True\n"), done.stderr
    assert "drop_in: 4 episodes, 4 steps" in done.stderr


def test_what_a_killed_process_has_played_is_counted(run, tmp_path):
    """As Ray kills its workers."""
    (tmp_path / "killed.py").write_text(
        "import multiprocessing, os\n"
        "def play():\n"
        "    from alfworld.agents.environment import get_environment\n"
        "    from alfworld.agents.modules.generic import load_config\n"
        "    env = get_environment('AlfredTWEnv')(load_config(), 'eval_in_distribution').init_env(1)\n"
        "    env.reset()\n"
        "    while not env.step(['look'])[2][0]: pass\n"
        "    os._exit(3)\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=play)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    done = run("-m", "oreo_envs.alfworld.drop_in", "killed.py", "config.json")
    assert "drop_in: 1 episodes, 8 steps" in done.stderr, done.stderr


def test_episodes_that_a_program_leaves_are_recorded(run, tmp_path):
    (tmp_path / "leaving.py").write_text(
        "from alfworld.agents.environment import get_environment\n"
        "from alfworld.agents.modules.generic import load_config\n"
        "def play(steps):\n"
        "    env = get_environment('AlfredTWEnv')(load_config(), 'eval_in_distribution').init_env(2)\n"
        "    for _ in range(steps):\n"
        "        env.reset()\n"
        "        env.step(['look', 'dance'])\n"
        "play(2)\n"
        "play(1)\n"
    )
    done = run("-m", "oreo_envs.alfworld.drop_in", "--record", "kept", "leaving.py", "config.json")
    assert "drop_in: 6 episodes, 6 steps" in done.stderr, done.stderr
    episodes = load_trajectories(tmp_path / "kept")
    assert [(len(episode.turns), episode.terminated, episode.truncated) for episode in episodes] == [
        (1, False, False)
    ] * 6


def test_importing_it_changes_nothing(run):
    done = run(
        "-c",
        "import os, sys, oreo_envs.alfworld\n"
        "before = list(sys.meta_path), dict(os.environ)\n"
        "from oreo_envs.alfworld import drop_in\n"
        "assert 'alfworld' not in sys.modules and before == (sys.meta_path, os.environ)\n"
        "with drop_in.installed():\n"
        "    from alfworld.agents.environment.alfred_tw_env import TASK_TYPES\n"
        "    assert TASK_TYPES[6] == 'pick_two_obj_and_place'\n"
        "assert before == (sys.meta_path, os.environ)\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'alfworld']\n"
        "import alfworld\n",
    )
    assert "ModuleNotFoundError: No module named 'alfworld'" in done.stderr.splitlines()[-1]


def test_alfworlds_default_folder_is_set_as_alfworld_sets_it(run):
    done = run(
        "-c",
        "import os\ndel os.environ['ALFWORLD_DATA']\n" + INSTALL + "from alfworld.info import ALFWORLD_DATA\n"
        "assert ALFWORLD_DATA == os.environ['ALFWORLD_DATA']\nprint(ALFWORLD_DATA)\n"
        "drop_in.uninstall()\nassert 'ALFWORLD_DATA' not in os.environ\n",
    )
    assert done.stdout.strip() == os.path.expanduser("~/.cache/alfworld"), done.stderr


@pytest.mark.parametrize(
    ("statement", "what", "package"),
    [
        (f"from {ENVIRONMENT} import AlfredThorEnv", f"{ENVIRONMENT}.AlfredThorEnv", "'alfworld[full]'"),
        (f"import {ENVIRONMENT} as e; e.AlfredThorEnv", f"{ENVIRONMENT}.AlfredThorEnv", "'alfworld[full]'"),
        (f"import {ENVIRONMENT} as e; e.get_environment('AlfredHybrid')", "AlfredHybrid", "'alfworld[full]'"),
        (f"from {ENVIRONMENT}.alfred_tw_env import AlfredDemangler", "AlfredDemangler", "alfworld"),
        ("from alfworld.agents.expert import HandCodedTWAgent", "alfworld.agents.expert", "alfworld"),
        ("from alfworld.agents.modules.generic import pad_sequences", "pad_sequences", "'alfworld[full]'"),
        ("import alfworld.agents.detector.mrcnn", "alfworld.agents.detector", "'alfworld[full]'"),
        ("import textworld.gym", "a program that uses TextWorld itself", "alfworld"),
    ],
)
def test_what_is_missing_says_what_to_install(run, statement, what, package):
    done = run("-c", INSTALL + statement)
    last = done.stderr.splitlines()[-1]
    assert f"{what} takes alfworld and TextWorld: pip install {package} (Python below 3.13" in last


def test_textworld_without_alfworld_is_played_natively_too(run, tmp_path, data):
    pytest.importorskip("textworld")
    (tmp_path / "hidden" / "sitecustomize.py").write_text(WITHOUT_ALFWORLD.replace(', "textworld"', ","))
    game = next((data / "json_2.1.1" / "train").rglob("game.tw-pddl"))
    done = run(
        "-c",
        INSTALL + "import alfworld.agents.environment as environment, textworld\n"
        f"env = textworld.start({str(game)!r}, textworld.EnvInfos(won=True))\n"
        "print(type(env).__name__, environment.AlfredTWEnv.__module__.rpartition('.')[2], env.reset().won)\n"
        "drop_in.uninstall()\nprint(textworld.envs.PddlEnv.__module__)\n",
    )
    assert done.stdout.splitlines() == ["NativePddlEnv stand_in False", "textworld.envs.pddl.pddl"], (
        done.stderr
    )


def test_names_can_be_looked_for(run):
    done = run(
        "-c",
        INSTALL + "import importlib.util\nimport alfworld.agents.environment as environment\n"
        "print(hasattr(environment, 'AlfredTWEnv'), hasattr(environment, 'AlfredThorEnv'))\n"
        "print(importlib.util.find_spec('alfworld').name)\n",
    )
    assert done.stdout == "True False\nalfworld\n", done.stderr


# ---------------------------------------------------------------- records


def play(make_env, batch_size, split, seed, skip, **config):
    """All that a program is told: by random commands, some of which nobody understands."""
    random.seed(5)
    draw = random.Random(6)
    with redirect_stdout(io.StringIO()) as said:
        env = make_env(make_config(**config), train_eval=split).init_env(batch_size)
    told = [said.getvalue(), env.seed(seed) if seed else None, env.skip(skip)]
    for _ in range(4):
        told.append(env.reset())
        infos = told[-1][1]
        for step in range(10):
            choices = [[*known[step % 3 :], "dance", " look "] for known in infos["admissible_commands"]]
            told.append(env.step([draw.choice(choice) for choice in choices]))
            infos = told[-1][3]
        for mode in ("text", "ansi", "human"):
            with redirect_stdout(io.StringIO()) as shown:
                drawn = env.render(mode)
            told.append((getattr(drawn, "getvalue", lambda drawn=drawn: drawn)(), shown.getvalue()))
    env.close()
    return [*told, random.random()]


def add_types(value):
    if isinstance(value, dict):
        return {key: add_types(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [add_types(entry) for entry in value]
    return type(value), value


@pytest.mark.parametrize(
    ("batch_size", "split", "seed", "skip", "config"),
    [
        (1, "eval_in_distribution", None, 0, {}),
        (1, "train", 3, 4, {"count": 3, "limit": 50}),
        (4, "train", 9, 1, {"limit": 5}),
        (1, "train", None, 0, {"shuffle": True}),
        (3, "eval_in_distribution", None, 0, {"method": "dagger", "limit": 0}),
    ],
)
def test_records_are_those_of_alfworld_over_textworld(here, batch_size, split, seed, skip, config):
    """Over the drop-in, which other tests hold against TextWorld's own engine."""
    pytest.importorskip("alfworld")
    pytest.importorskip("textworld")
    mine = play(stand_in.AlfredTWEnv, batch_size, split, seed, skip, **config)
    with drop_in.installed():
        from alfworld.agents.environment import get_environment

        theirs = play(get_environment("AlfredTWEnv"), batch_size, split, seed, skip, **config)
    assert add_types(mine) == add_types(theirs)


def test_a_game_that_is_over_repeats_its_last_result(here):
    env = make_batch(limit=2)
    env.reset()
    env.step(["look"])
    last = env.step(["dance"])
    assert (last[1], last[2], last[3]["won"]) == ((0,), (True,), [False])
    assert env.step(["inventory"]) == last
    assert env.reset()[1]["won"] == [False] and env.step(["look"])[2] == (False,)


@pytest.mark.filterwarnings("ignore:policy_commands and the planner")
def test_the_planner_expert_wins(here):
    env = make_batch(2, "train", method="dagger", expert="planner", limit=50)
    infos, dones = env.reset()[1], (False, False)
    while not all(dones):
        assert infos["policy_commands"] == infos["extra.expert_plan"]
        commands = [plan[0] if plan else "look" for plan in infos["extra.expert_plan"]]
        _, scores, dones, infos = env.step(commands)
    assert scores == (1, 1) and infos["won"] == [True, True]


@pytest.mark.filterwarnings("ignore:infos have no extra.expert_plan")
def test_the_handcoded_expert_is_missed_where_it_is_asked(here):
    env = make_batch(split="train", method="dagger")
    _, infos = env.reset()
    assert infos == {key: infos[key] for key in ("won", "admissible_commands", "extra.gamefile")}
    with pytest.raises(ImportError, match="the handcoded expert, takes alfworld and TextWorld: pip install"):
        infos["extra.expert_plan"]
    with pytest.raises(KeyError):
        infos["description"]


@pytest.mark.parametrize(
    ("method", "expert", "error"), [("ppo", "planner", NotImplementedError), ("dagger", "oracle", ValueError)]
)
def test_unknown_names_are_refused_as_by_alfworld(here, method, expert, error):
    with pytest.raises(error):
        make_batch(split="train", method=method, expert=expert)
    with pytest.raises(NotImplementedError, match=r"Environment Alfred is not implemented\."):
        stand_in.get_environment("Alfred")


def test_an_environment_with_games_of_ones_own(here):
    """As AgentBench and AgentGym make it."""

    class OneGame(stand_in.AlfredTWEnv):
        def __init__(self, config, game):
            self.config, self.train_eval = config, "eval_out_of_distribution"
            self.game_files, self.num_games = [game], 1
            self.get_game_logic()

    game = str(next((here / "json_2.1.1" / "valid_seen").rglob("game.tw-pddl")))
    env = OneGame(make_config(), game)
    assert env.game_logic == {"pddl_domain": "", "grammar": ""}
    assert env.init_env(batch_size=1).reset()[1]["extra.gamefile"] == [game]


# ---------------------------------------------------------------- what can be wrong


def test_an_empty_pool_is_said(here):
    with pytest.warns(UserWarning, match=r"no game of .*valid_unseen can be played here"):
        env = make_batch(split="eval_out_of_distribution")
    for call in (env.reset, env.skip):
        with pytest.raises(FileNotFoundError, match="there are no games in the pool"):
            call()


def test_damaged_games_raise_what_textworld_raises(tmp_path):
    def begin(text):
        (tmp_path / "game.tw-pddl").write_text(text)
        stand_in.GameBatch([str(tmp_path / "game.tw-pddl")], 1, 50).reset()

    for text, error in [("{", json.JSONDecodeError), ("{}", KeyError)]:
        with pytest.raises(error) as raised:
            begin(text)
        assert "game.tw-pddl: " in raised.value.__notes__[0]
    with pytest.raises(FileNotFoundError):
        stand_in.GameBatch([str(tmp_path / "none")], 1, 50).reset()
    with pytest.raises(UnsupportedGameError) as unknown:
        begin(json.dumps({"pddl_domain": "", "grammar": "", "pddl_problem": ""}))
    assert "such a game takes alfworld and TextWorld" in unknown.value.__notes__[0]


def test_random_names_are_all_there(here):
    random.seed(1)
    env = make_batch(split="train", shuffle=True)
    plain = make_batch(split="train")
    shown, usual = env.reset()[0][0], plain.reset()[0][0]
    assert shown != usual and sorted(re.findall(r"\w+ \d+", shown)) == sorted(re.findall(r"\w+ \d+", usual))
    state = np.random.get_state()[1].tolist()
    env.step(["look"])
    assert np.random.get_state()[1].tolist() == state
