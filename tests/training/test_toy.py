"""Four turns and a demonstrator with a costly habit: what each loss makes of failures, worked out exactly.

In every turn there is a good action, which the demonstrator takes one time in five, and its habit, which halves the
chance of winning. All 16 episodes, won and lost, weigh what they are likely to be, so there is no chance in it.
"""

from itertools import product

import pytest
import torch

from oreo_agents.language.encoded import EncodedEpisode, gather_episodes
from oreo_agents.training import losses
from oreo_agents.training.batches import with_group_advantages

TURNS, GOOD, HARM, BEST = 4, 0.2, 0.5, 0.95
DEMONSTRATOR = BEST * (GOOD + (1 - GOOD) * HARM) ** TURNS
HABIT = BEST * HARM**TURNS
BETA = 0.03


def compare_plays(actions, won, often):
    """GiGPO's advantages of each different episode, where each is played as often as that, ``[32, 1 + TURNS]``."""
    acted = [False] + [True] * TURNS
    plays = [
        EncodedEpisode(
            [9, *actions[i].tolist()], acted, acted, acted, [won[i].item()] * (1 + TURNS), bool(won[i])
        )
        for i in often.tolist()
    ]
    compared = with_group_advantages(gather_episodes(plays))
    found = {(*one.input_ids, one.success): one.group_advantages for one in compared}
    return torch.tensor([found[9, *play.tolist(), bool(end)] for play, end in zip(actions, won, strict=True)])


def learn(method, alpha=0.0, steps=400, beta=BETA, value_beta=1.0):
    """Success of the learnt policy, sampled and greedy."""
    plays = torch.tensor(list(product((0, 1), repeat=TURNS)))
    habits = (1 - plays).sum(1)
    win, chance = BEST * HARM**habits, GOOD ** (TURNS - habits) * (1 - GOOD) ** habits
    actions, won = plays.repeat(2, 1), torch.cat([torch.ones(len(plays)), torch.zeros(len(plays))])
    weights = torch.cat([chance * win, chance * (1 - win)]) * len(actions)
    powers = 2 ** torch.arange(TURNS)
    states = torch.stack(
        [2**t - 1 + (actions[:, :t] * powers[:t]).sum(1) for t in range(TURNS)], 1
    )  # one for each history
    reference = torch.tensor([1 - GOOD, GOOD]).log().expand(2**TURNS - 1, 2)
    logits, values = reference.clone().requires_grad_(), torch.zeros(2**TURNS - 1, requires_grad=True)
    optimizer = torch.optim.Adam([logits, values], lr=0.05)
    often = torch.arange(len(actions)).repeat_interleave((100 * weights).round().long().clamp(min=1))
    nothing = torch.zeros(len(actions), 1)
    due = torch.cat([torch.ones(len(actions), TURNS), nothing], 1).bool()
    acted = due.flip(1)
    returns = won[:, None] * due

    if method == "gigpo":
        advantages = compare_plays(actions, won, often)

    def pick(table):
        return torch.cat([nothing, table[states].gather(2, actions[..., None])[..., 0]], 1)

    for _ in range(steps):
        logpi = logits.log_softmax(1)
        rho, read = pick(logpi - reference), torch.cat([values[states], nothing], 1)
        kl = torch.cat([nothing, (logpi.exp() * (logpi - reference)).sum(1)[states]], 1)
        if method == "rejection":
            loss = losses.imitation_loss(pick(logpi), acted * (won * weights)[:, None])
        elif method in ("topr", "tba", "oapl", "gigpo"):
            recorded, total = pick(reference)[often], returns[often]
            if method == "topr":
                loss = losses.tapered_loss(pick(logpi)[often], won[often].bool(), recorded)
            elif method == "gigpo":
                loss = losses.clipped_loss(pick(logpi)[often], advantages[often], recorded, acted[often])
                loss = loss + alpha * losses.masked_mean(kl[often], acted[often])
            elif method == "tba":
                loss = losses.balance_loss(rho[often], total, torch.zeros_like(often), beta)
            else:
                value = losses.soft_mean(won[often], value_beta).expand(len(often))
                loss = losses.optimal_advantage_loss(pick(logpi)[often], total, recorded, value, beta)
        else:
            policy = {"oreo": losses.token_policy_loss, "dro": losses.response_policy_loss}[method]
            start = due & (due.cumsum(1) == 1)
            loss = policy(read, rho, returns, acted, BETA, weights)
            loss = loss + losses.value_loss(
                read, rho, returns, start if method == "dro" else due, BETA, weights=weights
            )
            loss = loss + alpha * losses.masked_mean(kl, acted, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pi = logits.detach().softmax(1)
    likely = pi[states[: len(plays)]].gather(2, plays[..., None])[..., 0].prod(1)
    greedy = (pi.argmax(1)[states[: len(plays)]] == plays).all(1)
    return (likely * win).sum().item(), (greedy * win).sum().item()


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


def test_one_error_an_episode_needs_no_regulariser_to_break_it():
    assert learn("dro")[1] == pytest.approx(BEST)


def test_unlearning_losses_that_are_still_likely_breaks_it():
    """TOPR knows only whole episodes, and what it is no longer likely to do is left as it is: it goes on sampling."""
    sampled, greedy = learn("topr")
    assert greedy == pytest.approx(BEST) and 0.75 < sampled < 0.9


def test_the_mean_of_the_group_does_what_a_critic_of_the_prompt_does():
    sampled, greedy = learn("tba")
    assert greedy == pytest.approx(BEST) and sampled > 0.9


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
