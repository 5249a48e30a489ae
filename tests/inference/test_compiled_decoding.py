"""Decoding with compiled steps against decoding without: the same decisions, in few graphs without breaks."""

import math

import pytest
import torch
from learning import OPENING, random_decoder
from torch._dynamo.utils import counters

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.critic import CachedCritic
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.models.critic import Critic


@pytest.fixture(autouse=True)
def anew():
    torch._dynamo.reset()
    counters.clear()


def play(kind, backend):
    """Episodes that grow past two widths of the cache, begin anew, and rest; with a critic beside. What came of it."""
    policy = random_decoder(kind, 60, reads=2048)
    critic = Critic.from_policy(random_decoder(kind, 60, seed=4, reads=2048)).eval()
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    engine = CachedPolicy(policy, 4, 2048, 3, 8, compile_backend=backend)
    judge = CachedCritic(critic, 4, 2048, backend)
    draw, found = torch.Generator().manual_seed(0), []
    for turn in range(22):
        slots = torch.randperm(4, generator=draw)[: 1 + int(torch.randint(4, (), generator=draw))].tolist()
        prompts = [torch.randint(4, 60, (15 + 9 * slot,), generator=draw).tolist() for slot in slots]
        uniforms = torch.rand(len(slots), 8, 4 if turn % 2 else 1, generator=draw)
        uniforms[:, :, 0] = math.nan
        proposals = engine.propose(slots, prompts, uniforms, 1.0)
        values = judge.values(slots, prompts, proposals)
        lanes = torch.zeros(len(slots), dtype=torch.long)
        engine.keep(slots, proposals, lanes)
        judge.keep(slots, proposals, lanes)
        found.append((proposals.listed(), values.tolist()))
        if turn == 12:
            engine.clear([slots[0]])
            judge.clear([slots[0]])
    assert engine.model.lengths.max() > 256
    return found


def test_compiled_steps_decide_the_same():
    """Of policy and critic; aot_eager takes the writing into the cache apart, as inductor does."""
    plain = play("llama", None)
    assert not counters["stats"]
    compiled = play("llama", "aot_eager")
    assert 0 < counters["stats"]["unique_graphs"] <= 4 and not counters["graph_break"]
    for (one, values), (other, again) in zip(plain, compiled, strict=True):
        assert [pytest.approx(row, abs=1e-5) for row in values] == again
        for row, same in zip(one, other, strict=True):
            assert [ids for ids, _ in row] == [ids for ids, _ in same]
            for (_, logprobs), (_, found) in zip(row, same, strict=True):
                assert found == pytest.approx(logprobs, abs=1e-5)


def test_an_agent_decodes_compiled_and_new_slots_compile_nothing(policy, tokenizer):
    decisions = []
    for backend in (None, "eager"):
        agent = OreoAgent(policy, tokenizer, max_new_tokens=6, torch_compile_backend=backend)
        agent.prepare(3)
        decisions.append([one.action for one in agent.act_many(range(3), [OPENING] * 3, [{}] * 3)])
    assert [one.token_ids for one in decisions[0]] == [one.token_ids for one in decisions[1]]
    assert (first := counters["stats"]["unique_graphs"]) > 0
    agent.prepare(3)
    agent.act_many(range(3), [OPENING] * 3, [{}] * 3)
    assert counters["stats"]["unique_graphs"] == first


def test_what_plays_without_slots_is_not_compiled(policy, tokenizer, critic):
    with pytest.raises(ConfigurationError, match="compiles decoding in slots"):
        OreoAgent(policy, tokenizer, critic, select="beam", torch_compile_backend="eager")
