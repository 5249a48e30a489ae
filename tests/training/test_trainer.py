"""The trainer against cross-entropy and Eqs. 8 and 9 on plain model logits, and what a run leaves on disk."""

import copy
import dataclasses
import itertools
from dataclasses import replace

import pytest
import torch
from learning import EPISODES, LOSING, OPENING, WINNING, episode
from oreo_envs.files import lock_folder

from oreo_agents.errors import CheckpointError, ConfigurationError, DatasetError, TrainingError
from oreo_agents.models.agent_folder import load_critic, load_policy, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import trunk_of
from oreo_agents.models.recipe import read_recipe
from oreo_agents.training import losses
from oreo_agents.training.batches import collate_items
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.forward import PolicyAndCritic
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import unused_options
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import lay_rows
from oreo_agents.training.train import train
from oreo_agents.training.trainer import OreoTrainer

BETA, ALPHA = 0.3, 0.05


@pytest.fixture
def encoded(chat):
    return [chat.encode(episode) for episode in EPISODES]


@pytest.fixture
def make(tmp_path, policy, tokenizer, encoded):
    """A trainer on the three episodes; options are OreoConfig's."""

    def make(method, episodes=encoded, policy=policy, given=None, play=None, **options):
        defaults = {
            "beta": BETA,
            "alpha": ALPHA,
            "warmup_steps": 0,
            "logging_steps": 1,
            "learning_rate": 1e-3,
        }
        defaults = {name: value for name, value in defaults.items() if name not in unused_options(method)}
        config = OreoConfig(
            output_dir=str(tmp_path / "run"),
            method=method,
            use_cpu=True,
            disable_tqdm=True,
            **{**defaults, **options},
        )
        return OreoTrainer(policy, config, episodes, processing_class=tokenizer, critic=given, play=play)

    return make


def moved(policy, amount=0.05):
    """A copy of the policy that has been trained a little, in no sensible direction."""
    policy = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator)
    return policy


def log_probs(policy, encoded):
    """Of every token of one episode but the first, by the whole model, without any of the trainer's code."""
    ids = torch.tensor([encoded.input_ids])
    return policy(input_ids=ids).logits[0, :-1].log_softmax(-1)


def step(trainer, micro_batch_tokens):
    """The loss of one batch of all episodes, and its gradients."""
    trainer.trained.zero_grad()
    batch = collate_items(trainer.train_dataset, 0, micro_batch_tokens)
    loss = trainer.training_step(trainer.trained, batch)
    return loss.item(), {
        name: parameter.grad.clone()
        for name, parameter in trainer.trained.named_parameters()
        if parameter.grad is not None
    }


# --- batches and forward pass ---------------------------------------------------------------------------------


def test_collate_sorts_by_length_and_keeps_to_its_tokens(encoded):
    lengths = sorted(map(len, encoded), reverse=True)
    assert [tuple(micro["input_ids"].shape) for micro in collate_items(encoded, 0, 10_000)] == [
        (3, lengths[0])
    ]
    assert [tuple(micro["input_ids"].shape) for micro in collate_items(encoded, 0, 1)] == [
        (1, n) for n in lengths
    ]
    some = collate_items(encoded, 0, 2 * lengths[0])
    assert [len(micro["input_ids"]) for micro in some] == [2, 1]


def test_padding_belongs_to_nobody(encoded):
    (micro,) = collate_items(encoded, 99, 10_000)
    for row, one in enumerate(sorted(encoded, key=len, reverse=True)):
        n = len(one)
        assert micro["input_ids"][row, :n].tolist() == one.input_ids
        assert micro["returns"][row, :n].tolist() == one.returns
        assert micro["success"][row].item() == one.success
        assert (micro["input_ids"][row, n:] == 99).all()
        for name in ("action_mask", "imitate_mask", "end_mask"):
            assert micro[name][row, :n].tolist() == getattr(one, name)
            assert not micro[name][row, n:].any()


@pytest.mark.parametrize("head_chunk", [3, 4096])
def test_forward_gives_what_the_whole_model_gives(policy, critic, encoded, head_chunk):
    reference = moved(policy)
    (micro,) = collate_items(encoded, 0, 10_000)
    mask = micro["action_mask"]
    with torch.no_grad():
        out = PolicyAndCritic(policy, critic, head_chunk)(
            lay_rows(micro["input_ids"], mask), Reference(reference)
        )
        assert set(out) == {"logp", "entropy", "rho", "kl", "values"}
        for name in ("logp", "entropy", "rho", "kl"):
            assert (out[name][~mask] == 0).all()
        for row, one in enumerate(sorted(encoded, key=len, reverse=True)):
            chosen = torch.tensor(one.action_mask[1:])
            full, ref_full = log_probs(policy, one)[chosen], log_probs(reference, one)[chosen]
            target = torch.tensor(one.input_ids[1:])[chosen]
            at = torch.arange(len(target)), target
            distributions = [torch.distributions.Categorical(logits=logits) for logits in (full, ref_full)]
            expected = {
                "logp": full[at],
                "rho": full[at] - ref_full[at],
                "entropy": distributions[0].entropy(),
                "kl": torch.distributions.kl_divergence(*distributions),
            }
            for name, values in expected.items():
                torch.testing.assert_close(out[name][row][mask[row]], values, atol=1e-4, rtol=1e-4)
            values = critic(torch.tensor([one.input_ids]))[0]
            torch.testing.assert_close(out["values"][row, : len(one)], values, atol=1e-4, rtol=1e-4)


