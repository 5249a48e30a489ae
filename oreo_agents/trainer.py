"""OreoTrainer: policy and critic trained together on recorded episodes, on transformers' Trainer.

A batch is a set of whole episodes drawn at random. It is run in micro-batches of similar length, so padding is
small, and every optimizer step still sees long failures and short successes together. Only action positions go
through the language-model head, in chunks: no ``[batch, time, vocabulary]`` tensor exists.

Knows nothing about environments or files of episodes; the equations are in losses.py.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from oreo_agents.chat import EncodedEpisode
from oreo_agents.errors import ConfigurationError, DatasetError, TrainingError
from oreo_agents.losses import (
    kl_divergence,
    masked_mean,
    sum_after,
    token_policy_loss,
    value_loss,
)
from oreo_agents.models import Critic, lm_head, load_critic, load_policy, save_agent

METHODS: tuple[str, ...] = ("sft", "rejection", "oreo")
"""``sft``: imitate every episode. ``rejection``: imitate the successful ones. ``oreo``: Eqs. 8 and 9."""


@dataclass
class OreoConfig(TrainingArguments):
    """Options of :class:`OreoTrainer`: all of TrainingArguments, and the paper's."""

    method: str = field(default="oreo", metadata={"help": f"One of {', '.join(METHODS)}."})
    beta: float = field(
        default=0.03, metadata={"help": "Weight of the log-ratio in the soft return (Eq. 3)."}
    )
    alpha: float = field(
        default=0.01, metadata={"help": "Weight of the full-vocabulary KL to the start (L_reg)."}
    )
    critic_learning_rate: float | None = field(default=None, metadata={"help": "None: the policy's."})
    observation_weight: float = field(
        default=0.0, metadata={"help": "Imitation: weight of predicting observations too (0: actions alone)."}
    )
    critic_warmup: float = field(
        default=0.0, metadata={"help": "Share of the steps that train the critic alone."}
    )
    micro_batch_tokens: int = field(default=16384, metadata={"help": "Padded tokens in one forward pass."})
    head_chunk: int = field(default=4096, metadata={"help": "Action positions projected to logits at once."})
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
        if self.method not in METHODS:
            raise ConfigurationError(f"unknown method {self.method!r}; choose one of {', '.join(METHODS)}")
        super().__post_init__()


class PolicyAndCritic(nn.Module):
    """What is trained: the policy and, for methods with a value function, the critic."""

    def __init__(self, policy: PreTrainedModel, critic: Critic | None, head_chunk: int) -> None:
        super().__init__()
        self.policy, self.critic, self.head_chunk = policy, critic, head_chunk
        self.config = policy.config

    def forward(
        self, input_ids: Tensor, action_mask: Tensor, reference: PreTrainedModel | None = None
    ) -> dict[str, Tensor]:
        """Log-probabilities of the action tokens and what the losses need beside them, each ``[B, T]``.

        Args:
            input_ids: ``[B, T]``, right-padded.
            action_mask: ``[B, T]`` bool; entries elsewhere are zero in the result.
            reference: the frozen start, for log-ratio and KL.

        Returns:
            ``logp``, ``entropy``; with a reference also ``rho`` and ``kl``; with a critic also ``values``.
        """
        columns = self._per_action(input_ids, action_mask, reference)
        if self.critic is not None:
            columns["values"] = self.critic(input_ids)
        return columns

    def _per_action(self, ids: Tensor, mask: Tensor, reference: PreTrainedModel | None) -> dict[str, Tensor]:
        chosen = mask[:, 1:]
        targets = ids[:, 1:][chosen]
        hidden = _states(self.policy, ids)[:, :-1][chosen]
        ref_hidden = None
        if reference is not None:
            with torch.no_grad():
                ref_hidden = _states(reference, ids)[:, :-1][chosen]
        ref_head = None if reference is None else lm_head(reference)
        chunks = []
        for i in range(0, len(targets), self.head_chunk):
            part = slice(i, i + self.head_chunk)
            ref_part = None if ref_hidden is None else ref_hidden[part]
            arguments = (lm_head(self.policy), ref_head, hidden[part], ref_part, targets[part])
            chunks.append(checkpoint(_project, *arguments, use_reentrant=False))
        names = ("logp", "entropy") if reference is None else ("logp", "entropy", "rho", "kl")
        flat = [torch.cat(column) for column in zip(*chunks, strict=True)]
        return {name: _scatter(column, mask) for name, column in zip(names, flat, strict=True)}


