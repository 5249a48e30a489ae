"""Policy and critic: build, load, save. Knows nothing about training or search.

A policy is any Hugging Face causal LM. A critic is a decoder backbone with a linear head that reads a value
after every token. On disk an agent is a folder::

    policy/   save_pretrained of model and tokenizer
    critic/   value_head.safetensors, and beside it save_pretrained of the backbone, or adapters for the policy's
              trunk in PEFT's files, or nothing where the trunk is the policy's
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from oreo_envs.files import in_use, replace_folder
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from oreo_agents.adapters import (
    CONFIG,
    lay_over,
    load_adapters,
    low_rank,
    merge_adapters,
    minus,
    save_adapters,
    second_adapters,
)
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.model_card import model_card

AGENT = "agent.json"
"""What an agent's folder is known by."""


class Critic(nn.Module):
    """V(s): a decoder backbone and a linear head, zero at the start.

    The backbone is one of its own (the paper's choice, :meth:`from_policy`), or the policy's (:meth:`shared`), or
    adapters of its own over the policy's frozen weights (:meth:`adapted`). A shared one is trained by both: the
    gradient of the value loss flows through the head into the policy's trunk.

    Args:
        backbone: the trunk.
    """

    backbone: PreTrainedModel

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.value_head = nn.Linear(backbone.config.hidden_size, 1, bias=False, dtype=torch.float32)
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
        """Values from hidden states, ``[..., H] -> [...]``."""
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
            policy: whose trunk is saved elsewhere, with adapters merged; see :func:`merged`.
            state_dict: weights to write instead of the module's, gathered from the shards of several processes.
        """
        weights = self.state_dict() if state_dict is None else state_dict
        Path(path).mkdir(parents=True, exist_ok=True)
        kind = self.kind(policy) if policy else "separate"
        if kind == "lora":
            save_adapters(self.backbone, path)
        elif kind == "separate":
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
        if policy is None and (files == {head.name} or CONFIG in files):
            raise CheckpointError(f"{path} reads the policy's trunk, and the policy is not loaded here")
        with _as_checkpoint_error(path):
            if policy and CONFIG in files:
                critic = cls(load_adapters(trunk_of(policy), path))
            else:
                critic = (
                    cls.shared(policy) if policy and files == {head.name} else cls(_load(AutoModel, path))
                )
            critic.value_head.load_state_dict(load_file(head))
        return critic


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bf16() -> bool:
    """Whether the machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def small_decoder(
    tokenizer: PreTrainedTokenizerBase, hidden_size: int = 256, layers: int = 4, max_length: int = 4096
) -> PreTrainedModel:
    """A Qwen3-shaped decoder of a few million parameters with random weights, for training from scratch.

    Multi-query attention keeps its cache small, tied embeddings make copying names from the prompt easy.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen3ForCausalLM(config)


def trunk_of(policy: PreTrainedModel) -> PreTrainedModel:
    """The decoder below the language-model head, adapters included; maps ids to hidden states."""
    get_base_model: Any = getattr(policy, "get_base_model", None)
    return cast(PreTrainedModel, (get_base_model() if get_base_model else policy).base_model)


def lm_head(policy: PreTrainedModel) -> nn.Module:
    """The layer that turns hidden states into logits.

    Raises:
        ConfigurationError: the architecture scales or caps its logits elsewhere.
    """
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(policy.config, name, None) not in (None, 1, 1.0):
            raise ConfigurationError(
                f"{type(policy).__name__} changes its logits after the head ({name}): not supported"
            )
    head = policy.get_output_embeddings()
    if head is None:
        raise ConfigurationError(f"{type(policy).__name__} has no language-model head")
    return head


def local_folder(path: str | Path) -> str | Path:
    """``path`` itself, or where the agent of that Hub name has been downloaded to.

    Raises:
        CheckpointError: the Hub does not have it, or cannot be reached and it was never downloaded.
    """
    if Path(path).exists() or not _may_be_hub_name(str(path)):
        return path
    with _as_checkpoint_error(path), _without_bars():
        folder = Path(snapshot_download(str(path), allow_patterns=[AGENT, "policy/*", "critic/*"]))
    return folder if (folder / "policy").is_dir() else path


def load_policy(path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Policy and tokenizer from an agent's folder, a plain Hugging Face folder, or a Hub name.

    Raises:
        CheckpointError: there is no causal LM at ``path``.
    """
    path = _policy_path(local_folder(path))
    return _load(AutoModelForCausalLM, path), _load(AutoTokenizer, path)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of an agent's folder, a plain Hugging Face folder, or a Hub name.

    Raises:
        CheckpointError: there is none at ``path``.
    """
    return _load(AutoTokenizer, _policy_path(local_folder(path)))


def load_critic(path: str | Path, policy: PreTrainedModel | None = None) -> Critic | None:
    """The critic of the agent at ``path``, or None where it has none; a shared one is put on ``policy``'s trunk."""
    folder = Path(local_folder(path)) / "critic"
    return Critic.from_pretrained(folder, policy) if folder.is_dir() else None


