"""The methods of the table: DPO and KTO against TRL's trainers on the same tensors, the others against plain loops."""

import copy
import itertools
import math
import warnings
from dataclasses import replace
from statistics import stdev

import pytest
import torch
from learning import LOSING, OPENING, WINNING, episode

from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import gather_episodes
from oreo_agents.training.batches import collate_items, preference_pairs, with_mismatches
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.losses import soft_mean
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import unused_options
from oreo_agents.training.trainer import OreoTrainer

BETA = 0.2
EPISODES = (
    episode(),
    episode(LOSING, won=False),
    episode(WINNING[2:], opening=OPENING),
    episode(WINNING[2:5], won=False),
)


@pytest.fixture
def episodes(chat):
    return [chat.encode(one) for one in EPISODES]


@pytest.fixture
def reference(policy):
    return policy


@pytest.fixture
def moved(policy):
    """The reference after some training in no sensible direction."""
    policy = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.fixture
def make(tmp_path, tokenizer, reference, moved, episodes):
    """A trainer whose policy has left its reference."""

    def make(method, start=reference, now=moved, data=episodes, **options):
        start = copy.deepcopy(start)
        usual = {} if "beta" in unused_options(method) else {"beta": BETA}
        options = {**usual, "output_dir": str(tmp_path / "run"), "use_cpu": True, **options}
        trainer = OreoTrainer(start, OreoConfig(method=method, **options), data, processing_class=tokenizer)
        trainer.policy.load_state_dict(now.state_dict())
        return trainer

    return make


def step(trainer, micro_batch_tokens=100_000):
    """Loss and policy gradients of one batch of everything."""
    trainer.trained.zero_grad()
    micros = collate_items(trainer.train_dataset, 0, micro_batch_tokens)
    loss = trainer.training_step(trainer.trained, micros)
    return loss.item(), {name: p.grad.clone() for name, p in trainer.policy.named_parameters()}


def stacked(items, which):
    """TRL's columns of one episode of each pair: ids, attention mask, completion mask."""
    chosen = [item[which] for item in items]
    width = max(len(one) for item in items for one in item)
    ids = torch.tensor([[*one.input_ids, *[0] * (width - len(one))] for one in chosen])
    attention = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in chosen])
    completion = torch.tensor([[*one.action_mask, *[False] * (width - len(one))] for one in chosen]).long()
    return ids, attention, completion


