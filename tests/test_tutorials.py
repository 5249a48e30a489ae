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