# --- losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batch_tokens", [1, 10_000])
@pytest.mark.parametrize("observation_weight", [0.0, 0.3])
def test_sft_is_weighted_cross_entropy(make, policy, chat, micro_batch_tokens, observation_weight):
    """The mean over all tokens worth imitating (and, by their weight, observations), whatever the micro-batches."""
    noisy = chat.encode(episode(LOSING, won=False, metadata={"noise_turns": [1]}))
    episodes = [chat.encode(EPISODES[0]), noisy]
    total = weights = 0.0
    for one in episodes:
        target = torch.tensor(one.input_ids[1:])
        nll = torch.nn.functional.cross_entropy(log_probs(policy, one), target, reduction="none")
        for loss, acted, imitated in zip(
            nll.tolist(), one.action_mask[1:], one.imitate_mask[1:], strict=True
        ):
            weight = float(imitated) if acted else observation_weight
            total, weights = total + weight * loss, weights + weight
    loss, _ = step(make("sft", episodes, observation_weight=observation_weight), micro_batch_tokens)
    assert loss == pytest.approx(total / weights, rel=1e-4)


def test_oreo_by_plain_loops(make, policy, critic, encoded):
    """Eqs. 8 and 9 and the KL, token by token, away from the start."""
    trainer = make("oreo", given=copy.deepcopy(critic))
    trainer.policy.load_state_dict(moved(policy).state_dict())
    total = 0.0
    for one in encoded:
        with torch.no_grad():
            full, ref_full = log_probs(trainer.policy, one), log_probs(trainer.reference.model, one)
            values = critic(torch.tensor([one.input_ids]))[0].tolist()
        n = len(one)
        rho, kl = [0.0] * n, [0.0] * n
        for p in range(1, n):
            if one.action_mask[p]:
                rho[p] = (full - ref_full)[p - 1, one.input_ids[p]].item()
                kl[p] = (full[p - 1].exp() * (full - ref_full)[p - 1]).sum().item()
        squares_v, squares_pi = [], []
        for p in range(n):
            acts_next = p + 1 < n and one.action_mask[p + 1]
            error = values[p] - one.returns[p] + BETA * sum(rho[p + 1 :])
            if acts_next or one.end_mask[p]:
                squares_v.append(error**2)
            if acts_next:
                squares_pi.append(error**2)
        actions = sum(one.action_mask)
        total += sum(squares_v) / len(squares_v) + sum(squares_pi) / actions + ALPHA * sum(kl) / actions
    loss, _ = step(trainer, 10_000)
    assert loss == pytest.approx(total / len(encoded), rel=1e-3)


def test_oreo_starts_from_nothing(make, encoded):
    """At the first step the policy is the reference and V = 0, so every squared error is the return squared."""
    trainer = make("oreo", max_steps=1)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["value_loss"] == log["policy_loss"] == pytest.approx(1 / 3, abs=1e-5)  # one of three was won
    assert log["loss"] == pytest.approx(2 / 3, abs=1e-4)
    for name in ("kl", "rho_won", "rho_lost", "value_won", "value_lost"):
        assert log[name] == pytest.approx(0, abs=1e-5)
    # A value is read before every action token and after every action; V = 0 misses each target by itself.
    targets = [e.returns[0] for e in encoded for _ in range(sum(e.action_mask) + sum(e.end_mask))]
    mean = sum(targets) / len(targets)
    assert log["explained_variance"] == pytest.approx(1 - mean / (mean - mean**2), rel=1e-4)


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_micro_batches_do_not_change_the_gradient(make, policy, critic, method):
    trainer = make(method, given=critic if method == "oreo" else None)
    trainer.policy.load_state_dict(moved(policy).state_dict())
    loss, gradients = step(trainer, 10_000)
    small_loss, small_gradients = step(trainer, 1)
    assert small_loss == pytest.approx(loss, rel=1e-4)
    assert small_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(small_gradients[name], gradient, atol=1e-5, rtol=1e-3)


