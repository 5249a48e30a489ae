"""What decoding asks of its device: little, and in few sizes; rounded sizes change no result."""

import math

import pytest
import torch
from host_reads import HostReads
from learning import OPENING, random_decoder

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.inference.slots import SlotModel
from oreo_agents.models.critic import Critic

ANSWERS = ["You open the drawer 1.", "Nothing happens.", "You pick up the mug 1 from the desk 1."]
PER_DECISION = 4


def test_the_counter_knows_a_device_from_the_host():
    weights = torch.nn.Parameter(torch.tensor([1.0, 0.0]))
    with HostReads() as reads:
        assert torch.tensor([1, 2]).tolist() == [1, 2] and not reads.found
        on_host = (weights * 2).detach().cpu()
        assert on_host.tolist() == [2, 0] and reads.found == ["cpu"]
        assert weights[weights > 0].shape == (1,) and bool(weights[0] > 0) and float(weights[1]) == 0
        torch.arange(2, device=torch.device("cpu")).tolist()
    assert len(reads.found) == 5


@pytest.mark.parametrize("select", ["greedy", "sample", "best_of_k"])
@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_a_decision_asks_once_a_token_and_four_times_more(policy, tokenizer, select, kind):
    critic = Critic.shared(policy) if kind == "shared" else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    agent = OreoAgent(policy, tokenizer, critic, select=select, k=4, max_new_tokens=6, logprob_weight=0.1)
    agent.prepare(3)
    for slot in range(3):
        agent._rngs[slot].seed(slot)
    for observation in [OPENING, *ANSWERS]:
        with HostReads() as reads:
            agent.act_many(range(3), [observation] * 3, [{}] * 3)
        assert 0 < len(reads.found) <= 6 + PER_DECISION, reads.found


def play(bucketed, monkeypatch):
    """Two thousand tokens and more, in episodes that begin and end; what came of it, and the sizes of the passes."""
    policy = random_decoder("qwen3", 60, reads=2048).eval()
    engine = CachedPolicy(policy, 4, 2048, 3, 8)
    engine.model = SlotModel(engine.model.backbone, 4, 2048, bucketed)
    sizes, forward = set(), engine.model._forward

    def measured(run, places, ids, positions, mask):
        shapes = ((block.batch, block.n, block.width, block.rows is None) for block in places.blocks)
        sizes.add((len(ids), *shapes))
        return forward(run, places, ids, positions, mask)

    monkeypatch.setattr(engine.model, "_forward", measured)
    draw, tokens, found = torch.Generator().manual_seed(0), 0, []
    while tokens < 2000:
        slots = torch.randperm(4, generator=draw)[: 1 + int(torch.randint(4, (), generator=draw))].tolist()
        prompts = [torch.randint(4, 60, (5 + 7 * slot,), generator=draw).tolist() for slot in slots]
        uniforms = torch.rand(len(slots), 8, 4, generator=draw)
        uniforms[:, :, 0] = math.nan
        proposals = engine.propose(slots, prompts, uniforms, 1.0)
        tokens += sum(proposals.count_tokens())
        found.append(proposals.listed())
        engine.keep(slots, proposals, torch.randint(4, (len(slots),), generator=draw))
        if len(found) % 9 == 0:
            engine.clear([slots[0]])
    return found, sizes


def test_rounded_sizes_are_few_and_change_no_result(monkeypatch):
    exact, many = play(False, monkeypatch)
    rounded, few = play(True, monkeypatch)
    assert len(few) <= 36 < len(many)
    for one, other in zip(exact, rounded, strict=True):
        for row, again in zip(one, other, strict=True):
            assert [ids for ids, _ in row] == [ids for ids, _ in again]
            for (_, logprobs), (_, same) in zip(row, again, strict=True):
                assert logprobs == pytest.approx(same, abs=1e-4)
