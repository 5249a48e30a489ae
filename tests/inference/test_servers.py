"""The comparison of a server's policy with the same one here: what it counts as the same, and how it names the rest."""

import json
import sys
from dataclasses import replace

import pytest
import servers
import torch
from chat_templates import CHATML, byte_level
from learning import random_decoder
from model_server import serving

from oreo_agents import OreoAgent
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.trajectory import Trajectory, Turn

HERE = "go to desk 1"


@pytest.fixture(scope="module")
def model():
    tokenizer = byte_level(CHATML)
    return random_decoder("qwen3", len(tokenizer)), tokenizer


@pytest.fixture(scope="module")
def agent(model):
    return OreoAgent(*model, max_new_tokens=16)


@pytest.mark.parametrize("player", ["expert", "own"])
def test_the_same_policy_says_the_same(player, tmp_path, monkeypatch, capsys):
    """Over the generated games, by the command; other comparisons in the file are kept."""
    output = tmp_path / "servers.json"
    output.write_text('{"another": 1}')
    games = [
        "--split",
        "generated",
        "--turns",
        "5",
        "--max-steps",
        "3",
        "--player",
        player,
        "--name",
        "own",
    ]
    with serving(*load_policy("small"), gives_ids=False) as server:
        place = ["--endpoint", server.url, "--endpoint-protocol", "completions", "--agent", "small"]
        monkeypatch.setattr(sys, "argv", ["servers.py", *place, *games, "--output", str(output)])
        servers.main()
    written = json.loads(output.read_text())
    found = written["own, completions"]
    assert (
        written["another"] == 1
        and json.loads(capsys.readouterr().out.partition(" ")[2]).items() <= found.items()
    )
    assert (found["turns"], found["same_action"], found["same_reply"], found["kinds"]) == (
        5,
        1,
        1,
        {"same": 5},
    )
    assert (found["margin"], found["above_margin"]) == (0.1, 0)


def test_a_chat_template_that_ends_what_was_cut_makes_another_prompt(model, agent):
    ids = agent.chat.action_ids(HERE)
    own = [ids[:-1], ids]
    turns = (
        Turn("You see a desk 1.", HERE, token_ids=tuple(ids[:-1])),
        Turn("Hm.", HERE, token_ids=tuple(ids)),
    )

    def reply(body, chat):
        told = {"message": {"role": "assistant", "content": HERE}, "finish_reason": "stop"}
        return 200, {"choices": [told], "usage": {"prompt_tokens": len(server.read_prompt(body))}}

    with serving(*model) as server:
        server.reply = reply
        endpoint = Endpoint(server.url, "m", retries=0, protocol="chat")
        first, later = servers.ask_turns(Trajectory(turns, game="g"), own, agent, endpoint)
    assert (first.more_read, first.end, later.more_read, later.end) == (0, False, 1, True)
    assert servers.summarize_turns([first, later], 0.1)["other_prompts"] == 0.5


@pytest.mark.parametrize(
    ("there", "reason", "more_read", "kind", "same_action", "same_end"),
    [
        (HERE, "stop", 0, "same", True, True),
        (HERE, "length", 0, "same", True, False),
        (f" {HERE}", "stop", 0, "spaces", True, True),
        ("go to desk", "length", 0, "stops", False, False),
        (f"{HERE} and look", "stop", 0, "goes on", False, True),
        ("go to desk 2", "stop", 0, "other token", False, True),
        ("go to desk 2", "stop", 1, "other prompt", False, True),
    ],
)
def test_what_differs_is_named(model, agent, there, reason, more_read, kind, same_action, same_end):
    ids = tuple(agent.chat.action_ids(HERE))
    episode = Trajectory((Turn("You see a desk 1.", HERE, token_ids=ids),) * 2, game="g")
    read = []

    def reply(body, chat):
        read.append(len(server.read_prompt(body)))
        usage = {"prompt_tokens": read[-1] + more_read, "completion_tokens": 4}
        return 200, {"choices": [{"text": there, "finish_reason": reason}], "usage": usage}

    with serving(*model) as server:
        server.reply = reply
        first, later = servers.ask_turns(
            episode, [list(ids)] * 2, agent, Endpoint(server.url, "m", retries=0)
        )
    assert (later.kind, later.action, later.end, later.more_read) == (kind, same_action, same_end, more_read)
    assert replace(first, turn=1, gap=0) == replace(later, gap=0) and read[1] > read[0] + len(ids)
    if there == "go to desk 2":
        spelt = agent.chat.action_ids(there)
        part = next(i for i, (one, other) in enumerate(zip(ids, spelt, strict=True)) if one != other)
        before = [*agent.chat.opening("You see a desk 1."), *ids[:part]]
        with torch.no_grad():
            table = agent.policy(torch.tensor([before])).logits[0, -1].log_softmax(-1)
        assert first.gap == pytest.approx(float(table[ids[part]] - table[spelt[part]]), abs=1e-4)
    for gaps, share in (((0.2, 0.3), 1.0), ((0.05, 0.2), 0.5), ((None, -1.0), 0.0)):
        turns = [replace(turn, gap=gap) for turn, gap in zip((first, later), gaps, strict=True)]
        assert servers.summarize_turns(turns, 0.1)["above_margin"] == share
    summary = servers.summarize_turns([first, later], 0.1)
    assert (summary["same_reply"], summary["kinds"]) == (float(kind == "same"), {kind: 2})