def test_an_episode_without_turns_teaches_nothing(make, encoded, chat):
    nothing = chat.encode(dataclasses.replace(EPISODES[0], turns=()))
    assert len(nothing) == 0
    loss, _ = step(make("sft", [*encoded, nothing]), 1)
    assert loss == pytest.approx(step(make("sft", encoded), 1)[0], rel=1e-5)


@pytest.mark.parametrize("layout", ["right", "packed"])
@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_checkpointed_activations_do_not_change_the_run(make, policy, layout, kind):
    start = copy.deepcopy(policy)
    options = {"layout": layout, "critic": kind, "max_steps": 2}
    plain = make("oreo", policy=policy, **options)
    checkpointed = make("oreo", policy=start, gradient_checkpointing=True, **options)
    for trainer in (plain, checkpointed):
        trainer.train()
    assert trunk_of(checkpointed.policy).is_gradient_checkpointing
    weights = plain.trained.state_dict()
    for name, weight in checkpointed.trained.state_dict().items():
        torch.testing.assert_close(weight, weights[name], atol=1e-6, rtol=1e-5, msg=name)


# --- what is trained on ---------------------------------------------------------------------------------------


def test_the_last_step_is_logged_however_few_there_are(make):
    trainer = make("sft", logging_steps=10, max_steps=3)
    trainer.train()
    assert [line["step"] for line in trainer.state.log_history if "loss" in line] == [3]


def test_rejection_imitates_the_successful_ones(make, encoded):
    assert list(make("rejection").train_dataset) == [encoded[0]]
    assert len(make("sft").train_dataset) == 3


@pytest.mark.parametrize(
    ("method", "kept", "options", "message"),
    [
        ("sft", slice(0), {}, "no episodes to train on"),
        ("rejection", slice(1, 3), {}, "no successful episodes"),
        ("oreo", slice(1, 3), {}, "no successful episodes"),
        ("oreo", slice(0, 1), {}, "no failed episodes"),
        ("sft", slice(3), {"max_length": 20}, r"has \d+ tokens, max_length is 20"),
    ],
    ids=[
        "none",
        "rejection without a success",
        "oreo without a success",
        "oreo without a failure",
        "too long",
    ],
)
def test_episodes_that_cannot_be_trained_on_are_refused(make, encoded, method, kept, options, message):
    with pytest.raises(DatasetError, match=message):
        make(method, encoded[kept], **options)


def test_an_unknown_method_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"ppo.*sft, rejection, oreo, oreo-token"):
        OreoConfig(output_dir=str(tmp_path), method="ppo")


# --- training -------------------------------------------------------------------------------------------------


def test_oreo_raises_the_successful_action_and_lowers_the_failing_one(make, chat, policy):
    """A bandit: one observation, one command that wins and one that does not."""
    arms = [
        chat.encode(episode([WINNING[0]], won=True, opening=OPENING)),
        chat.encode(episode([LOSING[0]], won=False, opening=OPENING)),
    ]

    def log_likelihoods():
        with torch.no_grad():
            return [
                sum(
                    log_probs(policy, arm)[p - 1, arm.input_ids[p]]
                    for p in range(len(arm))
                    if arm.action_mask[p]
                )
                for arm in arms
            ]

    before = log_likelihoods()
    trainer = make("oreo", arms, beta=0.1, alpha=0.0, max_steps=25, learning_rate=3e-3)
    trainer.train()
    gain = [after - start for after, start in zip(log_likelihoods(), before, strict=True)]
    assert gain[0] > 1 and gain[0] > gain[1] + 2
    # Seen before either arm is chosen, the state is worth something between the two.
    with torch.no_grad():
        value = trainer.critic(torch.tensor([arms[0].input_ids]))[
            0, arms[0].action_mask.index(True) - 1
        ].item()
    assert 0.2 < value < 0.8


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_warm_up_trains_the_critic_alone(make, policy, weight_decay):
    trainer = make("oreo", max_steps=2, critic_warmup=1.0, weight_decay=weight_decay)
    before = {name: weight.clone() for name, weight in trainer.trained.state_dict().items()}
    trainer.train()
    after = trainer.trained.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"critic"}


def test_warm_up_of_a_shared_critic_leaves_the_trunk_alone(make, policy):
    trainer = make("oreo", max_steps=2, critic_warmup=1.0, critic="shared")
    before = {name: weight.clone() for name, weight in trainer.trained.state_dict().items()}
    trainer.train()
    after = trainer.trained.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "critic.value_head.weight"
    }


