"""Cached proposals and values against unbatched forward passes without a cache."""

import pytest
import torch
from learning import random_decoder

from oreo_agents.inference.critic import CachedCritic
from oreo_agents.inference.policy import CachedPolicy
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.sampling import pick_tokens
from oreo_agents.inference.tree import Tree
from oreo_agents.models.critic import Critic

VOCABULARY, END = 12, 3


@pytest.fixture(params=[("qwen3", 4, 2), ("llama", 4, 1)], ids=["qwen3-grouped", "llama-multi-query"])
def policy(request):
    return random_decoder(request.param[0], VOCABULARY, *request.param[1:])


@pytest.fixture
def critic(policy):
    critic = Critic.from_policy(random_decoder(policy.config.model_type, VOCABULARY, 4, 2, seed=9)).eval()
    torch.manual_seed(3)
    torch.nn.init.normal_(critic.value_head.weight)
    return critic


def log_probs(policy, ids):
    """Of the next token, after each of `ids`."""
    with torch.no_grad():
        return policy(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)


def tokens(proposals, row, lane):
    return list(proposals.listed()[row][lane][0])


def greedy(policy, ids, n):
    out = []
    while len(out) < n and END not in out:
        out.append(int(log_probs(policy, ids + out)[-1].argmax()))
    return out


def test_greedy_decoding_equals_recomputing_every_token(policy):
    cached = CachedPolicy(policy, slots=2, max_length=256, end_id=END, max_new_tokens=8)
    prompts = [[5, 6, 7, 8, 9], [2, 10]]
    proposals = cached.propose([0, 1], prompts, torch.full((2, 8, 1), torch.nan), 1.0)
    for row, prompt in enumerate(prompts):
        assert tokens(proposals, row, 0) == greedy(policy, prompt, 8)


def test_candidates_over_turns_equal_separate_forward_passes(policy, critic):
    """Three turns of three slots, one of them resting in the middle turn; policy and critic walk in step."""
    k, n = 3, 5
    proposer = CachedPolicy(policy, 3, 256, END, n)
    judge = CachedCritic(critic, 3, 256)
    generator = torch.Generator().manual_seed(1)
    said = {0: [], 1: [], 2: []}
    lengths = set()
    for turn, slots in enumerate(([0, 1, 2], [2, 0], [0, 1, 2])):
        new = [torch.randint(VOCABULARY, (2 + slot + turn,), generator=generator).tolist() for slot in slots]
        uniforms = torch.rand(len(slots), n, k, generator=generator)
        uniforms[:, :, 0] = torch.nan
        proposals = proposer.propose(slots, new, uniforms, temperature=1.3)
        values = judge.values(slots, new, proposals)
        lanes = values.argmax(1)
        proposer.keep(slots, proposals, lanes)
        judge.keep(slots, proposals, lanes)
        for row, slot in enumerate(slots):
            said[slot] += new[row]
            for lane in range(k):
                ids = tokens(proposals, row, lane)
                lengths.add(len(ids))
                assert END not in ids[:-1] and (ids[-1] == END or len(ids) == n)
                expected = log_probs(policy, said[slot] + ids)[len(said[slot]) - 1 : -1]
                expected = expected[torch.arange(len(ids)), ids].tolist()
                assert proposals.listed()[row][lane][1] == pytest.approx(expected, abs=1e-4)
                with torch.no_grad():
                    value = critic(torch.tensor([said[slot] + ids]))[0, -1].item()
                assert values[row, lane].item() == pytest.approx(value, abs=1e-4)
            assert tokens(proposals, row, 0) == greedy(policy, said[slot], n)
            said[slot] += tokens(proposals, row, int(lanes[row]))
    assert len(lengths) > 1  # candidates that end early and late were among them


def test_a_critic_on_the_policys_trunk_reads_no_prompt_of_its_own(policy):
    """Over turns, V equals separate passes, and the trunk runs no more tokens than the policy and the last ones."""
    critic = Critic.shared(policy)
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    runs = []
    policy.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: runs.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    engine = CachedPolicy(policy, 2, 256, END, 5, critic=critic)
    alone = CachedPolicy(policy, 2, 256, END, 5)
    generator, said = torch.Generator().manual_seed(2), [[], []]
    for turn in range(3):
        new = [[5, 6 + turn], [7, 8, 9]]
        uniforms = torch.rand(2, 5, 4, generator=generator)
        runs.clear()
        proposals = engine.propose([0, 1], new, uniforms, 1.0)
        last = {(row, node) for row in (0, 1) for node in proposals.last_nodes()[row].tolist()}
        assert sum(runs) == 2 + 3 + (proposals.tree.ids >= 0).sum()
        assert runs[-1] == len(last)
        plain = alone.propose([0, 1], new, uniforms, 1.0)
        assert torch.equal(plain.tree.ids, proposals.tree.ids) and torch.equal(plain.counts, proposals.counts)
        lanes = proposals.values.argmax(1)
        engine.keep([0, 1], proposals, lanes)
        alone.keep([0, 1], proposals, lanes)
        for row in (0, 1):
            said[row] += new[row]
            for lane in range(4):
                with torch.no_grad():
                    value = critic(torch.tensor([said[row] + tokens(proposals, row, lane)]))[0, -1].item()
                assert proposals.values[row, lane].item() == pytest.approx(value, abs=1e-4)
            said[row] += tokens(proposals, row, int(lanes[row]))


