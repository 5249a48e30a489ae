"""Muon and AdamW in one optimizer, against torch's own two."""

import copy

import pytest
import torch
from torch import nn

from oreo_agents.training.optimizer import MuonAdamW, list_matrices, orthogonalize_matrices


@pytest.fixture
def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))


def train(network, optimizers, steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        loss = network(torch.randn(64, 6, generator=generator)).square().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def split(network):
    inner = list_matrices(network)
    return inner, [p for p in network.parameters() if all(p is not q for q in inner)]


def test_only_matrices_between_embedding_and_heads_are_muon_s(policy, network):
    assert [tuple(p.shape) for p in list_matrices(network)] == [(12, 6), (12, 12)]
    names = {name for name, p in policy.named_parameters() if any(p is q for q in list_matrices(policy))}
    assert names and not any("embed" in name or "lm_head" in name or "norm" in name for name in names)


def test_without_muon_it_is_torch_s_adamw(network):
    twin = copy.deepcopy(network)
    ours = MuonAdamW(
        [{"params": list(network.parameters()), "lr": 0.01, "muon": False}],
        betas=(0.9, 0.95),
        weight_decay=0.1,
    )
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    torch.testing.assert_close(train(network, [ours]), train(twin, [theirs]), rtol=1e-6, atol=1e-7)


def test_muon_groups_follow_torch_s_muon(network):
    twin = copy.deepcopy(network)
    inner, outer = split(network)
    ours = MuonAdamW(
        [{"params": inner, "lr": 0.01, "muon": True}, {"params": outer, "lr": 0.01, "muon": False}],
        betas=(0.9, 0.95),
        weight_decay=0.1,
    )
    inner, outer = split(twin)
    theirs = [
        torch.optim.Muon(inner, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
    ]
    start = torch.cat([p.detach().flatten() for p in network.parameters()])
    one, other = train(network, [ours], 1) - start, train(twin, theirs, 1) - start
    assert (one - other).norm() < 0.05 * other.norm()  # both iterate in bfloat16


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalize_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize_matrices(torch.randn(shape)))
    assert values.min() > 0.3 and values.max() < 1.3


def test_its_state_survives_saving(network):
    """Three steps straight equal two, saved and loaded, and one."""

    def make(network):
        inner, outer = split(network)
        return MuonAdamW(
            [{"params": inner, "lr": 0.01, "muon": True}, {"params": outer, "lr": 0.01, "muon": False}]
        )

    twin = copy.deepcopy(network)
    first = make(network)
    train(network, [first])
    train(twin, [half := make(twin)])
    again = make(twin)
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    assert torch.equal(train(network, [first]), train(twin, [again]))
