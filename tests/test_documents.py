"""Every block of code in README and docs is executed in its order, or says why it is not.

What is long is cut short: few episodes, two optimizer steps, tiny models in the place of those of the Hub.
"""

import re
import shlex
import tomllib
from pathlib import Path
from random import Random

import pytest
from chat_templates import CHATML, byte_level
from learning import random_decoder

from oreo_agents.agents.scripted import sample_action
from oreo_agents.cli import main
from oreo_agents.language.prompt import Prompt

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / "docs/your-environment.md"  # has a test of its own: its first block is a module
PAGES = (ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ENVIRONMENT}))
BLOCK = re.compile(
    r"(?P<not_run><!-- not run: .+? -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S
)
RUN = ("bash", "python")
READ = ("toml", "diff", "text")
SHORTER = {"-n": "6", "--eval-every": "1", "--k": "2", "--jobs": "1"}


def list_blocks(page):
    return [match.groupdict() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def shorten(words):
    """The same command on less."""
    words = list(words)
    for i, word in enumerate(words):
        if word in SHORTER and words[i + 1 : i + 2] and not words[i + 1].startswith("-"):
            words[i + 1] = SHORTER[word]
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
        program, *words = shlex.split(line.replace("MODEL", str(model)), comments=True)
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
    fewer = {r"-n \d+": "-n 12", r"--steps \d+": "--steps 2", r"--rollouts \d+": "--rollouts 6"}
    fewer |= {r"--episodes \d+": "--episodes 2", r"--data runs/rollouts": "--data runs/random"}
    fewer["--iterations 2"] = (
        "--iterations 1 --method rejection"  # a policy that knows nothing plays all alike
    )
    for line in commands.splitlines():
        for pattern, few in fewer.items():
            line = re.sub(pattern, few, line)
        program, *words = shlex.split(line)
        assert program == "oreo-agents" and main(words) == 0, line
    (rounds,) = (tmp_path / "runs").glob("rounds/results.json")
    assert "mean_return" in rounds.read_text()


def test_random_players_draw_commands_from_the_shown_space():
    names = {}
    exec(list_blocks(ENVIRONMENT)[3]["code"], names)
    info = {"action_space": names["Commands"]()}
    drawn = {sample_action(info, Random(seed)) for seed in range(30)}
    assert drawn == {"down", "open", "up"} and info["action_space"].contains("anything else")


def test_the_shown_prompt_is_one(tmp_path):
    (prompt,) = (
        b["code"] for b in list_blocks(ROOT / "docs/your-language-model.md") if b["language"] == "toml"
    )
    (tmp_path / "mine.toml").write_text(prompt)
    assert Prompt.load(tmp_path / "mine.toml").form == "think"


def test_the_site_is_built_without_warnings(tmp_path):
    """Links, anchors, names in the reference, and pages that stand in no menu."""
    pytest.importorskip("mkdocstrings", reason="mkdocs is not installed: pip install -e .[docs]")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    assert (
        'id="oreo_agents.training.losses.value_loss"' in (tmp_path / "site/reference/index.html").read_text()
    )
