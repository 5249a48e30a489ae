"""What each loss makes of failures in the four turns of benchmarks/correctness/four_turns.py."""

import json
import os

import pytest
import torch
from four_turns import BEST, BETA, DEMONSTRATOR, GOOD, HABIT, HARM, RESULTS, SETTINGS, TURNS, learn

from oreo_agents.training import losses

LONG = bool(os.environ.get("LONG"))
"""Set it to learn by tba, which compares 3,200 episodes with each other, to the end."""


@pytest.mark.parametrize("name", ["dro", "tba"] if LONG else ["dro"])
def test_the_result_file_says_what_comes_of_it(name):
    written = json.loads(RESULTS.read_text())
    assert written.keys() == {"demonstrator", "best", *SETTINGS}
    found = written[name]["sampled"], written[name]["greedy"]
    assert found[0] > 0.9 and found[1] == pytest.approx(BEST), "one error an episode breaks the habit"
    assert found == pytest.approx(learn(name, **SETTINGS[name]), abs=2e-3)


def test_errors_of_whole_episodes_break_the_habit_in_an_eighth_of_the_steps():
    sampled, greedy = learn("tba", steps=50)
    assert greedy == pytest.approx(BEST) and sampled > 3 * DEMONSTRATOR


def test_imitating_wins_does_not_break_the_habit():
    """By Bayes a won episode has the good action one time in three: likelier than before, and still not likeliest."""
    good = GOOD / (GOOD + (1 - GOOD) * HARM)
    sampled, greedy = learn("rejection")
    assert sampled == pytest.approx(BEST * (good + (1 - good) * HARM) ** TURNS, abs=2e-3)
    assert greedy == pytest.approx(HABIT)


def test_at_the_papers_alpha_oreo_does_hardly_more_and_without_it_all_there_is():
    """Temperature 0.197, 0.03 + 0.002 / 0.06 = 0.063."""
    warm, habit = learn("oreo", 0.01)
    assert DEMONSTRATOR < warm < 0.2 and habit == pytest.approx(HABIT)
    cold, best = learn("oreo", 0.002)
    assert cold > 0.9 and best == pytest.approx(BEST)


def test_unlearning_losses_that_are_still_likely_breaks_it():
    """TOPR knows only whole episodes, and what it is no longer likely to do is left as it is: it goes on sampling."""
    sampled, greedy = learn("topr")
    assert greedy == pytest.approx(BEST) and 0.75 < sampled < 0.9


def test_a_clipped_ratio_allows_one_step_of_a_fifth():
    """GiGPO is made to play anew after each: on recorded episodes it stops at 1.2 times what who played did."""
    better = GOOD * 1.2
    sampled, greedy = learn("gigpo", steps=200)
    assert greedy == pytest.approx(HABIT)
    assert DEMONSTRATOR < sampled < BEST * (better + (1 - better) * HARM) ** TURNS + 0.005


def test_oapl_breaks_it_whole_where_its_two_temperatures_are_one():
    """No policy is mu * exp((R - V) / beta_2) unless V is the soft mean at beta_2, too.

    At the paper's beta_1 = 1 and beta_2 = 0.001 the least squares leave the habit of one turn.
    """
    papers, of_one = learn("oapl", beta=1e-3), learn("oapl", beta=BETA, value_beta=BETA)
    assert papers[1] == pytest.approx(BEST * HARM) and papers[0] < 0.5
    assert of_one[1] == pytest.approx(BEST) and of_one[0] > 0.9


@pytest.mark.parametrize(("beta", "alpha"), [(0.03, 0.01), (0.03, 0.0), (0.1, 0.02)])
def test_the_effective_temperature_is_the_tilt_at_which_the_loss_is_least(beta, alpha):
    """One state, three actions of the reference's own, small advantages."""
    reference = torch.tensor([0.5, 0.3, 0.2]).double()
    reward = torch.tensor([0.001, -0.002, 0.0]).double()
    advantage = reward - (reference * reward).sum()
    logits = reference.log().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], lr=1, max_iter=200, tolerance_grad=1e-14, tolerance_change=1e-18)
    acted = torch.tensor([[False, True]]).expand(3, -1)
    nothing = torch.zeros(3, 1).double()

    def closure():
        rho = logits.log_softmax(0) - reference.log()
        values = torch.cat([(reference * reward).sum().expand(3, 1), nothing], 1)
        returns = torch.cat([reward[:, None], nothing], 1)
        columns = torch.cat([nothing, rho[:, None]], 1)
        loss = losses.token_policy_loss(values, columns, returns, acted, beta, 3 * reference)
        loss = loss + alpha * ((rho + reference.log()).exp() * rho).sum()
        optimizer.zero_grad()
        (loss * 1e4).backward()
        return loss * 1e4

    optimizer.step(closure)
    tilt = (logits.log_softmax(0) - reference.log()).detach()
    tilt = tilt - (reference * tilt).sum()
    expected = advantage / losses.effective_temperature(beta, alpha)
    assert tilt.tolist() == pytest.approx(expected.tolist(), rel=0.05, abs=1e-3)


def test_the_papers_values():
    assert losses.effective_temperature(0.03, 0.01) == pytest.approx(0.1967, abs=1e-4)
    assert losses.effective_temperature(0.03, 0.1, tokens=10) == losses.effective_temperature(0.03, 0.01)
