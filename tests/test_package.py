"""The shape of the house: what imports what, and what a plain import costs."""

import ast
import importlib
import inspect
import shutil
import subprocess
import sys
import tomllib
import typing
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "alfworld",
    "matplotlib",
    "prompt_toolkit",
    "pyarrow",
    "rich",
    "textual",
    "textworld",
    "torch",
    "transformers",
)
AGENT_MODULES = sorted((ROOT / "oreo_agents").rglob("*.py"))
MODULES = [*AGENT_MODULES, *sorted((ROOT / "envs" / "oreo_envs").rglob("*.py"))]
ONE_WORD = {
    *(
        "describe",
        "environments",
        "evaluate",
        "grade",
        "install",
        "installed",
        "main",
        "record",
        "replay",
        "rollout",
    ),
    *("train", "uninstall"),
}
"""Functions whose name is the verb of the field, or their command's, and says all."""


def definitions(kind):
    """Where each class or function of the modules' top level is defined: name and file."""
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, kind):
                yield node.name.strip("_"), str(path.relative_to(ROOT))


def loaded_by(statement):
    script = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import oreo_agents", "import oreo_envs", "import oreo_agents.cli"])
def test_importing_stays_light(statement):
    assert loaded_by(statement).isdisjoint(HEAVY)


def test_the_probe_sees_heavy_modules():
    assert "rich" in loaded_by("import oreo_agents, rich")


def test_rooms_import_one_way(monkeypatch, capfd):
    """The contracts of pyproject.toml, function-level imports included."""
    monkeypatch.chdir(ROOT)
    assert lint_imports() == 0, capfd.readouterr().out


def test_arguments_are_parsed_in_the_command_line_alone():
    parsing = [path for path in AGENT_MODULES if "argparse" in path.read_text(encoding="utf-8")]
    assert {path.parent.name for path in parsing} == {"cli"}


def test_a_class_name_means_one_thing():
    homes = defaultdict(list)
    for name, path in definitions(ast.ClassDef):
        homes[name].append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_functions_are_named_with_a_verb_and_a_noun():
    """A special name like ``__getattr__`` is the language's."""
    functions = {
        (name, path) for name, path in definitions(ast.FunctionDef) if name not in ("dir", "getattr")
    }
    one_word = {(name, path) for name, path in functions if "_" not in name}
    odd = {(name, path) for name, path in one_word if name not in ONE_WORD}
    assert odd == set()
    assert {name for name, _ in one_word} >= ONE_WORD


@pytest.mark.parametrize("name", ["oreo_agents", "oreo_envs"])
def test_public_names_are_sorted_and_exist(name):
    package = importlib.import_module(name)
    public = getattr(package, "__all__", [])
    assert public == sorted(public)
    missing = [attribute for attribute in public if not hasattr(package, attribute)]
    assert not missing


@pytest.mark.parametrize("name", ["oreo_agents", "oreo_envs"])
def test_public_names_are_complete(name):
    """What the package re-exports on purpose (`from .x import y as y` or a lazy name) is in `__all__`."""
    source = Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")
    exported = {
        alias.asname
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    public = set(getattr(importlib.import_module(name), "__all__", []))
    assert exported <= public


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(("options", "games"), [("", True), ("--env=OREO-Reasoning", False)])
def test_the_demo_gets_alfworlds_games_where_it_plays_them(options, games):
    command = ["make", "--dry-run", "demo", "ALFWORLD_DATA=/games", f"ARGS={options}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ('--games "/games"' in done.stdout) == games


def test_the_package_shows_what_there_is_to_use():
    package = importlib.import_module("oreo_agents")
    shown = {name for name in dir(package) if not name.startswith("__")}
    assert shown == {*package.__all__, "oreo_envs"}
    assert package.__version__ == metadata.version("oreo-agents")
    with pytest.raises(AttributeError, match="no attribute 'OreoTrainr'"):
        package.OreoTrainr  # noqa: B018 (asking is the test)


def test_the_package_is_its_command_line():
    command = [sys.executable, "-m", "oreo_agents", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"oreo-agents {metadata.version('oreo-agents')}\n"


def test_type_checkers_know_the_options_of_an_agent_and_the_kind_of_an_episode():
    from oreo_agents.agents.oreo import AgentOptions, OreoAgent
    from oreo_agents.dataset import TrajectoryDataset

    own = set(inspect.signature(OreoAgent.__init__).parameters) - {"self", "policy", "tokenizer", "critic"}
    assert AgentOptions.__optional_keys__ == own | {
        "critic",
        "engine",
        "engine_options",
        "device",
        "dtype",
        "trust_remote_code",
        "env_id",
    }
    given = inspect.signature(OreoAgent.from_pretrained).parameters["options"].annotation
    assert given == "Unpack[AgentOptions]"
    kinds = [one.__annotations__["return"] for one in typing.get_overloads(TrajectoryDataset.__getitem__)]
    assert kinds == ["Trajectory", "TrajectoryDataset"]


def test_what_is_published_agrees_with_itself():
    """The extra ``all`` has extras that exist, and who cites the project names its version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.removeprefix("oreo-agents[").removesuffix("]").split(",")
    apart = {"all", "dev", "docs", "openenv", "qlora", "ray", "verifiers"}
    assert set(named) == set(extras) - apart, (
        "qlora wants a GPU, ray is large and of use on a cluster alone; openenv and verifiers are other frameworks"
    )
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert all(
        (ROOT / file).is_file() for file in (project["readme"], *project["license-files"], "CONTRIBUTING.md")
    )
