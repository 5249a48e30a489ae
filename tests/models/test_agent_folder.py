"""Agents on disk: what is saved is loaded, a failed save harms nothing, and no broken folder is a traceback."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.language.chat import Chat
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_card import agent_folder, choose_prompt
from oreo_agents.models.agent_folder import load_critic, load_policy, note_choice, save_agent
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import lm_head
from oreo_agents.models.model_files import count_parameters
from oreo_agents.models.recipe import LOG, TrainingRecipe, explain_doubt
from oreo_agents.training.ingredients import find_finished

IDS = torch.tensor([[2, 9, 7, 8, 4, 5]])


@pytest.fixture(scope="session")
def saved(tokenizer, tmp_path_factory):
    """An agent's folder with policy and critic, never written to."""
    from oreo_agents.models.decoder import small_decoder

    torch.manual_seed(0)
    policy = small_decoder(tokenizer, hidden_size=64, layers=1)
    critic = Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    path = tmp_path_factory.mktemp("agents") / "saved"
    save_agent(path, policy, tokenizer, critic, method="oreo", steps=3)
    return path, policy, critic


def test_a_new_critic_starts_as_the_policys_trunk_with_no_opinion(policy):
    critic = Critic.from_policy(policy)
    assert (critic(IDS) == 0).all() and critic(IDS).shape == IDS.shape
    trunk = dict(policy.base_model.named_parameters())
    for name, parameter in critic.backbone.named_parameters():
        assert torch.equal(parameter, trunk[name]) and parameter.data_ptr() != trunk[name].data_ptr()


def test_a_value_does_not_see_the_future(critic):
    values = critic(IDS)
    torch.testing.assert_close(critic(IDS[:, :3]), values[:, :3], atol=1e-5, rtol=1e-4)
    hidden = critic.backbone(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(values, (hidden @ critic.value_head.weight[0]).detach(), atol=1e-5, rtol=1e-4)


def test_an_agent_is_loaded_exactly_as_it_was_saved(saved, tokenizer):
    path, policy, critic = saved
    loaded, loaded_tokenizer = load_policy(path)
    assert torch.equal(loaded(IDS).logits, policy(IDS).logits)
    assert loaded_tokenizer.get_vocab() == tokenizer.get_vocab()
    loaded_critic = load_critic(path)
    assert loaded_critic.state_dict().keys() == critic.state_dict().keys()
    for name, weight in loaded_critic.state_dict().items():
        assert torch.equal(weight, critic.state_dict()[name]), name
    assert torch.equal(loaded_critic(IDS), critic(IDS))
    assert json.loads((path / "agent.json").read_text()) == {"format": 1, "method": "oreo", "steps": 3}
    assert not [file for file in path.rglob("*") if file.suffix in {".bin", ".pt", ".pkl"}]


def test_a_plain_hugging_face_folder_is_a_policy_without_a_critic(saved):
    path, policy, _ = saved
    loaded, _ = load_policy(path / "policy")
    assert torch.equal(loaded(IDS).logits, policy(IDS).logits)
    assert load_critic(path / "policy") is None


def test_saving_again_replaces_the_whole_folder(tmp_path, policy, tokenizer, critic):
    path = tmp_path / "agent"
    save_agent(path, policy, tokenizer, critic)
    save_agent(path, policy, tokenizer)
    assert not (path / "critic").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent"]


def copy_of(saved, tmp_path):
    import shutil

    return shutil.copytree(saved[0], tmp_path / "copy")


def truncate(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "breaks",
    [
        lambda folder: truncate(folder / "model.safetensors"),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "no such thing"}'),
        lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0"}'),
    ],
    ids=[
        "truncated",
        "empty",
        "no weights",
        "not json",
        "a list",
        "no type",
        "unknown type",
        "bad tokenizer",
    ],
)
def test_a_broken_policy_is_one_error_that_names_the_path(saved, tmp_path, breaks):
    path = copy_of(saved, tmp_path)
    breaks(path / "policy")
    with pytest.raises(CheckpointError) as raised:
        load_policy(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "breaks",
    [
        lambda folder: truncate(folder / "model.safetensors"),
        lambda folder: truncate(folder / "value_head.safetensors"),
        lambda folder: (folder / "value_head.safetensors").unlink(),
        lambda folder: (folder / "config.json").unlink(),
    ],
    ids=["truncated", "truncated head", "no head", "no config"],
)
def test_a_broken_critic_is_one_error_that_names_the_path(saved, tmp_path, breaks):
    path = copy_of(saved, tmp_path)
    breaks(path / "critic")
    with pytest.raises(CheckpointError) as raised:
        load_critic(path)
    assert str(path / "critic") in str(raised.value)


