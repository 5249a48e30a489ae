"""Each loss against numbers worked out by hand, plain loops, torch's own, or a problem with a known solution."""

import math

import pytest
import torch

from oreo_agents.losses import masked_mean, sum_after, token_policy_loss, value_loss

BETA = 0.5

# Two episodes. The first: prompt, action, action, observation, action. The second: prompt, action, padding.
VALUES = torch.tensor([[0.5, 0.1, 0.2, 0.4, 0.3], [0.6, 0.2, 9.0, 9.0, 9.0]])
RHO = torch.tensor([[0.0, 0.2, -0.4, 0.0, 0.6], [0.0, -0.8, 0.0, 0.0, 0.0]])
RETURNS = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
ACTIONS = torch.tensor([[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()
STATES = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()


def test_sum_after_adds_what_comes_later():
    assert sum_after(torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, -1.0]])).tolist() == [[6, 4, 0], [-1, -1, 0]]


def test_masked_mean_weighs_episodes_alike():
    x = torch.tensor([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0], [7.0, 7.0, 7.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    assert masked_mean(x, mask).item() == pytest.approx((2 + 5 + 0) / 3)


def test_value_loss_by_hand():
    # Targets R - beta * (log-ratios still to come): 1 - .5 * .4 = .8, 1 - .5 * .2 = .9, 1 - .5 * .6 = .7; .4
    first = ((0.5 - 0.8) ** 2 + (0.1 - 0.9) ** 2 + (0.4 - 0.7) ** 2) / 3
    second = (0.6 - 0.4) ** 2
    loss = value_loss(VALUES, RHO, RETURNS, STATES, BETA)
    assert loss.item() == pytest.approx((first + second) / 2)


def deltas():
    """Eq. 9's Bellman error of each action token, by plain loops: {(episode, position): delta}."""
    out = {}
    for b in range(2):
        for p in range(1, 5):
            if ACTIONS[b, p]:
                to_go = sum(RHO[b, q].item() for q in range(p, 5))
                out[b, p] = VALUES[b, p - 1].item() - RETURNS[b, p - 1].item() + BETA * to_go
    return out


def test_token_policy_loss_by_hand():
    # (V before the token) - R + beta * (log-ratios from the token on)
    assert deltas() == pytest.approx({(0, 1): -0.3, (0, 2): -0.8, (0, 4): -0.3, (1, 1): 0.2})
    expected = ((0.09 + 0.64 + 0.09) / 3 + 0.04) / 2
    assert token_policy_loss(VALUES, RHO, RETURNS, ACTIONS, BETA).item() == pytest.approx(expected)


def test_gradient_of_the_policy_loss_is_that_of_reinforce():
    """2 * beta * delta_t / (T * B) on action tokens, nothing on observations, prompts and padding."""
    rho = RHO.clone().requires_grad_()
    values = VALUES.clone().requires_grad_()
    token_policy_loss(values, rho, RETURNS, ACTIONS, BETA).backward()
    tokens = {0: 3, 1: 1}
    for (b, p), delta in deltas().items():
        assert rho.grad[b, p].item() == pytest.approx(2 * BETA * delta / (tokens[b] * 2))
    assert (rho.grad[~ACTIONS] == 0).all()
    assert values.grad is None


def test_value_loss_leaves_the_policy_alone():
    rho, values = RHO.clone().requires_grad_(), VALUES.clone().requires_grad_()
    value_loss(values, rho, RETURNS, STATES, BETA).backward()
    assert rho.grad is None
    assert (values.grad[~STATES] == 0).all() and (values.grad[STATES] != 0).all()


@pytest.mark.parametrize(("loss", "mask"), [(value_loss, STATES), (token_policy_loss, ACTIONS)])
def test_padding_changes_nothing(loss, mask):
    def padded(x, fill):
        return torch.cat([x, torch.full((2, 3), fill)], dim=1)

    plain = loss(VALUES, RHO, RETURNS, mask, BETA)
    wide = loss(padded(VALUES, 7.0), padded(RHO, 0.0), padded(RETURNS, 5.0), padded(mask, False), BETA)
    assert wide.item() == pytest.approx(plain.item())


def test_a_tree_with_a_known_answer_is_solved():
    """Minimising Eqs. 8 and 9 over every path of a tree gives the soft-optimal policy and value.

    A state is a node (0 the root, node n has children 2n+1 and 2n+2), an action a child; leaves pay rewards.
    """
    depth = 3
    inner, leaves = 2**depth - 1, 2**depth
    generator = torch.Generator().manual_seed(0)
    reward = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5])
    ref = (torch.rand(inner, 2, generator=generator) + 0.3).log().log_softmax(-1)

    best_value, best_policy = [0.0] * inner, [None] * inner
    for node in reversed(range(inner)):
        children = (2 * node + 1, 2 * node + 2)
        q = [reward[c - inner].item() if c >= inner else best_value[c] for c in children]
        weights = [ref[node, a].exp().item() * math.exp(q[a] / BETA) for a in range(2)]
        best_value[node] = BETA * math.log(sum(weights))
        best_policy[node] = [w / sum(weights) for w in weights]

    choices = (torch.arange(leaves)[:, None] >> torch.arange(depth - 1, -1, -1)) & 1  # [leaves, depth]
    nodes = torch.zeros(leaves, depth, dtype=torch.long)
    for t in range(1, depth):
        nodes[:, t] = 2 * nodes[:, t - 1] + 1 + choices[:, t - 1]
    returns = reward[:, None].expand(-1, depth + 1)
    actions = torch.tensor([False] + [True] * depth).expand(leaves, -1)
    states = torch.tensor([True] * depth + [False]).expand(leaves, -1)

    logits, values = torch.zeros(inner, 2, requires_grad=True), torch.zeros(inner, requires_grad=True)
    optimizer = torch.optim.Adam([logits, values], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps := 600)
    for _ in range(steps):
        log_ratio = (logits.log_softmax(-1) - ref)[nodes, choices]
        rho = torch.nn.functional.pad(log_ratio, (1, 0))
        v = torch.nn.functional.pad(values[nodes], (0, 1))
        loss = value_loss(v, rho, returns, states, BETA) + token_policy_loss(v, rho, returns, actions, BETA)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(logits.detach().softmax(-1), torch.tensor(best_policy), atol=1e-3, rtol=0)
    torch.testing.assert_close(values.detach(), torch.tensor(best_value), atol=1e-3, rtol=0)
