"""Every block of code in README and docs is executed in its order, or says why it is not.

What is long is cut short: few episodes, two optimizer steps, tiny models in the place of those of the Hub.
"""

import json
import re
import shlex
import sys
import tomllib
from dataclasses import MISSING, fields
from itertools import takewhile
from pathlib import Path
from random import Random

import pytest
from chat_templates import CHATML, byte_level
from learning import random_decoder

from oreo_agents.agents.scripted import sample_action
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.suite import Demonstrations, GameSet, Method, Rollouts, Search, Suite, Sweep
from oreo_agents.experiments.suite_file import load_suite
from oreo_agents.language.prompt import Prompt

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / "docs/your-environment.md"  # has a test of its own: its first block is a module
SUITE = ROOT / "docs/your-suite.md"  # likewise: it takes that module
PAGES = (ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ENVIRONMENT, SUITE}))
BLOCK = re.compile(
    r"(?P<not_run><!-- not run: .+? -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S
)
RUN = ("bash", "python")
READ = ("toml", "diff", "text")
TABLES = {
    *(
        "name",
        "methods",
        "tests",
        "train",
        "dev",
        "demonstrations",
        "sft",
        "rollouts",
        "training",
        "search",
        "sweep",
    )
}
"""What a suite has that is no key at its top."""
SHORTER = {"-n": "6", "--eval-every": "1", "--k": "2", "--jobs": "1"}
JUDGED = "2"
"""Episodes: who is judged need not win and lose."""


