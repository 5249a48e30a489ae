"""Playing through a server that gives token ids, as vLLM does: the same tokens, log-probabilities and training."""

import json

import gymnasium as gym
import pytest
import torch
from chat_templates import CHATML, byte_level
from learning import random_decoder
from model_server import serving
from trained_alike import check_trained_alike

import oreo_agents  # noqa: F401  (registers the environments)
from oreo_agents import OreoAgent
from oreo_agents.agents.agent import Assignment
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.models.agent_folder import load_policy, save_agent
from oreo_agents.rollout.loop import rollout
from oreo_agents.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An agent with a chat template, whose own end of text is not what ends its turns."""
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    path = tmp_path_factory.mktemp("served") / "agent"
    save_agent(path, policy, tokenizer)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_policy(folder)


def play(agent, games=(0, 1), steps=3):
    make = lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=steps)  # noqa: E731
    played = rollout(make, [Assignment(game, game) for game in games], agent, slots=2)
    return sorted(played, key=lambda episode: episode.game)


def remote(server, folder, protocol=None, **options):
    endpoint = Endpoint(server.url, "m", protocol=protocol, retries=0, timeout=30)
    return OreoAgent.from_endpoint(endpoint, folder, max_new_tokens=8, device="cpu", **options)


def test_what_is_recorded_through_a_server_trains_to_the_same_weights(folder, model, tmp_path):
    here = play(OreoAgent.from_pretrained(folder, max_new_tokens=8, device="cpu"))
    with serving(*model) as server:
        there = play(remote(server, folder))
    check_trained_alike(here, there, folder, tmp_path)


def test_chat_completions_give_ids_where_they_were_read_as_here(folder, model):
    """The server's template writes the same opening; later it reads such odd replies with other tokens."""
    here = OreoAgent.from_pretrained(folder, max_new_tokens=8, device="cpu")
    with serving(*model) as server:
        there = remote(server, folder, "chat")
        mine, other = here.act("You see a desk 1."), there.act("You see a desk 1.")
        later = there.act("Nothing happens.")
    assert other.action.token_ids == mine.action.token_ids
    assert other.action.logprobs == pytest.approx(mine.action.logprobs, abs=1e-4)
    assert "messages" in server.bodies[0] and later.action.token_ids is None and later.spelt


def test_candidates_are_one_request_and_have_log_probabilities(folder, model):
    """Those that are sampled come together, and are as likely as the model itself finds them."""
    with serving(*model) as server:
        agent = remote(server, folder, select="sample", no_repeat=True, k=4)
        agent.reset(seed=5)
        agent.act("You see a desk 1.", {"action_status": None})
        agent.act("Nothing happens.", {"action_status": "unparsable"})
        decision = agent.act("Nothing happens.", {"action_status": "unparsable"})
    bodies = server.bodies
    assert bodies[-1]["n"] == 4 and len(decision.candidates) == 4
    assert [body.get("n", 1) for body in bodies] == [1, 1, 4, 4]  # the first question was asked again, by ids
    ids, (policy, _) = bodies[-1]["prompt"], model
    sampled = decision.action.token_ids
    with torch.no_grad():
        table = policy(torch.tensor([[*ids, *sampled]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    expected = table[range(len(sampled)), sampled]
    torch.testing.assert_close(torch.tensor(decision.action.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_such_a_server_is_told_where_turns_end_and_how_to_sample(folder, model):
    with serving(*model) as server:
        agent = remote(server, folder)
        agent.act("You see a desk 1.")
        first, body = server.bodies
    assert "stop_token_ids" not in first  # others would take what belongs to it in another way
    assert body["stop_token_ids"] == [agent.chat.end_id] and body["ignore_eos"] and "stop" not in body
    assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)


def test_a_server_without_token_ids_gives_text(folder, model, tmp_path):
    """The same is done, and what is kept has no ids: training takes it as text, and says so."""
    here = play(OreoAgent.from_pretrained(folder, max_new_tokens=8, device="cpu"), steps=2)
    with serving(*model, gives_ids=False) as server:
        there = play(remote(server, folder), steps=2)
    for episode in there:
        assert episode.tokenizer is None and episode.metadata["text_only"]
        assert all(turn.token_ids is None and turn.logprobs is None for turn in episode.turns)
    for mine, other in zip(here, there, strict=True):  # the server ends at the model's own end of text, too
        assert mine.turns[0].action.startswith(other.turns[0].action.rstrip("\ufffd"))
    with pytest.warns(
        UserWarning, match="2 of 3 episodes were played through a server that gave no token ids"
    ):
        trainer = train(
            "sft", [*there, *here[:1]], folder, tmp_path / "taught", max_steps=1, use_cpu=True, bf16=False
        )
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("protocol", ["completions", "chat"])
def test_a_servers_own_settings_do_not_decide(folder, model, protocol):
    """llama-cpp-python's server penalizes repetition, greedy or not, and draws from the likeliest 40 tokens alone."""
    said = []
    for settings in ({}, {"repeat_penalty": 3.0, "top_k": 1}):
        with serving(*model, gives_ids=False, **settings) as server:
            agents = [remote(server, folder, protocol, select=select) for select in ("greedy", "sample")]
            said.append([agent.act("You see a desk 1.").action for agent in agents])
    assert said[0] == said[1] and said[0][0] != said[0][1]


def test_a_full_context_ends_the_episode_as_in_this_process(folder, model):
    with serving(*model, max_model_len=400) as server:
        episodes = play(remote(server, folder), steps=30)
    assert all(episode.truncated and "failed" not in episode.metadata for episode in episodes)
    assert {episode.metadata["ended"] for episode in episodes} == {
        f"the context of the server at http://127.0.0.1:{server.server_port} is full"
    }


@pytest.mark.parametrize("lie", ["other prompt", "no end", "too many", "no number", "far out"])
def test_ids_that_cannot_be_what_was_sampled_are_not_kept(folder, model, lie):
    """Where a server has read or sampled something else than it was asked for, its reply is text, or refused."""

    def spoil(status_and_told):
        status, told = status_and_told
        for choice in told["choices"]:
            if "token_ids" in choice:
                ids = choice["token_ids"]
                choice |= {
                    "other prompt": {"prompt_token_ids": [1, 2]},
                    "no end": {"token_ids": ids[:3]},
                    "too many": {"token_ids": [5] * 9},
                    "no number": {"token_ids": [*ids, "5"]},
                    "far out": {"token_ids": [2**40]},
                }[lie]
        return status, json.loads(json.dumps(told))

    with serving(*model) as server:
        reply = server.reply
        server.reply = lambda body, chat: spoil(reply(body, chat))
        decision = remote(server, folder).act("You see a desk 1.")
    assert decision.action.token_ids is None
    assert decision.failed == (lie in ("no number", "far out"))
