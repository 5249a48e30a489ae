"""The critic: a decoder backbone with a linear head that reads a value after every token."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from oreo_agents.errors import CheckpointError
from oreo_agents.models.adapters import load_adapters, save_adapters, second_adapters
from oreo_agents.models.decoder import text_config, trunk_of
from oreo_agents.models.model_files import (
    ADAPTER,
    as_checkpoint_error,
    load_model,
    weights_below,
    without_bars,
)
from oreo_agents.models.return_scale import PLAIN, ReturnScale


class Critic(nn.Module):
    """V(s): a decoder backbone and a linear head, zero at the start.

    The backbone is one of its own (the paper's choice, :meth:`from_policy`), or the policy's (:meth:`shared`), or
    adapters of its own over the policy's frozen weights (:meth:`adapted`). A shared one is trained by both: the
    gradient of the value loss flows through the head into the policy's trunk.

    Args:
        backbone: the trunk.
    """

    backbone: PreTrainedModel
    scale: ReturnScale = PLAIN
    """The unit of its values; ``agent.json`` keeps it."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.value_head = nn.Linear(text_config(backbone).hidden_size, 1, bias=False, dtype=torch.float32)
        nn.init.zeros_(self.value_head.weight)

    @classmethod
    def from_policy(cls, policy: PreTrainedModel) -> Critic:
        """A critic that starts as a copy of the policy's trunk with V = 0 (method of the paper, Sec. 3)."""
        return cls(copy.deepcopy(trunk_of(policy)))

    @classmethod
    def shared(cls, policy: PreTrainedModel) -> Critic:
        """A value head on the policy's own trunk: V costs no forward pass of its own."""
        return cls(trunk_of(policy))

    @classmethod
    def adapted(cls, policy: PreTrainedModel) -> Critic:
        """A critic that starts as a copy of the policy's LoRA adapters, over the same frozen weights.

        Raises:
            ConfigurationError: the policy has no adapters, or others than plain LoRA on linear layers.
        """
        return cls(second_adapters(trunk_of(policy)))

    def shares(self, policy: PreTrainedModel) -> bool:
        """Whether the backbone is the policy's."""
        return self.backbone is trunk_of(policy)

    def kind(self, policy: PreTrainedModel) -> str:
        """``shared``, ``lora`` or ``separate``: how much of ``policy`` it is made of."""
        if self.shares(policy):
            return "shared"
        return "separate" if len(self.own_parameters(policy)) == len(list(self.parameters())) else "lora"

    def own_parameters(self, policy: PreTrainedModel) -> list[nn.Parameter]:
        """What the critic has beside the policy."""
        theirs = set(map(id, policy.parameters()))
        return [parameter for parameter in self.parameters() if id(parameter) not in theirs]

    def read(self, hidden: Tensor) -> Tensor:
        """Values from hidden states, ``[..., H] -> [...]``; in float32, under autocast too: what is learnt from are
        differences of values."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.value_head(hidden.float()).squeeze(-1)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Values after every token of right-padded sequences, ``[B, T] -> [B, T]``."""
        return self.read(self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state)

    def in_bfloat16(self) -> Critic:
        """Turn the backbone to bfloat16, in place; the head stays in float32."""
        self.backbone.bfloat16()
        return self

    def save_pretrained(
        self,
        path: str | Path,
        policy: PreTrainedModel | None = None,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Write ``value_head.safetensors`` to a folder, and of the backbone what is not ``policy``'s.

        Args:
            path: the folder.
            policy: whose trunk is saved elsewhere, with adapters merged; see
                :func:`oreo_agents.models.agent_folder.copy_without_adapters`.
            state_dict: weights to write instead of the module's, gathered from the shards of several processes.
        """
        weights = self.state_dict() if state_dict is None else state_dict
        Path(path).mkdir(parents=True, exist_ok=True)
        kind = self.kind(policy) if policy else "separate"
        if kind == "lora":
            save_adapters(self.backbone, path)
        elif kind == "separate":
            with without_bars():
                self.backbone.save_pretrained(path, state_dict=weights_below(weights, "backbone."))
        head = {"weight": weights["value_head.weight"].detach().contiguous().cpu()}
        save_file(head, Path(path) / "value_head.safetensors")

    @classmethod
    def from_pretrained(cls, path: str | Path, policy: PreTrainedModel | None = None) -> Critic:
        """Load what :meth:`save_pretrained` wrote.

        Args:
            path: the folder.
            policy: whose trunk the critic takes if it was saved without a whole backbone.

        Raises:
            CheckpointError: the folder does not hold a critic, or one that needs its policy and there is none.
        """
        head = Path(path) / "value_head.safetensors"
        if not head.is_file():
            raise CheckpointError(f"{path} is not a critic: it has no value_head.safetensors")
        files = {file.name for file in Path(path).iterdir()}
        if policy is None and (files == {head.name} or ADAPTER in files):
            raise CheckpointError(f"{path} reads the policy's trunk, and the policy is not loaded here")
        with as_checkpoint_error(path):
            if policy and ADAPTER in files:
                critic = cls(load_adapters(trunk_of(policy), path))
            else:
                critic = (
                    cls.shared(policy)
                    if policy and files == {head.name}
                    else cls(load_model(AutoModel, path))
                )
            critic.value_head.load_state_dict(load_file(head))
        return critic