def test_what_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not a model")
    for name in ("empty", "notes.txt", "missing"):
        with pytest.raises(CheckpointError) as raised:
            load_policy(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)


def test_a_head_without_anything_after_it_is_the_head_itself(policy):
    assert lm_head(policy) is policy.get_output_embeddings()


@pytest.mark.parametrize("settings", [{"eos_token_id": 5}, {"eos_token_id": [5, 6], "temperature": 0.6}, {}])
def test_generation_ends_where_the_agents_turns_end(policy, tokenizer, tmp_path, settings):
    """A base model's own end of text stays beside it; settings that contradict each other are no obstacle."""
    policy.generation_config = before = GenerationConfig(**settings)
    save_agent(tmp_path / "agent", policy, tokenizer)
    written = json.loads((tmp_path / "agent" / "policy" / "generation_config.json").read_text())[
        "eos_token_id"
    ]
    ends = settings.get("eos_token_id", [])
    assert written[0] == Chat(tokenizer).end_id
    assert set(written[1:]) == set(ends if isinstance(ends, list) else [ends]) - {written[0]}
    assert policy.generation_config is before
    files = {file.suffix for file in (tmp_path / "agent" / "policy").iterdir()}
    assert ".safetensors" in files and not files & {".bin", ".pt"}


def test_the_small_decoder_is_a_qwen3_with_shared_embeddings(policy, tokenizer):
    assert isinstance(policy, Qwen3ForCausalLM) and isinstance(policy.config, Qwen3Config)
    assert policy.config.vocab_size == len(tokenizer)
    assert policy.get_input_embeddings().weight is policy.get_output_embeddings().weight
    assert policy.config.num_key_value_heads == 1


