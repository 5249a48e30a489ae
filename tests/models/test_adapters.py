"""LoRA through PEFT: only adapters are trained, the reference is the policy without them, and what is saved acts."""

import json
import sys

import pytest
import torch
from learning import EPISODES

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.models.agent_folder import load_critic, load_policy, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.models.start import with_lora
from oreo_agents.training.batches import collate_items
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import lay_rows
from oreo_agents.training.train import train
from oreo_agents.training.trainer import OreoTrainer


@pytest.fixture
def adapted(policy):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(policy, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))


@pytest.fixture
def make(tmp_path, tokenizer, chat, adapted):
    def make(**options):
        defaults = {"learning_rate": 1e-2, "warmup_steps": 0, "max_steps": 2, "logging_steps": 1}
        config = OreoConfig(str(tmp_path / "run"), use_cpu=True, disable_tqdm=True, **{**defaults, **options})
        return OreoTrainer(adapted, config, EPISODES, processing_class=tokenizer)

    return make


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_only_adapters_and_critic_are_trained(make, adapted, critic):
    before = {name: x.clone() for name, x in adapted.state_dict().items()}
    trainer = make(critic=critic)
    trainer.train()
    changed = {name for name, x in adapted.state_dict().items() if not torch.equal(x, before[name])}
    assert changed and all("lora_" in name for name in changed)
    assert trainer.critic.value_head.weight.abs().sum() > 0


def test_the_reference_is_the_policy_without_adapters(make, adapted, policy, chat):
    trainer = make()
    assert trainer.reference.model is adapted  # no second copy of the weights
    (micro,) = collate_items(trainer.train_dataset, 0, 10_000)
    arguments = trainer.place_batch(micro)["rows"], trainer.reference
    assert trainer.trained(*arguments)["kl"].abs().max() < 1e-5
    trainer.train()
    out = trainer.trained(*arguments)
    with adapted.disable_adapter():
        logits = adapted(input_ids=micro["input_ids"]).logits[:, :-1].log_softmax(-1)
    expected = logits.gather(2, micro["input_ids"][:, 1:, None])[..., 0]
    chosen = micro["action_mask"][:, 1:]
    torch.testing.assert_close(
        (out["logp"] - out["rho"])[:, 1:][chosen], expected[chosen], atol=1e-4, rtol=1e-4
    )
    assert out["kl"].max() > 1e-4


def test_the_reference_has_no_dropout(tokenizer, chat):
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=512, n_embd=64, n_layer=2, n_head=2)
    lora = LoraConfig(r=4, target_modules=["c_attn"], lora_dropout=0.5, fan_in_fan_out=True)
    policy = get_peft_model(GPT2LMHeadModel(config), lora).train()
    (micro,) = collate_items([chat.encode(episode) for episode in EPISODES], 0, 10_000)
    rows = lay_rows(micro["input_ids"], micro["action_mask"], micro["token_mask"])
    reference = Reference(policy)
    assert torch.equal(reference.states("right", rows), reference.states("right", rows))
    assert policy.training


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, "embed_tokens"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"target_modules": ["q_proj"], "bias": "all"}, "bias"),
    ],
)
def test_what_cannot_be_switched_off_is_refused(policy, tokenizer, chat, tmp_path, config, name):
    from peft import LoraConfig, get_peft_model

    policy.model.layers[0].self_attn.q_proj.bias = torch.nn.Parameter(torch.zeros(policy.config.hidden_size))
    model = get_peft_model(policy, LoraConfig(r=4, **config))
    episodes = [chat.encode(episode) for episode in EPISODES]
    with pytest.raises(ConfigurationError, match=rf"{name}.* is trained, and is no adapter in the trunk"):
        OreoTrainer(model, OreoConfig(str(tmp_path), use_cpu=True), episodes, processing_class=tokenizer)


def test_an_agent_is_saved_with_its_adapters_merged(make, adapted, tmp_path, chat):
    trainer = make(critic="shared")
    trainer.train()
    trainer.save_agent(tmp_path / "agent")
    loaded, _ = load_policy(tmp_path / "agent")
    ids = torch.tensor([chat.encode(EPISODES[0]).input_ids])
    torch.testing.assert_close(loaded(ids).logits, adapted(ids).logits, atol=1e-4, rtol=1e-4)
    critic = load_critic(tmp_path / "agent", loaded)
    assert critic.shares(loaded)
    torch.testing.assert_close(critic(ids), trainer.critic(ids), atol=1e-4, rtol=1e-4)
    agent = OreoAgent.from_pretrained(tmp_path / "agent", select="best_of_k", k=2)
    assert agent.act(EPISODES[0].turns[0].observation, {}).action.value is not None


