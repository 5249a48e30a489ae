"""Code planted wherever a file is read does not run: no path from a file to code.

A canary is a module beside the working folder that leaves a file when it is imported, or a pickle that does when it is
loaded. Each field that is read of a dataset, a suite, an agent, adapters and a checkpoint names one.
"""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from long_tests import LONG

from oreo_agents.models.model_files import SHIPPED

MODULE = """
import os
open(os.environ["CANARY"], "a").write(__name__)
class Thing:
    def __init__(self, *a, **k): open(os.environ["CANARY"], "a").write("made")
    def __call__(self, *a, **k): open(os.environ["CANARY"], "a").write("called")
    @classmethod
    def from_pretrained(cls, *a, **k): open(os.environ["CANARY"], "a").write("loaded")
"""

TEMPLATE = (
    "{{ ''.__class__.__base__.__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch $CANARY') }}"
    "{% include 'canary.py' %}{% import 'canary' as c %}"
)


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def place(tmp_path):
    """A working folder with the canary in it, and a check that it lives."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "canary.py").write_text(MODULE)
    return tmp_path / "work"


@pytest.fixture
def run(commands, place):
    def run(*command, **request):
        canary = place.parent / "sang"
        environment = {"CANARY": str(canary), "PYTHONPATH": str(place)}
        outcome = commands.run(place, *command, environment=environment, import_from=str(place), **request)
        assert not canary.exists(), canary.read_text()
        return outcome.require_clean()

    return run


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


SPECS = {
    "an id": {"id": "canary:Thing-v0", "kwargs": {}},
    "an id of gymnasium's": {"id": "GymV26Environment-v0", "kwargs": {"env_id": "canary:Thing-v0"}},
    "an entry point": {
        "id": "OREO-ALFWorld",
        "entry_point": "canary:Thing",
        "kwargs": {"split": "generated"},
    },
    "a wrapper": {
        "id": "OREO-ALFWorld",
        "kwargs": {"split": "generated"},
        "additional_wrappers": [{"name": "T", "entry_point": "canary:Thing", "kwargs": {}}],
    },
    "an option": {"id": "OREO-ALFWorld", "kwargs": {"games": "canary.py", "backend": "textworld"}},
    "a story": {"id": "OREO-TextWorld", "kwargs": {"game": "canary.py"}},
    "a task": {"id": "OREO-Reasoning", "kwargs": {"task": "canary:Thing"}},
    "options of its own": {"id": "OREO-Reasoning", "kwargs": {"config": {"__class__": "canary.Thing"}}},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_dataset(run, place, material, spec):
    data = shutil.copytree(material / "one", place / "data")
    change(data / "meta.json", env_spec=spec)
    run("dataset", "verify", data)
    run("replay", data, "--verify")
    run("record", "--agent", "expert", "-n", "1", "--split", "generated", "-o", data)


SUITES = {
    "an environment": 'environment = "canary:Thing-v0"\n',
    "a model": 'model = "canary:Thing"\n',
    "an option": '[training]\nresume_from_checkpoint = "canary"\n',
    "a logger": '[training]\nreport_to = "canary"\n',
    "an upload": "[training]\npush_to_hub = true\n",
    "an option of the environment": '[test.x]\nsplit = "generated_unseen"\noptions = { backend = "textworld" }\n',
    "a base": 'base = "canary:Thing"\n',
}


@pytest.mark.parametrize("text", SUITES.values(), ids=SUITES)
def test_a_suite(run, place, text):
    head, _, table = text.partition("[")
    usual = (
        '[train]\nsplit = "generated"\n[test.unseen]\nsplit = "generated_unseen"\nlimit = 1\n[methods.sft]\n'
    )
    (place / "suite.toml").write_text(f"{head}{usual}{'[' + table if table else ''}")
    run("bench", "--suite", "suite.toml", "-o", "made").require_refused()


@pytest.fixture
def agent(place):
    return Path(shutil.copytree(SHIPPED["small"], place / "agent"))


AUTO = {name: "canary.Thing" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")}
CONFIGS = {
    "auto_map": {"auto_map": AUTO, "model_type": "odd"},
    "architectures": {"architectures": ["canary.Thing"]},
    "model_type": {"model_type": "canary"},
    "attention": {"_attn_implementation": "canary/kernel", "attn_implementation": "canary/kernel"},
    "dtype": {"torch_dtype": "canary.Thing", "dtype": "canary.Thing"},
    "quantization": {"quantization_config": {"quant_method": "canary", "modules": "canary.Thing"}},
    "activation": {"hidden_act": "canary.Thing"},
    "transformers_version": {"custom_pipelines": {"x": {"impl": "canary.Thing", "pt": ["AutoModel"]}}},
}
TOKENIZERS = {
    "auto_map": {"auto_map": {"AutoTokenizer": ["canary.Thing", "canary.Thing"]}, "tokenizer_class": "Thing"},
    "class": {"tokenizer_class": "canary.Thing"},
    "template": {"chat_template": TEMPLATE, "additional_special_tokens": []},
    "processor": {"processor_class": "canary.Thing", "feature_extractor_type": "canary"},
}


def play(run):
    return run("eval", "--agent", "agent", "--split", "generated_unseen", "-n", "1", "--max-steps", "2")


@pytest.mark.parametrize("part", ["policy", "critic"] if LONG else ["policy"])
@pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration(run, agent, part, values):
    shutil.copy(agent.parent / "canary.py", agent / part)
    change(agent / part / "config.json", **values)
    play(run)


@pytest.mark.parametrize("values", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer(run, agent, values):
    shutil.copy(agent.parent / "canary.py", agent / "policy")
    change(agent / "policy" / "tokenizer_config.json", **values)
    play(run)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "training_args.bin", "tf_model.h5"]
)
def test_weights_that_are_pickles(run, agent, name):
    for part in ("policy", "critic"):
        if name == "pytorch_model.bin":
            (agent / part / "model.safetensors").unlink()
        torch.save({"x": Bomb(agent.parents[1] / "sang")}, agent / part / name)
    play(run)


def test_adapters(run, agent):
    config = {"peft_type": "LORA", "r": 1, "target_modules": ["q_proj"], "megatron_config": {"x": 1}}
    config |= {
        "megatron_core": "canary",
        "auto_mapping": {"base_model_class": "Thing", "parent_library": "canary"},
    }
    for part in ("policy", "critic"):
        (agent / part / "adapter_config.json").write_text(json.dumps(config))
    play(run).require_refused()


def test_a_checkpoint(run, place, material):
    start = SHIPPED["small"].parent / "start"
    train = (
        "train",
        "--method",
        "sft",
        "--data",
        material / "one",
        "--model",
        start,
        "-o",
        "made",
        "--save-every",
        "1",
    )
    train = (*train, "--batch-size", "2", "--epochs", "1")
    stopped = None
    for moment in (20, 30, 40, 60, 80, 120):
        shutil.rmtree(place / "made.checkpoints", ignore_errors=True)
        stopped = run(*train, kill_at=moment)
        if list(place.glob("made.checkpoints/checkpoint-*")):
            break
    assert stopped is not None and stopped.killed
    (checkpoint,) = place.glob("made.checkpoints/checkpoint-*")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (checkpoint / name).write_bytes(pickle.dumps(Bomb(place.parent / "sang")))
    run(*train).require_refused()


def test_the_canary_sings_where_the_user_calls_it(commands, place):
    """Else none of these tests could fail."""
    canary = place.parent / "sang"
    environment = {"CANARY": str(canary)}
    commands.run(place, "play", "--env", "canary:Thing-v0", environment=environment, import_from=str(place))
    assert canary.exists()
