"""Each kind of thing that people pass as a model is one, or is refused by what it is."""

import json

import pytest
import torch
from chat_templates import CHATML, byte_level
from learning import EPISODES, OPENING

from oreo_agents import OreoAgent, cli, train
from oreo_agents.errors import CheckpointError
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.models.decoder import small_decoder
from oreo_agents.models.trust import trusting_code

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
CONFIGS = {
    "sequence-to-sequence": {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
    },
    "encoder: it fills gaps": {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]},
    "encoder .DebertaV2Model., which sees": {"model_type": "deberta-v2", "architectures": ["DebertaV2Model"]},
    "reward model": {**LLAMA, "architectures": ["LlamaForSequenceClassification"]},
    "quantised .awq.": {**LLAMA, "quantization_config": {"quant_method": "awq", "bits": 4}},
    "code of its own .*trust_remote_code": {"model_type": "openlm", "auto_map": {"AutoConfig": "c.C"}},
    "more than text .Gemma3ForConditionalGeneration.": {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 26},
        "vision_config": {},
    },
    "type 'llama9', which transformers": {"model_type": "llama9", "architectures": ["Llama9ForCausalLM"]},
    "no weights": LLAMA,
}
BY_CONFIG = [words for words in CONFIGS if words != "no weights"]
FOLDERS = {
    "checkpoint-200": ["checkpoint-20/config.json", "checkpoint-200/config.json", "trainer_log.jsonl"],
    "GGUF": ["model.Q4_K_M.gguf"],
    "sentence-transformers": ["modules.json", "config.json", "1_Pooling/config.json"],
    "diffusers": ["model_index.json", "unet/config.json"],
    "no config.json": ["model.safetensors"],
    "tokenizer and no model": ["tokenizer.json", "tokenizer_config.json"],
    "makers' own format": ["consolidated.00.pth", "params.json"],
    "ONNX": ["model.onnx"],
    "not a checkpoint": ["notes.txt"],
}


@pytest.mark.parametrize(("words", "config"), CONFIGS.items())
def test_a_model_of_another_kind_is_called_by_its_name(tmp_path, words, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        load_policy(tmp_path)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts files where the Hub's cache has them, of a name that it returns; the Hub itself is away."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(files, name="someone/thing"):
        folder, commit = tmp_path / f"cache/models--{name.replace('/', '--')}", "0" * 40
        placed = {f"snapshots/{commit}/{file}": text for file, text in files.items()}
        for file, text in {"refs/main": commit, **placed}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        return name

    return put


@pytest.mark.parametrize("words", BY_CONFIG)
def test_a_name_on_the_hub_gets_the_same_words(tmp_path, cached, words):
    name = cached({"config.json": json.dumps(CONFIGS[words])})
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[words]))
    with pytest.raises(CheckpointError, match=words) as of_folder:
        load_policy(tmp_path)
    with pytest.raises(CheckpointError, match=words) as of_name:
        load_policy(name)
    assert str(of_name.value).removeprefix(name) == str(of_folder.value).removeprefix(str(tmp_path))


@pytest.mark.parametrize("ending", ["-bnb-4bit", "-unsloth-bnb-4bit", "-AWQ"])
def test_an_adapter_for_a_quantised_model_says_which_to_take(adapter, cached, ending):
    path, _ = adapter
    config = {**LLAMA, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    base = cached({"config.json": json.dumps(config)}, f"unsloth/Llama-9{ending}")
    change_adapter(path, base_model_name_or_path=base)
    with pytest.raises(
        CheckpointError,
        match=r"quantised \(bitsandbytes\).*base_model_name_or_path .* to unsloth/Llama-9, of which",
    ):
        load_policy(path)


@pytest.mark.parametrize(("words", "files"), FOLDERS.items())
def test_a_folder_of_something_else_is_called_by_its_name(tmp_path, words, files):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match=words):
        load_policy(tmp_path)


def test_weights_that_could_run_code_are_not_opened(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin, and only safetensors"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"is a (GGUF )?file"):
        load_policy(tmp_path / name)


def change_adapter(path, **fields):
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**config, **fields}))


