"""OreoTrainer: policy and critic trained together on recorded episodes, on transformers' Trainer.

What is minimised is chosen from the table in objectives.py; the equations are in losses.py, the pass over the
networks in actor_critic.py. Knows nothing about environments or files of episodes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from huggingface_hub import upload_folder
from oreo_envs.files import put_folder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy, rotate_checkpoints

from oreo_agents import diagnostics
from oreo_agents.actor_critic import LAYOUTS, PolicyAndCritic, Reference, prepare_attention, read_values
from oreo_agents.adapters import has_adapters, require_adapters_alone, twin
from oreo_agents.batches import Item, MicroBatch, as_episodes, collate, split
from oreo_agents.chat import EncodedEpisode
from oreo_agents.errors import ConfigurationError, DatasetError, TrainingError
from oreo_agents.losses import kto_reference_point, masked_mean, sampled_kl
from oreo_agents.model_card import data_hash
from oreo_agents.models import (
    Critic,
    load_critic,
    load_policy,
    merged,
    save_agent,
    trunk_of,
    weights_below,
)
from oreo_agents.objectives import METHODS, Objective, imitation_weights, observed_tokens
from oreo_agents.optimizer import MuonAdamW, matrices

NEW_CRITICS = {"separate": Critic.from_policy, "shared": Critic.shared, "lora": Critic.adapted}
AFTER_ACTION = ("outcome", "answer")
POSITIVE = (
    *("beta", "kl_target", "num_train_epochs"),
    *("max_return", "max_length", "micro_batch_tokens", "head_chunk"),
)
NONNEGATIVE = ("alpha", "learning_rate", "critic_learning_rate", "value_weight", "observation_weight")
SHARES = ("critic_warmup", "target_decay", "expectile")
"""Options between 0 and 1."""

OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
REGULARIZERS = ("reverse", "forward", "sampled")
ADAPTERS = "adapters.safetensors"
"""In a checkpoint with PEFT: everything that is trained, of policy and critic."""

TARGET_CRITIC = "target_critic.safetensors"
"""In a checkpoint with ``target_decay``: what differs from the critic's weights."""

CARD_OPTIONS = (
    *("beta", "alpha", "regularizer", "critic", "after_action", "observation_weight"),
    *("learning_rate", "critic_learning_rate", "seed"),
)
"""What a model card tells of the options."""

KL_GAIN = 0.1
"""Of the proportional controller of alpha (arXiv 1909.08593, Sec. 2.2)."""


