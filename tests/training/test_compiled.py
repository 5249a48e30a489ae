"""A training with torch_compile against the same one without; eager and aot_eager need no C++ compiler."""

import pytest
import torch
from learning import EPISODES, LOSING, WINNING, episode
from torch._dynamo.utils import counters

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.models.decoder import small_decoder
from oreo_agents.models.start import with_lora
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.trainer import OreoTrainer

LENGTHS = [
    *EPISODES,
    *(episode(WINNING[i:]) for i in range(1, 8)),
    *(episode(LOSING[:i], won=False) for i in (1, 2, 3)),
]


@pytest.fixture
def run(tmp_path, tokenizer):
    """Trains a fresh decoder for one epoch on episodes of many lengths, one at a time."""

    def run(adapters=False, play=None, episodes=LENGTHS, **options):
        torch.manual_seed(0)
        policy = small_decoder(tokenizer, hidden_size=64, layers=2)
        config = OreoConfig(
            output_dir=str(tmp_path / "run"),
            beta=0.3,
            per_device_train_batch_size=2,
            num_train_epochs=1,
            learning_rate=1e-3,
            warmup_steps=0,
            logging_steps=1,
            micro_batch_tokens=600,
            use_cpu=True,
            disable_tqdm=True,
            **options,
        )
        policy = with_lora(policy, 4) if adapters else policy
        trainer = OreoTrainer(policy, config, episodes, processing_class=tokenizer, play=play)
        torch._dynamo.reset()
        counters.clear()
        trainer.train()
        return trainer

    return run


def losses(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize(
    ("layout", "critic", "most"),
    [("right", "separate", 8), ("packed", "lora", 16)],
)
def test_a_compiled_training_is_the_same_training(run, layout, critic, most):
    """A critic of its own, and adapters of its own; whatever the lengths, a handful of graphs."""
    plain = run(layout=layout, critic=critic, adapters=critic == "lora")
    assert not counters["stats"]
    compiled = run(layout=layout, critic=critic, adapters=critic == "lora", torch_compile_backend="eager")
    assert 0 < counters["stats"]["unique_graphs"] <= most
    assert len(losses(plain)) >= 6 and losses(compiled) == pytest.approx(losses(plain), abs=2e-5)
    weights = dict(compiled.trained.named_parameters())
    for name, before in plain.trained.named_parameters():
        torch.testing.assert_close(weights[name], before, atol=2e-5, rtol=1e-4)


def test_gradients_pass_through_a_compiled_backward_pass(run):
    """aot_eager makes the backward pass, too, here with layers that are run twice."""
    options = {
        "episodes": LENGTHS[:4],
        "critic": "shared",
        "layout": "packed",
        "gradient_checkpointing": True,
    }
    plain = run(**options)
    compiled = run(**options, torch_compile_backend="aot_eager")
    assert counters["aot_autograd"]["total"] > 0
    weights = dict(compiled.trained.named_parameters())
    for name, before in plain.trained.named_parameters():
        torch.testing.assert_close(weights[name], before, atol=2e-5, rtol=1e-4)


def test_what_is_saved_and_what_plays_is_the_model_itself(run, tmp_path):
    """Names of weights are the model's own, in checkpoints and in the agent; games see no compiled layer."""
    seen = []

    def play(networks):
        layer = networks.policy.base_model.layers[0]
        before = counters["stats"]["unique_graphs"]
        networks.policy(torch.tensor([[5, 6, 7]]))
        seen.append((layer._compiled_call_impl, counters["stats"]["unique_graphs"] - before))
        return LENGTHS[:2]

    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = run(play=play, torch_compile_backend="eager", **options)
    assert len(seen) >= 2 and set(seen) == {(None, 0)}
    assert all(module._compiled_call_impl is None for module in trainer.trained.modules())
    trainer.save_model(str(tmp_path / "agent"))
    loaded, _ = load_policy(tmp_path / "agent")
    saved = loaded.state_dict()
    assert saved.keys() == trainer.policy.state_dict().keys()
    assert all(torch.equal(saved[name], x) for name, x in trainer.policy.state_dict().items())
    trainer.train(resume_from_checkpoint=True)


def test_a_mode_of_cuda_graphs_is_refused():
    with pytest.raises(ConfigurationError, match="one for each number of tokens"):
        OreoConfig("run", torch_compile_mode="reduce-overhead", use_cpu=True)


def test_a_model_in_shards_is_refused(run, monkeypatch):
    monkeypatch.setattr(OreoTrainer, "_is_sharded", True)
    with pytest.raises(ConfigurationError, match="whole on every device"):
        run(torch_compile_backend="eager")
