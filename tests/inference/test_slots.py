"""The cache of slots against the same backbone run from scratch on each sequence by itself."""

import pytest
import torch
from learning import random_decoder

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.slots import SlotModel
from oreo_agents.inference.tree import Tree, tree_of

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
    """Chunks of very different lengths, subsets of the slots in any order, slots that end and are used again."""
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
        ([3, 0, 1, 2], [2, 90, 40, 18]),
        ([1, 0, 2, 3], [1, 17, 3, 70]),
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


def random_trees(tokens, batch, levels, seed=0):
    """One tree per slot, grown level by level, and each node's path as a list of nodes."""
    generator = torch.Generator().manual_seed(seed)
    tree, before = Tree.empty(batch, torch.device("cpu")), 0
    paths = [[] for _ in range(batch)]
    for n in levels:
        parents = (
            torch.randint(tree.size - before, tree.size, (batch, n), generator=generator) if before else None
        )
        parents = torch.full((batch, n), -1) if parents is None else parents
        for slot in range(batch):
            for i, parent in enumerate(parents[slot].tolist()):
                above = paths[slot][parent] if parent >= 0 else []
                paths[slot].append([*above, tree.size + i])
        tree, before = tree.grow(torch.tensor([tokens(n) for _ in range(batch)]), parents), n
    return tree, paths


def watch_passes(model, monkeypatch):
    """The blocks of every pass from now on."""
    forward, passes = model._forward, []

    def watched(run, places, *rest):
        passes.append(places.blocks)
        return forward(run, places, *rest)

    monkeypatch.setattr(model, "_forward", watched)
    return passes


def test_nobody_is_padded_to_the_length_of_an_opening(backbone, tokens, monkeypatch):
    """One slot of eight begins an episode: at most four times the scores that are asked for are computed."""
    model = SlotModel(backbone, slots=8, max_length=512)
    passes = watch_passes(model, monkeypatch)
    model.extend(range(7), [tokens(100)] * 7)
    model.extend(range(8), [tokens(10)] * 7 + [tokens(400)])
    scores = [sum(block.batch * block.n * block.width for block in blocks) for blocks in passes]
    assert scores[0] == 8 * 100 * 100
    assert scores[1] <= 4 * (7 * 10 * 110 + 400 * 400)  # padded to the longest: 8 * 400 * 400


def test_a_candidate_that_goes_on_alone_attends_alone(backbone, tokens, monkeypatch):
    model = SlotModel(backbone, slots=8, max_length=512)
    model.extend(range(8), [tokens(20)] * 8)
    passes = watch_passes(model, monkeypatch)
    tree, *_ = tree_of([[tokens(1)] for _ in range(8)], torch.device("cpu"))
    run = torch.zeros(8, 1, dtype=torch.bool)
    run[3] = True
    model.branch(range(8), tree, 0, run)
    assert [[block.batch for block in blocks] for blocks in passes] == [[1]]


def test_a_tree_of_candidates_equals_each_by_itself(backbone, tokens):
    model = SlotModel(backbone, slots=3, max_length=256)
    slots, prompts = [2, 0], [tokens(5), tokens(9)]
    model.extend([1], [tokens(30)])  # a bystander
    model.extend(slots, prompts)
    tree, paths = random_trees(tokens, batch=2, levels=(2, 2, 5))
    every = torch.ones(2, 9, dtype=torch.bool)
    at_once = model.branch(slots, tree, 0, every)
    in_parts = [model.branch(slots, tree, 0, every[:, :4]), model.branch(slots, tree, 4, every[:, :5])]
    close(torch.cat(in_parts, dim=1), at_once)
    for row, prompt in enumerate(prompts):
        assert len({tuple(path) for path in paths[row]}) == 9 and max(map(len, paths[row])) > 2
        for node, path in enumerate(paths[row]):
            close(at_once[row, node], alone(backbone, prompt + tree.ids[row, path].tolist())[-1])


def test_the_kept_candidate_is_what_later_turns_see(backbone, tokens):
    model = SlotModel(backbone, slots=3, max_length=256)
    said = [tokens(6), tokens(2), tokens(11)]
    everyone = [0, 1, 2]
    model.extend(everyone, said)
    for turn in range(3):
        tree, paths = random_trees(tokens, batch=3, levels=(1, 3, 4, 2), seed=turn)
        model.branch(everyone, tree, 0, torch.ones(3, 10, dtype=torch.bool))
        chosen = [max(paths[0], key=len), paths[1][turn], []]
        depth = max(map(len, chosen))
        path = torch.tensor([[*nodes, *[9] * (depth - len(nodes))] for nodes in chosen])
        model.commit(everyone, path, torch.tensor(list(map(len, chosen))))
        chunks = [tokens(1 + turn), tokens(5), tokens(2)]
        hidden = model.extend(everyone, chunks)
        for slot in everyone:
            said[slot] = said[slot] + tree.ids[slot, chosen[slot]].tolist() + chunks[slot]
            close(hidden[slot], alone(backbone, said[slot])[-1])
    assert model.lengths.tolist() == [len(ids) for ids in said]


def test_a_short_candidate_at_the_end_of_the_cache_beside_a_long_one(backbone, tokens):
    """The long sequence has no columns for as many tokens as the other one keeps."""
    model = SlotModel(backbone, slots=2, max_length=256)
    said = [tokens(57), tokens(5)]
    for chunk in (said[0][:40], said[0][40:41], said[0][41:]):  # grows to 60 columns, three are left
        model.extend([0], [chunk])
    model.extend([1], [said[1]])
    kept = [[2], [6, 7, 8, 9, 10, 11]]
    tree, nodes, _ = tree_of([[[1], kept[0]], [[4, 5], kept[1]]], torch.device("cpu"))
    model.branch([0, 1], tree, 0, tree.ids >= 0)
    model.commit([0, 1], nodes[:, :, 1], torch.tensor([1, 6]))
    more = [tokens(2), tokens(3)]
    for slot, hidden in enumerate(model.extend([0, 1], more)):
        close(hidden, alone(backbone, said[slot] + kept[slot] + more[slot])[-1])


def test_branches_that_are_not_kept_leave_no_trace(backbone, tokens):
    model = SlotModel(backbone, slots=2, max_length=256)
    prompt, more = tokens(5), tokens(4)
    model.extend([0], [prompt])
    tree, _ = random_trees(tokens, batch=1, levels=(4, 5))
    model.branch([0], tree, 0, torch.ones(1, 9, dtype=torch.bool))
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
    with pytest.raises(ConfigurationError, match="other kinds than full attention"):
        SlotModel(backbone, slots=1, max_length=64)
