"""The OpenAI protocol with an agent's choice behind it, as OpenAI's own client and a careless one use it."""

import json

import gymnasium as gym
import openai
import pytest
from starlette.testclient import TestClient

import oreo_agents  # noqa: F401 (registers the ids)
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.agents.server import AgentServer
from oreo_agents.cli import main
from oreo_agents.errors import ConfigurationError

OPTIONS = {"select": "best_of_k", "k": 3, "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def http():
    agent = OreoAgent.from_pretrained("small", **OPTIONS)
    return TestClient(AgentServer(agent, "mine").make_app(), base_url="http://here")


@pytest.fixture(scope="module")
def client(http):
    return openai.OpenAI(base_url="http://here/v1", api_key="any", http_client=http, max_retries=0)


def test_a_game_is_played_as_by_the_agent_itself(client):
    assert [model.id for model in client.models.list()] == ["mine"]
    agent = OreoAgent.from_pretrained("small", **OPTIONS)
    env = gym.make("OREO-ALFWorld", split="generated_unseen")
    observation, _info = env.reset(seed=4)
    messages = []
    for _ in range(4):
        messages.append({"role": "user", "content": observation})
        answer = client.chat.completions.create(model="mine", messages=messages, seed=7)
        said = answer.choices[0].message.content
        agent.reset(7)
        for before, action in zip(messages[0:-1:2], messages[1::2], strict=True):
            agent.follow([0], [before["content"]], [{}], [action["content"]])
        decision = agent.act(observation)
        assert said == decision.action and answer.usage.completion_tokens == decision.generated_tokens
        assert answer.oreo["value"] == pytest.approx(decision.action.value)
        assert [one["action"] for one in answer.oreo["candidates"]] == [
            one.action for one in decision.candidates
        ]
        messages.append({"role": "assistant", "content": said})
        observation = env.step(said)[0]
    parts = client.chat.completions.create(model="mine", messages=messages[:-1], seed=7, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == messages[-1]["content"]


SAID = [{"role": "user", "content": "You see a desk 1."}]
WRONG = [
    ({"messages": []}, "messages is a list of what was read"),
    ({"messages": [{"role": "system", "content": "x"}, *SAID]}, "the agent carries its own prompt"),
    ({"messages": [*SAID, *SAID]}, "message 1 is not a text of the assistant"),
    ({"messages": [*SAID, {"role": "assistant", "content": "look"}]}, "the last message is the assistant's"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "message 0 is not a text"),
    ({"messages": SAID, "n": 3}, "n is 1 here"),
    ({"messages": SAID, "seed": "x"}, "seed is 'x'"),
    ({"messages": SAID, "seed": -1}, "seed is -1"),
    ({"messages": SAID, "admissible_commands": "look"}, "admissible_commands is 'look'"),
    ([], "no JSON object"),
]


@pytest.mark.parametrize(("body", "said"), WRONG)
def test_what_cannot_be_answered_is_said_in_one_sentence(http, body, said):
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]


def test_no_text_and_too_much_text_are_refused(http, monkeypatch):
    assert "no JSON" in http.post("/v1/chat/completions", content=b"\xff{").json()["error"]["message"]
    monkeypatch.setattr("oreo_agents.agents.server.MOST_BYTES", 100)
    answer = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x" * 200}]})
    assert answer.status_code == 400 and "more than 100 bytes" in answer.json()["error"]["message"]


def test_a_full_context_is_said_as_openai_says_it(http):
    body = json.dumps({"messages": [{"role": "user", "content": "You see a desk 1. " * 2000}]})
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_only_agents_that_need_no_simulator_are_served(capsys):
    with pytest.raises(ConfigurationError, match="lookahead needs the simulator"):
        AgentServer(OreoAgent.from_pretrained("small", select="lookahead"), "x")
    assert main(["serve", "expert"]) == 2
    assert "expert has no model to serve" in capsys.readouterr().err


def test_earlier_replies_are_read_as_they_were_said():
    agent = OreoAgent.from_pretrained("small", dtype="float32", device="cpu", prompt={"form": "react"})
    said = "Thought: hm\n\nI should look"
    AgentServer(agent, "mine").decide([*SAID, {"role": "assistant", "content": said}, *SAID], ["look"])
    chat = agent.chat
    told = chat.prompt.message(SAID[0]["content"], ["look"])
    before = [*chat.opening(told), *chat.heard_ids(said), *chat.reply(told)]
    assert agent._conversations[0].tokens[: len(before)] == before