@pytest.mark.parametrize("muon", [False, True])
def test_after_the_warm_up_the_policy_begins_as_if_the_run_began(make, policy, muon):
    """Adam's first step is the learning rate for every weight (Kingma & Ba, Sec. 2.1), whoever learnt before."""
    options = {"lr_scheduler_type": "constant", "max_grad_norm": 1e9, "adam_epsilon": 1e-30, "muon": muon}
    start = copy.deepcopy(policy)
    trainer = make("oreo", max_steps=4, critic_warmup=0.75, **options)
    trainer.train()
    moved = (policy.model.norm.weight - start.model.norm.weight).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("critic", "passes"), [("separate", 1), ("shared", 4)])
def test_while_the_critic_learns_alone_the_policy_is_not_run(make, policy, critic, passes):
    """But for values on its trunk; its reference is what it still is."""
    trainer = make("oreo", max_steps=4, critic_warmup=0.75, critic=critic)
    runs = []
    policy.model.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    trainer.train()
    assert runs == [False] * (passes - 1) + [True]
    lines = [line for line in trainer.state.log_history if "kl" in line]
    assert [line["kl"] for line in lines] == [0.0] * 4 and lines[0]["entropy"] > 0


def test_the_critic_has_a_rate_of_its_own(make):
    trainer = make("oreo", max_steps=1, critic_learning_rate=0.0)
    before = copy.deepcopy(trainer.critic.state_dict())
    trainer.train()
    assert all(torch.equal(before[name], weight) for name, weight in trainer.critic.state_dict().items())
    assert not torch.equal(trainer.policy.lm_head.weight, trainer.reference.model.lm_head.weight)


@pytest.mark.parametrize("method", METHODS)
def test_an_option_changes_the_weights_unless_the_method_makes_no_use_of_it(
    make, policy, chat, method, monkeypatch
):
    monkeypatch.setattr(
        "oreo_agents.models.agreement.Probe.require", lambda *_: None
    )  # it has tests of its own
    changes = {
        "beta": 0.7,
        "alpha": 0.5,
        "critic_learning_rate": 1e-2,
        "critic_warmup": 0.5,
        "after_action": "answer",
        "observation_weight": 0.5,
        "value_weight": 0.1,
        "target_decay": 0.5,
        "kl_target": 1.0,
        "regularizer": "forward",
        "importance_weights": True,
        "log_ratio_clip": 1e-3,
        "expectile": 0.9,
        "thought_weight": 0.5,
        "value_beta": 0.1,
        "return_low": -1.0,
        "return_high": 2.0,
    }  # good and discount have tests of their own
    game = [chat.encode(episode(steps, won, game="g")) for steps, won in ((WINNING, True), (LOSING, False))]
    game = [
        replace(
            one, recorded_logp=[-0.5 * x for x in one.action_mask], thoughts=[one.action_mask.index(True)]
        )
        for one in game
    ]
    start = moved(policy)

    def trained(**options):
        trainer = make(method, game, copy.deepcopy(start), max_steps=2, **options)
        trainer.train()
        return trainer.trained.state_dict()

    def changed(weights):
        return any(not torch.equal(weight, usual[name]) for name, weight in weights.items())

    usual = trained()
    idle = {name: changes.pop(name) for name in unused_options(method) & changes.keys()}
    with monkeypatch.context() as patched:
        patched.setattr("oreo_agents.training.config.refuse_unused", lambda *_: None)
        assert not changed(trained(**idle))
    assert [name for name, value in changes.items() if not changed(trained(**{name: value}))] == []


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_a_resumed_run_ends_where_an_unbroken_one_ends(make, policy, tmp_path, method):
    # Batches of one of three episodes: the checkpoint lies in the middle of the second pass over them.
    options = {"max_steps": 5, "save_strategy": "steps", "save_steps": 4, "per_device_train_batch_size": 1}
    start = copy.deepcopy(policy)
    unbroken = make(method, policy=policy, **options)
    unbroken.train()
    resumed = make(method, policy=start, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert resumed.state.global_step == 5
    weights = unbroken.trained.state_dict()
    for name, weight in resumed.trained.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_bf16_is_for_the_pass(make, policy, tmp_path):
    """Master weights stay in float32, losses are near those of float32, and the agent is what was trained."""
    start = copy.deepcopy(policy)
    plain, half = make("oreo", max_steps=2), make("oreo", policy=start, max_steps=2, bf16=True)
    for trainer in (plain, half):
        trainer.train()
        assert {x.dtype for x in trainer.trained.parameters()} == {torch.float32}
    one, other = (trainer.state.log_history[1] for trainer in (plain, half))
    assert other["loss"] == pytest.approx(one["loss"], rel=0.05) and other["loss"] != one["loss"]
    half.save_agent(tmp_path / "agent")
    loaded, _ = load_policy(tmp_path / "agent")
    assert_same_weights(loaded, half.policy)
    assert_same_weights(load_critic(tmp_path / "agent"), half.critic)


def assert_same_weights(one, other):
    others = other.state_dict()
    for name, weight in one.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, others[name]), name


