"""What a training leaves on disk: checkpoints to resume from, the agent, and the agent on the Hub."""

from __future__ import annotations

import copy
import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from huggingface_hub import upload_folder
from oreo_envs.files import put_folder, read_json
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy, rotate_checkpoints

from oreo_agents.errors import CheckpointError, ConfigurationError, TrainingError
from oreo_agents.formats import FIRST, require_format
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.adapters import has_adapters
from oreo_agents.models.agent_folder import copy_without_adapters, load_critic, load_policy, save_agent
from oreo_agents.models.card import data_hash
from oreo_agents.models.critic import Critic
from oreo_agents.models.model_files import (
    as_checkpoint_error,
    as_writing_error,
    weights_below,
    without_bars,
)
from oreo_agents.models.recipe import TrainingRecipe
from oreo_agents.training.batches import Items
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.datasets import Source
from oreo_agents.training.forward import PolicyAndCritic
from oreo_agents.training.ingredients import refuse_other
from oreo_agents.training.methods import Objective
from oreo_agents.training.metrics import parameter_counts
from oreo_agents.training.options import OPTIONS
from oreo_agents.training.recipe import Base, describe_base, make_recipe

OWN, FORMAT = "oreo.json", 1
"""What of a checkpoint Trainer knows nothing of, and the number of its format."""
ADAPTERS = "adapters.safetensors"
"""In a checkpoint with PEFT: everything that is trained, of policy and critic."""

TARGET_CRITIC = "target_critic.safetensors"
"""In a checkpoint with ``target_decay``: what differs from the critic's weights."""

NEVER = 2**62
"""No step has this number."""


