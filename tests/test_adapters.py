"""LoRA through PEFT: only adapters are trained, the reference is the policy without them, and what is saved acts."""

import pytest
import torch
from learning import EPISODES

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.batches import collate
from oreo_agents.models import load_critic, load_policy
from oreo_agents.trainer import OreoConfig, OreoTrainer


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
        return OreoTrainer(adapted, tokenizer, config, [chat.encode(episode) for episode in EPISODES])

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
    (micro,) = collate(trainer.train_dataset, 0, 10_000)
    arguments = micro["input_ids"], micro["action_mask"], trainer.reference, micro["token_mask"]
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


def test_a_resumed_run_ends_where_an_unbroken_one_ends(make, adapted, tmp_path):
    start = {name: x.clone() for name, x in adapted.state_dict().items()}
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
    make(**options).train()
    ended = {name: x.clone() for name, x in adapted.state_dict().items()}
    adapted.load_state_dict(start)
    make(**options).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for name, x in adapted.state_dict().items():
        assert torch.equal(x, ended[name]), name