def find_updates(adapted):
    """What each adapter adds to its layer, by the layer's name."""
    return {
        name.partition("base_model.model.")[2]: layer.get_delta_weight("default").detach()
        for name, layer in adapted.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


@pytest.mark.parametrize("way", ["agent", "folder"])
def test_small_updates_survive_a_base_in_bfloat16(policy, tokenizer, tmp_path, way):
    """In the base's own precision most of what is merged would be rounded away."""
    policy.bfloat16().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    before = {name: x.float() for name, x in policy.state_dict().items()}
    policy.name_or_path = policy.config._name_or_path = str(tmp_path / "base")
    adapted = with_lora(policy, 4)
    options = {"learning_rate": 1e-5, "max_steps": 2, "warmup_steps": 0}
    config = OreoConfig(str(tmp_path / "run"), use_cpu=True, disable_tqdm=True, bf16=True, **options)
    trainer = OreoTrainer(adapted, config, EPISODES, processing_class=tokenizer)
    trainer.train()
    if way == "agent":
        trainer.save_agent(tmp_path / "lora")
    else:
        adapted.save_pretrained(tmp_path / "lora")
    loaded = load_policy(tmp_path / "lora")[0].state_dict()
    updates = find_updates(adapted)
    assert len(updates) == 14 and all(update.abs().max() > 0 for update in updates.values())
    for name, update in updates.items():
        found = loaded[f"{name}.weight"] - before[f"{name}.weight"]
        assert (found - update).norm() < 0.01 * update.norm(), name


def test_of_a_model_with_adapters_what_is_trained_alone_is_cast(make, adapted):
    """The weights below take no update: in bfloat16 they take half the memory."""
    adapted.bfloat16()
    with pytest.warns(UserWarning, match="the model is in bfloat16"):
        trainer = make(critic="lora")
    dtypes = {(p.requires_grad, p.dtype) for p in trainer.trained.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_resumed_run_ends_where_an_unbroken_one_ends(make, adapted, tmp_path):
    start = {name: x.clone() for name, x in adapted.state_dict().items()}
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
    make(**options).train()
    ended = {name: x.clone() for name, x in adapted.state_dict().items()}
    adapted.load_state_dict(start)
    make(**options).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for name, x in adapted.state_dict().items():
        assert torch.equal(x, ended[name]), name


# --- the critic as a second adapter ---------------------------------------------------------------------------


def moved_adapters(model, seed):
    """Adapters that have been somewhere: none of their updates is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def gradients(trainer, loss_of):
    """Names of what a loss reaches."""
    (micro,) = collate_items(trainer.train_dataset, 0, 10_000)
    trainer.trained.zero_grad()
    out = trainer.trained(trainer.place_batch(micro)["rows"], trainer.reference)
    loss_of(out).backward()
    return {name for name, p in trainer.trained.named_parameters() if p.grad is not None and p.grad.any()}


def test_a_lora_critic_shares_every_frozen_weight(make, adapted):
    trainer = make(critic="lora")
    policy_ids = set(map(id, adapted.parameters()))
    own = {name for name, p in trainer.critic.named_parameters() if id(p) not in policy_ids}
    assert own and all("lora_" in name or name == "value_head.weight" for name in own)
    alone = sum(p.numel() for p in adapted.parameters())
    beside = trainer.critic.own_parameters(adapted)
    total = sum(p.numel() for p in trainer.trained.parameters())
    assert total == alone + sum(p.numel() for p in beside) < 1.2 * alone


def test_each_loss_reaches_its_own_adapter(make, adapted):
    trainer = make(critic="lora")
    moved_adapters(trainer.trained, seed=1)
    policy = gradients(trainer, lambda out: out["rho"].sum())
    critic = gradients(trainer, lambda out: out["values"].sum())
    assert policy == {name for name, p in trainer.policy.named_parameters(prefix="policy") if p.requires_grad}
    assert critic == {name for name, p in trainer.critic.named_parameters(prefix="critic") if p.requires_grad}


def test_both_adapters_train_and_the_trunk_does_not(make, adapted):
    trainer = make(critic="lora", target_decay=0.5)
    before = {name: x.clone() for name, x in trainer.trained.state_dict().items()}
    trainer.train()
    changed = {name for name, x in trainer.trained.state_dict().items() if not torch.equal(x, before[name])}
    assert all("lora_" in name or "value_head" in name for name in changed)
    assert {name.partition(".")[0] for name in changed} == {"policy", "critic"}


def test_a_lora_critic_computes_what_a_separate_one_computes(make, adapted):
    """The same run with a critic that has a trunk of its own."""
    start = {name: x.clone() for name, x in adapted.state_dict().items()}
    logs = []
    for kind in ("separate", "lora"):
        adapted.load_state_dict(start)
        trainer = make(critic=kind, max_steps=3)
        trainer.train()
        logs.append([line["value_loss"] for line in trainer.state.log_history if "value_loss" in line])
    assert logs[0] == pytest.approx(logs[1], abs=1e-6) and logs[0][0] != logs[0][-1]


@pytest.fixture
def agent_folder(make, adapted, tmp_path):
    """Policy and critic with adapters that differ, saved, and the trainer that had them."""
    trainer = make(critic="lora")
    moved_adapters(trainer.trained, seed=1)
    trainer.save_agent(tmp_path / "agent")
    return trainer, tmp_path / "agent"


def test_a_saved_lora_critic_gives_the_same_values(agent_folder, adapted, chat, tmp_path):
    trainer, folder = agent_folder
    ids = torch.tensor([chat.encode(EPISODES[0]).input_ids])
    values, logits = trainer.critic(ids), adapted(ids).logits
    assert {path.name for path in (folder / "critic").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "value_head.safetensors",
    }
    agent = OreoAgent.from_pretrained(folder, select="best_of_k", k=2)
    agent.save_pretrained(tmp_path / "again")
    for path in (folder, tmp_path / "again"):
        policy, _ = load_policy(path)
        critic = load_critic(path, policy)
        assert critic.kind(policy) == "lora"
        torch.testing.assert_close(policy(ids).logits, logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(critic(ids), values, atol=1e-4, rtol=1e-4)
    agent.act_many([0], [EPISODES[0].turns[0].observation], [{}])
    decision = OreoAgent.from_pretrained(folder, select="best_of_k", k=1).act(
        EPISODES[0].turns[0].observation
    )
    opening = chat.opening(EPISODES[0].turns[0].observation)
    read = torch.tensor([[*opening, *decision.action.token_ids]])
    assert decision.action.value == pytest.approx(trainer.critic(read)[0, -1].item(), abs=1e-4)


def test_peft_reads_the_critic_too(agent_folder, chat):
    from peft import PeftModel
    from transformers import AutoModel

    trainer, folder = agent_folder
    ids = torch.tensor([chat.encode(EPISODES[1]).input_ids])
    trunk = PeftModel.from_pretrained(AutoModel.from_pretrained(folder / "policy"), folder / "critic")
    hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(trainer.critic.read(hidden), trainer.critic(ids), atol=1e-4, rtol=1e-4)


def test_training_goes_on_from_a_saved_lora_critic(agent_folder, tmp_path):
    _, folder = agent_folder
    options = {"max_steps": 1, "bf16": False, "use_cpu": True, "learning_rate": 1e-3}
    trainer = train("oreo", EPISODES, folder, tmp_path / "next", lora=2, critic="lora", **options)
    policy, _ = load_policy(tmp_path / "next")
    ids = torch.tensor([[5, 6, 7, 8]])
    values = load_critic(tmp_path / "next", policy)(ids)
    torch.testing.assert_close(values, trainer.critic(ids), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(policy(ids).logits, trainer.policy(ids).logits, atol=1e-4, rtol=1e-4)


def test_loading_a_lora_critic_leaves_the_policy_trainable(agent_folder):
    policy, _ = load_policy(agent_folder[1])
    load_critic(agent_folder[1], policy)
    assert all(parameter.requires_grad for parameter in policy.parameters())


def test_a_lora_critic_needs_its_policy(agent_folder):
    with pytest.raises(CheckpointError, match="reads the policy's trunk"):
        load_critic(agent_folder[1])


@pytest.mark.parametrize(
    "options", [{"critic": "lora"}, {"critic": "lora", "target_decay": 0.9}, {"target_decay": 0.9}]
)
def test_runs_with_adapters_resume_exactly(make, adapted, tmp_path, options):
    start = {name: x.clone() for name, x in adapted.state_dict().items()}
    options = {**options, "max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    unbroken = make(**options)
    unbroken.train()
    ended = {name: x.clone() for name, x in unbroken.trained.state_dict().items()}
    target = unbroken.target_critic and unbroken.target_critic.state_dict()
    adapted.load_state_dict(start)
    resumed = make(**options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
    for name, x in resumed.trained.state_dict().items():
        assert torch.equal(x, ended[name]), name
    for name, x in (resumed.target_critic.state_dict() if target else {}).items():
        assert torch.equal(x, target[name]), name


def test_a_checkpoint_with_another_critic_is_refused(make, tmp_path):
    make(critic="lora", save_strategy="steps", save_steps=1).train()
    with pytest.raises(ConfigurationError, match=r"another critic: critic\.backbone"):
        make(critic="shared").train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_checkpointed_activations_of_two_adapters(make, adapted):
    """The critic's layers are run again with the critic's adapters."""
    start = {name: x.clone() for name, x in adapted.state_dict().items()}
    ended = []
    for checkpointing in (False, True):
        adapted.load_state_dict(start)
        trainer = make(critic="lora", gradient_checkpointing=checkpointing)
        trainer.train()
        ended.append({name: x.clone() for name, x in trainer.trained.state_dict().items()})
    for name, x in ended[0].items():
        torch.testing.assert_close(ended[1][name], x, atol=1e-6, rtol=1e-5, msg=name)


def test_a_policy_without_adapters_cannot_have_a_lora_critic(policy):
    with pytest.raises(ConfigurationError, match="with peft"):
        Critic.adapted(policy)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "not plain LoRA"),
        ({"modules_to_save": ["embed_tokens"]}, "trained beside the adapters"),
    ],
)
def test_only_plain_lora_can_be_doubled(policy, config, message):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(policy, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **config))
    with pytest.raises(ConfigurationError, match=message):
        Critic.adapted(model)


def test_the_card_counts_parameters(agent_folder, adapted):
    trainer, folder = agent_folder
    card = json.loads((folder / "agent.json").read_text())
    own = trainer.critic.own_parameters(adapted)
    assert card["parameters"] == sum(p.numel() for p in [*adapted.parameters(), *own])
    lora = [p for p in adapted.parameters() if p.requires_grad]
    assert card["trained_parameters"] == sum(p.numel() for p in [*lora, *own])


def test_a_policy_with_adapters_is_judged_while_it_trains(agent_folder, tmp_path):
    """By playing, with its adapters."""
    options = {"max_steps": 1, "bf16": False, "use_cpu": True, "learning_rate": 1e-2}
    decided = []

    def play(networks):
        agent = OreoAgent(*networks)
        agent.reset()
        decided.append(agent.act(EPISODES[0].turns[0].observation, {}))
        return EPISODES

    trainer = train("sft", EPISODES, agent_folder[1], tmp_path / "sft", play=play, lora=2, **options)
    assert decided and [line["eval_success"] for line in trainer.state.log_history if "eval_success" in line]


def test_the_command_line_trains_adapters(agent_folder, tmp_path):
    """And says what is missing where a second adapter has no first."""
    from oreo_agents.cli import main

    with TrajectoryWriter(tmp_path / "episodes") as writer:
        for one in EPISODES:
            writer.append(one)
    command = ["train", "--data", str(tmp_path / "episodes"), "--model", str(agent_folder[1]), "--steps", "1"]
    command += ["--critic", "lora", "-o", str(tmp_path / "next")]
    assert main(command) == 2
    assert main([*command, "--lora", "2"]) == 0
    assert (tmp_path / "next" / "critic" / "adapter_config.json").is_file()


# --- QLoRA ----------------------------------------------------------------------------------------------------


@pytest.fixture
def quantized(policy, tokenizer, tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install oreo_agents[qlora]")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    save_agent(tmp_path / "start", policy, tokenizer)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "start" / "policy", quantization_config=config)
    return with_lora(model, 4)


@pytest.mark.parametrize("kind", ["separate", "shared", "lora"])
def test_a_trunk_of_four_bits_is_trained_through_adapters(quantized, tokenizer, chat, tmp_path, kind):
    """And saved as an ordinary agent, exactly: merged into four bits, the adapters would be rounded away."""
    options = {"critic": kind, "learning_rate": 1e-2, "warmup_steps": 0, "max_steps": 2}
    config = OreoConfig(str(tmp_path / "run"), use_cpu=True, disable_tqdm=True, **options)
    trainer = OreoTrainer(quantized, config, EPISODES, processing_class=tokenizer)
    before = {name: x.clone() for name, x in trainer.trained.state_dict().items()}
    assert any(x.dtype == torch.uint8 for x in before.values())
    trainer.train()
    after = trainer.trained.state_dict()
    changed = {name for name, x in after.items() if not torch.equal(x, before[name])}
    assert changed and all("lora_" in name or "value_head" in name for name in changed)
    trainer.save_agent(tmp_path / "agent")
    policy, _ = load_policy(tmp_path / "agent")
    critic = load_critic(tmp_path / "agent", policy)
    assert critic.kind(policy) == kind and all(p.is_floating_point() for p in policy.parameters())
    ids = torch.tensor([chat.encode(EPISODES[0]).input_ids])
    torch.testing.assert_close(policy(ids).logits, quantized(ids).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(critic(ids), trainer.critic(ids), atol=1e-5, rtol=1e-5)


def test_without_peft_it_is_said_what_to_install(policy, tmp_path, monkeypatch):
    policy.save_pretrained(tmp_path / "base")
    adapted = with_lora(policy, 4)
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapters")
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it then raises ImportError
    for attempt in (lambda: with_lora(policy, 4), lambda: load_policy(tmp_path / "adapters")):
        with pytest.raises(ConfigurationError, match="LoRA adapters need PEFT: pip install peft"):
            attempt()