class AgentTrainer(Trainer):
    """A Trainer of policy and critic, seen from the disk; how they are trained is :class:`OreoTrainer`'s."""

    args: OreoConfig
    trained: PolicyAndCritic
    tokenizer: PreTrainedTokenizerBase
    objective: Objective
    items: Items
    """What is trained on."""
    target_critic: Critic | None
    """The average of past critics, with ``target_decay``."""
    prompt: Prompt
    """What the agent is told, saved beside it."""
    start: Any
    """What the training starts from: a model, or where it is."""
    base_model: Base | None = None
    """The same in words, since training began."""
    beside: Mapping[str, Any] = MappingProxyType({})
    """What the recipe says beside the options: ``lora`` and ``patience``."""
    trained_before: bool = False
    """Whether an earlier call has done it, and nothing was left to train."""
    sources: tuple[Source, ...] = ()
    """The datasets that ``items`` are from, where they are known."""
    environments: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """In which they were played, likewise."""
    seconds: float = 0.0
    """That training has taken."""
    _first_bad: Tensor | None = None
    """The first step since the last look whose loss was no number, on the device; :data:`NEVER`."""
    _staging: Path | None = None
    """Where a checkpoint is being written."""

    @property
    def policy(self) -> PreTrainedModel:
        """The policy being trained."""
        return self.trained.policy

    @property
    def critic(self) -> Critic | None:
        """The critic being trained, for methods that have one."""
        return self.trained.critic

    def train(self, *args: Any, **options: Any) -> Any:
        """Trainer's; its time and what it starts from go into the recipe."""
        start, self.base_model = time.monotonic(), self.base_model or describe_base(self.start, self.args)
        try:
            return super().train(*args, **options)
        finally:
            self.seconds += time.monotonic() - start

    def take_finished(self, path: str | Path, recipe: TrainingRecipe) -> None:
        """Be the trainer of a training that has ended: its networks are here already.

        Raises:
            CheckpointError: it was on other episodes.
        """
        digests = self.items.list_digests()
        data = {"episodes": len(digests), "sha256": data_hash(digests)}
        refuse_other(path, recipe, {"data": data})
        self.state.global_step = self.state.max_steps = recipe.steps
        self.state.log_history = [dict(line) for line in recipe.log]
        self.seconds, self.trained_before = recipe.seconds, True

    @property
    def alpha(self) -> float:
        """The weight of the KL, which ``kl_target`` adapts."""
        return float(self._alpha)

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha = torch.full((), value, dtype=torch.float64, device=self.args.device)

    # --- checkpoints ------------------------------------------------------------------------------------------

    def watch_loss(self, loss: Tensor) -> None:
        """Keep, where the loss is, the first step at which it was no number."""
        step = torch.full((), self.state.global_step, device=loss.device)
        bad = torch.where(torch.isfinite(loss), torch.full_like(step, NEVER), step)
        self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)

    def refuse_nan(self) -> None:
        """Before anything of it is logged, judged or saved.

        Raises:
            TrainingError: the loss of a step was no number.
        """
        if self._first_bad is None:
            return
        step, self._first_bad = int(self._first_bad), None
        if step < NEVER:
            raise TrainingError(
                f"the loss was no number at step {step}; the last saved checkpoint is intact: lower --learning-rate"
            )

    def _save_checkpoint(self, model, trial) -> None:
        """As in Trainer, but beside its place, and moved there in one rename."""
        self.refuse_nan()
        run = Path(super()._get_output_dir(trial))
        if self.state.best_global_step:
            best = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._staging = run / ".partial"
        with as_writing_error(run / name):
            try:
                super()._save_checkpoint(model, trial)
            finally:
                staging, self._staging = self._staging, None
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                put_folder(staging / name, run / name)
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(run),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=False,
            )

    def _get_output_dir(self, trial) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.trained.state_dict() if state_dict is None else state_dict
        with without_bars():
            self.policy.save_pretrained(folder / "policy", state_dict=weights_below(weights, "policy."))
        self.tokenizer.save_pretrained(folder / "policy")
        if has_adapters(self.policy):
            _save_tensors({name: weights[name] for name in self._adapters()}, folder / ADAPTERS)
        elif self.critic is not None:
            self.critic.save_pretrained(folder / "critic", self.policy, weights_below(weights, "critic."))
        if self.target_critic is not None and self.critic is not None:
            _save_tensors(_select_averaged(self.target_critic, self.critic), folder / TARGET_CRITIC)
        (folder / OWN).write_text(json.dumps({"format": FORMAT, "alpha": self.alpha}))

    def _run_epoch(self, *args: Any, **options: Any) -> None:
        """As in Trainer, which looks for the last step after a step alone: a checkpoint may be of the last one."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **options)
        else:
            self.control.should_training_stop = True

    def _load_best_model(self) -> None:
        """Take the weights of the best checkpoint back, with ``load_best_model_at_end``."""
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        with _reading_checkpoint(folder):
            _check_progress(folder / TRAINER_STATE_NAME)
            if has_adapters(self.policy):
                self._load_adapters(folder / ADAPTERS)
            else:
                self._load_whole(folder)
            if self.target_critic is not None:
                self.target_critic.load_state_dict(load_file(folder / TARGET_CRITIC), strict=False)
            self.alpha = float(_read_own(folder / OWN)["alpha"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As in Trainer; a state that the optimizer could not go on with is refused here, not some steps later."""
        if checkpoint is None:
            return
        with _reading_checkpoint(checkpoint):
            optimizer: Any = self.optimizer
            kinds = _list_kinds(self.lr_scheduler), [_list_kinds(group) for group in optimizer.param_groups]
            super()._load_optimizer_and_scheduler(checkpoint)
            found = _list_kinds(self.lr_scheduler), [_list_kinds(group) for group in optimizer.param_groups]
            if found != kinds:
                raise ValueError("it is of another optimizer or schedule")
            for parameter, state in optimizer.state.items():
                _check_moments(parameter, state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _reading_checkpoint(checkpoint):
            super()._load_rng_state(checkpoint)

    def _adapters(self) -> set[str]:
        """What is trained beside a frozen trunk, of policy and critic."""
        return {name for name, parameter in self.trained.named_parameters() if parameter.requires_grad}

    def _load_adapters(self, path: Path) -> None:
        weights = load_file(path)
        if odd := self._adapters() ^ weights.keys():
            raise ConfigurationError(
                f"{path} is of a run with other adapters or another critic: {min(odd)} is in one of them only"
            )
        self._set_weights(weights, strict=False)

    def _load_whole(self, folder: Path) -> None:
        policy, _ = load_policy(folder)
        critic = load_critic(folder, policy) if self.critic else None
        if self.critic and critic is None:
            raise ConfigurationError(f"{folder} has no critic to resume from")
        self._set_weights(PolicyAndCritic(policy, critic, self.args.head_chunk).state_dict())

    def _set_weights(self, weights: dict[str, Tensor], strict: bool = True) -> None:
        """Take whole tensors, each process its shard of them."""
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.trained, cast(Any, weights), options=options)

    # --- the agent --------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the agent to ``output_dir`` (default: that of the options); ``OreoAgent.from_pretrained`` loads it.

        Raises:
            CheckpointError: something else than an agent is there, such as checkpoints.
        """
        if _internal_call:  # a checkpoint, which can be resumed from
            super().save_model(output_dir, _internal_call=True)
        else:
            self.save_agent(output_dir or str(self.args.output_dir), steps=self.state.global_step)

    def save_agent(self, path: str | Path, license: str | None = None, **card: Any) -> None:
        """Write policy, tokenizer and critic as an agent's folder, whole or not at all, in ``save_dtype``.

        The policy's adapters are merged into what they adapt, so that the folder stands alone; a critic of kind
        ``lora`` stays a set of adapters over that policy. Beside them lie ``recipe.json`` (all that made it),
        ``log.jsonl`` (every logged line) and ``curves.png``.

        Args:
            path: the folder.
            license: the agent's, an identifier of the Hub's such as ``apache-2.0``; None: its base model's.
            card: JSON values for ``agent.json`` and the model card.

        Raises:
            CheckpointError: ``path`` holds something else.
        """
        weights = self._gather_weights() if self.is_fsdp_enabled or self.is_deepspeed_enabled else None
        if not self.is_world_process_zero():
            return
        policy, critic = self.policy, self.critic
        if weights is None:
            policy, critic = self.finish_models()
        options = {name: getattr(self.args, name) for name, option in OPTIONS.items() if option.card}
        options["critic"] = self.critic and self.critic.kind(self.policy)
        data = data_hash(self.items.list_digests())
        chosen = (
            f", of those that are good ({self.args.good})"
            if self.args.good and self.objective.imitates
            else ""
        )
        done = {"method": self.args.method, "objective": f"{self.objective.summary}{chosen}"}
        card = {**done, **card, "options": options, "data_sha256": data}
        card |= parameter_counts(self.trained)
        card |= {"environments": dict(self.environments)} if self.environments else {}
        recipe = make_recipe(
            self.args,
            self.base_model or describe_base(self.start, self.args),
            self.items,
            self.sources,
            [line for line in self.state.log_history if "train_runtime" not in line],  # of this process alone
            steps=self.state.global_step,
            seconds=round(self.seconds, 3),
            license=license,
            **self.beside,
        )
        save_agent(path, policy, self.tokenizer, critic, weights, self.prompt, recipe, **card)

    def finish_models(self) -> tuple[PreTrainedModel, Critic | None]:
        """Policy and critic as :meth:`save_agent` would write them now: without adapters, in the precision of the
        agent; themselves, where that changes nothing."""
        policy, critic = self.policy, self.critic
        rounded = self.args.save_dtype == "bfloat16"
        if has_adapters(policy):
            policy, critic = copy_without_adapters(policy, critic)
        elif rounded:
            policy, critic = copy.deepcopy((policy, critic))
        if rounded:
            policy.bfloat16()
            critic = critic and critic.in_bfloat16()
        return policy, critic

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card: Any,
    ) -> Any:
        """Upload what :meth:`save_agent` writes; ``OreoAgent.from_pretrained`` loads it by the repository's name.

        Arguments and result are Trainer's; ``card`` has further rows of the model card.
        """
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        folder = Path(str(self.args.output_dir)) / "hub" / Path(str(self.hub_model_id)).name
        self.save_agent(folder, steps=self.state.global_step, **card)
        if not self.is_world_process_zero():
            return None
        upload: Any = upload_folder
        return upload(
            repo_id=str(self.hub_model_id),
            folder_path=folder,
            commit_message=commit_message,
            token=token,
            run_as_future=not blocking,
            revision=revision or self.args.hub_revision,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.args.hub_strategy != HubStrategy.END:
            self.push_to_hub(f"Training in progress, step {self.state.global_step}")

    def _gather_weights(self) -> dict[str, Tensor]:
        """The whole weights of a model sharded over processes; every process must ask."""
        if has_adapters(self.policy):
            raise ConfigurationError(
                "adapters of a sharded model cannot be merged here: save a checkpoint and load it in one process"
            )
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        if self.args.save_dtype == "bfloat16":
            return {n: x if "value_head" in n else x.bfloat16() for n, x in weights.items()}
        narrow = {x.dtype for x in weights.values() if x.dtype.itemsize < torch.float32.itemsize}
        for dtype in narrow:
            warnings.warn(
                f"weights came back in {str(dtype).removeprefix('torch.')}: the agent is saved without what that "
                "rounds away, most of an update at the rates for pretrained models; --launch fsdp2 keeps float32",
                stacklevel=3,
            )
        return weights


def _reading_checkpoint(checkpoint: str | Path | None) -> as_checkpoint_error:
    remedy = "delete it, and the training goes on from an earlier one or begins again"
    return as_checkpoint_error(checkpoint or "", "no training can be resumed from", remedy)


def _read_own(file: Path) -> dict[str, Any]:
    own = read_json(file)
    require_format(str(file), own.get("format", FIRST), FORMAT, CheckpointError)
    return own


def _check_progress(file: Path) -> None:
    """ValueError where the file does not say how far the training was."""
    state = TrainerState.load_from_json(str(file))
    real = (int, float)
    numbers: dict[str, Any] = {"epoch": real, "global_step": int, "max_steps": int, "num_train_epochs": real}
    for name, kind in numbers.items():
        value = getattr(state, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= value < 2**53:
            raise ValueError(f"{file.name}: {name} = {value!r}")
    if not all(isinstance(logged, dict) for logged in state.log_history):
        raise ValueError(f"{file.name}: log_history is no list of values")


def _list_kinds(values: Any) -> dict[str, str]:
    """What values are there, each with what kind of thing it is: two numbers are of one kind, and two sequences."""
    found = values if isinstance(values, dict) else vars(values)
    return {name: _name_kind(value) for name, value in found.items() if not name.startswith("__")}


def _name_kind(value: Any) -> str:
    if isinstance(value, int | float | Tensor):
        return "number"
    return "sequence" if isinstance(value, list | tuple) else type(value).__name__


def _check_moments(parameter: Tensor, state: Any) -> None:
    """ValueError where an optimizer's state is not that of a parameter of this shape."""
    for name, value in state.items():
        fits = value.numel() == 1 or value.shape == parameter.shape if isinstance(value, Tensor) else False
        if not fits and not isinstance(value, int | float):
            raise ValueError(f"the optimizer's {name} does not fit its parameter")


def _select_averaged(target: Critic, critic: Critic) -> dict[str, Tensor]:
    """The weights of a target critic that differ from the critic's."""
    weights = target.state_dict()
    return {name: weights[name] for name, parameter in critic.named_parameters() if parameter.requires_grad}


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: x.detach().contiguous().cpu() for name, x in tensors.items()}, path)
