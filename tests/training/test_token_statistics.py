"""The vocabulary's statistics and their hand-written gradients against torch.distributions and autograd."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from oreo_agents.training.token_statistics import project_tokens, token_statistics


def by_torch(logits, ref_logits, targets, divergence):
    """(logp, entropy, rho, kl) without any of the project's code."""
    policy, reference = Categorical(logits=logits), Categorical(logits=ref_logits)
    kl = {
        "reverse": lambda: kl_divergence(policy, reference),
        "forward": lambda: kl_divergence(reference, policy),
        "none": lambda: torch.zeros(len(targets)),
    }[divergence]()
    logp = policy.log_prob(targets)
    return logp, policy.entropy(), logp - reference.log_prob(targets), kl


@pytest.mark.parametrize("divergence", ["reverse", "forward", "none"])
def test_values_and_gradients_are_autograds(divergence):
    torch.manual_seed(0)
    logits = torch.randn(4, 7, dtype=torch.double, requires_grad=True)
    ref_logits, targets = torch.randn(4, 7, dtype=torch.double), torch.tensor([0, 3, 6, 3])
    upstream = torch.randn(3, 4, dtype=torch.double)
    gradients = []
    for function in (token_statistics, by_torch):
        logp, entropy, rho, kl = function(logits, ref_logits, targets, divergence)
        (torch.stack([logp, rho, kl]) * upstream).sum().backward()
        gradients.append(logits.grad.clone())
        logits.grad = None
        expected = by_torch(logits, ref_logits, targets, divergence)
        for got, wanted in zip((logp, entropy, rho, kl), expected, strict=True):
            torch.testing.assert_close(got, wanted.to(got.dtype))
    torch.testing.assert_close(*gradients)


def test_without_a_reference_there_is_only_the_policy():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5, requires_grad=True), torch.tensor([1, 4, 0])
    logp, _, rho, kl = token_statistics(logits, None, targets, "none")
    assert not rho.any() and not kl.any()
    logp.sum().backward()
    expected = torch.nn.functional.one_hot(targets, 5) - logits.detach().softmax(-1)
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_nothing(chunk):
    torch.manual_seed(0)
    head, ref_head = (torch.nn.Linear(6, 11) for _ in range(2))
    hidden, ref_hidden = torch.randn(8, 6, requires_grad=True), torch.randn(8, 6)
    targets = torch.randint(11, (8,))
    got = project_tokens(head, hidden, targets, chunk, ref_head, ref_hidden)
    (got.rho + got.kl).sum().backward()
    gradients = [hidden.grad.clone(), head.weight.grad.clone(), head.bias.grad.clone()]
    hidden.grad = None
    head.zero_grad()
    _, _, rho, kl = by_torch(head(hidden), ref_head(ref_hidden), targets, "reverse")
    (rho + kl).sum().backward()
    for mine, wanted in zip(gradients, (hidden.grad, head.weight.grad, head.bias.grad), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_no_positions_give_empty_columns():
    got = project_tokens(torch.nn.Linear(6, 11), torch.zeros(0, 6), torch.zeros(0, dtype=torch.long), 4)
    assert len(got.logp) == len(got.kl) == 0


@pytest.mark.parametrize("divergence", ["reverse", "forward"])
def test_under_autocast_sums_over_the_vocabulary_are_of_float32(divergence):
    """torch.distributions works them out in double precision; 40 rows are more than fit into the cache at once."""
    torch.manual_seed(0)
    logits, ref_logits = 3 * torch.randn(2, 40, 5000)
    with torch.autocast("cpu", torch.bfloat16):
        _, entropy, _, kl = token_statistics(logits, ref_logits, torch.arange(40), divergence)
    p, q = (Categorical(logits=one.double()) for one in (logits, ref_logits))
    expected = kl_divergence(p, q) if divergence == "reverse" else kl_divergence(q, p)
    torch.testing.assert_close(entropy.double(), p.entropy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kl.double(), expected, rtol=1e-5, atol=1e-5)
