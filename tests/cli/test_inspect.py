"""``oreo-agents inspect``: what a model reads and learns, against the encoded episode itself."""

import dataclasses
import re

import pytest
from chat_templates import CHATML, byte_level
from learning import EPISODES, random_decoder

from oreo_agents.cli import main
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.evaluation.inspection import inspect_episode
from oreo_agents.language.chat import Chat
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.critic import Critic

SPOKEN = dataclasses.replace(
    EPISODES[0],
    turns=tuple(
        dataclasses.replace(turn, said=f"Thought: next.\nAction: {turn.action}") for turn in EPISODES[0].turns
    ),
    metadata={"noise_turns": [1]},
)


@pytest.fixture
def agent(tmp_path):
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 4096
    save_agent(tmp_path / "agent", policy, tokenizer, Critic.from_policy(policy), prompt=Prompt(form="react"))
    with TrajectoryWriter(tmp_path / "episodes") as writer:
        writer.append(SPOKEN)
    return tmp_path / "agent"


def test_tokens_are_those_of_the_encoded_episode(agent):
    prompt = Prompt(form="react", instructions="Act.")
    encoded = Chat(byte_level(CHATML), prompt).encode(SPOKEN)
    inspection = inspect_episode(agent, SPOKEN, prompt)
    assert [token.id for token in inspection.tokens] == encoded.input_ids
    assert [token.kind != "read" for token in inspection.tokens] == encoded.action_mask
    assert [token.learnt for token in inspection.tokens] == encoded.imitate_mask
    assert [i for i, token in enumerate(inspection.tokens) if token.kind == "thought"] == encoded.thoughts
    assert "".join(token.text for token in inspection.tokens).startswith("<|im_start|>system")
    assert all(token.value is not None for token in inspection.tokens)
    assert inspection.count("thought") > 0 and inspection.sequences == 1


def test_the_terminal_shows_the_parts(agent, capsys):
    data = str(agent.parent / "episodes")
    assert main(["inspect", str(agent), "--data", data]) == 0
    shown = capsys.readouterr().out
    assert "Thought: next." in shown and "A turn ends with '<|im_end|>'" in shown
    assert main(["inspect", str(agent), "--data", data, "--tokens"]) == 0
    rows = capsys.readouterr().out
    assert re.search(r"action\s+yes\s+1\s+0\.000", rows) and "thought" in rows


def test_the_page_is_one_harmless_file(agent, capsys):
    page = agent.parent / "page.html"
    hostile = dataclasses.replace(EPISODES[0].turns[0], observation="<script>alert(1)</script>")
    with TrajectoryWriter(agent.parent / "hostile") as writer:
        writer.append(dataclasses.replace(EPISODES[0], turns=(hostile, *EPISODES[0].turns[1:])))
    data = str(agent.parent / "hostile")
    assert main(["inspect", str(agent), "--data", data, "--html", str(page)]) == 0
    text = page.read_text()
    assert (
        "<script" not in text
        and "default-src &#39;none&#39;" in text
        and str(page) in capsys.readouterr().out
    )


def test_an_expert_plays_where_nothing_is_recorded(agent, capsys):
    assert main(["inspect", str(agent), "--split", "generated", "--prompt", "alfworld-react"]) == 0
    shown = capsys.readouterr().out
    assert "Action: go to" in shown and "Thought: I need a potato. It may be at countertop 1." in shown
    assert main(["inspect", str(agent), "--split", "generated", "--prompt", "alfworld"]) == 0
    assert "I need a" not in capsys.readouterr().out


def test_what_cannot_be_inspected(agent, capsys):
    for words, said in (
        (["expert"], "has no model"),
        ([str(agent), "--prompt", "nothing"], "there is no prompt 'nothing'"),
        ([str(agent), "--data", str(agent.parent / "episodes"), "--episode", "2"], "has 1 episodes"),
    ):
        assert main(["inspect", *words]) == 2
        assert said in capsys.readouterr().err