def _states(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return cast(nn.Module, model.base_model)(input_ids=ids, use_cache=False).last_hidden_state


def _project(
    head: nn.Module, ref_head: nn.Module | None, hidden: Tensor, ref_hidden: Tensor | None, targets: Tensor
):
    logits = head(hidden).float()
    log_probs = logits.log_softmax(-1)
    logp = log_probs.gather(1, targets[:, None])[:, 0]
    entropy = -(log_probs.exp() * log_probs).sum(-1).detach()
    if ref_head is None:
        return logp, entropy
    with torch.no_grad():
        ref_logits = ref_head(ref_hidden).float()
        ref_logp = ref_logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return logp, entropy, logp - ref_logp, kl_divergence(logits, ref_logits)


def _scatter(flat: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)


def collate(
    episodes: Sequence[EncodedEpisode], pad_id: int, micro_batch_tokens: int
) -> list[dict[str, Tensor]]:
    """Sort a batch by length and cut it into right-padded micro-batches of at most so many tokens."""
    groups: list[list[EncodedEpisode]] = [[]]
    for episode in sorted(episodes, key=len, reverse=True):
        if groups[-1] and (len(groups[-1]) + 1) * len(groups[-1][0]) > micro_batch_tokens:
            groups.append([])
        groups[-1].append(episode)
    return [_pad(group, pad_id) for group in groups]


def _pad(episodes: Sequence[EncodedEpisode], pad_id: int) -> dict[str, Tensor]:
    width = max(map(len, episodes))

    def column(name: str, fill: Any) -> Tensor:
        return torch.tensor([[*getattr(e, name), *[fill] * (width - len(e))] for e in episodes])

    return {
        "input_ids": column("input_ids", pad_id),
        "token_mask": torch.tensor([[i < len(e) for i in range(width)] for e in episodes]),
        "action_mask": column("action_mask", False),
        "imitate_mask": column("imitate_mask", False),
        "end_mask": column("end_mask", False),
        "returns": column("returns", 0.0),
        "success": torch.tensor([episode.success for episode in episodes]),
    }


class OreoTrainer(Trainer):
    """Trains a policy, and for OREO a critic, on encoded episodes.

    The reference policy is a frozen copy of the policy at the start.

    Args:
        policy: causal LM to train, in place.
        tokenizer: saved beside it.
        args: options.
        train_dataset: episodes from :meth:`oreo_agents.chat.Chat.encode`.
        critic: starts from this; for OREO, None means a copy of the policy's trunk with V = 0.
        callbacks: as in Trainer.

    Raises:
        DatasetError: no episodes; none of the needed kind; one longer than ``max_length``.
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
        episodes = _check(train_dataset, args)
        self.reference: PreTrainedModel | None = None
        if args.method == "oreo":
            critic = critic or Critic.from_policy(policy)
            self.reference = copy.deepcopy(policy).eval().requires_grad_(False).to(args.device)
        if args.device.type == "cpu":
            backbones = [policy, self.reference, None if critic is None else critic.backbone]
            for model in backbones:
                if model is not None:
                    model.set_attn_implementation("eager")  # its backward pass is the faster one there
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._metrics: dict[str, list[float]] = defaultdict(list)
        self.tokenizer = tokenizer
        self.trained = PolicyAndCritic(policy, critic if args.method == "oreo" else None, args.head_chunk)
        super().__init__(
            model=self.trained,
            args=args,
            train_dataset=episodes,  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad, args.micro_batch_tokens),  # type: ignore
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = False

    @property
    def policy(self) -> PreTrainedModel:
        """The policy being trained."""
        return self.trained.policy

    @property
    def critic(self) -> Critic | None:
        """The critic being trained, for OREO."""
        return self.trained.critic

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW with a rate of its own for the critic."""
        if self.optimizer is None:
            args = self.args
            groups = [{"params": list(self.policy.parameters()), "lr": args.learning_rate}]
            if self.critic is not None:
                rate = args.learning_rate if args.critic_learning_rate is None else args.critic_learning_rate
                groups.append({"params": list(self.critic.parameters()), "lr": rate})
            self.optimizer = torch.optim.AdamW(
                groups,
                betas=(args.adam_beta1, args.adam_beta2),
                eps=args.adam_epsilon,
                weight_decay=args.weight_decay,
            )
        return self.optimizer

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward over the micro-batches (from :func:`collate`); the loss of the whole batch."""
        model.train()
        total = sum(map(self._weight, inputs))
        loss_sum = torch.zeros((), device=self.args.device)
        for micro in inputs:
            micro = self._prepare_inputs(micro)
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, micro)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"loss is {loss.item()} at step {self.state.global_step}; the last saved checkpoint is intact: "
                    "lower --learning-rate"
                )
            loss = loss * (self._weight(micro) / (total or 1))
            self.accelerator.backward(loss / self.args.gradient_accumulation_steps)
            loss_sum += loss.detach()
            self.state.num_input_tokens_seen += micro["input_ids"].numel()
        return loss_sum / self.args.gradient_accumulation_steps

    def compute_loss(
        self, model, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch=None
    ):
        """The loss of one micro-batch, by method."""
        compute = self._oreo if self.args.method == "oreo" else self._imitation
        loss, out = compute(model, inputs)
        self._record("entropy", masked_mean(out["entropy"], inputs["action_mask"]))
        return (loss, out) if return_outputs else loss

    def _weight(self, inputs: dict[str, Tensor]) -> float:
        """What a micro-batch counts in its batch: for OREO every episode alike, for imitation every token."""
        if self.args.method == "oreo":
            return len(inputs["input_ids"])
        return self._token_weights(inputs).sum().item()

    def _token_weights(self, inputs: dict[str, Tensor]) -> Tensor:
        """What each token counts in imitation, ``[B, T]``; nothing precedes the first."""
        observed = inputs["token_mask"] & ~inputs["action_mask"]
        weights = inputs["imitate_mask"] + self.args.observation_weight * observed
        return torch.nn.functional.pad(weights[:, 1:], (1, 0))

    def _imitation(self, model, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted cross-entropy of actions and, where asked for, observations."""
        weights = self._token_weights(inputs)
        out = model(inputs["input_ids"], inputs["action_mask"] | (weights > 0))
        return -(out["logp"] * weights).sum() / weights.sum().clamp(min=1e-8), out

    def _oreo(self, model, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 8 for the critic, Eq. 9 and the KL for the policy."""
        out = model(inputs["input_ids"], inputs["action_mask"], self.reference)
        beta, actions, returns = self.args.beta, inputs["action_mask"], inputs["returns"]
        values, rho = out["values"], out["rho"]
        states = inputs["end_mask"] | torch.nn.functional.pad(actions[:, 1:], (0, 1))
        loss_v = value_loss(values, rho, returns, states, beta)
        loss_pi = token_policy_loss(values, rho, returns, actions, beta)
        loss_kl = masked_mean(out["kl"], actions)
        self._record("value_loss", loss_v)
        self._record("policy_loss", loss_pi)
        self._record("kl", loss_kl)
        targets = returns - beta * sum_after(rho.detach())
        for name, moment in (
            ("error2", (targets - values) ** 2),
            ("target", targets),
            ("target2", targets**2),
        ):
            self._record(f"_{name}", moment[states].mean())
        for name, chosen in (("won", inputs["success"]), ("lost", ~inputs["success"])):
            if chosen.any():
                self._record(f"rho_{name}", masked_mean(rho[chosen], actions[chosen]))
                self._record(f"value_{name}", masked_mean(values[chosen], states[chosen]))
        frozen = self.state.global_step < self.args.critic_warmup * self.state.max_steps
        return loss_v + (0.0 if frozen else 1.0) * (loss_pi + self.args.alpha * loss_kl), out

    def _record(self, name: str, value: Tensor) -> None:
        self._metrics[name].append(value.detach().item())

    def _clip_grad_norm(self, model):
        """Clip policy and critic apart: a large value error must not shrink the policy's step."""
        parts: list[nn.Module] = [self.policy, *([self.critic] if self.critic is not None else [])]
        norms = [
            self.accelerator.clip_grad_norm_(part.parameters(), self.args.max_grad_norm) for part in parts
        ]
        return norms[0]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what the losses recorded since the last line."""
        means = {name: sum(values) / len(values) for name, values in self._metrics.items()}
        self._metrics.clear()
        moments = {name: means.pop(name) for name in list(means) if name.startswith("_")}
        if moments:
            variance = max(moments["_target2"] - moments["_target"] ** 2, 1e-8)
            means["explained_variance"] = 1 - moments["_error2"] / variance
        super().log({**logs, **{name: round(value, 6) for name, value in means.items()}}, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.save_pretrained(folder / "policy")
        self.tokenizer.save_pretrained(folder / "policy")
        if self.critic is not None:
            self.critic.save_pretrained(folder / "critic")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        policy, _ = load_policy(resume_from_checkpoint)
        self.policy.load_state_dict(policy.state_dict())
        if self.critic is not None:
            critic = load_critic(resume_from_checkpoint)
            if critic is None:
                raise ConfigurationError(f"{resume_from_checkpoint} has no critic to resume from")
            self.critic.load_state_dict(critic.state_dict())

    def save_agent(self, path: str | Path, **card: Any) -> None:
        """Write policy, tokenizer and critic as an agent's folder, whole or not at all, in the precision trained in."""
        policy, critic = self.policy, self.critic
        if self.args.bf16:
            policy = copy.deepcopy(policy).bfloat16()
            critic = copy.deepcopy(critic).in_bfloat16() if critic is not None else None
        save_agent(path, policy, self.tokenizer, critic, method=self.args.method, **card)


def _check(episodes: Sequence[EncodedEpisode], args: OreoConfig) -> list[EncodedEpisode]:
    episodes = [episode for episode in episodes if any(episode.action_mask)]  # the others teach nothing
    if args.method == "rejection":
        episodes = [episode for episode in episodes if episode.success]
    if not episodes:
        wanted = "successful episodes" if args.method == "rejection" else "episodes"
        raise DatasetError(f"there are no {wanted} to train on")
    if args.method == "oreo" and len({episode.success for episode in episodes}) < 2:
        kind = "failed" if episodes[0].success else "successful"
        raise DatasetError(
            f"there are no {kind} episodes: OREO learns from the difference; record rollouts of the policy itself"
        )
    longest = max(map(len, episodes))
    if longest > args.max_length:
        raise DatasetError(
            f"an episode has {longest} tokens, max_length is {args.max_length}: raise max_length "
            "(a cut episode would be trained with a reward it did not earn)"
        )
    return episodes