def save_agent(
    path: str | Path,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    critic: Critic | None = None,
    weights: dict[str, Tensor] | None = None,
    **card,
) -> None:
    """Write an agent's folder, whole or not at all; an older one at ``path`` is replaced at the end.

    Args:
        path: the folder; see :func:`agent_folder`.
        policy: the causal LM.
        tokenizer: its tokenizer.
        critic: optional value network.
        weights: written instead of the modules' own, where those are sharded; names begin ``policy.``, ``critic.``.
        card: JSON values for ``agent.json`` and the model card (method, data hash, ...).

    Raises:
        CheckpointError: ``path`` holds something else.
    """
    path = agent_folder(path)

    def write(folder: Path) -> None:
        with _without_bars():
            policy.save_pretrained(
                folder / "policy", state_dict=weights and weights_below(weights, "policy.")
            )
            tokenizer.save_pretrained(folder / "policy")
            if critic is not None:
                own = weights and weights_below(weights, "critic.")
                critic.save_pretrained(folder / "critic", policy, own)
        (folder / AGENT).write_text(json.dumps(card, indent=2) + "\n")
        readme = model_card(path.name, critic is not None, card)
        (folder / "README.md").write_text(readme, encoding="utf-8")

    replace_folder(path, write)


def agent_folder(path: str | Path) -> Path:
    """Where an agent may be written: a new or empty folder, or another agent's, which is replaced.

    Raises:
        CheckpointError: something else is there, and would be lost, or the folder cannot be replaced.
    """
    folder = Path(path).resolve()
    if in_use(folder):
        raise CheckpointError(
            f"{path} is in use (the folder you are in, or a mounted one) and cannot be replaced: choose a folder in it"
        )
    if folder.exists() and not (folder / AGENT).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise CheckpointError(f"{path} holds something else than an agent: choose a new folder for the agent")
    return folder


def merged(policy: PreTrainedModel, critic: Critic | None) -> tuple[PreTrainedModel, Critic | None]:
    """Copies of a policy with adapters and its critic that need no PEFT model: adapters become part of the weights.

    A critic of kind ``lora`` remains one, over the new policy: its adapters then also take the policy's back.
    """
    adapted = critic is not None and critic.kind(policy) == "lora"
    plain, other = copy.deepcopy((policy, None if adapted else critic))
    for model in filter(None, (plain, other)):
        merge_adapters(model)
    plain = cast(Any, plain).get_base_model()
    if critic is not None and adapted:
        updates = minus(low_rank(critic.backbone), low_rank(trunk_of(policy)))
        other = Critic(lay_over(trunk_of(plain), updates))
        other.value_head.load_state_dict(critic.value_head.state_dict())
    return plain, other


def weights_below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of a state dict under ``prefix``, without it."""
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}


def _policy_path(path: str | Path) -> str | Path:
    folder = Path(path)
    if (folder / "policy").is_dir():
        return folder / "policy"
    if (folder / "config.json").is_file() or _may_be_hub_name(str(path)):
        return path
    what = (
        "is not a checkpoint: neither policy/ nor config.json is in it"
        if folder.exists()
        else "does not exist"
    )
    raise CheckpointError(
        f"{path} {what}; pass a folder written by `oreo-agents train` or a Hugging Face causal LM (owner/name)"
    )


def _may_be_hub_name(path: str) -> bool:
    """``owner/name``, unless a folder called ``owner`` says that a local path was meant."""
    owner, slash, name = path.partition("/")
    return bool(owner and slash and name) and "/" not in name and not Path(owner).exists()


class _as_checkpoint_error:
    """Turns the loaders' many exceptions into one that names the path."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, (OSError, ValueError, KeyError, RuntimeError, SafetensorError)):
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else kind.__name__
            raise CheckpointError(f"no usable model at {self.path}: {reason}") from error


def _load(auto_class, path: str | Path):
    with _as_checkpoint_error(path), _without_bars():
        return auto_class.from_pretrained(path)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Silence transformers' bars: loading and saving take moments, and the caller shows its own progress."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
