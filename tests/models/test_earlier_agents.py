"""Agents of earlier versions: the first format of ``agent.json`` had no number."""

import json
import shutil
from pathlib import Path

import pytest
from learning import EPISODES, OPENING

from oreo_agents import OreoAgent, train
from oreo_agents.errors import CheckpointError
from oreo_agents.models.agent_card import require_model
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.recipe import read_recipe

FIRST = Path(__file__).parent / "version_1" / "agent"


@pytest.fixture
def agent(tmp_path):
    return Path(shutil.copytree(FIRST, tmp_path / "agent"))


def number(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_it_plays_with_its_critic_and_is_trained_further(tmp_path):
    assert "format" not in json.loads((FIRST / "agent.json").read_text())
    playing = OreoAgent.from_pretrained(FIRST, select="best_of_k", k=2, max_new_tokens=4)
    assert playing.critic.scale.high == 2.0 and [*playing.environments] == ["OREO-ALFWorld"]
    assert playing.act(OPENING, {}).action.value is not None
    assert read_recipe(FIRST).steps == 2
    train(EPISODES, FIRST, tmp_path / "new", "sft", max_steps=1, use_cpu=True, bf16=False)
    assert json.loads((tmp_path / "new/agent.json").read_text())["format"] == 1


@pytest.mark.parametrize("ask", [require_model, OreoAgent.from_pretrained], ids=["asked", "loaded"])
def test_a_newer_one_is_refused_by_name(agent, ask):
    number(agent / "agent.json", format=2)
    with pytest.raises(
        CheckpointError, match=r"agent\.json is of format 2, of a newer .* --upgrade oreo-agents"
    ):
        ask(agent)


def test_a_newer_recipe_is_refused_by_name(agent):
    number(agent / "recipe.json", format=9)
    with pytest.raises(CheckpointError, match=r"recipe\.json is of format 9, of a newer oreo-agents"):
        read_recipe(agent)


@pytest.mark.parametrize("odd", ["1", 0, None, True])
def test_a_format_that_is_no_number_is_damage(agent, odd):
    number(agent / "agent.json", format=odd)
    with pytest.raises(CheckpointError, match=r"agent\.json is damaged \(format"):
        require_model(agent)


def test_the_number_is_no_row_of_the_model_card(policy, tokenizer, tmp_path):
    save_agent(tmp_path / "new", policy, tokenizer, method="sft")
    assert "format" not in (tmp_path / "new/README.md").read_text().partition("\n---\n")[2]