def share_moved(after, before):
    """The share of the weights that differ."""
    pairs = list(zip(after.parameters(), before.parameters(), strict=True))
    return sum(int((x.float() != y.float()).sum()) for x, y in pairs) / sum(x.numel() for x, _ in pairs)


def test_a_small_update_is_on_the_disk(make, policy, tmp_path):
    """At the default rate most of an update is smaller than bfloat16 can tell."""
    start = copy.deepcopy(policy).bfloat16().float()  # as a pretrained model comes
    trainer = make("sft", policy=copy.deepcopy(start), max_steps=10, learning_rate=5e-6)
    trainer.train()
    kept = {}
    for dtype in ("float32", "bfloat16"):
        trainer.args.save_dtype = dtype
        trainer.save_agent(tmp_path / dtype)
        kept[dtype] = share_moved(load_policy(tmp_path / dtype)[0], start)
    assert kept["float32"] == share_moved(trainer.policy, start) > 0.9
    assert kept["bfloat16"] < 0.5


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_a_model_given_in_bfloat16_is_trained_in_float32(make, policy, critic, method):
    """As transformers loads a checkpoint in bfloat16, and TRL's users pass one; the critic likewise."""
    start, first = policy.bfloat16(), copy.deepcopy(critic).bfloat16()
    given = {"policy": copy.deepcopy(start)} | ({"given": copy.deepcopy(first)} if method == "oreo" else {})
    with pytest.warns(UserWarning, match="the model is in bfloat16, which drops most of every update"):
        trainer = make(method, **given, max_steps=10, learning_rate=5e-6)
    trainer.train()
    assert trainer.policy is given["policy"] and share_moved(trainer.policy, start) > 0.9
    if method == "oreo":
        assert trainer.critic is given["given"] and share_moved(trainer.critic, first) > 0.9
    assert {x.dtype for x in trainer.trained.parameters()} == {torch.float32}


def test_weights_that_come_back_rounded_are_told(make, monkeypatch):
    """DeepSpeed computes in bfloat16 and keeps its float32 to itself."""
    trainer = make("sft")
    weights = {name: x.bfloat16() for name, x in trainer.trained.state_dict().items()}
    monkeypatch.setattr(trainer.accelerator, "get_state_dict", lambda model: weights)
    with pytest.warns(UserWarning, match=r"weights came back in bfloat16.*--launch fsdp2"):
        trainer._gather_weights()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_judged_is_what_is_saved(make, tmp_path, dtype):
    judged = []

    def play(networks):
        judged.append(copy.deepcopy(networks.policy))
        return []

    trainer = make("oreo", max_steps=1, save_dtype=dtype, eval_strategy="steps", eval_steps=1, play=play)
    trainer.train()
    trainer.save_agent(tmp_path / "agent")
    weights = judged[-1].state_dict()
    for name, weight in load_policy(tmp_path / "agent")[0].state_dict().items():
        assert str(weight.dtype) == f"torch.{dtype}" and torch.equal(weight, weights[name]), name
    assert {x.dtype for x in trainer.policy.parameters()} == {torch.float32}


def test_nothing_has_dropout(make, tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    size = {"vocab_size": len(tokenizer), "pad_token_id": 0}
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(**size, n_positions=512, n_embd=32, n_layer=1, n_head=2))
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(**size, **shape, attention_dropout=0.5))
    for policy in (gpt2, llama):
        trainer = make("oreo", policy=policy)
        torch.nn.init.normal_(trainer.critic.value_head.weight)
        (micro,) = collate_items(trainer.train_dataset, 0, 10_000)
        trainer.trained.train()
        runs = [trainer.compute_loss(trainer.trained, micro, return_outputs=True)[1] for _ in range(2)]
        assert torch.equal(runs[0]["rho"], runs[1]["rho"])
        assert torch.equal(runs[0]["values"], runs[1]["values"]) and runs[0]["values"].std() > 0.1
        assert runs[0]["rho"].abs().max() < 1e-6  # nothing was learnt: policy and reference agree


