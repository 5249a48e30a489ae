"""What a model's configuration says it is: one word for each kind that is no causal language model. Reads no files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oreo_agents.errors import CheckpointError
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


def require_language_config(path: str | Path, config: dict[str, Any]) -> None:
    """Refuse what is no causal language model by its configuration alone, as of a name on the Hub; in the same words.

    Args:
        path: what it is called.
        config: what is in its ``config.json``.

    Raises:
        CheckpointError: it is something else.
    """
    if reason := refuse_config(config):
        raise CheckpointError(f"{path} {reason}")


def refuse_config(config: dict[str, Any], files: Iterable[str] = ()) -> str | None:
    """What it is, if it is no causal language model that can be trained here.

    Args:
        config: what is in ``config.json``.
        files: the names of what lies beside it, where that is known.
    """
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
    return None


def _refuse_unknown(config: dict[str, Any], kind: str, files: Iterable[str]) -> str:
    if config.get("auto_map"):
        code = ", ".join(name for name in files if name.endswith(".py")) or "on the Hub"
        return (
            f"has code of its own ({code}), which is not run unless you say so: read it, and say --trust-remote-code "
            "(trust_remote_code=True), choose a model that transformers has, or serve it and play it with --endpoint"
        )
    from importlib.metadata import version

    return f"is of type {kind!r}, which transformers {version('transformers')} does not have: a newer one may"


def _known_types() -> set[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return set(CONFIG_MAPPING_NAMES)