# --- files that are not whole, or not to be trusted -----------------------------------------------------------


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the saved agent to do harm to."""
    return Path(shutil.copytree(saved[0], tmp_path / "agent"))


def change_weights(file, change):
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("part", ["policy", "critic"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(next(name for name in w if "q_proj" in name)), "it lacks .*q_proj"),
        (lambda w: w.update(strange=torch.zeros(1)), "it has, and the architecture has not, strange"),
    ],
)
def test_a_model_is_whole_or_refused(copied, part, change, message):
    """A weight that is missing would be drawn at random, and the agent judged with it."""
    change_weights(copied / part / "model.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        load_policy(copied) if part == "policy" else load_critic(copied)


def test_weights_come_from_safetensors_alone(copied):
    """A pickle beside the configuration could run anything."""
    weights = load_file(copied / "policy" / "model.safetensors")
    (copied / "policy" / "model.safetensors").unlink()
    torch.save(weights, copied / "policy" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="only safetensors are read"):
        load_policy(copied)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_is_not_run(copied, file, tmp_path, monkeypatch):
    """Also on a terminal, where transformers would ask, and "y" would run it."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    canary = tmp_path / "ran"
    (copied / "policy" / "odd.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((copied / "policy" / file).read_text())
    parts = {"config.json": {"AutoConfig": "odd.Odd", "AutoModelForCausalLM": "odd.Odd"}}
    config["auto_map"] = parts.get(file, {"AutoTokenizer": ["odd.Odd", None]})
    config |= {"model_type": "odd"} if file == "config.json" else {"tokenizer_class": "Odd"}
    (copied / "policy" / file).write_text(json.dumps(config))
    with suppress(CheckpointError):
        load_policy(copied)
    assert not canary.exists()


def test_the_prompt_that_is_asked_for_counts_more_than_the_models_own(saved, tokenizer, tmp_path):
    path, policy, _ = saved
    save_agent(tmp_path / "told", policy, tokenizer, prompt=Prompt(system="be brief"))
    assert choose_prompt(tmp_path / "told") == Prompt(system="be brief")
    assert choose_prompt(str(tmp_path / "told"), "alfworld") == Prompt.load("alfworld")
    assert choose_prompt(path) == choose_prompt(policy) == choose_prompt("new-tiny") == Prompt()
    with pytest.raises(ConfigurationError, match="there is no prompt 'nope'"):
        choose_prompt(path, "nope")


def test_an_agent_is_replaced_on_request_alone(saved, tmp_path):
    path, _, _ = saved
    with pytest.raises(CheckpointError, match="holds an agent already: choose another folder"):
        find_finished(path, {})
    assert agent_folder(path) == path.resolve()
    assert agent_folder(tmp_path / "new") == tmp_path / "new" and find_finished(tmp_path / "new", {}) is None


def test_parameters_are_counted_without_loading(saved):
    path, policy, _ = saved
    assert count_parameters(path) == policy.num_parameters() and count_parameters("owner/name") is None


def test_a_critic_that_was_measured_and_cannot_rank_is_doubted(saved, tmp_path):
    base = {"name": "x", "sha256": None, "hub": None}
    data = {"episodes": 1, "sha256": "", "sources": []}
    for name, measured in (("bad", -0.4), ("good", 0.3)):
        folder = tmp_path / name
        folder.mkdir()
        log = [{"step": 1, "eval_explained_variance": -3.0}, {"step": 2, "eval_explained_variance": measured}]
        TrainingRecipe("oreo", {}, base, data, 2, 1.0, "cpu", log=log).write(folder)
        assert (folder / LOG).is_file()
    assert "held-out returns (explained variance -0.4)" in explain_doubt(tmp_path / "bad")
    assert explain_doubt(tmp_path / "good") is None is explain_doubt(saved[0])


@pytest.mark.parametrize(
    ("episodes", "trained", "held_out", "doubted"),
    [
        (300, 0.004, None, True),
        (300, -0.1, None, True),
        (300, 0.2, None, False),
        (30, 0.004, None, False),  # too few to mean something
        (300, None, None, False),  # all returned alike
        (300, 0.2, 0.01, True),  # held-out episodes say more
        (300, 0.004, 0.2, False),
    ],
)
def test_without_held_out_episodes_those_of_the_training_count(
    tmp_path, episodes, trained, held_out, doubted
):
    data = {"episodes": episodes, "sha256": "", "sources": []}
    measured = {"explained_variance": trained, "eval_explained_variance": held_out}
    log = [{"step": 1, "explained_variance": 0.5 - doubted}] if trained is not None else []
    log += [{"step": 2, name: value} for name, value in measured.items() if value is not None]
    TrainingRecipe("oreo", {}, {"name": "x"}, data, 2, 1.0, "cpu", log=log).write(tmp_path)
    said = explain_doubt(tmp_path)
    assert (said is not None) is doubted
    assert said is None or ("next to nothing" in said and "--critic-warmup" in said)


def test_noting_how_to_choose_leaves_the_card_as_it_was(saved, tokenizer, tmp_path):
    _, policy, critic = saved
    base = {"name": "x", "sha256": None, "hub": None}
    recipe = TrainingRecipe("oreo", {}, base, {"episodes": 1, "sha256": "", "sources": []}, 2, 1.0, "cpu")
    save_agent(tmp_path / "made", policy, tokenizer, critic, recipe=recipe, method="oreo")
    before = (tmp_path / "made" / "README.md").read_text()
    note_choice(tmp_path / "made", {"temperature": 2.0, "logprob_weight": 0.03})
    after = (tmp_path / "made" / "README.md").read_text()
    assert "## How it was made" in before and set(before.splitlines()) <= set(after.splitlines())
    assert "| temperature | 2.0 |" in after
