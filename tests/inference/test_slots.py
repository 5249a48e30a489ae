"""The cache of slots against the same backbone run from scratch on each sequence by itself."""

import pytest
import torch
from learning import random_decoder

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.slots import SlotModel

VOCABULARY = 40
SHAPES = [("qwen3", 4, 2), ("qwen3", 4, 1), ("llama", 4, 2), ("llama", 2, 2)]


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]}-{shape[1]}-{shape[2]}")
def backbone(request):
    kind, heads, kv_heads = request.param
    return random_decoder(kind, VOCABULARY, heads, kv_heads).base_model


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(5)
    return lambda n: torch.randint(VOCABULARY, (n,), generator=generator).tolist()


def alone(backbone, ids):
    """The hidden state after each token of one sequence, without any cache."""
    with torch.no_grad():
        return backbone(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_turns_of_many_slots_equal_one_pass_from_scratch(backbone, tokens):
    """Chunks of different lengths, subsets of the slots in any order, slots that end and are used again."""
    model = SlotModel(backbone, slots=4, max_length=256)
    said = {slot: [] for slot in range(4)}
    plan = [
        ([0, 1, 2, 3], [7, 3, 1, 12]),
        ([0, 1, 2, 3], [1, 5, 9, 2]),
        ([2, 0], [4, 11]),
        ([3], [1]),
        ("clear", [1, 3]),
        ([1, 3, 0], [2, 20, 3]),
        ([0, 1, 2, 3], [6, 1, 2, 3]),
    ]
    for slots, lengths in plan:
        if slots == "clear":
            model.clear(lengths)
            said.update({slot: [] for slot in lengths})
            continue
        chunks = [tokens(n) for n in lengths]
        hidden = model.extend(slots, chunks)
        for row, (slot, chunk) in enumerate(zip(slots, chunks, strict=True)):
            said[slot] += chunk
            close(hidden[row], alone(backbone, said[slot])[-1])
    assert model.lengths.tolist() == [len(said[slot]) for slot in range(4)]


def test_a_tree_of_candidates_equals_each_by_itself(backbone, tokens):
    model = SlotModel(backbone, slots=3, max_length=256)
    slots, k, steps = [2, 0], 3, 4
    prompts = [tokens(5), tokens(9)]
    model.extend([1], [tokens(30)])  # a bystander
    model.extend(slots, prompts)
    ids = torch.tensor([[tokens(k) for _ in range(steps)] for _ in slots])
    at_once = model.branch(slots, ids, depth=0)
    in_parts = torch.cat([model.branch(slots, ids[:, i : i + 2], depth=i) for i in (0, 2)], dim=1)
    close(in_parts, at_once)
    for row, prompt in enumerate(prompts):
        for lane in range(k):
            expected = alone(backbone, prompt + ids[row, :, lane].tolist())[len(prompt) :]
            close(at_once[row, :, lane], expected)


def test_the_kept_candidate_is_what_later_turns_see(backbone, tokens):
    model = SlotModel(backbone, slots=3, max_length=256)
    said = [tokens(6), tokens(2), tokens(11)]
    everyone = [0, 1, 2]
    model.extend(everyone, said)
    for turn in range(3):
        ids = torch.tensor([[tokens(3) for _ in range(4)] for _ in everyone])
        model.branch(everyone, ids, depth=0)
        lanes, counts = torch.tensor([turn, 2, 0]), torch.tensor([4, 1, turn])
        model.commit(everyone, lanes, counts, k=3)
        chunks = [tokens(1 + turn), tokens(5), tokens(2)]
        hidden = model.extend(everyone, chunks)
        for slot in everyone:
            said[slot] = said[slot] + ids[slot, : counts[slot], lanes[slot]].tolist() + chunks[slot]
            close(hidden[slot], alone(backbone, said[slot])[-1])
    assert model.lengths.tolist() == [len(ids) for ids in said]


def test_branches_that_are_not_kept_leave_no_trace(backbone, tokens):
    model = SlotModel(backbone, slots=2, max_length=256)
    prompt, more = tokens(5), tokens(4)
    model.extend([0], [prompt])
    model.branch([0], torch.tensor([[tokens(3) for _ in range(6)]]), depth=0)
    close(model.extend([0], [more])[0], alone(backbone, prompt + more)[-1])


def test_the_backbone_is_left_as_it_was(backbone, tokens):
    before, ids = backbone.config._attn_implementation, tokens(6)
    expected = alone(backbone, ids)
    SlotModel(backbone, slots=2, max_length=256).extend([0, 1], [ids, tokens(3)])
    assert backbone.config._attn_implementation == before
    assert torch.equal(alone(backbone, ids), expected)


def test_other_kinds_of_layers_are_refused():
    backbone = random_decoder("qwen3", VOCABULARY).base_model
    backbone.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(ConfigurationError, match="sliding_attention"):
        SlotModel(backbone, slots=1, max_length=64)
