"""One pass over all networks: every layout gives the same, a shared trunk runs once, a remembered reference never."""

import copy

import pytest
import torch
from learning import EPISODES, random_decoder
from torch.distributions import Categorical, kl_divergence

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import trunk_of
from oreo_agents.training.batches import collate_items
from oreo_agents.training.forward import PolicyAndCritic
from oreo_agents.training.layouts import LAYOUTS, prepare_attention
from oreo_agents.training.objectives import observed_tokens
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import lay_rows


@pytest.fixture
def micro(chat):
    (micro,) = collate_items([chat.encode(episode) for episode in EPISODES], 0, 10_000)
    return micro


def decoder(tokenizer, kind="qwen3", seed=0):
    return random_decoder(kind, len(tokenizer), seed=seed)


def lay(micro, observed=None):
    return lay_rows(micro["input_ids"], micro["action_mask"], micro["token_mask"], observed=observed)


def run(policy, critic, micro, reference, layout="right"):
    """Columns, and the gradients of a function of all of them."""
    for model in (trunk_of(policy), critic.backbone, trunk_of(reference)):
        prepare_attention(model, layout)
    both = PolicyAndCritic(policy, critic, 16, layout)
    both.zero_grad()
    out = both(lay(micro, observed_tokens(micro)), Reference(reference))
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(micro["input_ids"].shape, generator=generator) * micro["token_mask"]
    ((out["rho"] + out["kl"] + out["values"] ** 2 + out["observed_logp"]) * weights).sum().backward()
    return out, {name: p.grad.clone() for name, p in both.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("layout", ["left", "packed"])
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
def test_layouts_give_the_same_columns_and_gradients(tokenizer, micro, kind, layout, shared):
    policy, reference = decoder(tokenizer, kind), decoder(tokenizer, kind, seed=1)
    critic = Critic.shared(policy) if shared else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    expected, expected_gradients = run(policy, critic, micro, reference)
    out, gradients = run(policy, critic, micro, reference, layout)
    for name, column in expected.items():
        torch.testing.assert_close(out[name], column, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-3, rtol=1e-3)


def test_forward_kl_is_the_other_way_round(tokenizer, micro):
    policy, reference = decoder(tokenizer), decoder(tokenizer, seed=1)
    ids, actions = micro["input_ids"], micro["action_mask"]
    out = PolicyAndCritic(policy, None, 16)(lay(micro), Reference(reference), divergence="forward")
    row, end = 0, int(micro["token_mask"][0].sum())
    logits, ref_logits = (
        model(input_ids=ids[row : row + 1, :end]).logits[0] for model in (policy, reference)
    )
    kl = kl_divergence(Categorical(logits=ref_logits), Categorical(logits=logits))[:-1]
    chosen = actions[row, 1:end]
    torch.testing.assert_close(out["kl"][row, 1:end][chosen], kl[chosen], atol=1e-4, rtol=1e-4)


def calls(module):
    """A list that grows with every forward pass."""
    seen = []
    module.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize(("kind", "passes"), [("shared", 1), ("separate", 2)])
def test_a_shared_trunk_runs_once_for_both(tokenizer, micro, kind, passes):
    policy = decoder(tokenizer)
    critic = Critic.shared(policy) if kind == "shared" else Critic.from_policy(policy)
    seen = [calls(trunk) for trunk in {trunk_of(policy), critic.backbone}]
    PolicyAndCritic(policy, critic, 64)(lay_rows(micro["input_ids"], micro["action_mask"]))
    assert sum(map(len, seen)) == passes


def test_the_value_loss_of_a_shared_critic_trains_the_trunk_too(tokenizer, micro):
    policy = decoder(tokenizer)
    critic = Critic.shared(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    PolicyAndCritic(policy, critic, 64)(lay_rows(micro["input_ids"], micro["action_mask"]))[
        "values"
    ].sum().backward()
    shared = [p.grad.clone() for p in trunk_of(policy).parameters()]
    policy.zero_grad()
    hidden = trunk_of(policy)(input_ids=micro["input_ids"]).last_hidden_state
    (hidden @ critic.value_head.weight[0].detach()).sum().backward()
    for mine, parameter in zip(shared, trunk_of(policy).parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-4, rtol=1e-4)


def test_a_remembered_reference_runs_once_and_says_the_same(tokenizer, micro):
    policy = decoder(tokenizer)
    fresh, remembering = Reference(policy), Reference(policy, remember=True)
    seen = calls(trunk_of(remembering.model))
    both = PolicyAndCritic(decoder(tokenizer, seed=1), None, 64)
    expected = both(lay(micro), fresh)
    for _ in range(2):
        out = both(lay(micro), remembering)
        assert torch.equal(out["rho"], expected["rho"]) and torch.equal(out["kl"], expected["kl"])
    flipped = {name: x.flip(0) for name, x in micro.items()}  # the same episodes in other rows
    out = both(lay(flipped), remembering)
    torch.testing.assert_close(out["kl"], expected["kl"].flip(0), atol=1e-5, rtol=1e-5)
    assert len(seen) == 1


def test_the_reference_is_a_copy_of_the_start(tokenizer, micro):
    policy = decoder(tokenizer)
    reference, both = Reference(policy), PolicyAndCritic(policy, None, 64)
    with torch.no_grad():
        policy.lm_head.weight *= 2
    assert both(lay(micro), reference)["kl"].max() > 0.1
    assert not any(parameter.requires_grad for parameter in reference.model.parameters())


def test_sliding_windows_cannot_be_packed(tokenizer):
    policy = copy.deepcopy(decoder(tokenizer))
    policy.config.layer_types = ["sliding_attention", "full_attention"]
    with pytest.raises(ConfigurationError, match="choose layout right"):
        prepare_attention(policy, "packed")


def test_every_layout_is_tested():
    assert set(LAYOUTS) == {"right", "left", "packed"}


def test_values_are_read_in_float32_under_autocast(tokenizer):
    """A head in bfloat16 would know 0.5 and 0.504 and nothing between."""
    critic = Critic.from_policy(decoder(tokenizer))
    torch.nn.init.normal_(critic.value_head.weight)
    hidden = torch.randn(50, critic.value_head.in_features)
    with torch.autocast("cpu", torch.bfloat16):
        values = critic.read(hidden)
    torch.testing.assert_close(values, hidden @ critic.value_head.weight[0])
