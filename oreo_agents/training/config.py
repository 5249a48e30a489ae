"""OreoConfig: the options of training as transformers has them."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from oreo_agents.errors import ConfigurationError
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import OPTIONS, OreoOptions

OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")


@dataclass
class OreoConfig(OreoOptions, TrainingArguments):  # type: ignore[misc]
    """Options of :class:`oreo_agents.OreoTrainer`: all of TrainingArguments, and :class:`OreoOptions`."""

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            if (value := getattr(self, name)) != option.default:
                option.check(value)
        if self.push_to_hub and self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ConfigurationError(
                "the Hub gets agents, not checkpoints to resume from: choose hub_strategy end or every_save"
            )
        objective = METHODS[self.method]
        if self.fp16 and objective.critic:
            raise ConfigurationError(
                "fp16 scales gradients once, policy and critic are clipped apart: use bf16"
            )
        if self.optim not in OPTIMIZERS:
            raise ConfigurationError(
                f"optim={self.optim!r} is not used: OreoTrainer steps with torch's AdamW, or with muon=True"
            )
        self.beta = objective.beta if self.beta is None else self.beta
        self.alpha = objective.alpha if self.alpha is None else self.alpha
        super().__post_init__()
