"""OreoConfig: the options of training as transformers has them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from oreo_envs.suggestions import suggest_word
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from oreo_agents.errors import ConfigurationError
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import ALIASES, OPTIONS, OreoOptions, describe_fields, refuse_unused

OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""torch.compile's modes that record CUDA graphs, of which each number of tokens would need its own."""


@dataclass(repr=False)
class OreoConfig(OreoOptions, TrainingArguments):  # type: ignore[misc]
    """Options of :class:`oreo_agents.OreoTrainer`; the text below is made from their table."""

    logging_nan_inf_filter: bool = (
        False  # it asks the device in every step; a loss that is no number ends training
    )

    def __new__(cls, *args: Any, **options: Any) -> OreoConfig:  # noqa: D102 (says what a dataclass does not)
        _refuse_unknown(options, cls)
        return super().__new__(cls)

    def __repr__(self) -> str:
        defaults = {one.name: one.default for one in fields(self)}
        changed = {name: getattr(self, name) for name, option in OPTIONS.items()}
        told = [f"{n}={x!r}" for n, x in changed.items() if x != defaults[n] or n == "method"]
        return f"OreoConfig({', '.join([repr(self.output_dir), *told])})"

    __str__ = __repr__

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            if (value := getattr(self, name)) != option.default:
                option.check(value)
        refuse_unused(self.method, {name: getattr(self, name) for name in OPTIONS})
        if self.push_to_hub and self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ConfigurationError(
                "the Hub gets agents, not checkpoints to resume from: choose hub_strategy end or every_save"
            )
        objective = METHODS[self.method]
        low, high = self.return_range() or (0.0, 1.0)
        if low >= high:
            raise ConfigurationError(
                f"return_low is {low:g} and return_high {high:g}: the first must be below the second"
            )
        if self.fp16 and objective.critic:
            raise ConfigurationError(
                "fp16 scales gradients once, policy and critic are clipped apart: use bf16"
            )
        if self.optim not in OPTIMIZERS:
            raise ConfigurationError(
                f"optim={self.optim!r} is not used: OreoTrainer steps with torch's AdamW, or with muon=True"
            )
        if self.torch_compile_mode in CUDA_GRAPHS:
            raise ConfigurationError(
                f"torch_compile_mode={self.torch_compile_mode!r} records CUDA graphs, one for each number of tokens: "
                "leave it out, or take 'max-autotune-no-cudagraphs'"
            )
        self.beta = objective.beta if self.beta is None else self.beta
        self.alpha = objective.alpha if self.alpha is None else self.alpha
        super().__post_init__()
        if self.micro_batch_tokens is None:  # small without a GPU, so that little of it is padding
            self.micro_batch_tokens = 2048 if self.device.type == "cpu" else 16384
        self.dataloader_pin_memory &= (
            self.device.type != "cpu"
        )  # there is nowhere to send it to, and torch says so

    def return_range(self) -> tuple[float, float] | None:
        """The returns that V is to read as 0 and 1, if either was given."""
        if self.return_low is None and self.return_high is None:
            return None
        return self.return_low or 0.0, 1.0 if self.return_high is None else self.return_high


OreoConfig.__doc__ = f"""Options of :class:`oreo_agents.OreoTrainer`: all of transformers' TrainingArguments, and these.

Args:
{describe_fields()}
"""


def _refuse_unknown(names: Iterable[str], cls: type[OreoConfig]) -> None:
    known = {one.name for one in fields(cls)}
    for name in names:
        if name not in known:
            alias = ALIASES.get(name)
            meant = f": did you mean {alias}?" if alias else suggest_word(name, known)
            meant = meant or ": help(oreo_agents.OreoConfig) lists the options"
            raise ConfigurationError(f"OreoConfig has no option {name!r}{meant}")


def parse_fields(pairs: Iterable[str]) -> dict[str, Any]:
    """Fields of OreoConfig, given as ``NAME=VALUE``; a value is what JSON makes of it, otherwise text.

    Raises:
        ConfigurationError: there is no such field, or it cannot be that.
    """
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{pair!r} is no option of training: write NAME=VALUE")
        _refuse_unknown([name], OreoConfig)
        found[name] = _parse_field(name, text)
    return found


def _parse_field(name: str, text: str) -> Any:
    kinds = _list_kinds(get_type_hints(OreoConfig, include_extras=True)[name])
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if value is None or (bool in kinds and isinstance(value, bool)):
        return value
    if not isinstance(value, bool):
        if isinstance(value, int | float) and float in kinds:
            return value
        if isinstance(value, tuple(kinds - {bool})):
            return value
        if str in kinds:
            return text
    names = " or ".join(
        sorted(
            {bool: "true or false", int: "a whole number", float: "a number"}.get(k, k.__name__)
            for k in kinds
        )
    )
    raise ConfigurationError(f"{name} is {text!r}, it must be {names}")


def _list_kinds(hint: Any) -> set[type]:
    """The plain types that a field takes; a text stands for a member of an enumeration."""
    if get_origin(hint) is Annotated:
        return _list_kinds(get_args(hint)[0])
    parts = get_args(hint) if get_origin(hint) not in (list, dict) else ()
    if parts:
        return set().union(*map(_list_kinds, parts))
    kind = get_origin(hint) or hint
    if kind is NoneType or not isinstance(kind, type):
        return set()
    return {str} if issubclass(kind, Enum) else {kind}
