"""Four turns and a demonstrator with a costly habit: what each loss makes of failures, worked out exactly.

    python benchmarks/correctness/four_turns.py

In every turn there is a good action, which the demonstrator takes one time in five, and its habit, which halves the
chance of winning. All 16 episodes, won and lost, weigh what they are likely to be (methods that compare episodes see
3,200 in these proportions), so there is no chance in it. The policy is a table. Success of what is learnt, sampled and
greedy, is written to benchmarks/results/four_turns.json.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
from oreo_envs.files import write_json

from oreo_agents.language.encoded import EncodedEpisode, gather_episodes
from oreo_agents.training import losses
from oreo_agents.training.batches import with_group_advantages

RESULTS = Path(__file__).parents[1] / "results" / "four_turns.json"
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


SETTINGS = {
    "rejection": {},
    "oreo, alpha 0.01": {"alpha": 0.01},
    "oreo, alpha 0.002": {"alpha": 0.002},
    "oreo, alpha 0": {"alpha": 0.0},
    "dro": {},
    "topr": {},
    "tba": {},
    "oapl, the paper's temperatures": {"beta": 1e-3},
    "oapl, one temperature": {"value_beta": BETA},
    "gigpo": {},
}
"""Options of :func:`learn` by what they are called; what is not said is as in the first of each method."""


def main() -> None:
    """Learn by every method and write down what came of it."""
    found = {"demonstrator": {"sampled": DEMONSTRATOR, "greedy": HABIT}, "best": {"greedy": BEST}}
    for name, options in SETTINGS.items():
        sampled, greedy = learn(name.partition(",")[0], **options)
        found[name] = {"sampled": sampled, "greedy": greedy}
    write_json(RESULTS, {name: {"method": name, **rates} for name, rates in found.items()})


if __name__ == "__main__":
    main()
