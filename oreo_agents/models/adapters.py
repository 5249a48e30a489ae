"""LoRA on decoders that share frozen weights: copies that share, adapters merged, moved, saved and loaded.

The adapters are PEFT's, and so are the files. Knows nothing about policies, values or training; PEFT is imported only
where there are adapters.
"""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import torch
from oreo_envs.files import read_json
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.models.model_files import ADAPTER, as_checkpoint_error, load_model, without_bars
from oreo_agents.models.recognition import require_language_model

Network = TypeVar("Network", bound=nn.Module)

WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
"""Before the names in PEFT's files."""

LowRank = dict[str, tuple[Tensor, Tensor]]
"""By the name of a linear layer ``W``, the factors of what is added to it: ``down``, ``[r, in]``, and ``up``,
``[out, r]``; the layer acts as ``W + up @ down``."""


def import_peft() -> Any:
    """PEFT.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigurationError("LoRA adapters need PEFT: pip install peft") from error
    return peft


def has_adapters(model: nn.Module) -> bool:
    """Whether it is a model of PEFT's."""
    return hasattr(model, "disable_adapter")


def require_adapters_alone(model: nn.Module, trunk: nn.Module) -> None:
    """Whatever is trained must belong to adapters in the trunk: only those can be switched off, and merged.

    Args:
        model: a model of PEFT's.
        trunk: the part of it below the language-model head.

    Raises:
        ConfigurationError: something else is trained: the head, whole modules (``modules_to_save``), prompts, biases.
    """
    own: set[int] = set()
    for layer in filter(_is_adapted, trunk.modules()):
        base = set(map(id, cast(Any, layer).get_base_layer().parameters()))
        own |= set(map(id, layer.parameters())) - base
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in own:
            raise ConfigurationError(
                f"{name} is trained, and is no adapter in the trunk: it can be neither switched off nor merged; "
                "leave modules_to_save, the head, the embeddings and biases out of the PEFT configuration"
            )


