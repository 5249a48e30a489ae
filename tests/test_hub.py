"""An agent pushed to the Hub while it trains, and loaded from there by its name: over HTTP, against a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import hub
from learning import EPISODES

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.card import data_hash
from oreo_agents.training.config import OreoConfig

HERE = Path(__file__).parent / "helpers"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """What the Hub has in the end, and what the process said."""
    folder = tmp_path_factory.mktemp("hub")
    with hub() as server:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "HF_ENDPOINT": server.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(folder / "home"),
        }
        command = [sys.executable, str(HERE / "push_and_pull.py"), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return server, done.stdout


def test_policy_critic_and_card_are_uploaded(pushed, chat):
    files = pushed[0].files
    assert {"policy/model.safetensors", "policy/tokenizer.json", "policy/config.json"} < files.keys()
    assert {
        "critic/model.safetensors",
        "critic/value_head.safetensors",
        "agent.json",
        "README.md",
    } < files.keys()
    digest = data_hash(chat.encode(episode).digest for episode in EPISODES)
    assert f"| data_sha256 | {digest} |" in files["README.md"].decode()
    assert json.loads(files["agent.json"])["steps"] == 2
    assert b"hf_not_a_secret" not in b"".join(files.values())


def test_checkpoints_are_pushed_as_they_come_and_the_end_too(pushed):
    assert pushed[0].commits == [
        "Training in progress, step 1",
        "Training in progress, step 2",
        "End of training",
    ]


def test_a_name_that_the_hub_does_not_know_is_one_error(pushed):
    """That the agent came back whole is asserted by the process itself."""
    assert "no usable model at someone/nothing" in pushed[1]


def test_only_agents_are_pushed(tmp_path):
    with pytest.raises(ConfigurationError, match="choose hub_strategy end or every_save"):
        OreoConfig(str(tmp_path), push_to_hub=True, hub_strategy="all_checkpoints")
