"""What a training takes, against what torch counts and keeps."""

from pathlib import Path

import pytest
import torch
from learning import random_decoder
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from oreo_agents.models.start import with_lora
from oreo_agents.training.estimate import (
    SHAPES,
    Shape,
    Workload,
    count_activations,
    count_flops,
    count_memory,
    draw_table,
)

SHAPE = Shape(100, 64, 160, 3, 4, 2, 16)


@pytest.fixture
def model():
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize(
    ("name", "published"), [("135M", 134.5e6), ("1.5B", 1.54e9), ("3B", 3.09e9), ("7B", 7.61e9)]
)
def test_sizes_are_those_published(name, published):
    assert SHAPES[name].parameters == pytest.approx(published, rel=0.005)


def test_the_shape_of_a_model_is_its_own(model):
    assert Shape.of(model.config) == SHAPE
    norms = sum(p.numel() for n, p in model.named_parameters() if "norm" in n)
    assert model.num_parameters() - norms == SHAPE.parameters
    adapted = sum(p.numel() for p in with_lora(model, 8).parameters() if p.requires_grad)
    assert adapted == SHAPE.count_adapters(8)
    assert Shape.of(random_decoder("qwen3", 40).config).key_heads == 2


def test_operations_are_those_that_torch_counts(model):
    """Imitation with every position through the head; torch counts attention over whole squares."""
    ids = torch.arange(60)[None] % 100
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        model(ids, labels=ids, use_cache=False).loss.backward()
    work = Workload("none", reference=False, length=2 * 60, action_share=1.0)
    assert count_flops(SHAPE, work) * 60 == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_activations_are_what_torch_keeps(model):
    ids = torch.arange(200)[None] % 100
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(x):
        if (
            x.untyped_storage().data_ptr() not in weights and x.shape[-1] != 200
        ):  # fused attention has no square
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model.base_model(ids, use_cache=False)
    found = sum(kept.values()) / 200
    assert count_activations(SHAPE, Workload(bf16=False)) == pytest.approx(found, rel=0.25)


def test_what_a_training_holds():
    shape = SHAPES["1.5B"]
    alone, shared, lora = (count_memory(shape, Workload(kind)) for kind in ("separate", "shared", "lora"))
    assert alone["optimizer"] == 2 * shared["optimizer"] == 16 * shape.parameters
    assert lora["optimizer"] < shared["optimizer"] / 40 and shared["total"] < alone["total"]
    assert lora["activations"] == alone["activations"] > shared["activations"]
    short = count_memory(shape, Workload("shared", checkpointing=True))
    assert short["activations"] < shared["activations"] / 3 and short["weights"] == shared["weights"]
    assert all(found["total"] == sum(found.values()) - found["total"] for found in (alone, shared, lora))


def test_the_page_has_the_table():
    page = Path(__file__).parents[2] / "docs" / "which-card.md"
    assert draw_table() in page.read_text()
