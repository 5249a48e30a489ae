"""The scripts that a newcomer would write first, run as they stand, and the ways in which each is got wrong."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from oreo_agents import OreoAgent
from oreo_agents.errors import OreoError
from oreo_agents.models.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".sh"))
RUN = {
    "trl_user.py": ["start", "episodes", "agent"],
    "gymnasium_user.py": ["played"],
    "minari_user.py": ["episodes", "from-minari"],
    "notebook_user.py": ["episodes", "notebook"],
    "cluster_user.sh": ["start", "episodes", "out"],
}
WRONG = [
    ("trl_user.py", ["start", "nowhere", "agent"], "no recorded episodes here"),
    ("trl_user.py", ["nowhere", "episodes", "agent"], "nowhere does not exist; pass a folder"),
    ("cluster_user.sh", ["start", "nowhere", "out"], "no recorded episodes here"),
    ("notebook_user.py", ["start", "agent"], "no recorded episodes here"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A start and episodes of several games, won and lost."""
    from learning import LOSING, WINNING, episode

    from oreo_agents.dataset import TrajectoryWriter

    folder = tmp_path_factory.mktemp("examples")
    OreoAgent.from_pretrained("small").save_pretrained(folder / "start")
    with TrajectoryWriter(folder / "episodes") as writer:
        for i in range(4):
            writer.append(episode(WINNING, game=f"game-{i}", seed=i, agent="expert"))
            writer.append(episode(LOSING, won=False, game=f"game-{i}", seed=10 + i, agent="random"))
    return folder


@pytest.fixture
def run(folder, forks, monkeypatch):
    """Runs an example as its user would, a Python script in this process; raises what it ends with."""
    settings = {
        "MINARI_DATASETS_PATH": str(folder / "minari"),
        "ALFWORLD_DATA": "no-data",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }

    def run(name, words):
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.chdir(folder)
        script = ROOT / "examples" / name
        if name.endswith(".sh"):
            return run_shell(script, words, folder, forks)
        monkeypatch.setattr(sys, "argv", [str(script), *words])
        runpy.run_path(str(script), run_name="__main__")

    return run


def run_shell(script, words, folder, forks):
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "oreo-agents"
    command.write_text(f'#!/bin/sh\nexec "{forks.command}" -m oreo_agents "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["sh", str(script), *words], env=environment, capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def test_every_example_is_run_and_short():
    assert set(RUN) == set(EXAMPLES)
    for name in EXAMPLES:
        lines = (ROOT / "examples" / name).read_text().splitlines()
        assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 30, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_works_as_written(folder, run, name):
    run(name, RUN[name])
    agents = sorted(path.parent for path in folder.rglob("recipe.json"))
    assert agents and all(read_recipe(agent).steps for agent in agents)


@pytest.mark.parametrize(("name", "words", "said"), WRONG)
def test_a_wrong_use_ends_with_one_sentence_that_says_what_to_do(run, name, words, said):
    with pytest.raises((OreoError, RuntimeError), match=said) as ended:
        run(name, words)
    assert "\n" not in str(ended.value)


ADAPTERS = {"gem": "gem_env:GEM-v0", "textarena": "textarena_env:TextArena-v0"}
"""By the package that has to be there; ScienceWorld's starts a Java machine for each episode, and is tried by hand."""


@pytest.mark.parametrize(
    "file", sorted((ROOT / "examples" / "text_environments").glob("*.py")), ids=lambda p: p.stem
)
def test_an_adapter_is_fifteen_lines(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree) and not any(
        ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)
    )
    lines = file.read_text().splitlines()[tree.body[0].end_lineno :]
    assert len([line for line in lines if line.strip() and not line.lstrip().startswith("#")]) <= 15


@pytest.mark.parametrize("package", ADAPTERS)
def test_environments_of_others_are_recorded_and_verified(package, tmp_path, monkeypatch):
    from oreo_agents.cli import main

    pytest.importorskip(package, reason=f"pip install {package}, to try its adapter")
    monkeypatch.syspath_prepend(ROOT / "examples" / "text_environments")
    words = ["--env", ADAPTERS[package]]
    path = str(tmp_path / "episodes")
    assert main(["record", *words, "--agent", "random", "-n", "3", "--max-steps", "5", "-o", path]) == 0
    assert main(["dataset", "verify", path, *words]) == 0
