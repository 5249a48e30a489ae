"""Agents that draw from a part of their policy's distribution: by options, by the model's own settings, by a server."""

import gymnasium as gym
import pytest
from chat_templates import CHATML, byte_level
from learning import OPENING, ToyRoom, random_decoder
from model_server import serving
from transformers import GenerationConfig

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.agents.selection import Selection
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.inference.filters import Filters
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.rollout.loop import rollout

NUCLEUS = {"top_p": 0.5, "top_k": 20, "min_p": 0.01}


@pytest.fixture(scope="module")
def own(tokenizer):
    """A policy with settings of its own, as chat models come."""
    policy = random_decoder("qwen3", len(tokenizer), seed=2)
    policy.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.8, top_k=20)
    return policy


def say(policy, tokenizer, select="sample", **options):
    agent = OreoAgent(policy, tokenizer, select=select, max_new_tokens=6, **options)
    agent.reset(3)
    return agent.act(OPENING).action


def play(agent):
    make = lambda: gym.wrappers.TimeLimit(ToyRoom(), 2)  # noqa: E731
    (episode,) = rollout(make, [Assignment(0, 5)], agent, slots=1)
    return episode


def test_a_filter_takes_the_models_own_settings_or_options(own, policy, tokenizer):
    assert OreoAgent(own, tokenizer).selection.filters == Filters(0.8, 20)
    assert OreoAgent(own, tokenizer, top_p=0.5, top_k=0).selection.filters == Filters(0.5)
    assert not OreoAgent(policy, tokenizer).selection.filters
    assert say(own, tokenizer).drawn_logprobs and not say(own, tokenizer, top_p=1, top_k=0).drawn_logprobs
    with pytest.raises(ConfigurationError, match="top_p is 2"):
        OreoAgent(policy, tokenizer, top_p=2)


def test_one_token_left_is_the_likeliest_and_was_drawn_for_certain(policy, tokenizer):
    drawn, likeliest = say(policy, tokenizer, top_k=1), say(policy, tokenizer, "greedy", top_k=1)
    assert drawn.token_ids == likeliest.token_ids and drawn.logprobs == pytest.approx(likeliest.logprobs)
    assert drawn.drawn_logprobs == (0.0,) * len(drawn.token_ids) and likeliest.drawn_logprobs is None


def test_training_compares_with_what_was_drawn_from_and_surprise_does_not(policy, tokenizer):
    agent = OreoAgent(policy, tokenizer, select="sample", max_new_tokens=6, **NUCLEUS)
    episode = play(agent)
    encoded = agent.chat.encode(episode)
    recorded = [x for x, ours in zip(encoded.recorded_logp, encoded.action_mask, strict=True) if ours]
    assert recorded == [x for turn in episode.turns for x in turn.drawn_logprobs]
    full = [x for turn in episode.turns for x in turn.logprobs]
    assert sum(full) < sum(recorded) and episode.surprise == pytest.approx(-sum(full) / len(full))


def test_a_server_is_told_and_what_it_drew_from_stays_unknown(tmp_path):
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    save_agent(tmp_path / "agent", policy, tokenizer)
    with serving(policy, tokenizer) as server:

        def record(**options):
            endpoint = Endpoint(server.url, "m", retries=0, timeout=30)
            own = {"select": "sample", "max_new_tokens": 4, "device": "cpu", **options}
            agent = OreoAgent.from_endpoint(endpoint, tmp_path / "agent", **own)
            return play(agent), agent.chat

        plain, chat = record()
        assert plain.turns[0].drawn_logprobs is None and chat.encode(plain).recorded_logp
        assert (server.bodies[-1]["top_p"], server.bodies[-1]["top_k"]) == (1.0, 0)
        filtered, chat = record(**NUCLEUS)
        assert {name: server.bodies[-1][name] for name in NUCLEUS} == NUCLEUS
    first = filtered.turns[0]
    assert first.logprobs and first.drawn_logprobs == () and first.behaviour_logprobs == ()
    assert chat.encode(filtered).recorded_logp is None  # so methods that need it refuse it


def test_the_rule_names_filters_and_only_those_that_are_set():
    assert Selection("sample", top_p=0.9).rule == "one sample at temperature 1 (top_p 0.9)"
    assert Selection("greedy", top_p=0.9).rule == Selection("greedy").rule
    assert Selection("sample", top_p=0.9).to_json()["top_p"] == 0.9
    assert not {"top_p", "top_k", "min_p"} & {*Selection("sample").to_json(), *Selection().to_dict()}
    assert "top_p" not in Selection("greedy", top_p=0.9).to_json()
