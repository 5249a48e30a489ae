"""What lies at a path that should be a language model: one word for each kind of thing that is none, or not here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from oreo_envs.files import read_json

from oreo_agents.errors import CheckpointError
from oreo_agents.models.model_files import ADAPTER, checkpoint_folder
from oreo_agents.models.model_kinds import SERVE, refuse_config


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
    return refuse_config(config, files) or _refuse_weights(files)


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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        read = read_json(path)
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None
