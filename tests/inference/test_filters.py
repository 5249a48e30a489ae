"""Filters against transformers' own warpers, and what is kept of the distribution that was drawn from."""

import pytest
import torch
from learning import random_decoder
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.filters import Filters, read_filters
from oreo_agents.inference.generation import GeneratingPolicy
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.inference.sampling import filter_logits, pick_tokens

CHOICES = [
    Filters(top_p=0.9),
    Filters(top_p=0.01),
    Filters(top_k=1),
    Filters(top_k=7),
    Filters(top_k=1000),
    Filters(min_p=0.1),
    Filters(top_p=0.8, top_k=20),
    Filters(0.7, 10, 0.2),
]
N, END = 5, 3


def warpers(filters, temperature=1.0):
    """As ``generate`` puts them together."""
    made = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
    made += [TopKLogitsWarper(filters.top_k)] if filters.top_k else []
    made += [TopPLogitsWarper(filters.top_p)] if filters.top_p < 1 else []
    made += [MinPLogitsWarper(filters.min_p)] if filters.min_p else []
    return LogitsProcessorList(made)


@pytest.fixture(scope="module")
def policy():
    policy = random_decoder("qwen3", 40)
    with torch.no_grad():  # a likeliest token that is likelier than the others
        policy.get_output_embeddings().weight.mul_(8)
    return policy


@pytest.mark.parametrize("filters", CHOICES, ids=str)
def test_what_is_left_is_what_transformers_leaves(filters):
    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    ours = filter_logits(logits[:, None], filters)[:, 0]
    assert torch.equal(ours, warpers(filters)(None, logits.clone()))
    assert (ours > -torch.inf).any(-1).all()


def test_without_filters_not_a_bit_changes():
    logits = torch.randn(4, 40, generator=torch.Generator().manual_seed(0))
    assert filter_logits(logits, Filters()) is logits


def test_what_is_left_out_is_never_drawn():
    """Also by random numbers at either end, one of which single precision rounds up to 1."""
    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(1))
    uniforms = torch.cat([torch.tensor([0.0, 1 - 2**-24, 1.0]), torch.rand(200)]).expand(50, -1)
    filters = Filters(top_p=0.6, top_k=9)
    drawn = pick_tokens(logits, uniforms, 1.3, filters)
    left = warpers(filters, 1.3)(None, logits.clone()) > -torch.inf
    assert left.gather(1, drawn).all()


@pytest.mark.parametrize("make", ["slots", "generation"])
@pytest.mark.parametrize(
    ("temperature", "filters"), [(0.7, Filters(0.8, 12, 0.01)), (1.4, Filters())], ids=str
)
def test_log_probabilities_are_kept_of_both_distributions(policy, make, temperature, filters):
    """Against the model's own logits after what was said, with and without transformers' warpers."""
    prompts = [[5, 6, 7, 8], [9]]
    slots = CachedPolicy(policy, 2, 64, END, N), GeneratingPolicy(policy, 2, END, N)
    engine = slots[make == "generation"]
    uniforms = torch.rand(2, N, 1, generator=torch.Generator().manual_seed(4))
    proposals = engine.propose([0, 1], prompts, uniforms, temperature, filters)
    drawn, differ = proposals.list_drawn([0, 0]), False
    for prompt, ((ids, logprobs),), ours in zip(prompts, proposals.listed(), drawn, strict=True):
        with torch.inference_mode():
            logits = policy(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].float()
        said = torch.tensor(ids)[:, None]
        full = logits.log_softmax(-1).gather(1, said)[:, 0].tolist()
        left = warpers(filters, temperature)(None, logits).log_softmax(-1).gather(1, said)[:, 0].tolist()
        assert logprobs == pytest.approx(full, abs=1e-4) and ours == pytest.approx(left, abs=1e-4)
        differ |= full != pytest.approx(left, abs=1e-2)
    assert differ


def test_of_what_was_not_drawn_from_another_distribution_nothing_more_is_kept(policy):
    def propose(uniforms, temperature, filters):
        return CachedPolicy(policy, 1, 64, END, N).propose([0], [[5]], uniforms, temperature, filters)

    uniforms = torch.rand(1, N, 2, generator=torch.Generator().manual_seed(4))
    assert propose(uniforms, 1.0, Filters()).list_drawn([0]) == [None]
    uniforms[:, :, 0] = torch.nan  # the greedy candidate of a search
    assert propose(uniforms, 1.0, Filters(top_p=0.5)).list_drawn([0]) == [None]


@pytest.mark.parametrize(
    "wrong", [{"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"top_k": 2.5}, {"min_p": 1}, {"top_p": "0.9"}]
)
def test_a_number_out_of_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=f"{name} is"):
        Filters(**wrong)


def test_a_models_own_settings_count_where_it_is_to_be_sampled():
    told = GenerationConfig(do_sample=True, top_p=0.8, top_k=20)
    assert read_filters(told) == {"top_p": 0.8, "top_k": 20}
    assert (
        read_filters(GenerationConfig(top_p=0.8))
        == read_filters(GenerationConfig())
        == read_filters(None)
        == {}
    )
