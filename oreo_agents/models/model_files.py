"""Checkpoints as files: where one is, on this machine or on the Hub, which one it is, and errors that name it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.files import hash_file
from oreo_envs.suggestions import suggest_word
from safetensors import SafetensorError, safe_open

from oreo_agents.errors import CheckpointError, OreoError
from oreo_agents.models.model_kinds import require_language_config
from oreo_agents.models.trust import is_trusted

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

AGENT = "agent.json"
"""What an agent's folder is known by."""

CHECKPOINTS = ".checkpoints"
"""What follows the name of an agent's folder in that of the checkpoints from which its training goes on."""

ADAPTER = "adapter_config.json"
"""Where PEFT describes adapters."""

SHIPPED = {"small": Path(__file__).parents[1] / "assets" / "small"}
"""Trained agents that the package carries, by name; wherever a model may be named, these may."""

_OWN_FILES = [AGENT, "policy/*", "critic/*", "adapter_*", "tokenizer*", "chat_template*"]
"""Of a repository on the Hub, what transformers does not fetch by itself, and tokenizers of adapters."""

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""What configurations call the number of their layers; transformers' own all know the first."""


def checkpoint_folder(output: str | Path) -> Path:
    """Where the checkpoints of a training into ``output`` are until it ends."""
    return Path(f"{Path(output).resolve()}{CHECKPOINTS}")


def find_shipped(name: str | Path) -> str | Path:
    """Where the agent of this name is that the package carries; the name itself, if it is another's."""
    return SHIPPED.get(str(name), name)


def require_name(name: str | Path, names: Iterable[str]) -> None:
    """Refuse a word that is none of these names, no folder here and no ``owner/name`` of the Hub.

    Raises:
        CheckpointError: with all names, and the one that may have been meant.
    """
    known = list(names)
    if str(name) in known or "/" in str(name) or Path(name).exists() or len(Path(name).parts) > 1:
        return
    raise CheckpointError(
        f"{name} does not exist{suggest_word(str(name), known)}; pass {', '.join(known)}, a folder written by "
        "`oreo-agents train` or a Hugging Face causal LM (owner/name)"
    )


def identify_model(model: str | Path) -> str:
    """A local agent or model by its weights, a critic's too; one on the Hub, or a scripted player, by its name."""
    digest = hashlib.sha256()
    files = sorted(Path(find_shipped(model)).rglob("*.safetensors"))
    for path in files:
        digest.update(bytes.fromhex(hash_file(path)))
    return digest.hexdigest() if files else str(model)


def count_parameters(model: str | Path) -> int | None:
    """The parameters of a local agent's policy or causal LM, read from the heads of its files; None where those are not
    here, or are adapters alone.

    Raises:
        CheckpointError: a file is damaged.
    """
    folder = Path(find_shipped(model))
    folder = folder / "policy" if (folder / "policy").is_dir() else folder
    files = sorted(folder.glob("*.safetensors"))
    if not files or (folder / ADAPTER).is_file():
        return None
    counted = 0
    with as_checkpoint_error(folder):
        for file in files:
            with safe_open(file, "pt") as tensors:
                counted += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return counted


def local_folder(path: str | Path) -> str | Path:
    """``path`` itself, or where the shipped agent of that name is, or the agent or adapter of that Hub name has been
    downloaded to.

    Raises:
        CheckpointError: the Hub does not have it, or cannot be reached and it was never downloaded.
    """
    path = find_shipped(path)
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
    """Turns the loaders' exceptions, which for a damaged file may be any, into one that names the path."""

    def __init__(self, path: str | Path, complaint: str = "no usable model at", remedy: str = "") -> None:
        self.path, self.complaint, self.remedy = path, complaint, remedy

    def __enter__(self) -> None: ...

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, Exception) and not isinstance(error, OreoError):
            message = f"{self.complaint} {self.path}: {_say_why(error)}"
            raise CheckpointError(message + (f"; {self.remedy}" if self.remedy else "")) from error


@contextmanager
def as_writing_error(path: str | Path) -> Iterator[None]:
    """Turns what the writers of models raise on a full or failing disk into one that names the path.

    safetensors has an error of its own, torch says RuntimeError, and tokenizers no more than Exception.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError | SafetensorError | RuntimeError) or type(error) is Exception:
            raise CheckpointError(
                f"{path} cannot be written ({_say_why(error)}): what was there is as it was; free some space or mend "
                "the permissions, and run again"
            ) from error
        raise


def _say_why(error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError):
        hub = "is not asked, since HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "cannot be reached"
        return f"no such folder here, and the Hub, where it may be, {hub}: give the folder of a model"
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def load_model(auto_class: Any, path: str | Path) -> Any:
    """The model that one of transformers' auto classes makes of a folder or a Hub name: weights from safetensors alone,
    no code but transformers' own, unless the model's is trusted (trust.py).

    Raises:
        CheckpointError: nothing usable is there, or weights are missing, left over or of other shapes.
    """
    with as_checkpoint_error(path), without_bars():
        model, told = auto_class.from_pretrained(
            path,
            config=_load_config(path),
            trust_remote_code=is_trusted(),
            use_safetensors=True,
            output_loading_info=True,
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


def _load_config(path: str | Path) -> Any:
    """The configuration in a folder or of a Hub name, without what it wishes for beyond the architecture.

    A name of an attention is also the name of a repository on the Hub whose kernels would be run; which one is used is
    for transformers to choose.
    """
    from transformers import AutoConfig, PretrainedConfig

    folder = Path(path)
    if (
        folder / ADAPTER
    ).is_file():  # transformers would follow it to another model, and lay the adapters over that
        raise CheckpointError(
            f"{path} has adapters beside its model ({ADAPTER}): merge them first with PEFT's merge_and_unload"
        )
    require_language_config(
        path, PretrainedConfig.get_config_dict(path)[0]
    )  # before any code of its own is run
    config = AutoConfig.from_pretrained(path, trust_remote_code=is_trusted())
    layers = next((x for name in _LAYERS if (x := getattr(config, name, None)) is not None), 0)
    most = _count_tensors(folder)
    if most is not None and (not isinstance(layers, int) or layers > most):
        raise CheckpointError(
            f"no usable model at {path}: {layers!r} layers, and {most} tensors in its files"
        )
    config._attn_implementation = None
    return config


def _count_tensors(folder: Path) -> int | None:
    """How many tensors are in the files of a folder; None where there are no files."""
    counts = []
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            counts.append(len(tensors.keys()))
    return sum(counts) if counts else None


def load_pretrained_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or a Hub name, without code of its own unless that is trusted.

    Raises:
        CheckpointError: nothing usable is there.
    """
    from transformers import AutoTokenizer

    with as_checkpoint_error(path):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=is_trusted())
        tokenizer("a")  # a field of the wrong type shows here, not after the playing
        return tokenizer


@contextmanager
def without_bars() -> Iterator[None]:
    """Silence transformers' bars: loading and saving take moments, and the caller shows its own progress."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
