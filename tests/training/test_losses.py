"""Each loss against numbers worked out by hand, plain loops, torch's own, or a problem with a known solution."""

import math

import pytest
import torch

from oreo_agents.training.losses import (
    answered_value_loss,
    importance_weights,
    masked_mean,
    one_step_policy_loss,
    path_policy_loss,
    response_policy_loss,
    sampled_kl,
    step_policy_loss,
    sum_after,
    token_policy_loss,
    turn_starts,
    value_loss,
)

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


def test_after_an_action_the_value_learns_from_the_answer():
    # The first episode's actions end at 2 and at 4. Before tokens the targets are Eq. 8's; after the first action it
    # is V once the environment has answered, .4; after the last one the reward alone, 1.
    ends = torch.tensor([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()
    values = VALUES.clone().requires_grad_()
    given = values, VALUES, RHO, RETURNS, ACTIONS, ends, STATES | ends, BETA
    loss = answered_value_loss(*given)
    before = (0.5 - 0.8) ** 2 + (0.1 - 0.9) ** 2 + (0.4 - 0.7) ** 2
    first = (before + (0.2 - 0.4) ** 2 + (0.3 - 1.0) ** 2) / 5
    second = ((0.6 - 0.4) ** 2 + (0.2 - 0.0) ** 2) / 2
    assert loss.item() == pytest.approx((first + second) / 2)
    loss.backward()  # the answer's value is a constant where it is a target
    assert values.grad[0, 3].item() == pytest.approx(2 * (0.4 - 0.7) / 5 / 2)


def test_a_reward_on_the_way_is_not_counted_twice():
    # The first action is worth 2 of the 3 to come; the answer's V stands for the rest.
    returns = torch.tensor([[3.0, 3.0, 3.0, 1.0, 1.0]])
    ends = torch.tensor([[0, 0, 1, 0, 1]]).bool()
    loss = answered_value_loss(VALUES[:1], VALUES[:1], RHO[:1], returns, ACTIONS[:1], ends, ends, BETA)
    assert loss.item() == pytest.approx(((0.2 - (2 + 0.4)) ** 2 + (0.3 - 1.0) ** 2) / 2)


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


# --- variants -------------------------------------------------------------------------------------------------


def loss_and_gradient(loss, actions, ends):
    """Of a policy loss on the table at the top, for its log-ratios."""
    logp = RHO.clone().requires_grad_()
    masks = (actions, ends) if loss is step_policy_loss else (actions,)
    value = loss(VALUES, logp * actions, RETURNS, *masks, BETA)
    value.backward()
    return value.item(), logp.grad


ENDS = torch.tensor([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()


def test_a_step_of_one_token_is_a_token():
    each = loss_and_gradient(step_policy_loss, ACTIONS, ACTIONS)
    token = loss_and_gradient(token_policy_loss, ACTIONS, ACTIONS)
    assert each[0] == pytest.approx(token[0])
    torch.testing.assert_close(each[1], token[1])


def test_a_response_of_one_step_is_a_step():
    one_turn = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]).bool()
    end = torch.tensor([[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]).bool()
    step = loss_and_gradient(step_policy_loss, one_turn, end)
    response = loss_and_gradient(response_policy_loss, one_turn, end)
    assert step[0] == pytest.approx(response[0])
    torch.testing.assert_close(step[1], response[1])


def test_the_stop_gradient_changes_gradients_and_not_the_loss():
    """Without it a token gets the errors of all tokens before it too."""
    token, path = (loss_and_gradient(loss, ACTIONS, ENDS) for loss in (token_policy_loss, path_policy_loss))
    assert path[0] == pytest.approx(token[0])
    torch.testing.assert_close(path[1], token[1].cumsum(1) * ACTIONS)
    assert not torch.allclose(path[1], token[1])


def test_step_and_response_by_hand():
    # Turns of the first episode: tokens 1 and 2, token 4; both turns' errors are those of their first tokens.
    errors = deltas()
    step = ((errors[0, 1] ** 2 + errors[0, 4] ** 2) / 2 + errors[1, 1] ** 2) / 2
    response = (errors[0, 1] ** 2 + errors[1, 1] ** 2) / 2
    value, gradient = loss_and_gradient(step_policy_loss, ACTIONS, ENDS)
    assert value == pytest.approx(step)
    assert gradient[0, 1].item() == gradient[0, 2].item() == pytest.approx(2 * BETA * errors[0, 1] / (2 * 2))
    assert loss_and_gradient(response_policy_loss, ACTIONS, ENDS)[0] == pytest.approx(response)


def test_one_step_by_hand():
    # V(s) - r - V(s') + beta rho; s' skips the observation at 3, and the last action has none.
    first = (0.5 - 0.1 + 0.1) ** 2 + (0.1 - 0.4 - 0.2) ** 2 + (0.4 - 1.0 + 0.3) ** 2
    second = (0.6 - 0.4) ** 2
    value, _ = loss_and_gradient(one_step_policy_loss, ACTIONS, ENDS)
    assert value == pytest.approx((first / 3 + second) / 2)


def test_turns_begin_after_observations_and_after_turns():
    actions = torch.tensor([[0, 1, 1, 1, 0, 1]]).bool()
    ends = torch.tensor([[0, 0, 1, 1, 0, 1]]).bool()
    assert turn_starts(actions, ends).tolist() == [[False, True, False, True, False, True]]


def test_importance_weights_are_clipped_above_only():
    rho = torch.tensor([[0.5, 0.1], [3.0, 0.0], [-4.0, 0.0]])
    assert importance_weights(rho).tolist() == pytest.approx([math.exp(0.6), math.e, math.exp(-4)])


def test_weights_and_clip_of_the_value_loss_by_hand():
    # Log-ratios to go .4 and .2 and .6 clipped at .3: targets .85, .9, .85; second episode -.8 -> -.3: .15
    first = ((0.5 - 0.85) ** 2 + (0.1 - 0.9) ** 2 + (0.4 - 0.85) ** 2) / 3
    second = (0.6 - 0.15) ** 2
    loss = value_loss(VALUES, RHO, RETURNS, STATES, BETA, clip=0.3, weights=torch.tensor([2.0, 0.5]))
    assert loss.item() == pytest.approx((2 * first + 0.5 * second) / 2)


def test_the_sampled_kl_is_unbiased_on_the_policys_own_tokens():
    torch.manual_seed(0)
    policy, reference = (torch.distributions.Categorical(logits=torch.randn(6)) for _ in range(2))
    rho = policy.logits - reference.logits
    expected = torch.distributions.kl_divergence(policy, reference)
    torch.testing.assert_close((policy.probs * sampled_kl(rho)).sum(), expected)
    assert (sampled_kl(torch.linspace(-3, 3, 20)) >= 0).all()


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