def merge_adapters(model: nn.Module) -> None:
    """Fold every PEFT layer into the layer it adapts, in place and in float32, whatever precision that one is in: less
    would round most of the adapters away. Quantized layers become ordinary ones on the way."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if _is_adapted(layer):
                setattr(parent, name, _fold_adapters(layer))
            elif _is_quantized(layer):
                setattr(parent, name, _dequantize_layer(layer))
    for network in model.modules():
        _forget_quantization(network)
    model.float()


def _is_adapted(layer: nn.Module) -> bool:
    return hasattr(layer, "get_base_layer") and hasattr(layer, "merge")


def _fold_adapters(layer: Any) -> nn.Module:
    if not _is_quantized(layer.get_base_layer()):
        layer.float().merge()
        return layer.get_base_layer()
    plain = _dequantize_layer(layer.get_base_layer()).float()
    for name in layer.active_adapters:  # into four bits, a merged adapter would be rounded away
        plain.weight.data += layer.get_delta_weight(name)
    return plain


def _is_quantized(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and not layer.weight.is_floating_point()


def _dequantize_layer(layer: nn.Module) -> nn.Linear:
    from peft.utils.integrations import dequantize_module_weight

    linear = cast(nn.Linear, layer)
    plain = nn.Linear(linear.in_features, linear.out_features, bias=False)
    plain.weight = nn.Parameter(dequantize_module_weight(layer).detach())
    plain.bias = linear.bias
    return plain


def _forget_quantization(network: nn.Module) -> None:
    config = getattr(network, "config", None)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config  # type: ignore[union-attr]
    vars(network).pop("hf_quantizer", None)


def copy_network(network: Network) -> Network:
    """A copy that shares the frozen weights: only what is trained is there twice."""
    return copy.deepcopy(network, {id(p): p for p in network.parameters() if not p.requires_grad})


def second_adapters(trunk: PreTrainedModel) -> PreTrainedModel:
    """A twin whose LoRA adapters start as those of ``trunk`` and go their own way.

    Raises:
        ConfigurationError: there are none, something else is trained too, or they are not plain LoRA on linear layers.
    """
    if not low_rank(trunk):
        raise ConfigurationError(
            "critic 'lora' is a second adapter beside the policy's, which has none: "
            "give it one with peft.get_peft_model, or --lora"
        )
    trained = [name for name, p in trunk.named_parameters() if p.requires_grad]
    if odd := [name for name in trained if ".lora_A." not in name and ".lora_B." not in name]:
        raise ConfigurationError(f"{odd[0]} is trained beside the adapters: critic 'lora' needs LoRA alone")
    return copy_network(trunk)


def low_rank(trunk: nn.Module) -> LowRank:
    """What LoRA adds to each layer of ``trunk``; empty without adapters.

    Raises:
        ConfigurationError: adapters are not plain LoRA on linear layers.
    """
    return {name: _read_factors(layer) for name, layer in trunk.named_modules() if _is_adapted(layer)}


def _read_factors(layer: Any) -> tuple[Tensor, Tensor]:
    names = list(layer.active_adapters)
    plain = isinstance(layer.get_base_layer(), nn.Linear) and not getattr(layer, "lora_variant", None)
    if not plain or any(name not in layer.lora_A for name in names):
        raise ConfigurationError(
            f"{type(layer).__name__} is not plain LoRA on a linear layer: critic 'lora' needs that"
        )
    downs = [layer.lora_A[name].weight.detach() for name in names]
    ups = [layer.lora_B[name].weight.detach() * layer.scaling[name] for name in names]
    return torch.cat(downs), torch.cat(ups, dim=1)


def subtract_updates(updates: LowRank, others: LowRank) -> LowRank:
    """Updates that, on top of ``others``, come to ``updates``; ranks add up."""
    terms: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for sign, given in ((1, updates), (-1, others)):
        for name, (down, up) in given.items():
            terms[name].append((down, sign * up))
    return {n: (torch.cat([d for d, _ in t]), torch.cat([u for _, u in t], dim=1)) for n, t in terms.items()}


# --- adapters over another model's weights, in memory and as PEFT's files ----------------------------------------


def lay_over(trunk: PreTrainedModel, updates: LowRank) -> PreTrainedModel:
    """A model that shares every weight of ``trunk`` and has ``updates`` as adapters of its own, ready to be trained."""
    return _lay_over(trunk, _make_config(updates), _name_weights(updates))


def save_adapters(trunk: PreTrainedModel, path: str | Path) -> None:
    """Write the adapters of ``trunk`` as PEFT would; :func:`load_adapters` and PEFT read them."""
    from safetensors.torch import save_file

    updates = low_rank(trunk)
    _make_config(updates).save_pretrained(str(path))
    save_file(_name_weights(updates), Path(path) / WEIGHTS)


def load_adapters(trunk: PreTrainedModel, path: str | Path) -> PreTrainedModel:
    """A model that shares every weight of ``trunk`` and has the adapters of a folder.

    Raises:
        ConfigurationError: they are for layers that ``trunk`` does not have, or no plain LoRA.
    """
    from safetensors.torch import load_file

    return _lay_over(trunk, _read_config(Path(path) / ADAPTER), load_file(Path(path) / WEIGHTS))


_READ = {
    "r": int,
    "lora_alpha": (int, float),
    "rank_pattern": dict,
    "alpha_pattern": dict,
    "target_modules": list,
}
"""What is read of PEFT's configuration, and its types."""

_IGNORED = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "peft_type",
    "peft_version",
    "revision",
    "runtime_config",
    "task_type",
}
"""What changes nothing in adapters that are loaded whole, and neither is obeyed nor minded."""


_VARIANTS = {
    "bias": str,
    "fan_in_fan_out": bool,
    "layers_pattern": (list, str),
    "layers_to_transform": (list, int),
    "modules_to_save": list,
    "target_modules": (list, str),
    "use_dora": bool,
    "use_rslora": bool,
}
"""What adapters that become part of the weights may also be; none of it names anything to import."""


