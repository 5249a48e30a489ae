"""What a configuration says of a model: LongRoPE, whose rotary positions change once a text grows beyond a length."""

import pytest
import torch
from learning import EPISODES
from transformers import Phi3Config, Phi3ForCausalLM, PretrainedConfig

from oreo_agents import OreoAgent, OreoConfig
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.inference.engines import fits_slots
from oreo_agents.inference.slots import SlotModel
from oreo_agents.language.encoded import gather_episodes
from oreo_agents.models.decoder import context_length, readable_length
from oreo_agents.training.methods import METHODS
from oreo_agents.training.objectives import select_items

SWITCH = 32


@pytest.fixture
def phi(tokenizer):
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        original_max_position_embeddings=SWITCH,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
        },
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
    )
    return Phi3ForCausalLM(config).eval()


def read(model, ids):
    with torch.no_grad():
        return model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_the_switch_changes_what_was_read_before(phi):
    short = list(range(5, 5 + SWITCH))
    assert (read(phi, [*short, 4])[: len(short)] - read(phi, short)).abs().max() > 0.1


def test_no_episode_is_read_beyond_the_switch_beside_others(phi):
    assert context_length(phi) == SWITCH and fits_slots(phi)
    model = SlotModel(phi.base_model, 2, 128)
    short = list(range(5, 15))
    with pytest.raises(ConfigurationError, match=f"the model reads {SWITCH}"):
        model.extend([0, 1], [short, list(range(4, 4 + SWITCH + 1))])
    states = model.extend([0, 1], [short, list(range(4, 4 + SWITCH))])
    torch.testing.assert_close(states[0], read(phi, short)[-1], atol=1e-4, rtol=1e-4)


def test_it_is_a_full_context_for_the_agent(phi, tokenizer):
    agent = OreoAgent(phi, tokenizer, select="sample", max_new_tokens=SWITCH - 4)
    assert agent.max_length == SWITCH
    decision = agent.act(EPISODES[0].turns[0].observation, {})
    assert decision.end == f"the context of {SWITCH} tokens is full"


def test_longer_episodes_are_not_trained(phi, chat):
    encoded = gather_episodes([chat.encode(EPISODES[0])])
    with pytest.raises(DatasetError, match=f"the model reads {SWITCH}, not 256, as LongRoPE"):
        select_items(METHODS["sft"], encoded, OreoConfig(method="sft"), phi.config)


def test_the_layers_of_each_type_count():
    nested = {
        "full_attention": {"rope_type": "longrope", "original_max_position_embeddings": 8},
        "sliding_attention": {"rope_type": "default"},
    }
    config = PretrainedConfig(max_position_embeddings=64, rope_parameters=nested)
    assert readable_length(config) == 8
    assert readable_length(PretrainedConfig(max_position_embeddings=64)) == 64
    assert readable_length(PretrainedConfig()) is None