def test_ktos_reference_point_is_of_an_optimizer_step(make, policy, monkeypatch):
    """Two batches of one episode have the reference point, and make the step, of one batch of two."""
    points, ended = [], []

    def keep_point(ratios):
        points.append(losses.kto_reference_point(ratios + 0.1 * torch.arange(1.0, 1 + len(ratios))))
        return points[-1]

    monkeypatch.setattr("oreo_agents.training.trainer.kto_reference_point", keep_point)
    for size, steps in ((3, 1), (1, 3)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        trainer = make("kto", policy=copy.deepcopy(policy), max_steps=1, **sizes)
        trainer.train()
        ended.append(trainer.policy.state_dict())
    assert len(points) == 2 and points[0] == points[1] == pytest.approx(0.2)  # the policy is its reference
    for name, weight in ended[1].items():
        torch.testing.assert_close(weight, ended[0][name], atol=2e-6, rtol=1e-4, msg=name)


# --- what `train` leaves on disk ------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, policy, tokenizer):
    save_agent(tmp_path / "start", policy, tokenizer)
    return tmp_path / "start"


def test_train_writes_an_agent(start, tmp_path, policy):
    output = tmp_path / "trained"
    options = {"max_steps": 1, "warmup_steps": 0, "learning_rate": 1e-3, "bf16": False, "use_cpu": True}
    trainer = train("oreo", EPISODES, start, output, **options)
    loaded, _ = load_policy(output)
    weights = trainer.policy.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in loaded.state_dict().items())
    assert not torch.equal(loaded.lm_head.weight, policy.lm_head.weight)
    critic = load_critic(output)
    assert torch.equal(critic.value_head.weight, trainer.critic.value_head.weight)
    assert critic.value_head.weight.abs().sum() > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        start.name,
        "trained",
    }  # no empty folder for checkpoints