def test_the_same_randomness_gives_the_same_tokens_at_any_width(policy):
    prompt, n = [5, 6, 7], 6
    uniforms = torch.rand(1, n, 4, generator=torch.Generator().manual_seed(2))
    together = CachedPolicy(policy, 1, 256, END, n).propose([0], [prompt], uniforms, 1.0)
    for lane in range(4):
        alone = CachedPolicy(policy, 1, 256, END, n).propose(
            [0], [prompt], uniforms[:, :, lane : lane + 1], 1.0
        )
        assert tokens(alone, 0, 0) == tokens(together, 0, lane)


def test_pick_without_randomness_takes_the_most_likely():
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]]])
    assert pick_tokens(logits, torch.full((1, 2, 1), torch.nan), 1.0).tolist() == [[[1], [0]]]
    mixed = pick_tokens(logits, torch.tensor([[[torch.nan, 0.999], [0.999, torch.nan]]]), 1.0)
    assert mixed.tolist() == [[[1, 2], [2, 0]]]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_pick_inverts_the_cumulative_distribution(temperature):
    """Evenly spread randomness falls on each token as often as the softmax says."""
    logits = torch.tensor([1.0, -0.5, -torch.inf, 0.3, 2.0])
    n = 20_000
    uniforms = (torch.arange(n) + 0.5) / n
    counts = torch.bincount(pick_tokens(logits, uniforms, temperature), minlength=5)
    torch.testing.assert_close(counts / n, (logits / temperature).softmax(-1), atol=2e-4, rtol=0)
    assert counts[2] == 0


def test_pick_with_random_numbers_passes_a_chi_square_test():
    logits = torch.tensor([0.2, -1.0, 0.7, 0.0])
    n = 5_000
    uniforms = torch.rand(n, generator=torch.Generator().manual_seed(0))
    observed = torch.bincount(pick_tokens(logits, uniforms, 1.0), minlength=4)
    expected = logits.softmax(-1) * n
    assert ((observed - expected) ** 2 / expected).sum() < 16.27  # 3 degrees of freedom, p = 0.001


def test_pick_never_leaves_the_vocabulary():
    logits = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    for u in (0.0, 1.0 - 2**-24):
        assert pick_tokens(logits, torch.full((2, 1), u), 1.0).tolist() == [[0], [1]]


def test_the_log_probability_of_a_candidate_counts_its_own_tokens_alone():
    logprobs = torch.tensor([[[-1.0, -2.0], [-4.0, -8.0], [-16.0, -32.0]]])  # [B=1, S=3, K=2]
    nodes = torch.zeros(1, 3, 2, dtype=torch.long)
    proposals = Proposals(Tree.empty(1, nodes.device), nodes, logprobs, torch.tensor([[1, 3]]))
    assert proposals.sums().tolist() == [[-1.0, -42.0]]


def test_what_candidates_share_is_run_once(policy, critic):
    """Equal candidates are one path of the tree, and no node is run twice, by policy or critic."""
    widths = {"policy": [], "critic": []}

    def counted(model, name):
        def pre_hook(module, args, kwargs):
            widths[name].append(kwargs["input_ids"].shape[1])

        return model.register_forward_pre_hook(pre_hook, with_kwargs=True)

    uniforms = torch.full((1, 6, 5), torch.nan)  # five times the greedy candidate
    uniforms[:, 2:, 4] = 0.999  # and one that leaves it at the third token
    with counted(policy.base_model, "policy"), counted(critic.backbone, "critic"):
        proposals = CachedPolicy(policy, 1, 64, -1, 6).propose([0], [[5, 6]], uniforms, 1.0)
        values = CachedCritic(critic, 1, 64).values([0], [[5, 6]], proposals)
    assert tokens(proposals, 0, 0) == tokens(proposals, 0, 3) != tokens(proposals, 0, 4)
    assert tokens(proposals, 0, 0)[:2] == tokens(proposals, 0, 4)[:2]
    assert widths["policy"] == [2, 1, 1, 2, 2, 2] and widths["critic"] == [2, 1 + 1 + 4 * 2]
    assert len(set(values[0, :4].tolist())) == 1 and values[0, 4] != values[0, 0]