@pytest.fixture
def adapter(tokenizer, tmp_path):
    """A base model and LoRA adapters for it, as PEFT, TRL and LLaMA-Factory leave them."""
    from peft import LoraConfig, get_peft_model

    base = small_decoder(tokenizer, hidden_size=64, layers=1)
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    base.name_or_path = base.config._name_or_path = str(tmp_path / "base")
    adapted = get_peft_model(base, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora", adapted.eval()


def test_an_adapter_is_its_base_model_changed(adapter):
    path, adapted = adapter
    policy, tokenizer = load_policy(path)
    ids = torch.tensor([[4, 9, 7, 8, 5]])
    with torch.no_grad():
        torch.testing.assert_close(policy(ids).logits, adapted(ids).logits, atol=1e-5, rtol=1e-4)
    assert all(parameter.requires_grad for parameter in policy.parameters())
    assert len(tokenizer) == policy.config.vocab_size


def test_its_layers_may_be_named_by_a_regular_expression(adapter):
    """As LLaMA-Factory and Unsloth write them; PEFT wants the whole name to match."""
    path, adapted = adapter
    change_adapter(path, target_modules=r".*\.(?:q_proj|down_proj)")
    policy, tokenizer = load_policy(path)
    ids = torch.arange(4, 12)[None] % len(tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(policy(ids).logits, adapted(ids).logits, atol=1e-5, rtol=1e-4)
    change_adapter(path, target_modules="(q_proj")
    with pytest.raises(CheckpointError, match="lora"):
        load_policy(path)


def test_an_adapter_whose_base_is_away_says_which(adapter):
    path, _ = adapter
    change_adapter(path, base_model_name_or_path="/nowhere/base")
    with pytest.raises(CheckpointError, match="lora is an adapter for /nowhere/base"):
        load_policy(path)


@pytest.fixture
def coded(tmp_path, tokenizer):
    """A model that brings its code, which leaves a mark where it runs."""
    small_decoder(tokenizer, hidden_size=64, layers=1).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    kind = config["model_type"].title()
    config |= {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "conf.Conf", "AutoModelForCausalLM": "mod.Mod"},
    }
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    mark = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "model/conf.py").write_text(
        f"{mark}from transformers import {kind}Config\nclass Conf({kind}Config):\n    model_type = 'odd'\n"
    )
    (tmp_path / "model/mod.py").write_text(
        f"from transformers import {kind}ForCausalLM\nfrom .conf import Conf\n"
        f"class Mod({kind}ForCausalLM):\n    config_class = Conf\n"
    )
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["n_layer", "num_layers", "depth"])
def test_a_model_with_code_may_count_its_layers_by_another_name(coded, name):
    config = json.loads((coded / "config.json").read_text())
    named = {key: config[key] for key in ("model_type", "auto_map", "architectures")}
    inner = {key: value for key, value in config.items() if key not in named}
    (coded / "config.json").write_text(json.dumps({**named, name: 1, "inner": inner}))
    (coded / "conf.py").write_text(
        "from transformers import PretrainedConfig\nclass Conf(PretrainedConfig):\n    model_type = 'odd'\n"
    )
    code = (coded / "mod.py").read_text()
    kind = code.partition("import ")[2].partition("ForCausalLM")[0]
    (coded / "mod.py").write_text(
        f"from transformers import {kind}Config\n{code}"
        f"    def __init__(self, config):\n        super().__init__({kind}Config(**config.inner))\n"
    )
    with trusting_code():
        assert load_policy(coded)[0].config.num_hidden_layers == 1
        (coded / "config.json").write_text(json.dumps({**named, name: 10**6, "inner": inner}))
        if name != "depth":
            with pytest.raises(CheckpointError, match="1000000 layers, and"):
                load_policy(coded)


def test_a_models_own_code_runs_where_that_is_said_and_nowhere_else(coded, monkeypatch, tmp_path):
    """It is played, trained, saved and played again; without a word it is refused, and nobody is asked."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    options = {"max_steps": 1, "use_cpu": True, "bf16": False}
    for load in (
        OreoAgent.from_pretrained,
        lambda path: train(EPISODES, path, tmp_path / "new", "sft", **options),
    ):
        with pytest.raises(CheckpointError, match=r"code of its own .*--trust-remote-code"):
            load(coded)
    assert not (tmp_path / "ran").exists()
    agent = OreoAgent.from_pretrained(coded, trust_remote_code=True)
    assert agent.act(OPENING).action is not None and (tmp_path / "ran").exists()
    train(EPISODES, coded, tmp_path / "new", "sft", trust_remote_code=True, **options)
    with pytest.raises(CheckpointError, match="code of its own"):
        OreoAgent.from_pretrained(tmp_path / "new")
    assert OreoAgent.from_pretrained(tmp_path / "new", trust_remote_code=True).act(OPENING).generated_tokens


@pytest.mark.parametrize("command", ["export", "serve"])
def test_it_is_said_to_commands_that_give_a_model_away(coded, monkeypatch, tmp_path, command, capsys):
    pytest.importorskip("uvicorn")
    byte_level(CHATML).save_pretrained(coded)  # the shorthand of others is nothing to give away
    served = []
    monkeypatch.setattr("uvicorn.run", lambda app, **_: served.append(app))
    line = [command, str(coded), *(["-o", str(tmp_path / "plain")] if command == "export" else [])]
    assert cli.main(line) == 2
    assert "say --trust-remote-code" in capsys.readouterr().err and not (tmp_path / "ran").exists()
    assert cli.main([*line, "--trust-remote-code"]) == 0
    assert served if command == "serve" else (tmp_path / "plain/model.safetensors").is_file()


def test_a_name_that_is_nowhere_while_the_hub_is_away_says_what_to_give(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError,
        match=r"someone/nothing: no such folder.*since HF_HUB_OFFLINE is set: give the folder",
    ):
        load_policy("someone/nothing")