def test_only_an_agent_is_replaced_by_an_agent(start, tmp_path, policy, tokenizer, monkeypatch):
    options = {"max_steps": 1, "bf16": False, "use_cpu": True}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    for output in (tmp_path / "home", tmp_path / "home" / "thesis.txt"):
        with pytest.raises(CheckpointError, match="something else than an agent: choose a new folder"):
            train("sft", EPISODES, start, output, **options)
        with pytest.raises(CheckpointError, match="something else than an agent"):
            save_agent(output, policy, tokenizer)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "new").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for _ in range(2):
        train("sft", EPISODES, start, f"{tmp_path}/link/", save_every=1, overwrite=True, **options)
        assert (tmp_path / "link").is_symlink() and load_policy(tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(CheckpointError, match="the folder you are in"):
        train("sft", EPISODES, start, ".", **options)
    assert {path.name for path in tmp_path.iterdir()} == {"start", "home", "new", "link"}


def test_two_trainings_do_not_share_a_folder(start, tmp_path):
    options = {"max_steps": 1, "bf16": False, "use_cpu": True}
    refused = pytest.raises(ConfigurationError, match=r"at work in .*new\.checkpoints: wait for it")
    with lock_folder(tmp_path / "new.checkpoints"), refused:
        train("sft", EPISODES, start, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
    train("sft", EPISODES, start, tmp_path / "new", **options)
    with pytest.raises(DatasetError):  # what ends before it begins leaves nothing
        train("sft", [], "new-tiny", tmp_path / "other", **options)
    assert {path.name for path in tmp_path.iterdir()} == {"start", "new"}


def test_an_interrupted_training_goes_on_from_its_checkpoint(start, tmp_path):
    options = {
        **{"max_steps": 5, "warmup_steps": 0, "learning_rate": 1e-3, "per_device_train_batch_size": 1},
        **{"save_every": 2, "bf16": False, "use_cpu": True},
    }

    def interrupt(networks):
        raise KeyboardInterrupt

    unbroken = train("oreo", EPISODES, start, tmp_path / "unbroken", **options)
    with pytest.raises(KeyboardInterrupt):
        train(
            "oreo",
            EPISODES,
            start,
            tmp_path / "m",
            play=interrupt,
            eval_every=3,
            **options,
        )
    with pytest.raises(CheckpointError, match=r"m\.checkpoints has checkpoints of another training"):
        train("oreo", EPISODES[:2], start, tmp_path / "m", **options)
    with pytest.raises(CheckpointError, match=r"m\.checkpoints has checkpoints of another training"):
        train("oreo", EPISODES[::-1], start, tmp_path / "m", **options)
    steps = []
    resumed = train(
        "oreo",
        EPISODES,
        start,
        tmp_path / "m",
        play=lambda networks: steps.append(1) or (),
        eval_every=1,
        **options,
    )
    assert len(steps) == 3, "the first two steps are in the checkpoint"
    for name, weight in resumed.trained.state_dict().items():
        assert torch.equal(weight, unbroken.trained.state_dict()[name]), name
    assert {path.name for path in tmp_path.iterdir()} == {start.name, "unbroken", "m"}


LAST_STEPS = {
    "in the middle of an epoch": {"max_steps": 4},
    "in the middle of an epoch, of epochs": {"num_train_epochs": 1.5},
    "in the middle of an epoch, of accumulated batches": {"max_steps": 3, "gradient_accumulation_steps": 2},
    "before the first epoch's end": {"max_steps": 2},
    "at an epoch's end": {"max_steps": 6},
    "at an epoch's end, of epochs": {"num_train_epochs": 2},
}


@pytest.mark.parametrize("options", LAST_STEPS.values(), ids=LAST_STEPS)
def test_a_training_killed_after_its_last_step_trains_no_further(start, tmp_path, monkeypatch, options):
    """Its agent is saved as it would have been: the same weights, recipe and log."""
    options = {
        **{"warmup_steps": 0, "learning_rate": 1e-3, "per_device_train_batch_size": 1, "logging_steps": 2},
        **{"save_every": 1, "bf16": False, "use_cpu": True},
        **options,
    }

    def die(*_, **__):
        raise KeyboardInterrupt

    unbroken = train("oreo", EPISODES, start, tmp_path / "unbroken", **options)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(OreoTrainer, "save_agent", die)
        train("oreo", EPISODES, start, tmp_path / "m", **options)
    resumed = train("oreo", EPISODES, start, tmp_path / "m", **options)
    assert resumed.state.global_step == unbroken.state.global_step
    for name, weight in resumed.trained.state_dict().items():
        assert torch.equal(weight, unbroken.trained.state_dict()[name]), name
    one, other = (replace(read_recipe(tmp_path / name), seconds=0) for name in ("unbroken", "m"))
    assert one == other and one.log[-1]["step"] == one.steps


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_a_model_whose_weights_are_no_numbers_is_refused_and_leaves_no_agent(
    tmp_path, policy, tokenizer, method
):
    with torch.no_grad():
        policy.model.norm.weight.fill_(torch.nan)
    save_agent(tmp_path / "broken", policy, tokenizer)
    output = tmp_path / "trained"
    with pytest.raises(ConfigurationError, match=r"no number.*weights are damaged"):
        train(
            method,
            EPISODES,
            tmp_path / "broken",
            output,
            max_steps=1,
            bf16=False,
            use_cpu=True,
        )
    assert not output.exists()


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint_intact(make, tmp_path):
    from transformers import TrainerCallback

    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                trainer.policy.model.norm.weight.data.fill_(torch.nan)

    trainer = make("oreo", max_steps=3, save_strategy="steps", save_steps=1)
    trainer.add_callback(Break())
    with pytest.raises(
        TrainingError, match="the loss was no number at step 1; the last saved checkpoint is intact"
    ):
        trainer.train()
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-1"}
    policy, _ = load_policy(tmp_path / "run" / "checkpoint-1")
    assert all(weight.isfinite().all() for weight in policy.state_dict().values())


# --- options that change while training goes on ---------------------------------------------------------------


@pytest.mark.parametrize(("target", "grows"), [(1e-6, True), (10.0, False)])
def test_alpha_follows_the_kl(make, target, grows):
    trainer = make("oreo", kl_target=target, max_steps=4)
    trainer.train()
    assert (trainer.alpha > ALPHA) == grows and trainer.alpha != ALPHA
    logged = [line["alpha"] for line in trainer.state.log_history if "alpha" in line]
    assert logged[-1] == pytest.approx(trainer.alpha, abs=1e-5)
    # From the second step on (in the first the KL is 0) by the controller's bound of a fiftieth at most.
    ratios = [after / before for before, after in itertools.pairwise(logged)]
    assert all(ratio == pytest.approx(1 + 0.1 * (0.2 if grows else -0.2), rel=1e-2) for ratio in ratios)


def test_alpha_stays_while_the_critic_learns_alone(make):
    trainer = make("oreo", kl_target=1e-6, max_steps=4, critic_warmup=0.5)
    alphas = []
    follow = trainer.after_step

    def after_step():
        follow()
        alphas.append(trainer.alpha)

    trainer.after_step = after_step
    trainer.train()
    assert alphas[:2] == [ALPHA, ALPHA] != alphas[2:]


def test_the_target_critic_is_an_average_of_past_critics(make):
    trainer = make("oreo", target_decay=0.75, max_steps=3)
    average = {name: x.clone() for name, x in trainer.critic.state_dict().items()}
    follow = trainer.after_step

    def after_step():
        for name, x in trainer.critic.state_dict().items():
            average[name].mul_(0.75).add_(x, alpha=0.25)
        follow()

    trainer.after_step = after_step
    trainer.train()
    assert trainer.critic.value_head.weight.abs().sum() > 0
    for name, x in trainer.target_critic.state_dict().items():
        torch.testing.assert_close(x, average[name], atol=1e-6, rtol=1e-5, msg=name)


OPTIONS = {
    "shared critic": {"critic": "shared"},
    "average of critics, adapted alpha": {"target_decay": 0.9, "kl_target": 0.01},
    "packed, remembered reference": {"layout": "packed", "cache_reference": True},
    "accumulated gradients": {"gradient_accumulation_steps": 2},
    "observations predicted": {"observation_weight": 0.3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_resumes_exactly(make, policy, tmp_path, options):
    options = {
        **options,
        **{"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 1},
    }
    start = copy.deepcopy(policy)
    unbroken = make("oreo", policy=policy, **options)
    unbroken.train()
    resumed = make("oreo", policy=start, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert resumed.alpha == unbroken.alpha
    weights = unbroken.trained.state_dict()
    for name, weight in resumed.trained.state_dict().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("method", ["sft", "oreo"])
def test_accumulated_batches_are_one_large_batch(make, policy, method):
    """The mean over all tokens or episodes, not a mean of means."""
    start = copy.deepcopy(policy)
    whole = make(method, policy=policy, max_steps=1, per_device_train_batch_size=3)
    parts = make(
        method, policy=start, max_steps=1, per_device_train_batch_size=1, gradient_accumulation_steps=3
    )
    for trainer in (whole, parts):
        trainer.train()
    one, other = (trainer.state.log_history[0] for trainer in (whole, parts))
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)


def test_a_checkpoint_appears_whole(make, tmp_path, monkeypatch):
    """A run killed while it writes leaves no checkpoint that looks like one."""
    from transformers import Trainer
    from transformers.trainer_utils import get_last_checkpoint

    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make("sft", **options).train()
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"checkpoint-1", "checkpoint-2"}
    again = make("sft", **{**options, "max_steps": 4})

    def fails(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Trainer, "_save_rng_state", fails)
    with pytest.raises(CheckpointError, match="No space"):
        again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert get_last_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "checkpoint-2")


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["method", "critic", "regularizer", "layout"])
def test_unknown_choices_are_named(tmp_path, name):
    with pytest.raises(ConfigurationError, match=f"unknown {name} 'nonsense'; choose one of"):
        OreoConfig(output_dir=str(tmp_path), **{name: "nonsense"})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"beta": 0.0}, "beta is 0.0, it must be above 0"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0, it must be 0 or more"),
        ({"num_train_epochs": 0.0}, "num_train_epochs is 0.0"),
        ({"critic_warmup": 3.0}, "critic_warmup is 3.0, it must be between 0 and 1"),
        ({"head_chunk": 0}, "head_chunk is 0"),
        ({"expectile": float("nan")}, "expectile is nan"),
        ({"optim": "adafactor"}, "optim='adafactor' is not used"),
        ({"method": "oreo", "fp16": True}, "use bf16"),
    ],
)
def test_numbers_and_options_that_cannot_work_are_named(tmp_path, option, message):
    with pytest.raises(ConfigurationError, match=message):
        OreoConfig(output_dir=str(tmp_path), **option)


