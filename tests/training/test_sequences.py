"""An episode of several sequences: the same losses and gradients as of one, where both say the same."""

from dataclasses import replace

import pytest
import torch
from learning import EPISODES, random_decoder

from oreo_agents import OreoConfig
from oreo_agents.errors import DatasetError
from oreo_agents.language import chat as chat_module
from oreo_agents.language.encoded import gather_episodes
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import trunk_of
from oreo_agents.training.batches import collate_items, split_batches
from oreo_agents.training.forward import PolicyAndCritic
from oreo_agents.training.layouts import LAYOUTS, prepare_attention
from oreo_agents.training.methods import METHODS
from oreo_agents.training.objectives import (
    imitation_weights,
    observed_tokens,
    policy_loss,
    select_items,
    value_loss,
)
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import lay_rows


@pytest.fixture
def apart(chat, monkeypatch):
    """The same episodes with every turn a sequence of its own, its whole history read anew."""
    together = [chat.encode(episode) for episode in EPISODES]
    monkeypatch.setattr(chat_module, "_count_common", lambda before, reading: 0)
    monkeypatch.setattr(chat, "appends", False)
    apart = [chat.encode(episode) for episode in EPISODES]
    for encoded in (together, apart):
        encoded[:] = [
            replace(one, recorded_logp=[-0.1 * i * x for x in one.action_mask])
            for i, one in enumerate(encoded)
        ]
    assert [len(one.starts) for one in together] == [1, 1, 1]
    assert [len(one.starts) for one in apart] == [len(episode.turns) for episode in EPISODES]
    return together, apart


def losses(method, tokenizer, episodes, layout, shared=True, remember=False):
    """Losses of policy and critic, KL, and all gradients, for one batch."""
    config = OreoConfig(output_dir="unused", method=method, use_cpu=True, max_length=10_000)
    objective = METHODS[method]
    policy, reference = (random_decoder("qwen3", len(tokenizer), seed=seed) for seed in (0, 1))
    critic = Critic.shared(policy) if shared else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    for model in (trunk_of(policy), critic.backbone, trunk_of(reference)):
        prepare_attention(model, layout)
    both = PolicyAndCritic(policy, critic, 16, layout)
    items = select_items(objective, gather_episodes(episodes), config, policy.config)
    (micro,) = collate_items(items, 0, 10**9)
    known = Reference(reference, remember)
    for _ in range(1 + remember):
        rows = lay_rows(
            micro["input_ids"], micro["action_mask"], micro["token_mask"], micro.get("start_mask")
        )
        out = both(rows, known)
    loss = policy_loss(objective, micro, out, config)
    found = [loss.item()]
    loss = loss + out["kl"].sum()
    if objective.critic:
        of_critic = value_loss(objective, micro, out, config)
        found.append(of_critic.item())
        loss = loss + of_critic
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in both.named_parameters() if p.grad is not None}
    return torch.tensor([*found, out["kl"].sum().item()]), gradients


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"kto"}))
def test_sequences_give_the_losses_and_gradients_of_one(tokenizer, apart, method, layout):
    expected, expected_gradients = losses(method, tokenizer, apart[0], layout)
    found, gradients = losses(method, tokenizer, apart[1], layout)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-4)


def test_a_remembered_reference_and_a_critic_of_its_own(tokenizer, apart):
    for options in ({"remember": True}, {"shared": False}):
        expected, _ = losses("oreo", tokenizer, apart[0], "right", **options)
        found, _ = losses("oreo", tokenizer, apart[1], "right", **options)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_nothing_precedes_the_first_token_of_a_sequence(apart):
    (micro,) = collate_items(apart[1], 0, 10**9)
    assert not (observed_tokens(micro) & micro["start_mask"]).any()
    assert int(micro["start_mask"].sum()) == sum(len(one.starts) for one in apart[1])
    halves = split_batches([micro], 2)
    assert sum(int(half["start_mask"].sum()) for half in halves) == int(micro["start_mask"].sum())


def test_the_longest_sequence_must_fit_not_the_sum(tokenizer, apart):
    episode = apart[1][0]
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = episode.longest
    assert len(episode) > episode.longest
    config = OreoConfig(output_dir="unused", method="sft", use_cpu=True, max_length=episode.longest)
    assert len(select_items(METHODS["sft"], gather_episodes([episode]), config, policy.config)) == 1
    config.max_length -= 1
    with pytest.raises(DatasetError, match="max_length"):
        select_items(METHODS["sft"], gather_episodes([episode]), config, policy.config)


def test_kto_is_refused(apart):
    config = OreoConfig(output_dir="unused", method="kto", use_cpu=True, max_length=10_000)
    with pytest.raises(DatasetError, match="several sequences"):
        select_items(METHODS["kto"], gather_episodes(apart[1]), config, random_decoder("qwen3", 99).config)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_what_a_thought_counts_in_imitation(chat, weight):
    encoded = chat.encode(EPISODES[0])
    actions = [i for i, action in enumerate(encoded.action_mask) if action]
    encoded.thoughts.extend(actions[:5])
    (micro,) = collate_items([encoded], 0, 10_000)
    config = OreoConfig(output_dir="unused", method="sft", use_cpu=True, thought_weight=weight)
    weights = imitation_weights(micro, config)[0]
    assert weights[actions[:5]].tolist() == [weight] * 5
    assert set(weights[actions[5:]].tolist()) == {1.0}
    assert weights.sum() == 5 * weight + len(actions) - 5
