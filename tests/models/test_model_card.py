"""What a trained agent says of itself."""

import dataclasses
import json

import pytest
import yaml
from learning import EPISODES

from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.card import data_hash, model_card
from oreo_agents.training.methods import METHODS
from oreo_agents.training.train import train


def test_the_hash_names_the_data_and_not_its_order(chat):
    episodes = [chat.encode(episode) for episode in EPISODES]
    digests = [episode.digest for episode in episodes]
    assert data_hash(digests) == data_hash(digests[::-1])
    other = dataclasses.replace(episodes[0], returns=[0.0] * len(episodes[0]))
    assert len({data_hash(digests), data_hash(digests[:2]), data_hash([other.digest, *digests[1:]])}) == 3


def test_a_value_cannot_break_the_table():
    card = model_card("x", True, {"method": "oreo", "note": "a|b\nc"})
    assert "| note | a\\|b c |" in card.splitlines()


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_a_trained_agent_has_a_card(tmp_path, policy, tokenizer, chat, method):
    save_agent(tmp_path / "start", policy, tokenizer)
    options = {"max_steps": 1, "bf16": False, "use_cpu": True}
    options |= {"beta": 0.07} if method == "oreo" else {}  # the other makes no use of it
    train(method, EPISODES, tmp_path / "start", tmp_path / "agent", **options)
    text = (tmp_path / "agent" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "oreo_agents"
    digest = data_hash(chat.encode(episode).digest for episode in EPISODES)
    rows = dict(
        line.strip("| ").split(" | ")
        for line in text.splitlines()
        if line.startswith("| ") and line != "| | |"
    )
    assert rows["data_sha256"] == digest and rows["method"] == method
    assert method == "sft" or rows["beta"] == "0.07"
    assert rows["objective"] == METHODS[method].summary and rows["after_action"] == "outcome"
    assert ("critic/" in text) == (method == "oreo")
    assert json.loads((tmp_path / "agent" / "agent.json").read_text())["data_sha256"] == digest