def _read_config(file: Path, variants: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """PEFT's configuration, of which only plain LoRA is taken: other fields name modules to import, and more."""
    lora = import_peft().LoraConfig
    known = {**_READ, **variants}
    given, usual = json.loads(file.read_bytes()), lora().to_dict()
    if not isinstance(given, dict):
        raise ConfigurationError(f"{file} is no configuration of adapters")
    for name, value in given.items():
        if name in known and value is not None and not isinstance(value, known[name]):
            raise ConfigurationError(f"{file}: {name} = {value!r} is of the wrong type")
        if name not in {*known, *_IGNORED} and value and value != usual.get(name):
            raise ConfigurationError(f"{file}: {name} = {value!r} is more than plain LoRA on linear layers")
    return lora(**{name: given[name] for name in known if given.get(name) is not None})


_QUANTISED = re.compile(r"(-unsloth)?-(bnb-[48]bit|awq|gptq|fp8)(-int[48])?$", re.IGNORECASE)


def base_of(path: Path) -> str:
    """The model that an adapter's folder says it is for."""
    return str(read_json(path / ADAPTER)["base_model_name_or_path"])


def load_base(path: Path) -> PreTrainedModel:
    """The base model of an adapter's folder.

    Raises:
        CheckpointError: it is not there, or no causal LM.
    """
    base = base_of(path)
    try:
        if Path(base).exists():
            require_language_model(Path(base))
        return load_model(AutoModelForCausalLM, base)
    except CheckpointError as error:
        remedy = f"put that there, or change base_model_name_or_path in {ADAPTER}"
        if original := _name_original(base):
            remedy = f"change base_model_name_or_path in {ADAPTER} to {original}, of which that is a quantised copy"
        raise CheckpointError(
            f"{path} is an adapter for {base}, without which it cannot be played or trained ({error}); {remedy}"
        ) from error


def _name_original(base: str) -> str | None:
    """The model of which ``base``, by its name, is a quantised copy; None where the name says nothing of the kind."""
    original = _QUANTISED.sub("", base)
    return original if original != base else None


def merge_folder(base: PreTrainedModel, path: Path, vocabulary: int) -> PreTrainedModel:
    """A base model with the adapters of a folder as part of its weights, all of which can be trained.

    It is in float32, whatever the base is stored in: less would round most of the adapters away.

    Args:
        base: the model they are for; it is changed.
        path: the folder, of PEFT's (TRL and LLaMA-Factory write such, too).
        vocabulary: tokens of its tokenizer; where these are more than the base has, its embeddings grow before.

    Raises:
        CheckpointError: the adapters are not for that model, or not in safetensors.
        ConfigurationError: they are no LoRA.
    """
    peft = import_peft()
    if vocabulary > len(cast(Tensor, base.get_input_embeddings().weight)):
        base.resize_token_embeddings(vocabulary)
    if not (path / WEIGHTS).is_file():
        raise CheckpointError(
            f"{path} has no {WEIGHTS}; files of pickles are not loaded: save it with safetensors"
        )
    with as_checkpoint_error(path), without_bars():
        config = _read_config(path / ADAPTER, _VARIANTS)
        adapted: Any = peft.PeftModel.from_pretrained(base.float(), str(path), config=config)
        return adapted.merge_and_unload().requires_grad_(True)  # PEFT has frozen what it adapts


def _make_config(updates: LowRank) -> Any:
    ranks = {name: len(down) for name, (down, _) in updates.items()}
    most = max(ranks.values())
    return import_peft().LoraConfig(
        r=most, lora_alpha=most, rank_pattern=ranks, alpha_pattern=ranks, target_modules=list(ranks)
    )


def _name_weights(updates: LowRank) -> dict[str, Tensor]:
    return {
        f"{_PREFIX}{name}.lora_{letter}.weight": factor.contiguous().cpu()
        for name, factors in updates.items()
        for letter, factor in zip("AB", factors, strict=True)
    }


def _lay_over(trunk: PreTrainedModel, config: Any, weights: dict[str, Tensor]) -> PreTrainedModel:
    peft = import_peft()
    trained = {p: p.requires_grad for p in trunk.parameters()}
    model = copy.deepcopy(trunk, {id(p): p for p in trained})
    peft.inject_adapter_in_model(config, model)
    for parameter, flag in trained.items():
        parameter.requires_grad_(flag)  # PEFT has frozen them for everybody
    own = {name.removeprefix(_PREFIX): x for name, x in weights.items()}
    loaded: Any = peft.set_peft_model_state_dict(model, own)
    if unknown := loaded.unexpected_keys:
        raise ConfigurationError(f"adapters for {unknown[0]}, which {type(trunk).__name__} does not have")
    return model
