"""Playing through a server that gives token ids, as vLLM does: the same tokens, log-probabilities and training."""

import json

import gymnasium as gym
import pytest
import torch
from chat_templates import CHATML, QWEN3, byte_level
from learning import random_decoder
from model_server import serving
from trained_alike import check_trained_alike

import oreo_agents  # noqa: F401  (registers the environments)
from oreo_agents import OreoAgent
from oreo_agents.agents.agent import Assignment
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.language.prompt import Prompt
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


@pytest.mark.parametrize("protocol", ["completions", "chat"])
@pytest.mark.parametrize("select", ["greedy", "sample"])
def test_sglang_gives_what_vllm_gives(folder, model, select, protocol):
    """Though it takes no ``top_k`` of 0, and reads stops otherwise."""
    said = []
    for options in ({}, {"sglang": True}):
        with serving(*model, **options) as server:
            decision = remote(server, folder, protocol, select=select).act("You see a desk 1.")
        said.append((decision.action, decision.action.token_ids))
        assert decision.action.logprobs and not decision.spelt
    assert said[0] == said[1]
    assert server.bodies[-1]["top_k"] == (0 if select == "greedy" else -1)


def test_a_server_that_has_answered_greedily_is_asked_for_samples_in_its_own_way(folder, model):
    """As ``eval --select greedy sample`` does, with one server for both; greedy, SGLang takes a ``top_k`` of 0."""
    with serving(*model, sglang=True) as server:
        endpoint = Endpoint(server.url, "m", retries=0, timeout=30)
        for select in ("greedy", "sample", "greedy"):
            agent = OreoAgent.from_endpoint(endpoint, folder, max_new_tokens=8, device="cpu", select=select)
            decision = agent.act("You see a desk 1.")
            assert decision.action.token_ids and not decision.failed
        told = endpoint.describe_use()
    assert [body["top_k"] for body in server.bodies[1:]] == [0, 0, -1, 0]  # the first was asked again, by ids
    assert "with the token ids" in told and "refuses" not in told


def test_a_server_that_passes_over_the_ends_it_is_told_is_not_told_to_ignore_its_own(folder, model):
    """Else each of its replies would run to the limit; what is kept is the same."""
    policy, _ = model
    with serving(*model) as server:
        agent = remote(server, folder)
        expected = agent.act("You see a desk 1.").action.token_ids
    end = expected[3]  # of a model whose reply ends there
    assert end != policy.config.eos_token_id and end not in expected[:3]
    with serving(*model, sglang=True) as server:
        agent = remote(server, folder)
        agent.chat.end_id = end
        for _ in range(3):
            agent.reset()
            action = agent.act("You see a desk 1.").action
            assert action.token_ids == expected[:4] and action.logprobs
    assert [body.get("ignore_eos") for body in server.bodies] == [None, True, None, None]
    assert server.written[1:] == [8, 4, 4]


@pytest.mark.parametrize("sglang", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_are_kept_where_they_are_of_temperature_1(folder, model, sglang, temperature):
    with serving(*model, sglang=sglang) as server:
        agent = remote(server, folder, select="sample", temperature=temperature)
        action = agent.act("You see a desk 1.").action
    ids, (policy, _) = server.bodies[-1]["prompt"], model
    with torch.no_grad():
        logits = policy(torch.tensor([[*ids, *action.token_ids]])).logits[0, len(ids) - 1 : -1]
    own = logits.log_softmax(-1)[range(len(action.token_ids)), action.token_ids]
    if sglang and temperature != 1:
        assert not action.logprobs
    else:
        assert action.logprobs == pytest.approx(own.tolist(), abs=1e-4)


@pytest.mark.parametrize("protocol", ["completions", "chat"])
@pytest.mark.parametrize("word", ["min_p", "repeat_penalty", "logprobs", "skip_special_tokens", "ignore_eos"])
def test_of_what_is_refused_only_the_word_that_is_named_is_left_out(folder, model, word, protocol):
    with serving(*model, refuses=[word]) as server:
        agent = remote(server, folder, protocol, select="sample")
        decision = agent.act("You see a desk 1.")
        told = agent.policy.describe_use()
    body = server.bodies[-1]
    assert decision.action.token_ids and bool(decision.action.logprobs) == (word != "logprobs")
    assert word not in body and {"top_p", "top_k", "repetition_penalty", "stop_token_ids"} <= body.keys()
    assert told.endswith(f"; it refuses {word}") and "with the token ids" in told


def test_questions_that_are_asked_together_settle_together(folder, model):
    """One of them is refused after another has gone well."""
    with serving(*model, sglang=True, refuses=["min_p", "repeat_penalty"]) as server:
        endpoint = Endpoint(server.url, "m", retries=0, timeout=30)
        make = lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=2)  # noqa: E731
        own = {"max_new_tokens": 8, "device": "cpu", "select": "sample"}
        agent = OreoAgent.from_endpoint(endpoint, folder, **own)
        played = list(rollout(make, [Assignment(game, game) for game in range(4)], agent, slots=4))
    assert not any("failed" in episode.metadata for episode in played)
    assert all(turn.token_ids for episode in played for turn in episode.turns)


DATED = "{{ '<|im_start|>system\n' + date_string + '<|im_end|>\n' }}" + QWEN3


@pytest.mark.parametrize(
    ("template", "prompt", "told"),
    [
        (QWEN3, {"thinking": False}, {"enable_thinking": False}),
        (QWEN3, {}, None),
        (CHATML, {"thinking": False}, None),
        (DATED, {"date": "2025-02-01"}, {"date_string": "01 Feb 2025"}),
    ],
)
def test_a_servers_template_is_told_what_the_prompt_says(template, prompt, told):
    """It then reads what would be read here, whose ids and log-probabilities are worth keeping."""
    tokenizer = byte_level(template)
    policy = random_decoder("qwen3", len(tokenizer))
    with serving(policy, tokenizer) as server:
        endpoint = Endpoint(server.url, "m", protocol="chat", retries=0, timeout=30)
        agent = OreoAgent(endpoint, tokenizer, max_new_tokens=8, prompt=Prompt(**prompt))
        decision = agent.act("You see a desk 1.")
    assert all(body.get("chat_template_kwargs") == told for body in server.bodies)
    assert decision.action.token_ids and not decision.spelt


def test_a_template_that_cannot_be_told_is_said_once():
    tokenizer = byte_level(QWEN3)
    policy = random_decoder("qwen3", len(tokenizer))
    with serving(policy, tokenizer, refuses=["chat_template_kwargs"]) as server:
        endpoint = Endpoint(server.url, "m", protocol="chat", retries=0, timeout=30)
        agents = [
            OreoAgent(endpoint, tokenizer, select=select, max_new_tokens=8, prompt=Prompt(thinking=False))
            for select in ("greedy", "sample")
        ]
        with pytest.warns(UserWarning) as said:
            decisions = [agent.act("You see a desk 1.") for agent in agents]
    (warning,) = said
    assert "does not let its chat template be told enable_thinking = False" in str(warning.message)
    assert all(one.action and one.spelt for one in decisions)


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