def list_blocks(page):
    return [match.groupdict() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def shorten(words):
    """The same command on less."""
    words = list(words)
    for i, word in enumerate(words):
        if word in SHORTER and words[i + 1 : i + 2] and not words[i + 1].startswith("-"):
            words[i + 1] = SHORTER[word]
    if words[0] == "eval":
        if "-n" in words:
            words[words.index("-n") + 1] = JUDGED
        if "--k" in words:  # two numbers of candidates
            first = words.index("--k") + 1
            others = list(takewhile(lambda word: word.isdigit(), words[first:]))
            words[first : first + len(others)] = others[:2]
    if words[0] == "train" and "--print-config" not in words:
        words += ["--steps", "2"] if "--epochs" not in words else []
        words += ["--batch-size", "2"] if "--batch-size" not in words else []
    if words[0] in ("record", "eval", "play") and "--max-steps" not in words:
        words += ["--max-steps", "6"]
    return words


def run_commands(code, model):
    for line in code.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        program, *words = shlex.split(
            line.replace("MODEL", str(model)).replace("new-tiny", "new-mini"), comments=True
        )
        assert program == "oreo-agents", f"{line}: say with 'not run: why' that it is not executed"
        assert main(shorten(words)) == 0, line


def check_diff(code):
    """What a change stands between is there as shown."""
    name = re.search(r"^\+\+\+ b/(.+)$", code, re.M)[1]
    kept = [line[1:] for line in code.splitlines() if line[:1] == " "]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert kept and all(line in text for line in kept), name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny chat model where a reader has theirs."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in list_blocks(page) if not block["not_run"]]
    assert {block["language"] for block in blocks} <= {*RUN, *READ}
    if page.stem == "training":  # it begins with episodes that the reader has
        assert main(["record", "--split", "generated", "-n", "12", "-o", "episodes", "--max-steps", "6"]) == 0
    names = {"__name__": "__main__"}
    for block in blocks:
        if block["language"] == "bash":
            run_commands(block["code"], model)
        elif block["language"] == "python":
            code = (
                block["code"]
                .replace("Qwen/Qwen3-0.6B", str(model))
                .replace("num_train_epochs=3", "max_steps=2")
            )
            exec(compile(code, f"{page.name}", "exec"), names)
        elif block["language"] == "toml":
            tomllib.loads(block["code"])
        elif block["language"] == "diff":
            check_diff(block["code"])


def test_your_environment(tmp_path, monkeypatch, capsys):
    """Where few steps and episodes leave nothing to learn from, with others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module, check, commands, _ = (block["code"] for block in list_blocks(ENVIRONMENT))
    assert len([line for line in f"{module}{check}{commands}".splitlines() if line.strip()]) <= 60
    (tmp_path / "lift.py").write_text(module)
    exec(compile(check, "check", "exec"), {})
    assert "info has no won" in capsys.readouterr().out
    fewer = {r"-n \d\d+": "-n 12", r"--steps \d+": "--steps 2", r"--rollouts \d+": "--rollouts 6"}
    fewer |= {r"--episodes \d+": "--episodes 2", r"--data runs/rollouts": "--data runs/random"}
    fewer[r"(--agent runs/\w+)"] = r"\1 --max-new-tokens 8"
    fewer["--iterations 2"] = (
        "--iterations 1 --method rejection"  # a policy that knows nothing plays all alike
    )
    for line in commands.splitlines():
        if "eval" in line:
            line = line.replace("-n 50", f"-n {JUDGED}")
        for pattern, few in fewer.items():
            line = re.sub(pattern, few, line)
        program, *words = shlex.split(line)
        assert program == "oreo-agents" and main(words) == 0, line
    (rounds,) = (tmp_path / "runs").glob("rounds/results.json")
    assert "mean_return" in rounds.read_text()


def test_the_suite_is_run_also_on_recorded_episodes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("lift", None)
    (tmp_path / "lift.py").write_text(list_blocks(ENVIRONMENT)[0]["code"])
    suite, command, demonstrations = (block["code"] for block in list_blocks(SUITE))
    fewer = {
        r"episodes = \d+": "episodes = 12",
        r"epochs = \d+": "max_steps = 2",
        r"seeds = .*": "seeds = [0]",
    }
    fewer |= {"new-mini": "new-tiny", r"first = \d+": "first = 3"}
    for pattern, few in fewer.items():
        suite = re.sub(pattern, few, suite)
    (tmp_path / "lift.toml").write_text(suite)
    run_commands(f"{command.strip()} --methods random", "")  # nobody learns anything in a second
    assert json.loads((tmp_path / "results/lift.json").read_text())["failed"] == {}
    record = "record --env lift:Lift-v0 --agent random -n 8 -o runs/expert"
    assert main(record.split()) == 0
    own = re.sub(r"\[demonstrations\].*?(?=\[sft\])", demonstrations, suite, flags=re.S)
    (tmp_path / "lift.toml").write_text(own)
    suite = load_suite("lift.toml", ["lift:Lift-v0"])
    (stage,) = Plan(suite, find_arenas(suite)).demonstrations(0)
    stage.work(tmp_path / "imitated")
    assert len(load_trajectories(tmp_path / "imitated")) == 8


def test_the_tables_of_a_suite_are_what_it_can_say():
    tables = re.findall(r"^\| (\w+) \| default \| \|\n\|---.*\n((?:\|.*\n)+)", SUITE.read_text(), re.M)
    kinds = {"suite": Suite, "games": GameSet, "demonstrations": Demonstrations, "rollouts": Rollouts}
    kinds |= {"method": Method, "search": Search, "sweep": Sweep}
    assert [name for name, _ in tables] == list(kinds)
    for name, rows in tables:
        cells = [[cell.strip(" `") for cell in row.split("|")[1:3]] for row in rows.splitlines()]
        told = dict(cells)
        known = {field.name: field for field in fields(kinds[name])}
        left_out = {"suite": TABLES, "method": {"name", "options"}}.get(name, set())
        known = {key: one for key, one in known.items() if key not in left_out}
        known |= {"base": None} if name == "suite" else {}
        assert told.keys() == known.keys(), name
        for key, shown in told.items():
            field = known[key]
            if field is None or (name, key) == ("method", "method"):
                continue
            default = field.default if field.default is not MISSING else field.default_factory()
            given = tomllib.loads(f"x = {shown}")["x"] if shown else None
            assert (list(default) if isinstance(default, tuple) else default) == given, (name, key)


def test_random_players_draw_commands_from_the_shown_space():
    names = {}
    exec(list_blocks(ENVIRONMENT)[3]["code"], names)
    info = {"action_space": names["Commands"]()}
    drawn = {sample_action(info, Random(seed)) for seed in range(30)}
    assert drawn == {"down", "open", "up"} and info["action_space"].contains("anything else")


def test_the_shown_prompts_are_prompts(tmp_path):
    shown = [b["code"] for b in list_blocks(ROOT / "docs/your-language-model.md") if b["language"] == "toml"]
    told = []
    for i, prompt in enumerate(shown):
        (tmp_path / f"{i}.toml").write_text(prompt)
        told.append(Prompt.load(tmp_path / f"{i}.toml"))
    whole, own = told
    assert whole.form == "think" and own.write_reply("look", "A desk.") == "A desk.\nCommand: look"


def test_the_site_is_built_without_warnings(tmp_path):
    """Links, anchors, names in the reference, and pages that stand in no menu."""
    pytest.importorskip("mkdocstrings", reason="mkdocs is not installed: pip install -e .[docs]")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    assert (
        'id="oreo_agents.training.losses.value_loss"' in (tmp_path / "site/reference/index.html").read_text()
    )
