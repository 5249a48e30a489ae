"""Models that a cache of slots does not fit play what transformers' own forward pass says, and slots are not used."""

import pytest
import torch
from learning import random_decoder
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
)

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.engines import fits_slots, make_critic_engine, make_policy_engine, require_playable
from oreo_agents.inference.generation import GeneratingPolicy, ReadingCritic
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.models.agreement import Probe
from oreo_agents.models.critic import Critic
from oreo_agents.training.forward import PolicyAndCritic

END = 3
SIZES = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
UNCACHED = {
    "mistral": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6, "final_logit_softcapping": 0.5},
    "mamba": {"state_size": 8},
    "falcon_h1": {
        "lm_head_multiplier": 0.04, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8,
    },
}  # fmt: skip


def build(kind, **more):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **more})).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 0.5)
    return model


@pytest.fixture(params=UNCACHED, scope="module")
def policy(request):
    return build(request.param, **UNCACHED[request.param])


def expected(policy, before, ids):
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[*before, *ids]])).logits[0].log_softmax(-1)
    return [float(logits[len(before) - 1 + i, token]) for i, token in enumerate(ids)]


def test_they_are_trained_and_played_with_their_own_numbers(policy):
    probe = Probe(policy)
    assert probe.difference(PolicyAndCritic(policy, None, 64).read_rows) < 1e-4
    assert probe.difference(probe.generate) < 1e-4
    policy.eval()
    require_playable(policy)
    engine = make_policy_engine(policy, 2, 64, END, 5)
    assert isinstance(engine, GeneratingPolicy)
    held = [[5, 6, 7, 8, 9, 10, 11, 12], [13, 14]]
    proposals = engine.propose([0, 1], held, torch.rand(2, 5, 3), 1.0)
    for before, lanes in zip(held, proposals.listed(), strict=True):
        for ids, logprobs in lanes:
            assert logprobs == pytest.approx(expected(policy, before, ids), abs=1e-4)
            assert END not in ids[:-1] and (len(ids) == 5 or ids[-1] == END)
    engine.keep([0, 1], proposals, torch.tensor([0, 2]))
    held = [[*held[0], *proposals.listed()[0][0][0], 4], [*held[1], *proposals.listed()[1][2][0], 4]]
    scored = engine.score([0, 1], [[4], [4]], [[[5, 6, END], [7]], [[8]]])
    assert scored.listed()[0][0][1] == pytest.approx(expected(policy, held[0], [5, 6, END]), abs=1e-4)
    assert scored.listed()[1][0][1] == pytest.approx(expected(policy, held[1], [8]), abs=1e-4)


def test_v_is_the_critics_own(policy):
    critic = Critic.from_policy(policy).eval()
    torch.nn.init.normal_(critic.value_head.weight)
    judge = make_critic_engine(critic, 1, 64)
    assert isinstance(judge, ReadingCritic)
    engine = GeneratingPolicy(policy, 1, END, 4)
    proposals = engine.propose([0], [[5, 6, 7]], torch.rand(1, 4, 3), 1.0)
    values = judge.values([0], [[5, 6, 7]], proposals)
    for (ids, _), value in zip(proposals.listed()[0], values[0], strict=True):
        with torch.no_grad():
            assert float(value) == pytest.approx(
                float(critic(torch.tensor([[5, 6, 7, *ids]]))[0, -1]), abs=1e-4
            )


def test_the_same_random_numbers_draw_the_same_candidates_as_slots_do():
    policy = random_decoder("llama", 40)
    assert fits_slots(policy)
    uniforms = torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(4))
    uniforms[:, :, 0] = torch.nan
    prompts = [[5, 6, 7, 8], [9]]
    cached = CachedPolicy(policy, 2, 64, END, 6).propose([0, 1], prompts, uniforms, 0.8)
    plain = GeneratingPolicy(policy, 2, END, 6).propose([0, 1], prompts, uniforms, 0.8)
    for one, other in zip(cached.listed(), plain.listed(), strict=True):
        assert [ids for ids, _ in one] == [ids for ids, _ in other]


def test_what_is_cut_is_forgotten():
    policy = build("mistral", sliding_window=6)
    engine = GeneratingPolicy(policy, 1, END, 2)
    engine.extend([0], [[5, 6, 7, 8]])
    engine.cut([0], [2])
    again = engine.propose([0], [[9]], torch.full((1, 2, 1), torch.nan), 1.0).listed()[0][0]
    assert again[1] == pytest.approx(expected(policy, [5, 6, 9], again[0]), abs=1e-4)


def test_an_encoder_is_refused():
    """BERT's class for causal language modelling sees what follows, unless its configuration says otherwise."""
    with pytest.raises(ConfigurationError, match="depends on what follows"):
        Probe(build("bert"))


def test_logits_that_nobody_knows_the_making_of_are_refused():
    class Odd(type(random_decoder("llama", 40))):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits.flip(-1)
            return out

    policy = random_decoder("llama", 40)
    policy.__class__ = Odd
    with pytest.raises(ConfigurationError, match="cannot be trained here"):
        Probe(policy).require(PolicyAndCritic(policy, None, 64).read_rows, "trained")
    assert not fits_slots(policy)  # so it is played by generation, with its own logits
    require_playable(policy)


def test_an_agent_that_plays_without_slots_counts_its_cut_replies(tokenizer):
    from oreo_agents import OreoAgent

    policy = build("mistral", sliding_window=6, vocab_size=len(tokenizer))
    short, long = (
        OreoAgent(policy, tokenizer, select="sample", max_new_tokens=n).act("You are in a room.", {})
        for n in (1, 200)
    )
    assert short.action.cut == (short.action.token_ids[-1] != tokenizer.eos_token_id)
    assert not long.action.cut or len(long.action.token_ids) == 200


def test_what_is_generated_rightly_alone_and_wrongly_beside_others_is_refused():
    """RWKV's cached step in transformers mixes the rows of a batch."""
    policy = build("rwkv", attention_hidden_size=32)
    with pytest.raises(ConfigurationError, match="RwkvForCausalLM cannot be played here"):
        require_playable(policy)