def test_the_order_of_pairs_may_have_seed_zero(make, encoded):
    episodes = [*encoded, *encoded[1:]] * 4
    seeds = [list(make("dpo", episodes, seed=5, data_seed=seed).items) for seed in (0, 5, None)]
    assert seeds[0] != seeds[1] == seeds[2]


def test_a_critic_of_the_other_kind_is_refused(make, policy):
    with pytest.raises(ConfigurationError, match="a shared critic, but critic is 'separate'"):
        make("oreo", given=Critic.shared(policy), critic="separate")
    assert make("oreo", given=Critic.shared(policy)).critic.kind(policy) == "shared"
    assert make("oreo").critic.kind(policy) == "separate"


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "no finite number"), (float("inf"), "no finite number"), (1e6, "reward .* outside")],
)
def test_rewards_out_of_range_are_refused(make, chat, value, said):
    odd = dataclasses.replace(EPISODES[1], turns=(dataclasses.replace(EPISODES[1].turns[0], reward=value),))
    with pytest.raises(DatasetError, match=said):
        make("oreo", [*map(chat.encode, (EPISODES[0], EPISODES[2], odd))], return_low=0.0, return_high=1.0)


def test_ids_beyond_the_models_vocabulary_are_refused(make, encoded):
    odd = dataclasses.replace(encoded[1], input_ids=[10**6, *encoded[1].input_ids[1:]])
    with pytest.raises(DatasetError, match="another tokenizer"):
        make("oreo", [encoded[0], odd])


def test_episodes_that_the_model_cannot_read_are_refused(make, policy):
    policy = copy.deepcopy(policy)
    policy.config.max_position_embeddings = 20
    with pytest.raises(DatasetError, match="the model reads 20"):
        make("oreo", policy=policy)


def test_preference_pairs_need_a_game_won_and_lost(make, chat):
    elsewhere = episode(LOSING, won=False, opening=OPENING.replace("mug", "pen"))
    data = [chat.encode(EPISODES[0]), chat.encode(elsewhere)]
    with pytest.raises(
        DatasetError, match="no game was both won and lost: dpo compares episodes of the same"
    ):
        make("dpo", [one for one in data for _ in range(2)])
