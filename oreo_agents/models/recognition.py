"""What lies at a path that should be a language model: one word for each kind of thing that is none, or not here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oreo_envs.files import read_json

from oreo_agents.errors import CheckpointError
from oreo_agents.models.model_files import ADAPTER, checkpoint_folder
from oreo_agents.models.trust import is_trusted

SERVE = "serve it (vLLM, SGLang, llama.cpp) and play it with --endpoint"

_TASKS = {
    "ForMaskedLM": "an encoder: it fills gaps and writes no text",
    "ForPreTraining": "an encoder: it fills gaps and writes no text",
    "ForSequenceClassification": "a classifier or reward model: it judges texts and writes none",
    "ForTokenClassification": "a classifier of tokens: it writes no text",
    "ForQuestionAnswering": "a model that marks answers in a text and writes none",
    "ForMultipleChoice": "a model that chooses and writes no text",
    "ForImageClassification": "a model of images",
    "ForCTC": "a model of speech",
    "ForSpeechSeq2Seq": "a model of speech",
}
_ENCODERS = frozenset(
    (
        "bert",
        "roberta",
        "distilbert",
        "albert",
        "electra",
        "deberta",
        "deberta-v2",
        "xlm-roberta",
        "camembert",
        "modernbert",
        "mpnet",
        "nomic_bert",
        "longformer",
    )
)


def require_language_model(path: Path) -> None:
    """Refuse what is no causal language model in files that are read here; only looks at names and ``config.json``.

    Raises:
        CheckpointError: it is something else, in so many words.
    """
    if reason := _explain_refusal(path):
        raise CheckpointError(f"{path} {reason}")


def _explain_refusal(path: Path) -> str | None:
    if path.is_file():
        return _refuse_file(path)
    if not path.exists():
        if (kept := checkpoint_folder(path)).is_dir():
            return (
                f"is not there yet, as its training has not ended: the command that began it goes on from what is "
                f"kept in {kept}"
            )
        return "does not exist; pass a folder written by `oreo-agents train` or a Hugging Face causal LM (owner/name)"
    files = sorted(entry.name for entry in path.iterdir())
    if any(name.endswith("config_sentence_transformers.json") or name == "modules.json" for name in files):
        return "is a sentence-transformers model: it turns texts into vectors and writes none"
    if "model_index.json" in files:
        return "is a diffusers pipeline: it makes images"
    if ADAPTER in files:
        return _refuse_adapter(path, files)
    return _refuse_model(path, files) if "config.json" in files else _refuse_folder(path, files)


def _refuse_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return f"is a GGUF file, in which weights are quantised for llama.cpp: {SERVE}, or pass the original model"
    if path.suffix in (".safetensors", ".bin", ".pt", ".pth"):
        return f"is a file of weights: pass the folder that it is in, {path.parent}"
    return "is a file: pass the folder of a model"


def _refuse_folder(path: Path, files: list[str]) -> str:
    checkpoints = sorted(
        (name for name in files if re.fullmatch(r"checkpoint-\d+", name)),
        key=lambda name: int(name.split("-")[1]),
    )
    if checkpoints:
        newest = checkpoints[-1]
        return f"holds checkpoints of a training and no model of its own: pass one of them, such as {path / newest}"
    for ending, what in (
        (
            ".gguf",
            f"has GGUF files, in which weights are quantised for llama.cpp: {SERVE}, or pass the original model",
        ),
        (".onnx", "has an ONNX model, which cannot be trained: pass the original model"),
        (".npz", "has weights for MLX: pass the original model"),
        (".safetensors", "has weights and no config.json: copy that there, too"),
    ):
        if any(name.endswith(ending) for name in files):
            return what
    if any(name.startswith("consolidated") or name == "params.json" for name in files):
        return "has weights in their makers' own format: pass the same model in Hugging Face's"
    if any(name.startswith("tokenizer") for name in files):
        return "has a tokenizer and no model: copy config.json and the weights there, too"
    return (
        "is not a checkpoint: neither policy/ nor config.json is in it; pass a folder written by `oreo-agents train` "
        "or a Hugging Face causal LM (owner/name)"
    )


def _refuse_adapter(path: Path, files: list[str]) -> str | None:
    config = _read_json(path / ADAPTER)
    if config is None:
        return f"is an adapter whose {ADAPTER} cannot be read: copy it again"
    if config.get("peft_type") in (
        "PROMPT_TUNING",
        "PREFIX_TUNING",
        "P_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "CPT",
    ):
        return f"is an adapter of type {config['peft_type']}, which cannot become part of the weights: choose LoRA"
    if "adapter_model.safetensors" not in files:
        return "is an adapter without adapter_model.safetensors: save it with safe_serialization=True"
    if not config.get("base_model_name_or_path"):
        return (
            f"is an adapter that does not say for which model: set base_model_name_or_path in its {ADAPTER}"
        )
    return None


def _refuse_model(path: Path, files: list[str]) -> str | None:
    config = _read_json(path / "config.json")
    if config is None:
        return "has a config.json that cannot be read: copy it again"
    names = [str(name) for name in config.get("architectures") or [] if isinstance(name, str)]
    name, kind = (names or ["?"])[0], str(config.get("model_type", ""))
    if config.get("is_encoder_decoder"):
        return f"is a sequence-to-sequence model ({name}): its two halves read and write; pass a decoder-only model"
    for ending, what in _TASKS.items():
        if name.endswith(ending):
            return f"is {what} ({name}): pass a causal language model"
    if kind in _ENCODERS and not config.get("is_decoder"):
        return f"is an encoder ({name}), which sees what follows: pass a causal language model"
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict):
        method = quantised.get("quant_method", "unknown method")
        return (
            f"is quantised ({method}), and its weights cannot be trained: pass the original model, or {SERVE}"
        )
    if "num_hidden_layers" not in config and isinstance(config.get("text_config"), dict):
        return (
            f"is a model of more than text ({name}): save its language model alone as a causal LM, or {SERVE}"
        )
    if kind not in _known_types() and not (config.get("auto_map") and is_trusted()):
        return _refuse_unknown(config, kind, files)
    return _refuse_weights(files)


def _refuse_unknown(config: dict[str, Any], kind: str, files: Iterable[str]) -> str:
    if config.get("auto_map"):
        code = ", ".join(name for name in files if name.endswith(".py")) or "on the Hub"
        return (
            f"has code of its own ({code}), which is not run unless you say so: read it, and say --trust-remote-code "
            "(trust_remote_code=True), choose a model that transformers has, or serve it and play it with --endpoint"
        )
    from importlib.metadata import version

    return f"is of type {kind!r}, which transformers {version('transformers')} does not have: a newer one may"


def _refuse_weights(files: list[str]) -> str | None:
    if any(name.endswith(".safetensors") for name in files):
        return None
    for name in files:
        if name.endswith((".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt")) and "optimizer" not in name:
            return (
                f"has its weights in {name}, and only safetensors are read, which cannot run code: convert them with "
                "model.save_pretrained(...)"
            )
    return "has a config.json and no weights: copy model.safetensors there, too"


def _known_types() -> set[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return set(CONFIG_MAPPING_NAMES)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        read = read_json(path)
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None
