"""Tutorials are executed as they stand, with a tiny model in the place of the reader's."""

import re
import shlex
from pathlib import Path

import pytest
from chat_templates import CHATML, byte_level
from learning import random_decoder

from oreo_agents.cli import main
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_folder import read_prompt

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def model(tmp_path):
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    policy.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_your_language_model(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "your-language-model.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        program, *words = shlex.split(line.replace("MODEL", str(model)))
        assert program == "oreo-agents" and main(words) == 0, line
    assert read_prompt(tmp_path / "runs" / "oreo") == Prompt.load("alfworld-react")
    (prompt,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    (tmp_path / "mine.toml").write_text(prompt)
    assert Prompt.load(tmp_path / "mine.toml").form == "think"


def test_your_environment(tmp_path, monkeypatch, capsys):
    """With a few steps and episodes in the place of hundreds, and where these are too few, with others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (DOCS / "your-environment.md").read_text()
    module, check = re.findall(r"```python\n(.*?)```", text, re.S)
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.S)
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
