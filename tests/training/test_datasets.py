"""The kinds of data that OreoTrainer takes are the same episodes; what is none of them is refused with the remedy."""

import copy

import pytest
import torch
from datasets import Dataset
from learning import EPISODES
from transformers import AutoModelForCausalLM, TrainingArguments

from oreo_agents import OreoConfig, OreoTrainer, load_trajectories
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.errors import CheckpointError, ConfigurationError, DatasetError
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.card import data_hash
from oreo_agents.models.model_files import identify_model
from oreo_agents.training.datasets import read_data
from oreo_agents.training.encoding import encode_episodes
from oreo_agents.training.recipe import describe_base


@pytest.fixture
def folder(tmp_path):
    with TrajectoryWriter(tmp_path / "episodes") as writer:
        for one in EPISODES:
            writer.append(one)
    return tmp_path / "episodes"


def test_every_kind_is_the_same_episodes(folder, tokenizer, chat):
    expected = [chat.encode(one) for one in EPISODES]
    loaded = load_trajectories(folder)
    rows = loaded.to_dataset()
    for given in (
        folder,
        str(folder),
        [folder],
        loaded,
        list(loaded),
        EPISODES,
        expected,
        rows,
        rows.to_list(),
    ):
        assert [*encode_episodes(read_data(given).episodes, chat)] == expected
    (source,) = read_data(folder).sources
    assert (source.name, source.episodes, source.sha256) == ("episodes", 3, loaded.metas[0].content_hash)


def test_a_reward_for_each_turn_is_kept(tokenizer):
    messages = [{"role": role, "content": role} for _ in range(2) for role in ("user", "assistant")]
    rows = Dataset.from_list(
        [{"messages": messages, "reward": [0.25, 0.5]}, {"messages": messages, "reward": [-1.0, 0.0]}]
    )
    first, second = read_data(rows).episodes
    assert (first.rewards, second.rewards) == ((0.25, 0.5), (-1.0, 0.0))
    assert first.returns_to_go() == (0.75, 0.5)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ([1.0, 2.0], r"row 0: .*\(2 rewards, and 1 messages of the assistant: give one for each"),
        (None, r"row 0: .*\(its outcome is None, it must be a number, true or false\)"),
        ([None], r"row 0: .*\(its outcome is None, it must be a number, true or false\)"),
    ],
)
def test_a_reward_that_cannot_be_is_said_in_words(reward, said):
    messages = [{"role": role, "content": role} for role in ("user", "assistant")]
    with pytest.raises(DatasetError, match=said):
        read_data([{"messages": messages, "reward": reward}])


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"sucess": True}, "no column 'sucess': did you mean success?"),
        ({"success": "yes"}, "success is True or False, not 'yes'"),
        ({"length": "3"}, "length is a number, not '3'"),
        ({"game": [1]}, "game is a text, not 1"),
    ],
)
def test_a_condition_that_nothing_can_meet_is_refused(folder, condition, said):
    with pytest.raises(DatasetError, match=said):
        load_trajectories(folder).filter(**condition)


@pytest.fixture
def config(tmp_path):
    return OreoConfig(str(tmp_path / "run"), use_cpu=True, max_steps=1)


SAID = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
WRONG = [
    ("owner/name", DatasetError, "no recorded episodes here .*; record some with: oreo-agents record"),
    (3, DatasetError, "train_dataset is of type int: give a folder of recorded episodes"),
    (["a", 3], DatasetError, "train_dataset is a list of int, str: give a folder of recorded episodes"),
    (
        Dataset.from_list([{"text": "x"}]),
        DatasetError,
        "has the columns text, none with what was said: name it messages",
    ),
    (
        Dataset.from_list([{"messages": SAID}]),
        DatasetError,
        "has the columns messages, none with the outcome: add reward",
    ),
    ([{"messages": 3, "reward": 1}], DatasetError, "row 0: not an episode"),
    ([], DatasetError, "there are no episodes to train on"),
    (None, ConfigurationError, "there is nothing to train on, train_dataset is None: give a folder"),
]


