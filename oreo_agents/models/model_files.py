"""Checkpoints as files: where one is, on this machine or on the Hub, which one it is, and errors that name it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.files import hash_file
from safetensors import SafetensorError

from oreo_agents.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

AGENT = "agent.json"
"""What an agent's folder is known by."""

_OWN_FILES = [AGENT, "policy/*", "critic/*", "adapter_*", "tokenizer*", "chat_template*"]
"""Of a repository on the Hub, what transformers does not fetch by itself, and tokenizers of adapters."""


def identify_model(model: str | Path) -> str:
    """A local agent or model by its weights, a critic's too; one on the Hub, or a scripted player, by its name."""
    digest = hashlib.sha256()
    files = sorted(Path(model).rglob("*.safetensors"))
    for path in files:
        digest.update(bytes.fromhex(hash_file(path)))
    return digest.hexdigest() if files else str(model)


def local_folder(path: str | Path) -> str | Path:
    """``path`` itself, or where the agent or adapter of that Hub name has been downloaded to.

    Raises:
        CheckpointError: the Hub does not have it, or cannot be reached and it was never downloaded.
    """
    if Path(path).exists() or not may_be_hub_name(str(path)):
        return path
    from huggingface_hub import snapshot_download

    with as_checkpoint_error(path), without_bars():
        folder = Path(snapshot_download(str(path), allow_patterns=_OWN_FILES))
    return folder if (folder / "policy").is_dir() or (folder / "adapter_config.json").is_file() else path


def weights_below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of a state dict under ``prefix``, without it."""
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}


def may_be_hub_name(path: str) -> bool:
    """``owner/name``, unless a folder called ``owner`` says that a local path was meant."""
    owner, slash, name = path.partition("/")
    return bool(owner and slash and name) and "/" not in name and not Path(owner).exists()


class as_checkpoint_error:
    """Turns the loaders' many exceptions into one that names the path."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, (OSError, ValueError, KeyError, RuntimeError, SafetensorError)):
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else kind.__name__
            raise CheckpointError(f"no usable model at {self.path}: {reason}") from error


def load_model(auto_class: Any, path: str | Path) -> Any:
    """The model that one of transformers' auto classes makes of a folder or a Hub name: weights from safetensors alone,
    no code but transformers' own.

    Raises:
        CheckpointError: nothing usable is there, or weights are missing, left over or of other shapes.
    """
    with as_checkpoint_error(path), without_bars():
        model, told = auto_class.from_pretrained(
            path, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    wrong = [
        f"{words} {min(map(str, told[kind]))}"
        for kind, words in (
            ("missing_keys", "it lacks"),
            ("unexpected_keys", "it has, and the architecture has not,"),
            ("mismatched_keys", "of another shape is"),
        )
        if told.get(kind)
    ]
    if wrong:
        raise CheckpointError(
            f"no usable model at {path}: {wrong[0]}; the files are of a damaged or another model"
        )
    return model


def load_pretrained_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or a Hub name, without code of its own.

    Raises:
        CheckpointError: nothing usable is there.
    """
    from transformers import AutoTokenizer

    with as_checkpoint_error(path):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)


@contextmanager
def without_bars() -> Iterator[None]:
    """Silence transformers' bars: loading and saving take moments, and the caller shows its own progress."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
