"""vLLM in process, by a stand-in with its names and signatures: the same episodes, log-probabilities and training."""

import sys

import fake_vllm
import gymnasium as gym
import pytest
import torch
from chat_templates import CHATML, byte_level
from learning import random_decoder
from trained_alike import check_trained_alike

import oreo_agents  # noqa: F401  (registers the environments)
from oreo_agents import OreoAgent
from oreo_agents.agents.agent import Assignment
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.errors import ConfigurationError
from oreo_agents.models.agent_folder import load_critic, load_policy, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.rollout.loop import rollout


@pytest.fixture(scope="module", params=["separate", "shared"])
def folder(request, tmp_path_factory):
    """An agent with a chat template, whose own end of text is not what ends its turns."""
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    critic = Critic.shared(policy) if request.param == "shared" else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("vllm") / "agent"
    save_agent(path, policy, tokenizer, critic)
    return path


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module = fake_vllm.make_module()
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(fake_vllm.LLM, "made", [])
    return module


def load(folder, **options):
    return OreoAgent.from_pretrained(folder, max_new_tokens=8, device="cpu", **options)


def play(agent, steps=3):
    make = lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=steps)  # noqa: E731
    played = rollout(make, [Assignment(game, game) for game in (0, 1)], agent, slots=2)
    return sorted(played, key=lambda episode: episode.game)


def likeliest(policy, ids, said):
    with torch.no_grad():
        table = policy(torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    return table[range(len(said)), said]


def test_what_vllm_played_trains_to_the_same_weights(folder, tmp_path):
    here, there = play(load(folder)), play(load(folder, engine="vllm"))
    check_trained_alike(here, there, folder, tmp_path)


def test_candidates_come_at_once_and_the_agents_own_critic_reads_them(folder):
    """Greedy and three samples of each of two slots in one call; log-probabilities are those at temperature 1."""
    agent = load(
        folder, engine="vllm", select="best_of_k", k=4, temperature=0.7, top_k=20, logprob_weight=0.1
    )
    agent.prepare(2)
    agent.begin([0, 1], [Assignment(None, 1), Assignment(None, 2)])
    decisions = agent.act_many([0, 1], ["You see a desk 1.", "You see a shelf 2."], [{}, {}])
    (llm,) = fake_vllm.LLM.made
    (asked,) = llm.calls
    assert [params.temperature for params in asked] == [0.0, 0.7, 0.7, 0.7] * 2
    assert len({params.seed for params in asked}) == 7 and asked[1].top_k == 20  # greedy ones have none
    assert llm.options["logprobs_mode"] == "raw_logprobs" and llm.options["dtype"] == "float32"
    policy, _ = load_policy(folder)
    critic = load_critic(folder, policy)
    for slot, decision in enumerate(decisions):
        ids, said = agent._conversations[slot].tokens, decision.action.token_ids
        before = ids[: len(ids) - len(said)]
        assert ids == [*before, *said] and len(decision.candidates) == 4
        expected = likeliest(policy, before, said)
        torch.testing.assert_close(torch.tensor(decision.action.logprobs), expected, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            value = critic(torch.tensor([ids]))[0, -1].item()
        assert decision.action.value == pytest.approx(critic.scale.restore(value), abs=1e-4)
        scores = [one.value + 0.1 * one.logprob for one in decision.candidates]
        chosen = decision.action.value + 0.1 * sum(decision.action.logprobs)
        assert chosen == pytest.approx(max(scores), abs=1e-4)


def test_what_was_drawn_from_another_distribution_says_that_nobody_knows_it(folder):
    """What is kept are log-probabilities at temperature 1; those at 0.5 are not made up."""
    known = load(folder, engine="vllm", select="sample").act("You see a desk 1.")
    agent = load(folder, engine="vllm", select="sample", temperature=0.5)
    unknown = agent.act("You see a desk 1.").action
    assert known.action.drawn_logprobs is None and unknown.drawn_logprobs == ()
    policy, _ = load_policy(folder)
    ids = agent._conversations[0].tokens
    expected = likeliest(policy, ids[: -len(unknown.token_ids)], unknown.token_ids)
    torch.testing.assert_close(torch.tensor(unknown.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_seeds_decide_and_turns_end_where_the_agents_do(folder):
    same = [load(folder, engine="vllm", select="sample") for _ in range(3)]
    for agent, seed in zip(same, (3, 3, 4), strict=True):
        agent.reset(seed=seed)
    said = [agent.act("You see a desk 1.").action.token_ids for agent in same]
    assert said[0] == said[1] != said[2]
    params = fake_vllm.LLM.made[-1].calls[0][0]
    assert params.stop_token_ids == [same[0].chat.end_id] and params.ignore_eos and params.max_tokens == 8


def test_vllms_own_limit_and_options(folder):
    agent = load(folder, engine="vllm", engine_options={"max_model_len": 300, "tensor_parallel_size": 2})
    assert agent.max_length == 300 and fake_vllm.LLM.made[-1].options["tensor_parallel_size"] == 2
    agent.save_pretrained(folder.parent / "again")
    assert (folder.parent / "again" / "policy").is_dir() and agent.describe() == load(folder).describe()
    with pytest.raises(ConfigurationError, match="vLLM does not run this model: EngineArgs"):
        load(folder, engine="vllm", engine_options={"max_modellen": 300})


def test_without_vllm_it_is_said_how_to_install_it(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigurationError, match="pip install vllm"):
        load(folder, engine="vllm")
    line = ["eval", "--agent", str(folder), "--split", "generated", "-n", "1", "--engine", "vllm"]
    assert main(line) == 2 and "pip install vllm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "vllm", "select": "constrained"}, "leave engine='vllm' out"),
        ({"engine": "vllm", "select": "beam"}, "leave engine='vllm' out"),
        ({"engine": "vllm", "torch_compile_backend": "eager"}, "leave it out"),
        ({"engine": "sglang"}, "no engine 'sglang'"),
        ({"engine_options": {"max_model_len": 5}}, "name engine='vllm'"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, options, told):
    with pytest.raises(ConfigurationError, match=told):
        load(folder, **options)


def test_record_and_eval_take_the_engine(folder, tmp_path, capsys):
    games = ["--split", "generated", "--episodes", "2", "--max-steps", "2", "--max-new-tokens", "8"]
    for name, more in (("here", []), ("there", ["--engine", "vllm"])):
        line = ["record", "--agent", str(folder), "--select", "greedy", "-o", str(tmp_path / name)]
        assert main([*line, *games, *more]) == 0
    here, there = (list(load_trajectories(tmp_path / name)) for name in ("here", "there"))
    assert len(fake_vllm.LLM.made) == 1 and [[turn.token_ids for turn in one.turns] for one in here] == [
        [turn.token_ids for turn in one.turns] for one in there
    ]
    line = ["record", "--agent", "expert", "-o", str(tmp_path / "no"), *games, "--engine", "vllm"]
    assert main(line) == 2 and "makes no use of --engine" in capsys.readouterr().err
    line = ["eval", "--agent", str(folder), *games, "--engine", "vllm", "--endpoint", "http://127.0.0.1:9/v1"]
    assert main(line) == 2 and "leave --engine or --endpoint out" in capsys.readouterr().err
