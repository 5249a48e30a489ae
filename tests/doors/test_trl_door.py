"""Our environments as TRL's environment_factory: the tools that it finds, and a step of GRPO on two episodes."""

import json
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from chat_templates import byte_level
from learning import random_decoder
from won_game import GAME, OPTIONS, play_expert

from oreo_agents.doors.trl import TRLEnvironment, TRLEnvironmentWithCommands
from oreo_agents.environments import environments
from oreo_agents.errors import ConfigurationError, OreoError

ASK = [{"role": "user", "content": "Play.\n\n"}]


@pytest.fixture(scope="module")
def make():
    return environments("OREO-ALFWorld", **OPTIONS)


def test_what_a_tool_answers_is_what_the_environment_says(make):
    (observation, info), steps = play_expert()
    env = TRLEnvironmentWithCommands(make)
    assert env.reset(game=GAME, prompt=ASK) == observation
    assert env.list_commands().splitlines() == info["admissible_commands"]
    for command, (observation, *_, info) in steps:
        assert env.get_reward() == 0
        assert env.act(command) == observation
        assert env.list_commands().splitlines() == info["admissible_commands"]
    assert env.get_reward() == 1
    with pytest.raises(Exception, match="episode is over"):
        env.act("look")
    assert env.get_reward() == 1


def test_a_row_names_a_game_or_a_seed(make):
    env = TRLEnvironment(make)
    assert env.reset(seed=3) == play_expert(seed=3)[0][0]
    assert env.reset(game=25) == play_expert()[0][0]
    with pytest.raises(ConfigurationError, match="give each row of train_dataset a 'game' or a 'seed'"):
        env.reset(prompt=ASK)
    with pytest.raises(OreoError, match="no game"):
        env.reset(game="no such game")
    with pytest.raises(Exception, match="episode is over"):
        env.act("look")


def test_a_step_limit_ends_the_episode():
    env = TRLEnvironment(environments("OREO-ALFWorld", max_steps=2, **OPTIONS))
    env.reset(game=GAME)
    env.act("look"), env.act("look")
    with pytest.raises(Exception, match="episode is over"):
        env.act("look")
    assert env.get_reward() == 0


def test_grpo_learns_from_an_episode_that_is_won_and_one_that_is_not(make, tmp_path):
    trl = pytest.importorskip(
        "trl", "1.8", reason="environments that own their reward are of TRL 1.8: pip install trl"
    )
    datasets = pytest.importorskip("datasets", reason="TRL's rows: pip install datasets")
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer = byte_level(template.read_text())
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    model = random_decoder("qwen3", len(tokenizer))
    model.config.max_position_embeddings = 8192
    (opening, _), steps = play_expert()
    read = speak_commands(model, tokenizer, [command for command, _ in steps])
    trainer = trl.GRPOTrainer(
        model,
        args=trl.GRPOConfig(
            str(tmp_path),
            max_steps=1,
            num_generations=2,
            per_device_train_batch_size=2,
            max_completion_length=4096,
            learning_rate=1e-3,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            logging_steps=1,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": ASK, "game": GAME}] * 2),
        processing_class=tokenizer,
        environment_factory=partial(TRLEnvironment, make),
    )
    assert [tool.__name__ for tool in trainer.tools] == ["act"]
    before = {name: weights.clone() for name, weights in model.named_parameters()}
    trainer.train()
    (logged,) = [line for line in trainer.state.log_history if "reward" in line]
    assert logged["rewards/TRLEnvironment/mean"] == logged["reward"] == 0.5
    assert logged["tools/call_frequency"] == len(steps) and logged["tools/failure_frequency"] == 0
    assert any((weights != before[name]).any() for name, weights in model.named_parameters())
    assert sorted(env.get_reward() for env in trainer.environments) == [0, 1]
    observations = [opening, *(told[0] for _, told in steps)]
    assert all(observation in read[-1] for observation in observations)


def speak_commands(model, tokenizer, commands):
    """Let ``generate`` say the expert's commands in the first episode, and only look in the second.

    Returns what the model has read of the first one, at each call.
    """
    import torch

    turns, read = count(), []

    def say(command):
        called = {"name": "act", "arguments": {"command": command}}
        return f"<tool_call>\n{json.dumps(called)}\n</tool_call>{tokenizer.eos_token}"

    def generate(input_ids=None, **_):
        turn = next(turns)
        read.append(tokenizer.decode(input_ids[0]))
        if turn == len(commands):
            said = ["Done." + tokenizer.eos_token] * len(input_ids)
        else:
            said = [say(commands[turn]), say("look")]
        new = tokenizer(said, return_tensors="pt", padding=True, padding_side="right")["input_ids"]
        return torch.cat([input_ids, new], dim=1)

    model.generate = generate
    return read