@pytest.mark.parametrize(("given", "error", "said"), WRONG)
def test_what_is_no_data_is_refused_with_the_remedy(policy, tokenizer, config, given, error, said):
    with pytest.raises(error, match=said) as refused:
        OreoTrainer(policy, config, given, processing_class=tokenizer)
    assert "\n" not in str(refused.value)


def test_messages_without_an_outcome_can_be_imitated(tmp_path, policy, tokenizer):
    config = OreoConfig(str(tmp_path), use_cpu=True, method="sft", max_steps=1)
    rows = Dataset.from_list([{"messages": SAID}] * 2)
    assert len(OreoTrainer(policy, config, rows, processing_class=tokenizer).items) == 2


def test_what_is_no_model_or_no_options_is_refused_with_the_remedy(policy, tokenizer, tmp_path, config):
    with pytest.raises(ConfigurationError, match=r"args is of type TrainingArguments: give an OreoConfig"):
        OreoTrainer(policy, TrainingArguments(str(tmp_path), use_cpu=True), EPISODES)
    with pytest.raises(ConfigurationError, match=r"there is no model to train: OreoTrainer\(model, args"):
        OreoTrainer()
    with pytest.raises(ConfigurationError, match="model is of type int: give an agent's folder"):
        OreoTrainer(3, config, EPISODES)
    with pytest.raises(ConfigurationError, match=r"oreo_agents\.train\(data, 'new-tiny', output\)"):
        OreoTrainer("new-tiny", config, EPISODES)
    with pytest.raises(CheckpointError, match="no/such/folder does not exist; pass a folder"):
        OreoTrainer("no/such/folder", config, EPISODES)
    with pytest.raises(ConfigurationError, match="processing_class is needed"):
        OreoTrainer(policy, config, EPISODES)
    with pytest.raises(
        ConfigurationError, match="processing_class is of type str: give the tokenizer itself"
    ):
        OreoTrainer(policy, config, EPISODES, processing_class="small")
    with pytest.raises(ConfigurationError, match=r"OreoConfig has no option 'betta': did you mean beta\?"):
        OreoConfig(str(tmp_path), betta=1)


def test_a_folder_is_its_model_tokenizer_and_critic(tmp_path, policy, critic, tokenizer, config):
    save_agent(tmp_path / "start", policy, tokenizer, critic)
    named = OreoTrainer(str(tmp_path / "start"), config, EPISODES)
    given = OreoTrainer(
        copy.deepcopy(policy), config, EPISODES, None, tokenizer, critic=copy.deepcopy(critic)
    )
    for trainer in (named, given):
        trainer.train()
        trainer.save_model(str(tmp_path / "saved"))
    for name, weight in given.trained.state_dict().items():
        assert torch.equal(weight, named.trained.state_dict()[name]), name
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "start" / "policy")
    assert OreoTrainer(alone, config, EPISODES).processing_class.get_vocab() == tokenizer.get_vocab()


def test_the_shipped_agent_is_a_model_by_its_name(config):
    trainer = OreoTrainer("small", config, EPISODES)
    assert trainer.policy.num_parameters() > 2_000_000 and trainer.critic is not None
    assert describe_base("small", config).sha256 == identify_model("small") != "small"


def test_adapters_of_a_peft_configuration(tmp_path, policy, tokenizer, config):
    from peft import LoraConfig

    save_agent(tmp_path / "start", policy, tokenizer)
    trainer = OreoTrainer(
        str(tmp_path / "start"), config, EPISODES, peft_config=LoraConfig(r=2, target_modules="all-linear")
    )
    trained = {name for name, x in trainer.policy.named_parameters() if x.requires_grad}
    assert trained and all("lora_" in name for name in trained)


def test_the_hash_of_the_data_does_not_depend_on_the_kind(folder, chat, tokenizer):
    found = encode_episodes(read_data(folder).episodes, chat)
    assert data_hash(found.digests) == data_hash(chat.encode(episode).digest for episode in EPISODES)