@dataclass
class OreoConfig(TrainingArguments):
    """Options of :class:`OreoTrainer`: all of TrainingArguments, and the paper's."""

    method: str = field(default="oreo", metadata={"help": f"One of {', '.join(METHODS)}."})
    beta: float = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Weight of the log-ratio in the soft return (Eq. 3). None: the method's."},
    )
    alpha: float = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Weight of the KL to the start (L_reg). None: the method's."}
    )
    regularizer: str = field(
        default="reverse",
        metadata={"help": "L_reg: full-vocabulary reverse or forward KL, or sampled at the data's tokens."},
    )
    kl_target: float | None = field(
        default=None, metadata={"help": "Adapt alpha until the KL of a token is this many nats."}
    )
    critic: str | None = field(
        default=None,
        metadata={
            "help": "A network of its own (separate), a value head on the policy's trunk (shared), or a second LoRA "
            "adapter beside the policy's (lora). None: as the given critic is, a new one separate."
        },
    )
    critic_learning_rate: float | None = field(default=None, metadata={"help": "None: the policy's."})
    critic_warmup: float = field(
        default=0.0, metadata={"help": "Share of the steps that train the critic alone."}
    )
    after_action: str = field(
        default="outcome",
        metadata={
            "help": "What V after an action learns: the soft outcome, or V of the environment's answer."
        },
    )
    value_weight: float = field(
        default=1.0, metadata={"help": "Weight of the value loss; it matters where the trunk is shared."}
    )
    target_decay: float | None = field(
        default=None, metadata={"help": "Policy losses and targets read an average of past critics (EMA)."}
    )
    importance_weights: bool = field(
        default=False, metadata={"help": "Weigh an episode by exp(min(1, its log-ratio))."}
    )
    log_ratio_clip: float | None = field(
        default=None, metadata={"help": "Bound on the summed log-ratio in the critic's target."}
    )
    expectile: float = field(default=0.7, metadata={"help": "IQL: of Q that V regresses on."})
    muon: bool = field(
        default=False,
        metadata={"help": "Muon for the weight matrices, AdamW for the rest: for training from scratch."},
    )
    observation_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of predicting observations, too: by the policy in imitation, by the critic's trunk in "
            "methods with a value function."
        },
    )
    layout: str = field(
        default="right", metadata={"help": "Episodes padded right or left, or packed without padding."}
    )
    cache_reference: bool = field(
        default=False,
        metadata={"help": "Keep the reference's states in memory for later passes over the data."},
    )
    micro_batch_tokens: int = field(default=16384, metadata={"help": "Padded tokens in one forward pass."})
    head_chunk: int = field(default=1024, metadata={"help": "Action positions projected to logits at once."})
    max_return: float = field(
        default=10.0,
        metadata={"help": "Rewards to go beyond this are an error: beta is made for the size of 1."},
    )
    max_length: int = field(default=4096, metadata={"help": "Longer episodes are an error, never cut."})

    per_device_train_batch_size: int = field(default=32, metadata={"help": "Episodes per step and device."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the episodes."})
    learning_rate: float = field(default=5e-6, metadata={"help": "Peak rate of the policy."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Steps, or share of the steps below 1."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule after the warm-up."})
    adam_beta2: float = field(default=0.95, metadata={"help": "The paper's."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between log lines."})
    save_strategy: str = field(default="no", metadata={"help": "When to write resumable checkpoints."})
    report_to: str = field(default="none", metadata={"help": "trackio, wandb, tensorboard, ..."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Episodes are not columns."})

    def __post_init__(self) -> None:
        for name, known in (
            ("method", METHODS),
            ("regularizer", REGULARIZERS),
            ("critic", NEW_CRITICS),
            ("after_action", AFTER_ACTION),
            ("layout", LAYOUTS),
        ):
            if (value := getattr(self, name)) not in known and (name, value) != ("critic", None):
                raise ConfigurationError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
        if self.push_to_hub and self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ConfigurationError(
                "the Hub gets agents, not checkpoints to resume from: choose hub_strategy end or every_save"
            )
        objective = METHODS[self.method]
        if self.fp16 and objective.value_loss:
            raise ConfigurationError(
                "fp16 scales gradients once, policy and critic are clipped apart: use bf16"
            )
        self.beta = objective.beta if self.beta is None else self.beta
        self.alpha = objective.alpha if self.alpha is None else self.alpha
        self._check_values()
        super().__post_init__()

    def _check_values(self) -> None:
        if self.optim not in OPTIMIZERS:
            raise ConfigurationError(
                f"optim={self.optim!r} is not used: OreoTrainer steps with torch's AdamW, or with muon=True"
            )
        for names, fits, range_ in (
            (POSITIVE, lambda x: x > 0, "above 0"),
            (SHARES, lambda x: 0 <= x <= 1, "between 0 and 1"),
            (NONNEGATIVE, lambda x: x >= 0, "0 or more"),
        ):
            for name in names:
                value = getattr(self, name)
                if value is not None and not fits(value):
                    raise ConfigurationError(f"{name} is {value}, it must be {range_}")


class OreoTrainer(Trainer):
    """Trains a policy, and for methods with a value function a critic, on encoded episodes.

    The reference policy is the policy at the start: a frozen copy, or with PEFT its adapters switched off.

    Args:
        policy: causal LM to train, in place; may carry PEFT adapters.
        tokenizer: saved beside it.
        args: options.
        train_dataset: episodes from :meth:`oreo_agents.chat.Chat.encode`.
        critic: starts from this; None means a new one with V = 0, of the kind that ``args.critic`` says.
        callbacks: as in Trainer.

    Raises:
        DatasetError: no episodes; none of the needed kind; one longer than ``max_length`` or what the model reads.
        ConfigurationError: the options do not fit the model or the critic, or more than adapters is trained of a
            model of PEFT's.
    """

    args: OreoConfig

    def __init__(
        self,
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        args: OreoConfig,
        train_dataset: Sequence[EncodedEpisode],
        critic: Critic | None = None,
        callbacks: list | None = None,
    ) -> None:
        self.objective: Objective = METHODS[args.method]
        self.items = items = _items(train_dataset, args, self.objective, policy.config)
        if has_adapters(policy):
            require_adapters_alone(policy, trunk_of(policy))
        for model in (trunk_of(policy), critic.backbone if critic else None):
            if model is not None:
                prepare_attention(model, args.layout)
        critic = _critic(policy, critic, args) if self.objective.value_loss else None
        self.reference = Reference(policy, args.cache_reference) if self.objective.reference else None
        if self.reference:
            self.reference.model.to(args.device)  # type: ignore[arg-type]
        keeps_average = critic is not None and args.target_decay is not None
        self.target_critic = _frozen(critic).to(args.device) if critic and keeps_average else None
        self.alpha = args.alpha
        self._meters = diagnostics.Meters()
        self._step_kl: list[tuple[float, float]] = []
        self._staging: Path | None = None
        self.tokenizer = tokenizer
        self.trained = PolicyAndCritic(policy, critic, args.head_chunk, args.layout)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        super().__init__(
            model=self.trained,
            args=args,
            train_dataset=items,  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad, args.micro_batch_tokens),  # type: ignore
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = False
        self.add_callback(_AroundStep(self))

    @property
    def policy(self) -> PreTrainedModel:
        """The policy being trained."""
        return self.trained.policy

    @property
    def critic(self) -> Critic | None:
        """The critic being trained, for methods that have one."""
        return self.trained.critic

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW, or Muon for the weight matrices, with a rate of its own for the critic."""
        if self.optimizer is None:
            args = self.args
            critic_rate = args.critic_learning_rate
            rates = [args.learning_rate, args.learning_rate if critic_rate is None else critic_rate]
            inner = set(map(id, matrices(self.trained))) if args.muon else set()
            groups = [
                {"params": chosen, "lr": rate, "muon": muon, "part": name}
                for name, part, rate in zip(("policy", "critic"), self._parts(), rates, strict=False)
                for muon in (True, False)
                if (chosen := [p for p in part if p.requires_grad and (id(p) in inner) == muon])
            ]
            self.optimizer = MuonAdamW(
                groups,
                betas=(args.adam_beta1, args.adam_beta2),
                eps=args.adam_epsilon,
                weight_decay=args.weight_decay,
                fused=True,
            )
        return self.optimizer

    def _parts(self) -> list[list[nn.Parameter]]:
        """Parameters of the policy and, where there is a critic, what it has of its own."""
        parts = [list(self.policy.parameters())]
        return parts if self.critic is None else [*parts, self.critic.own_parameters(self.policy)]

    # --- one step ---------------------------------------------------------------------------------------------

    def before_step(self) -> None:
        """While the critic learns alone, the policy's weights do not decay, either."""
        for group in cast(torch.optim.Optimizer, self.optimizer).param_groups:
            if group.get("part") == "policy":
                group["weight_decay"] = 0.0 if self._warming_up else self.args.weight_decay

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        """What all processes' batches of an optimizer step weigh together."""
        own = sum(self._weight(micro) for batch in batch_samples for micro in batch)
        return self.accelerator.gather(torch.tensor([own], device=device)).sum()  # type: ignore[union-attr]

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward over the micro-batches (from :func:`collate`); the loss of the whole batch."""
        model.train()
        micros = [self._prepare_inputs(micro) for micro in self._evenly(inputs)]
        total = num_items_in_batch
        if total is None:
            total = self._get_num_items_in_batch([micros], self.args.device)
        if self.objective.mismatched:
            micros = self._with_reference_point(model, micros)
        share = self.accelerator.num_processes / max(
            float(total), 1e-8
        )  # gradients are averaged over processes
        loss_sum = torch.zeros((), device=self.args.device)
        for i, micro in enumerate(micros):
            with self._synchronising(model, last=i + 1 == len(micros)):
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, micro) * (self._weight(micro) * share)
                self._refuse_nan(loss)
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
            self.state.num_input_tokens_seen += int(micro["token_mask"].sum())
        return loss_sum

    def _evenly(self, micros: list[MicroBatch]) -> list[MicroBatch]:
        """As many micro-batches on every process: sharded models exchange weights in each."""
        if self.accelerator.num_processes == 1:
            return micros
        count = torch.tensor([len(micros)], device=self.args.device)
        return split(micros, int(self.accelerator.gather(count).max()), self.objective.rows)  # type: ignore

    def _refuse_nan(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"loss is {loss.item()} at step {self.state.global_step}; the last saved checkpoint is intact: "
                "lower --learning-rate"
            )

    @contextmanager
    def _synchronising(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Processes exchange gradients with the last micro-batch only."""
        if last:
            yield
            return
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(False)
        with self.accelerator.no_sync(model):
            yield
        state._set_sync_gradients(before)

    @torch.no_grad()
    def _with_reference_point(self, model: nn.Module, micros: list[MicroBatch]) -> list[MicroBatch]:
        """Measure KTO's reference point on the whole batch's mismatched episodes, and leave those out."""
        ratios = []
        for micro in micros:
            other = {name: x[1::2] for name, x in micro.items()}
            with self.compute_loss_context_manager():
                ratios.append(self._run(model, other, "none")["rho"].sum(1))
        everyones = cast(Tensor, self.accelerator.gather(torch.cat(ratios)))
        point = kto_reference_point(everyones)
        return [
            {**{name: x[0::2] for name, x in micro.items()}, "reference_point": point.expand(len(x) // 2)}
            for micro in micros
            for x in [micro["input_ids"]]
        ]

    def compute_loss(self, model, inputs: MicroBatch, return_outputs: bool = False, num_items_in_batch=None):
        """The loss of one micro-batch, by the method's objective."""
        objective, args = self.objective, self.args
        vocabulary = objective.regularised and args.regularizer != "sampled"
        out = self._run(model, inputs, cast(Any, args.regularizer if vocabulary else "none"))
        rows, actions = len(inputs["input_ids"]), inputs["action_mask"]
        diagnostics.record_policy(self._meters, inputs, out)
        loss = objective.policy_loss(inputs, out, args)
        self._meters.add("policy_loss", loss, self._weight(inputs))
        if self.reference:
            kl = masked_mean(out["kl"] if vocabulary else sampled_kl(out["rho"]), actions)
            self._meters.add("kl", kl, rows)
            if objective.regularised:
                self._step_kl.append((kl.item(), rows))
                loss = loss + self.alpha * kl
        if objective.value_loss and objective.states:
            loss_v = objective.value_loss(inputs, out, args)
            self._meters.add("value_loss", loss_v, rows)
            diagnostics.record_critic(self._meters, inputs, out, objective.states(inputs), args.beta)
            loss = args.value_weight * loss_v + (0.0 if self._warming_up else 1.0) * loss
            if "foreseen" in out:
                loss_o = -masked_mean(out["foreseen"], observed_tokens(inputs))
                self._meters.add("observation_loss", loss_o, rows)
                loss = loss + args.observation_weight * loss_o
        return (loss, out) if return_outputs else loss

    @property
    def _warming_up(self) -> bool:
        """The critic learns alone."""
        return self.state.global_step < self.args.critic_warmup * self.state.max_steps

    def _run(self, model: nn.Module, batch: MicroBatch, divergence: Any) -> dict[str, Tensor]:
        """One pass over all networks."""
        actions, observed = batch["action_mask"], None
        if self.args.observation_weight and self.objective.value_loss:
            observed = observed_tokens(batch)
        elif not self.objective.reference:  # imitation
            actions = actions | (imitation_weights(batch, self.args.observation_weight) > 0)
        inputs = batch["input_ids"], actions, self.reference, batch["token_mask"]
        out = model(*inputs, divergence, head_alone=self._warming_up, observed=observed)
        if self.target_critic is not None:
            with torch.no_grad():
                out["target_values"] = read_values(
                    self.target_critic, self.args.layout, batch["input_ids"], batch["token_mask"]
                )
        return out

    def _weight(self, batch: MicroBatch) -> float:
        """What a micro-batch counts in its batch: every item alike, in imitation every token."""
        if self.objective.per_token:
            return imitation_weights(batch, self.args.observation_weight).sum().item()
        return len(batch["input_ids"]) / (1 if "reference_point" in batch else self.objective.rows)

    def after_step(self) -> None:
        """Once the optimizer has stepped: adapt alpha, let the average of past critics follow."""
        if self.args.kl_target is not None and self._step_kl:
            sums = [sum(kl * rows for kl, rows in self._step_kl), sum(rows for _, rows in self._step_kl)]
            total, rows = self.accelerator.reduce(torch.tensor(sums, device=self.args.device)).tolist()  # type: ignore
            error = min(max(total / rows / self.args.kl_target - 1, -0.2), 0.2)
            self.alpha *= 1 + KL_GAIN * error
        self._step_kl.clear()
        if self.target_critic is not None and self.critic is not None:
            pairs = zip(self.target_critic.parameters(), self.critic.parameters(), strict=True)
            with torch.no_grad():
                for average, parameter in (pair for pair in pairs if pair[1].requires_grad):
                    average.lerp_(parameter, 1 - float(self.args.target_decay or 0))

    def _clip_grad_norm(self, model):
        """Clip policy and critic apart: a large value error must not shrink the policy's step."""
        norms = [self.accelerator.clip_grad_norm_(part, self.args.max_grad_norm) for part in self._parts()]
        if len(norms) > 1:
            norm = norms[1].full_tensor() if isinstance(norms[1], DTensor) else torch.as_tensor(norms[1])
            self._meters.add("critic_grad_norm", norm, 1)
        return norms[0]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what was recorded since the last line."""
        means = self._meters.read(lambda sums: gather_object([sums]))
        if self.args.kl_target is not None and means:
            means["alpha"] = float(self.alpha)
        super().log({**logs, **{name: round(value, 6) for name, value in means.items()}}, start_time)

    # --- on disk ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model, trial) -> None:
        """As in Trainer, but beside its place, and moved there in one rename."""
        run = Path(super()._get_output_dir(trial))
        if self.state.best_global_step:
            best = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        self._staging = run / ".partial"
        try:
            super()._save_checkpoint(model, trial)
        finally:
            staging, self._staging = self._staging, None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            put_folder(staging / name, run / name)
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
        self.policy.save_pretrained(folder / "policy", state_dict=weights_below(weights, "policy."))
        self.tokenizer.save_pretrained(folder / "policy")
        if has_adapters(self.policy):
            _save_tensors({name: weights[name] for name in self._adapters()}, folder / ADAPTERS)
        elif self.critic is not None:
            self.critic.save_pretrained(folder / "critic", self.policy, weights_below(weights, "critic."))
        if self.target_critic is not None and self.critic is not None:
            _save_tensors(_averaged(self.target_critic, self.critic), folder / TARGET_CRITIC)
        (folder / "oreo.json").write_text(json.dumps({"alpha": self.alpha}))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        if has_adapters(self.policy):
            self._load_adapters(folder / ADAPTERS)
        else:
            self._load_whole(folder)
        if self.target_critic is not None:
            self.target_critic.load_state_dict(load_file(folder / TARGET_CRITIC), strict=False)
        self.alpha = json.loads((folder / "oreo.json").read_text())["alpha"]

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

    def save_agent(self, path: str | Path, **card: Any) -> None:
        """Write policy, tokenizer and critic as an agent's folder, whole or not at all, in the precision trained in.

        The policy's adapters are merged into what they adapt, so that the folder stands alone; a critic of kind
        ``lora`` stays a set of adapters over that policy.
        """
        weights = self._gathered() if self.is_fsdp_enabled or self.is_deepspeed_enabled else None
        if not self.is_world_process_zero():
            return
        policy, critic = self.policy, self.critic
        if has_adapters(policy):
            policy, critic = merged(policy, critic)
        elif self.args.bf16 and weights is None:
            policy, critic = copy.deepcopy((policy, critic))
        if self.args.bf16 and weights is None:
            policy.bfloat16()
            critic = critic and critic.in_bfloat16()
        options = {name: getattr(self.args, name) for name in CARD_OPTIONS}
        options["critic"] = self.critic and self.critic.kind(self.policy)
        data = data_hash(episode for item in self.items for episode in as_episodes(item))
        done = {"method": self.args.method, "objective": self.objective.summary}
        card = {**done, **card, "options": options, "data_sha256": data}
        card |= diagnostics.parameter_counts(self.trained)
        save_agent(path, policy, self.tokenizer, critic, weights, **card)

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

    def _gathered(self) -> dict[str, Tensor]:
        """The whole weights of a model sharded over processes; every process must ask."""
        if has_adapters(self.policy):
            raise ConfigurationError(
                "adapters of a sharded model cannot be merged here: save a checkpoint and load it in one process"
            )
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        if self.args.bf16:
            weights = {n: x if "value_head" in n else x.bfloat16() for n, x in weights.items()}
        return weights


class _AroundStep(TrainerCallback):
    def __init__(self, trainer: OreoTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.trainer.before_step()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.trainer.after_step()


def _critic(policy: PreTrainedModel, critic: Critic | None, args: OreoConfig) -> Critic:
    if critic is None:
        return NEW_CRITICS[args.critic or "separate"](policy)
    if (kind := critic.kind(policy)) != (args.critic or kind):
        raise ConfigurationError(
            f"the model comes with a {kind} critic, but critic is {args.critic!r}: choose one"
        )
    if kind == "lora":
        Critic.adapted(policy)  # says what is wrong where the policy is trained as a whole
    return critic


def _frozen(critic: Critic) -> Critic:
    return twin(critic).requires_grad_(False).eval()


def _averaged(target: Critic, critic: Critic) -> dict[str, Tensor]:
    """The weights of a target critic that differ from the critic's."""
    weights = target.state_dict()
    return {name: weights[name] for name, parameter in critic.named_parameters() if parameter.requires_grad}


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: x.detach().contiguous().cpu() for name, x in tensors.items()}, path)


def _check(episodes: Sequence[EncodedEpisode], args: OreoConfig, vocabulary: int) -> None:
    """Refuse what would train nonsense without an error."""
    for episode in episodes:
        odd = [x for x in set(episode.returns) if not abs(x) <= args.max_return]  # NaN too
        if odd:
            raise DatasetError(
                f"an episode has a reward to go of {odd[0]}, outside [-{args.max_return}, {args.max_return}]: "
                "scale the rewards or raise max_return"
            )
        if max(episode.input_ids) >= vocabulary:
            raise DatasetError(
                f"an episode has token {max(episode.input_ids)}, the model knows {vocabulary}: its ids come from "
                "another tokenizer"
            )


def _items(
    episodes: Sequence[EncodedEpisode], args: OreoConfig, objective: Objective, model: PretrainedConfig
) -> Sequence[Item]:
    episodes = [episode for episode in episodes if any(episode.action_mask)]  # the others teach nothing
    if not episodes:
        raise DatasetError("there are no episodes to train on")
    _check(episodes, args, model.vocab_size)
    if objective.contrast and len({episode.success for episode in episodes}) < 2:
        kind = "failed" if episodes[0].success else "successful"
        raise DatasetError(
            f"there are no {kind} episodes: {args.method} learns from the difference; "
            "record rollouts of the policy itself"
        )
    items = objective.select(episodes, args.seed if args.data_seed is None else args.data_seed)
    longest = max(len(episode) for item in items for episode in as_episodes(item))
    if longest > args.max_length:
        raise DatasetError(
            f"an episode has {longest} tokens, max_length is {args.max_length}: raise max_length "
            "(a cut episode would be trained with a reward it did not earn)"
        )
    readable = getattr(model, "max_position_embeddings", None) or longest
    if longest > readable:
        raise DatasetError(
            f"an episode has {longest} tokens, the model reads {readable}: record shorter ones"
        )
    return items