def trl_step(trainer, inputs):
    """TRL's loss of a batch, and its gradients."""
    model = trainer.model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same(mine, theirs):
    assert mine[0] == pytest.approx(theirs[0], rel=1e-4)
    assert mine[1].keys() == theirs[1].keys()
    for name, gradient in theirs[1].items():
        torch.testing.assert_close(mine[1][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


@pytest.fixture
def trl_options(tmp_path):
    options = {"beta": BETA, "use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True}
    return {"output_dir": str(tmp_path / "trl"), **options}


def test_dpo_is_trls(make, moved, reference, tokenizer, episodes, trl_options):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    dataset = Dataset.from_list([{"prompt": "look", "chosen": "look", "rejected": "look"}])
    theirs = DPOTrainer(
        model=copy.deepcopy(moved),
        ref_model=reference,
        args=DPOConfig(**trl_options),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    pairs = preference_pairs(gather_episodes(episodes), seed=OreoConfig(output_dir="x").seed)
    both = [torch.cat(columns) for columns in zip(stacked(pairs, 0), stacked(pairs, 1), strict=True)]
    inputs = dict(zip(("input_ids", "attention_mask", "completion_mask"), both, strict=True))
    assert len(pairs) == 2
    mine = make("dpo")
    assert_same(step(mine), trl_step(theirs, inputs))
    assert_same(step(mine, micro_batch_tokens=1), trl_step(theirs, inputs))


def test_kto_is_trls(make, moved, reference, tokenizer, episodes, trl_options):
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    rows = [{"prompt": "look", "completion": "look", "label": bool(i % 2)} for i in range(4)]
    theirs = KTOTrainer(
        model=copy.deepcopy(reference),  # the way back, so that the log-ratios are positive
        ref_model=moved,
        args=KTOConfig(per_device_train_batch_size=4, **trl_options),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    items = with_mismatches(gather_episodes(episodes))
    names = ("input_ids", "attention_mask", "completion_mask")
    inputs = dict(zip(names, stacked(items, 0), strict=True))
    inputs |= {f"KL_{name}": x for name, x in zip(names, stacked(items, 1), strict=True)}
    inputs["label"] = torch.tensor([one.success for one in episodes])
    mine = make("kto", start=moved, now=reference)
    assert_same(step(mine), trl_step(theirs, inputs))
    assert_same(step(mine, micro_batch_tokens=1), trl_step(theirs, inputs))
    assert theirs._metrics["train"]["kl"][0] > 0.01  # the reference point mattered


# --- the others, by plain loops -------------------------------------------------------------------------------


def columns(trainer, episodes, critic):
    """Per episode, plain lists: log-ratios, log-probabilities, values, KL of every position."""
    out = []
    for one in episodes:
        ids = torch.tensor([one.input_ids])
        with torch.no_grad():
            full, ref = (
                model(input_ids=ids).logits[0].log_softmax(-1)
                for model in (trainer.policy, trainer.reference.model)
            )
            values = critic(ids)[0].tolist() if critic else None
        taken = [(p, one.input_ids[p]) for p in range(1, len(one)) if one.action_mask[p]]
        logp = {p: full[p - 1, token].item() for p, token in taken}
        rho = {p: (full - ref)[p - 1, token].item() for p, token in taken}
        kl = {p: (full[p - 1].exp() * (full - ref)[p - 1]).sum().item() for p, _ in taken}
        out.append((logp, rho, kl, values))
    return out


def turns_of(one):
    """(first, last) token of every action."""
    turns, start = [], None
    for p in range(len(one)):
        if one.action_mask[p] and start is None:
            start = p
        if one.end_mask[p]:
            turns.append((start, p))
            start = None
    return turns


def mean(numbers):
    return sum(numbers) / len(numbers)


def token_errors(one, rho, values):
    """Eq. 9's error in the state of every action token."""
    return {
        p: values[p - 1] - one.returns[p - 1] + BETA * sum(r for q, r in rho.items() if q >= p) for p in rho
    }


def expected_value(method, one, rho, values):
    """Eq. 8 over the states of the method."""
    before = {
        "oreo-step": [start - 1 for start, _ in turns_of(one)],
        "dro": [min(rho) - 1],
    }.get(method, [p - 1 for p in rho])
    after = [] if method == "dro" else [end for _, end in turns_of(one)]
    errors = (
        values[p] - one.returns[p] + BETA * sum(r for q, r in rho.items() if q > p) for p in {*before, *after}
    )
    return mean([error**2 for error in errors])


def expected_policy(method, one, rho, values):
    errors = token_errors(one, rho, values)
    if method == "oreo-step":
        return mean([errors[start] ** 2 for start, _ in turns_of(one)])
    if method in ("oreo-response", "dro"):
        return errors[min(errors)] ** 2
    if method == "pcl-one-step":
        states = [*(p - 1 for p in rho), None]
        squares = []
        for state, following in itertools.pairwise(states):
            next_value, next_return = (
                (0, 0) if following is None else (values[following], one.returns[following])
            )
            reward = one.returns[state] - next_return
            squares.append((values[state] - reward - next_value + BETA * rho[state + 1]) ** 2)
        return mean(squares)
    return mean([error**2 for error in errors.values()])


@pytest.mark.parametrize(
    "method", ["oreo", "oreo-token", "oreo-step", "oreo-response", "pcl", "pcl-one-step", "dro"]
)
@pytest.mark.parametrize("tokens", [1, 100_000])
def test_soft_methods_by_plain_loops(make, episodes, method, tokens):
    trainer = make(method)
    torch.nn.init.normal_(trainer.critic.value_head.weight, std=0.2)
    alpha = METHODS[method].alpha if METHODS[method].regularised else 0.0
    assert trainer.args.alpha == METHODS[method].alpha
    total = [
        expected_value(method, one, rho, values)
        + expected_policy(method, one, rho, values)
        + alpha * mean(list(kl.values()))
        for one, (_, rho, kl, values) in zip(
            episodes, columns(trainer, episodes, trainer.critic), strict=True
        )
    ]
    assert step(trainer, tokens)[0] == pytest.approx(mean(total), rel=1e-3)


@pytest.mark.parametrize("kind", ["forward", "sampled"])
def test_the_other_regularisers_by_plain_loops(make, episodes, kind):
    """What alpha adds to the loss: KL[pi_ref || pi], or exp(-rho) - 1 + rho at the data's tokens."""
    trainer = make("oreo", regularizer=kind, alpha=0.5)
    kls = []
    for one, (_, rho, _, _) in zip(episodes, columns(trainer, episodes, None), strict=True):
        if kind == "sampled":
            kls.append(mean([math.exp(-r) - 1 + r for r in rho.values()]))
            continue
        ids = torch.tensor([one.input_ids])
        with torch.no_grad():
            policy, reference = (
                torch.distributions.Categorical(logits=model(input_ids=ids).logits[0])
                for model in (trainer.policy, trainer.reference.model)
            )
        all_kl = torch.distributions.kl_divergence(reference, policy)
        kls.append(mean([all_kl[p - 1].item() for p in rho]))
    without = step(make("oreo", regularizer=kind, alpha=0.0))[0]
    assert step(trainer)[0] - without == pytest.approx(0.5 * mean(kls), rel=1e-3)


def test_importance_weights_and_clip_by_plain_loops(make, episodes):
    """An episode counts exp(min(1, log-ratio)) times; the critic's targets bound what the log-ratios say."""
    clip = 0.5
    trainer = make("oreo", importance_weights=True, log_ratio_clip=clip, alpha=0.0)
    torch.nn.init.normal_(trainer.critic.value_head.weight, std=0.2)
    total, clipped = [], 0
    for one, (_, rho, _, values) in zip(episodes, columns(trainer, episodes, trainer.critic), strict=True):
        squares = []
        for p in {*(p - 1 for p in rho), *(end for _, end in turns_of(one))}:
            to_go = sum(r for q, r in rho.items() if q > p)
            clipped += abs(to_go) > clip
            squares.append((values[p] - one.returns[p] + BETA * max(-clip, min(clip, to_go))) ** 2)
        weight = math.exp(min(1.0, sum(rho.values())))
        total.append(weight * (mean(squares) + expected_policy("oreo", one, rho, values)))
    assert clipped
    assert step(trainer)[0] == pytest.approx(mean(total), rel=1e-3)


@pytest.mark.parametrize("kind", ["separate", "shared"])
@pytest.mark.parametrize("tokens", [1, 100_000])
def test_the_critic_foresees_observations_by_plain_loops(make, episodes, kind, tokens):
    """Its trunk, read through the start's language-model head, predicts every token that the policy did not write."""
    without = make("oreo", critic=kind)
    trainer = make("oreo", critic=kind, observation_weight=0.4)
    if kind == "separate":
        with torch.no_grad():
            for one in (without, trainer):
                one.critic.backbone.norm.weight.mul_(1.5)
    nlls = []
    for one in episodes:
        ids = torch.tensor([one.input_ids])
        with torch.no_grad():
            hidden = trainer.critic.backbone(input_ids=ids).last_hidden_state[0]
            logp = trainer.reference.model.lm_head(hidden).log_softmax(-1)
        written = [p for p in range(1, len(one)) if not one.action_mask[p]]
        nlls.append(mean([-logp[p - 1, one.input_ids[p]].item() for p in written]))
    (loss, gradients), (plain, plain_gradients) = step(trainer, tokens), step(without, tokens)
    assert loss - plain == pytest.approx(0.4 * mean(nlls), rel=1e-3)
    assert trainer.critic.backbone.norm.weight.grad.abs().sum() > 0
    moved = [name for name in gradients if not torch.allclose(gradients[name], plain_gradients[name])]
    assert bool(moved) == (kind == "shared"), "a critic of its own leaves the policy alone"


OTHER = episode(WINNING[2:5], won=False, opening=OPENING.replace("a clean mug", "a mug"))
"""Alone with its prompt, which the others share."""


@pytest.fixture
def two_games(chat):
    return [chat.encode(one) for one in (*EPISODES[:3], OTHER)]


def recorded(episodes):
    """The episodes as who played them had sampled them: some far likelier than they are now, some less likely."""
    per_token = zip(episodes, (-1.0, -0.1, -9.0, -4.0), strict=True)
    return [replace(one, recorded_logp=[logp * x for x in one.action_mask]) for one, logp in per_token]


def with_logp(one):
    return replace(one, recorded_logp=[-1.0] * len(one))


@pytest.mark.parametrize("tokens", [1, 100_000])
def test_topr_by_plain_loops(make, episodes, tokens):
    """Its gradient: -grad log pi of won episodes, min(1, pi / mu) * grad log pi of lost ones, whatever R's size."""
    episodes = recorded(episodes)
    trainer = make("topr", data=episodes)
    own = [sum(logp.values()) for logp, *_ in columns(trainer, episodes, None)]
    loss, gradients = step(trainer, tokens)
    expected, terms, ratios = [], [], []
    trainer.trained.zero_grad()
    for one, logp in zip(episodes, own, strict=True):
        ratio = math.exp(logp - sum(one.recorded_logp))
        ratios += [] if one.success else [ratio]
        weight = -1.0 if one.success else min(1.0, ratio)
        expected.append(weight * logp)
        ids = torch.tensor([one.input_ids])
        full = trainer.policy(input_ids=ids).logits[0].log_softmax(-1)
        terms.append(weight * sum(full[p - 1, ids[0, p]] for p in range(1, len(one)) if one.action_mask[p]))
    (sum(terms) / len(terms)).backward()
    assert min(ratios) < 0.5 and max(ratios) > 1, "one loss is tapered, one is not"
    assert loss == pytest.approx(mean(expected), rel=1e-3)
    for name, parameter in trainer.policy.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_topr_unlearns_what_is_not_good(make, episodes):
    """Who says what is good changes which episodes are pushed up, and which down."""
    returns = dict(zip(range(4), (3.0, 1.0, 2.0, 0.0), strict=True))
    data = [replace(one, success=None, return_=returns[i]) for i, one in enumerate(recorded(episodes))]
    for good, expected in ((None, 1), ("50%", 2), ("1", 3)):
        trainer = make("topr", data=data, good=good)
        own = [sum(logp.values()) for logp, *_ in columns(trainer, data, None)]
        ratios = [
            math.exp(min(0.0, logp - sum(one.recorded_logp))) for one, logp in zip(data, own, strict=True)
        ]
        best = sorted(returns, key=returns.get, reverse=True)[:expected]
        terms = [-logp if i in best else ratios[i] * logp for i, logp in enumerate(own)]
        assert step(trainer, 100_000)[0] == pytest.approx(mean(terms), rel=1e-3)


@pytest.mark.parametrize("tokens", [1, 100_000])
def test_trajectory_balance_by_plain_loops(make, two_games, tokens):
    """Of a group: log Z, the mean of R / beta - rho, and the squared distances from it; times beta squared."""
    trainer = make("tba", data=two_games)
    ratios = [sum(rho.values()) for _, rho, *_ in columns(trainer, two_games, None)]
    excess = [float(one.success) / BETA - ratio for one, ratio in zip(two_games, ratios, strict=True)][:3]
    log_z = mean(excess)
    expected = mean([(BETA * (log_z - x)) ** 2 for x in excess])
    assert step(trainer, tokens)[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("tokens", [1, 100_000])
def test_oapl_by_plain_loops(make, two_games, tokens):
    """V of a prompt is beta_1 * log of the mean of exp(R / beta_1) over all that was recorded of it."""
    episodes = recorded(two_games)
    trainer = make("oapl", data=episodes, value_beta=0.5)
    own = [sum(logp.values()) for logp, *_ in columns(trainer, episodes, None)]
    rewards = [float(one.success) for one in episodes]
    values = [0.5 * math.log(mean([math.exp(r / 0.5) for r in rewards[:3]]))] * 3 + [rewards[3]]
    expected = mean(
        [
            (BETA * (logp - sum(one.recorded_logp)) - (r - v)) ** 2
            for one, logp, r, v in zip(episodes, own, rewards, values, strict=True)
        ]
    )
    assert step(trainer, tokens)[0] == pytest.approx(expected, rel=1e-3)


STATES = ("abcdefghi", "abcd", "abcixy", "uvw")
"""Of each turn; the third episode comes from another side to where the first has its last turn."""


def in_states(play, states):
    """The same episode, each turn with the state that it was taken in."""
    pairs = zip(play.turns, states, strict=True)
    return replace(play, turns=tuple(replace(turn, state_hash=state) for turn, state in pairs))


@pytest.mark.parametrize("tokens", [1, 100_000])
@pytest.mark.parametrize("known", [False, True])
def test_offline_gigpo_by_plain_loops(make, chat, tokens, known):
    """Two advantages: among the episodes of a game, and among turns in the same state, or with the same words before
    them where nobody said in which state they were taken."""
    plays = [episode(), episode(WINNING[:4], won=False), episode((*WINNING[:2], *LOSING), won=False), OTHER]
    if known:
        plays = [in_states(one, states) for one, states in zip(plays, STATES, strict=True)]
    data = recorded([chat.encode(one) for one in plays])
    trainer = make("gigpo", data=data, alpha=0.0)
    returns, histories = {}, {}
    for i, one in enumerate(plays):
        for t, turn in enumerate(one.turns):
            before = tuple((other.observation, other.action) for other in one.turns[:t])
            histories[i, t] = turn.state_hash if known else (*before, turn.observation)
            returns[i, t] = sum(0.95 ** (k - t) * one.turns[k].reward for k in range(t, len(one.turns)))

    def standardised(own, all_of_them):
        spread = stdev(all_of_them) if len(all_of_them) > 1 else 0
        return (own - mean(all_of_them)) / spread if spread else 0.0

    surrogate = []
    for i, (one, (logp, *_)) in enumerate(zip(data, columns(trainer, data, None), strict=True)):
        macro = standardised(float(one.success), [1.0, 0.0, 0.0]) if i < 3 else 0.0
        terms = []
        for t, (start, end) in enumerate(turns_of(one)):
            alike = [returns[place] for place, history in histories.items() if history == histories[i, t]]
            advantage = macro + standardised(returns[i, t], alike)
            for p in range(start, end + 1):
                ratio = math.exp(logp[p] - one.recorded_logp[p])
                terms.append(min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage))
        surrogate.append(mean(terms))
    assert step(trainer, tokens)[0] == pytest.approx(-mean(surrogate), rel=1e-3)
    assert sum(history == histories[0, 2] for history in histories.values()) == 3, "three meet in one state"
    assert known == (histories[0, len(WINNING) - 1] == histories[2, 3])


def test_the_soft_mean_lies_between_the_mean_and_the_maximum():
    returns = torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert soft_mean(returns, 1e-3).item() == pytest.approx(1.0, abs=2e-3)
    assert soft_mean(returns, 1e3).item() == pytest.approx(0.25, abs=1e-3)
    assert soft_mean(returns, 1.0).item() == pytest.approx(math.log((3 + math.e) / 4))


def test_what_a_method_needs_of_episodes_is_said(make, two_games):
    alone = [two_games[0], two_games[3]]
    with pytest.raises(DatasetError, match=r"4 of 4 episodes.*record rollouts of a language model"):
        make("topr")
    with pytest.raises(DatasetError, match="4 of 4 episodes"):
        make("oapl")
    for method in ("oapl", "gigpo"):
        with pytest.raises(DatasetError, match="no game came out differently"):
            make(method, data=[with_logp(one) for one in (*alone, alone[1])])


REMEDY = r"record several of each \(--per-game N; in a suite games = N under \[rollouts\]\)"


@pytest.mark.parametrize("method", ["dpo", "tba", "oapl", "gigpo"])
def test_games_that_were_each_played_once_cannot_be_compared(make, episodes, method):
    """Nor is it worth much where two of many episodes can."""
    won, lost = map(with_logp, episodes[:2])
    once = [
        replace(one, input_ids=[game, *one.input_ids[1:]])
        for game, one in enumerate((won, lost) * 11, start=10)
    ]
    with pytest.raises(DatasetError, match=f"no game was played twice: {method} compares.*{REMEDY}"):
        make(method, data=once)
    again = replace(lost, input_ids=[10, *lost.input_ids[1:]])
    with pytest.warns(
        UserWarning, match=f"only 2 of 23 episodes are of a game that was played twice.*{REMEDY}"
    ):
        make(method, data=[*once, again])
    with warnings.catch_warnings(action="error"):
        make(method, data=[once[0], again, *once[1:6]])


def test_iql_by_plain_loops(make, episodes):
    trainer = make("iql", expectile=0.8)
    torch.nn.init.normal_(trainer.critic.value_head.weight, std=0.2)
    total = []
    for one, (logp, _, _, values) in zip(episodes, columns(trainer, episodes, trainer.critic), strict=True):
        turns = turns_of(one)
        q_errors, v_errors, imitation = [], [], []
        for (start, end), following in zip(turns, [*turns[1:], None], strict=True):
            last = following is None
            reward = one.returns[end] - (0 if last else one.returns[following[0] - 1])
            q_errors.append((reward + (0 if last else values[following[0] - 1]) - values[end]) ** 2)
            advantage = values[end] - values[start - 1]
            v_errors.append((0.8 if advantage > 0 else 0.2) * advantage**2)
            weight = min(100, torch.tensor(advantage / BETA).exp().item())
            imitation += [-weight * logp[p] for p in range(start, end + 1)]
        total.append(mean(q_errors) + mean(v_errors) + mean(imitation))
    assert step(trainer)[0] == pytest.approx(mean(total), rel=1e-3)
