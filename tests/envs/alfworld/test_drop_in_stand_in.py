"""Where alfworld or TextWorld is missing, its names lead to an environment that shows what alfworld's shows."""

import importlib
import sys
from pathlib import Path

import drop_in_parity as parity
import pytest
from oreo_envs.alfworld import drop_in

WAYS = ("getattr", "get_environment", "game_files", "batch of 6")


@pytest.fixture
def alone(monkeypatch):
    """The drop-in where TextWorld cannot be imported."""
    monkeypatch.setitem(sys.modules, "textworld", None)
    with drop_in.installed():
        yield
    assert not any(module.__doc__.startswith("Stands in") for module in find_alfworld() if module.__doc__)


def find_alfworld():
    return [
        module
        for name, module in sys.modules.items()
        if name.split(".")[0] == "alfworld" and module is not None
    ]


@pytest.mark.parametrize("way", WAYS)
def test_it_shows_what_the_engine_under_textworld_shows(trials, monkeypatch, way):
    pytest.importorskip("textworld")
    pytest.importorskip("alfworld")
    theirs, ours = (parity.Scene(trials[:4], trials[0].parents[2]) for _ in range(2))
    with drop_in.installed():
        parity.watch(parity.WAYS[way], theirs)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "textworld", None)
        with drop_in.installed():
            parity.watch(parity.WAYS[way], ours)
    assert len(ours.seen) == len(theirs.seen) > 4
    for pair in zip(theirs.seen, ours.seen, strict=True):
        assert parity.find_difference(*map(parity.describe, pair)) is None


def test_a_subclass_plays_one_game(trials, alone):
    scene = parity.Scene(trials[:2], trials[0].parents[2])
    parity.watch(parity.enter_by_subclass, scene)
    assert [values[-1]["won"] for values in scene.seen if len(values) == 4][-1] == [True]


def test_the_planner_expert_wins(trials, alone):
    environment = importlib.import_module("alfworld.agents.environment")
    config = parity.make_config(parity.Scene(trials, trials[0].parents[2]), method="dagger", expert="planner")
    env = environment.AlfredTWEnv(config, train_eval="train").init_env(batch_size=2)
    _, infos = env.reset()
    for _ in range(50):
        _, scores, dones, infos = env.step([*map(choose_first, infos["extra.expert_plan"])])
        if all(dones):
            break
    assert (scores, infos["won"], infos["extra.expert_plan"]) == ((1, 1), [True, True], [[], []])


def choose_first(plan):
    return plan[0] if plan else "look"


def test_what_takes_textworld_says_so(trials, alone):
    environment = importlib.import_module("alfworld.agents.environment")
    with pytest.raises(
        ImportError, match=r"AlfredThorEnv takes alfworld and TextWorld: pip install alfworld"
    ):
        environment.get_environment("AlfredThorEnv")
    with pytest.raises(ImportError, match="pip install alfworld"):
        importlib.import_module("alfworld.agents.agent")
    with pytest.raises(ImportError, match="pip install alfworld"):
        environment.AlfredHybrid  # noqa: B018
    config = parity.make_config(parity.Scene(trials, trials[0].parents[2]), method="dagger")
    env = environment.AlfredTWEnv(config, train_eval="train")
    with pytest.raises(ImportError, match="the handcoded expert takes alfworld"):
        env.init_env(batch_size=1)
    env.config["general"]["training_method"] = "ppo"
    with pytest.raises(NotImplementedError):
        env.init_env(batch_size=1)


def test_the_configuration_is_read_from_the_command_line(alone, tmp_path, monkeypatch):
    generic = importlib.import_module("alfworld.agents.modules.generic")
    (tmp_path / "base.yaml").write_text("env: {type: AlfredTWEnv}\nrl: {training: {limit: 50}}\n")
    words = ["agent.py", str(tmp_path / "base.yaml"), "-p", "rl.training.limit=7", "env.type=Other"]
    monkeypatch.setattr(sys, "argv", words)
    assert generic.load_config() == {"env": {"type": "Other"}, "rl": {"training": {"limit": "7"}}}


def test_an_empty_pool_is_an_error_not_a_wait(alone, tmp_path):
    environment = importlib.import_module("alfworld.agents.environment")
    with pytest.warns(UserWarning, match="no game of"):
        env = environment.AlfredTWEnv(parity.make_config(parity.Scene([], Path(tmp_path))))
    with pytest.raises(FileNotFoundError, match="no games in the pool"):
        env.init_env(batch_size=1).reset()
