"""OreoTrainer: policy and critic trained together on recorded episodes, on transformers' Trainer.

What is minimised is chosen from the table in methods.py; the equations are in losses.py, the pass over the networks
in forward.py, what is taken as data in datasets.py, evaluation in judged.py, what is left on disk in checkpoints.py.
Knows nothing about environments.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import DynamoBackend, gather_object
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)
from transformers.trainer_utils import EvalPrediction

from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.chat import Chat
from oreo_agents.language.encoded import EncodedEpisodes
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.adapters import copy_network, has_adapters, require_adapters_alone
from oreo_agents.models.agent_card import choose_prompt
from oreo_agents.models.agent_folder import load_critic, load_policy, load_tokenizer
from oreo_agents.models.agreement import Probe
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import text_config, trunk_of
from oreo_agents.models.return_scale import PLAIN, ReturnScale, measure_range
from oreo_agents.models.start import FROM_SCRATCH, add_adapters
from oreo_agents.training import metrics
from oreo_agents.training.batches import (
    NO_ITEMS,
    Items,
    MicroBatch,
    PlacedBatch,
    collate_items,
    split_batches,
)
from oreo_agents.training.compiled import compile_layers
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.datasets import REMEDY, Data, read_data
from oreo_agents.training.encoding import encode_episodes
from oreo_agents.training.forward import PolicyAndCritic, read_values
from oreo_agents.training.judged import JudgedTrainer, Play
from oreo_agents.training.layouts import prepare_attention
from oreo_agents.training.losses import effective_temperature, kto_reference_point, masked_mean, sampled_kl
from oreo_agents.training.methods import METHODS
from oreo_agents.training.objectives import (
    critic_states,
    imitation_weights,
    observed_tokens,
    policy_loss,
    select_items,
    tokens_per_error,
    value_loss,
)
from oreo_agents.training.optimizer import MuonAdamW, list_matrices
from oreo_agents.training.reference import Reference
from oreo_agents.training.rows import lay_rows

if TYPE_CHECKING:
    from peft import PeftConfig

NEW_CRITICS = {"separate": Critic.from_policy, "shared": Critic.shared, "lora": Critic.adapted}
KL_GAIN = 0.1
"""Of the proportional controller of alpha (arXiv 1909.08593, Sec. 2.2)."""


class OreoTrainer(JudgedTrainer):
    """Trains a policy, and for methods with a value function a critic, on recorded episodes.

    The reference policy is the policy at the start: a frozen copy, or with PEFT its adapters switched off.

    >>> trainer = OreoTrainer("Qwen/Qwen3-0.6B", OreoConfig("run"), "episodes")          # doctest: +SKIP
    >>> trainer.train(), trainer.evaluate("others"), trainer.save_model("agent")         # doctest: +SKIP

    Args:
        model: an agent's folder, a Hugging Face causal LM (a folder or a name on the Hub), or a causal LM, trained in
            place, which may carry PEFT adapters. All are trained in float32, which keeps what an update changes; one
            in less is cast, in place and with a warning, and of a model of PEFT's what is trained alone.
        args: options; None: those of ``OreoConfig()``.
        train_dataset: a folder of recorded episodes or several, what ``load_trajectories`` returns, trajectories, a
            Hugging Face dataset with ``messages`` and ``reward``, or episodes that
            :meth:`oreo_agents.language.chat.Chat.encode` has encoded. None: only evaluate.
        eval_dataset: held-out episodes, of the same kinds, or several by name; see :meth:`evaluate`.
        processing_class: the tokenizer; None: the one of ``model``. It is saved beside the policy.
        peft_config: train these adapters alone (PEFT).
        critic: starts from this; None means the one in the folder of ``model``, or a new one with V = 0, of the kind
            that ``args.critic`` says.
        callbacks: as in Trainer; all of transformers' work.
        compute_metrics: from an ``EvalPrediction`` to numbers, as in Trainer; :meth:`predict` says what is in it. No
            logits are kept.
        play: from an agent (``OreoAgent(*networks)`` makes one of the :class:`Networks` that it is given) to its
            episodes in the games that judge it; every evaluation then has ``eval_success``.
        prompt: what the agent is told and how it answers, by value, name or file; None: ``args.prompt``, else the one
            in the folder of ``model``.

    Raises:
        CheckpointError: there is no causal LM at ``model``.
        DatasetError: no episodes; none of the needed kind; one longer than ``max_length`` or what the model reads.
        ConfigurationError: the options do not fit the model or the critic, more than adapters is trained of a model
            of PEFT's, or the architecture would be trained or played wrongly.
    """

    def __init__(
        self,
        model: PreTrainedModel | str | os.PathLike[str] | None = None,
        args: OreoConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        critic: Critic | None = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        play: Play | None = None,
        prompt: Prompt | str | Path | None = None,
    ) -> None:
        args = OreoConfig() if args is None else args
        _check_arguments(model, args, train_dataset, eval_dataset, play, processing_class)
        if isinstance(model, str | os.PathLike) or peft_config is not None:
            torch.manual_seed(args.seed)
        self.start = model
        policy, tokenizer, critic = _load_networks(cast(Any, model), processing_class, critic)
        policy = policy if peft_config is None else add_adapters(policy, peft_config)
        _cast_trained(policy, critic)
        self.args, self.objective, self.play = args, METHODS[args.method], play
        self.tokenizer, self._readable = tokenizer, text_config(policy)
        self.prompt = choose_prompt(model, args.prompt if prompt is None else prompt)
        self.chat = Chat(tokenizer, self.prompt)
        self._told_of_encoding = [one.on_encode for one in callbacks or () if hasattr(one, "on_encode")]
        data = Data([]) if train_dataset is None else self._read(train_dataset, "train_dataset")
        self.sources, self.environments = data.sources, data.environments
        before = critic.scale if critic and self.objective.critic else PLAIN
        discount = before.discount if args.discount is None else args.discount
        encoded = self._encode(data, discount)
        self.scale = choose_scale(args, before, discount, encoded)
        self.items = items = (
            NO_ITEMS
            if train_dataset is None
            else select_items(self.objective, self.scale.normalise(encoded), args, text_config(policy))
        )
        held_out: Any = NO_ITEMS if play and eval_dataset is None else eval_dataset
        if held_out is not None:
            held_out = self._hold_out_all(held_out)
        longest = max(one.longest for one in (items, *_list_held_out(held_out)))
        probe = Probe(policy)
        probe.require(probe.generate, "played")
        if has_adapters(policy):
            require_adapters_alone(policy, trunk_of(policy))
        for network in (trunk_of(policy), critic.backbone if critic else None):
            if network is not None:
                prepare_attention(network, args.layout, longest)
        critic = _choose_critic(policy, critic, args) if self.objective.critic else None
        if critic is not None:
            critic.scale = self.scale
        self.reference = Reference(policy, args.cache_reference) if self.objective.reference else None
        keeps_average = critic is not None and args.target_decay is not None
        self.target_critic = _copy_frozen(critic).to(args.device) if critic and keeps_average else None
        self.alpha = cast(float, args.alpha)
        self._meters = metrics.Meters()
        self._step_kl: list[tuple[Tensor, float]] = []
        self.trained = PolicyAndCritic(policy, critic, args.head_chunk, args.layout)
        probe.require(self.trained.read_rows, "trained")
        self.pad_id = pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        super().__init__(
            model=self.trained,
            args=args,
            train_dataset=items,  # type: ignore[arg-type]
            eval_dataset=held_out,
            data_collator=lambda batch: collate_items(batch, pad, args.micro_batch_tokens),  # type: ignore
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
        )
        if args.torch_compile:
            if self._is_sharded:
                raise ConfigurationError(
                    "torch_compile is for a model that is whole on every device: leave it or the sharding out"
                )
            # Left to itself, accelerate would compile the pass as a whole.
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO
        if self.reference:
            plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
            if plugin is not None and getattr(plugin, "fsdp_version", 1) == 2:
                self.reference.shard(plugin.mixed_precision_policy)
            self.reference.model.to(args.device)  # type: ignore[arg-type]
        self.model_accepts_loss_kwargs = False
        self._critic_alone = False
        self.add_callback(_AroundStep(self))

    def __repr__(self) -> str:
        step = f"step {self.state.global_step} of {self.state.max_steps or '?'}"
        return f"OreoTrainer({self.args.method}, {len(self.items)} items, {step})"

    def train(self, *args: Any, **options: Any) -> Any:
        """Trainer's; with ``torch_compile`` the layers of all networks are compiled meanwhile."""
        networks = self.policy, self.critic, self.target_critic, self.reference and self.reference.model
        trunks = {id(trunk): trunk for network in networks if network for trunk in [_find_trunk(network)]}
        with compile_layers(trunks.values(), self.args) if self.args.torch_compile else nullcontext():
            return super().train(*args, **options)

    def _read(self, dataset: Any, name: str) -> Data:
        """Episodes; who only imitates them need not know how they ended."""
        return read_data(dataset, name, self.objective.reference or self.objective.items == "successes")

    def hold_out(self, dataset: Any, name: str = "eval_dataset") -> Items:
        """What the objective draws from a dataset, of any kind that ``train_dataset`` may be."""
        if isinstance(dataset, Items):
            return dataset
        episodes = self.scale.normalise(self._encode(self._read(dataset, name), self.scale.discount))
        return select_items(self.objective, episodes, self.args, self._readable, held_out=True)

    def _encode(self, data: Data, discount: float) -> EncodedEpisodes:
        """Callbacks that have ``on_encode(done, total)`` are told how far it is."""

        def follow(done: int, total: int) -> None:
            for tell in self._told_of_encoding:
                tell(done, total)

        return encode_episodes(data.episodes, self.chat, follow, discount, self.prompt.environments)

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's, where there is something to train on."""
        if not len(self.items):
            raise DatasetError("there are no episodes to train on: give OreoTrainer a train_dataset")
        loader = super().get_train_dataloader()
        loader.device = None  # batches are counted on the host, before they go to the device
        return loader

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW, or Muon for the weight matrices, with a rate of its own for the critic."""
        if self.optimizer is None:
            args = self.args
            critic_rate = args.critic_learning_rate
            rates = [args.learning_rate, args.learning_rate if critic_rate is None else critic_rate]
            inner = set(map(id, list_matrices(self.trained))) if args.muon else set()
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
        """Note who learns in this step; DeepSpeed, which steps by itself, lets weights decay without a gradient."""
        self._critic_alone = self._warming_up
        for group in cast(torch.optim.Optimizer, self.optimizer).param_groups:
            if group.get("part") == "policy":
                group["weight_decay"] = 0.0 if self._warming_up else self.args.weight_decay

    def before_update(self) -> None:
        """While the critic learns alone, the policy's moments wait: a zero is no gradient to average with."""
        if self._critic_alone:
            for parameter in self._parts()[0]:
                parameter.grad = None

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        """What all processes' batches of an optimizer step weigh together."""
        own = torch.tensor([sum(self._weight(micro) for batch in batch_samples for micro in batch)])
        if self.accelerator.num_processes > 1:
            own = cast(Tensor, self.accelerator.gather(own.to(device)))
        return own.sum()

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """The batches of an optimizer step, on the device, and what they weigh together."""
        batches, total = super().get_batch_samples(epoch_iterator, num_batches, device)
        return self.place_batches(batches) if batches else batches, total

    def place_batches(
        self, batches: list[list[MicroBatch]], everyones: bool = True
    ) -> list[list[PlacedBatch]]:
        """Batches as the passes take them, on the device; KTO's with the reference point of all of them.

        Args:
            batches: of an optimizer step, or of this process alone.
            everyones: all processes place theirs at once.
        """
        if any("rows" in micro for batch in batches for micro in batch):
            return batches
        if everyones:
            batches = [self._evenly(batch) for batch in batches]
        if self.objective.items == "mismatches":
            return self._with_reference_point(batches, everyones)
        return [[self.place_batch(micro) for micro in batch] for batch in batches]

    def place_batch(self, micro: MicroBatch) -> PlacedBatch:
        """A micro-batch of :func:`collate_items` as the passes take it.

        Returns:
            its columns and ``rows``, on the device, and what the host knows of it: ``weight`` and ``tokens``.
        """
        actions, observed = micro["action_mask"], None
        if self.args.observation_weight and self.objective.critic:
            observed = observed_tokens(micro)
        elif self.objective.imitates:
            actions = actions | (imitation_weights(micro, self.args) > 0)
        rows = lay_rows(micro["input_ids"], actions, micro["token_mask"], micro.get("start_mask"), observed)
        device = self.args.device
        columns = {name: x.to(device, non_blocking=True) for name, x in micro.items()}
        known = {"weight": self._weight(micro), "tokens": sum(rows.counts)}
        return {**columns, **known, "rows": rows.to(device)}

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward over the micro-batches (from :func:`collate_items`); the loss of the whole batch."""
        model.train()
        total = num_items_in_batch
        if total is None:
            total = self._get_num_items_in_batch([inputs], self.args.device)
        (micros,) = self.place_batches([inputs])
        share = self.accelerator.num_processes / max(
            float(total), 1e-8
        )  # gradients are averaged over processes
        loss_sum = torch.zeros((), device=self.args.device)
        for i, micro in enumerate(micros):
            with self._synchronise_last(model, last=i + 1 == len(micros)):
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, micro) * (micro["weight"] * share)
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
            self.state.num_input_tokens_seen += micro["tokens"]
        self.watch_loss(loss_sum)
        return loss_sum

    def _evenly(self, micros: list[MicroBatch]) -> list[MicroBatch]:
        """As many micro-batches on every process: sharded models exchange weights in each."""
        if self.accelerator.num_processes == 1:
            return micros
        count = torch.tensor([len(micros)], device=self.args.device)
        return split_batches(micros, int(self.accelerator.gather(count).max()))  # type: ignore

    @contextmanager
    def _synchronise_last(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Processes exchange gradients with the last micro-batch only; those of a sharded model, which they would have
        to keep whole until then, with each."""
        if last:
            yield
            return
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(False)
        with nullcontext() if self._is_sharded else self.accelerator.no_sync(model):
            yield
        state._set_sync_gradients(before)

    @torch.no_grad()
    def _with_reference_point(
        self, batches: list[list[MicroBatch]], everyones: bool
    ) -> list[list[PlacedBatch]]:
        """Measure KTO's reference point on the mismatched episodes of an optimizer step, and leave those out."""
        ratios = []
        for micro in itertools.chain.from_iterable(batches):
            other = self.place_batch({name: x[1::2] for name, x in micro.items()})
            with self.compute_loss_context_manager():
                ratios.append(self._run(self.model_wrapped, other, "none")["rho"].sum(1))
        measured = torch.cat(ratios)
        point = kto_reference_point(
            cast(Tensor, self.accelerator.gather(measured)) if everyones else measured
        )

        def place_own(micro: MicroBatch) -> PlacedBatch:
            own = self.place_batch({name: x[0::2] for name, x in micro.items()})
            return {**own, "weight": self._weight(micro), "reference_point": point}

        return [[place_own(micro) for micro in batch] for batch in batches]

    def compute_loss(
        self, model, inputs: MicroBatch | PlacedBatch, return_outputs: bool = False, num_items_in_batch=None
    ):
        """The loss of one micro-batch, by the method's objective."""
        objective, args = self.objective, self.args
        if "rows" not in inputs:
            inputs = self.place_batch(inputs)
        vocabulary = objective.regularised and args.regularizer != "sampled"
        out = self._run(model, inputs, cast(Any, args.regularizer if vocabulary else "none"))
        rows, actions = len(inputs["input_ids"]), inputs["action_mask"]
        metrics.record_policy(self._meters, inputs, out)
        loss = policy_loss(objective, inputs, out, args)
        self._meters.add("policy_loss", loss, inputs["weight"])
        if self.reference:
            kl = masked_mean(out["kl"] if vocabulary else sampled_kl(out["rho"]), actions)
            self._meters.add("kl", kl, rows)
            if objective.regularised:
                self._step_kl.append((kl.detach(), rows))
                loss = loss + self._alpha.to(kl.dtype) * kl
                if (tokens := tokens_per_error(objective, inputs)) is not None:
                    tokens = tokens.double().clamp(min=1)
                    warmth = effective_temperature(args.beta, self._alpha, tokens)
                    self._meters.add("effective_temperature", warmth, rows)
        if objective.critic:
            loss_v = value_loss(objective, inputs, out, args)
            self._meters.add("value_loss", loss_v, rows)
            states = critic_states(objective, inputs)
            metrics.record_critic(self._meters, inputs, out, states, args.beta)
            loss = args.value_weight * loss_v + (0.0 if self._warming_up else loss)
            if "observed_logp" in out:
                loss_o = -masked_mean(out["observed_logp"], observed_tokens(inputs))
                self._meters.add("observation_loss", loss_o, rows)
                loss = loss + args.observation_weight * loss_o
        return (loss, out) if return_outputs else loss

    @property
    def _warming_up(self) -> bool:
        """The critic learns alone."""
        steps = self.args.critic_warmup * self.state.max_steps
        return self.objective.critic and self.state.global_step < steps

    def _run(self, model: nn.Module, batch: PlacedBatch, divergence: Any) -> dict[str, Tensor]:
        """One pass over all networks."""
        out = model(batch["rows"], self.reference, divergence, critic_alone=self._warming_up)
        if self.target_critic is not None:
            with torch.no_grad():
                out["target_values"] = read_values(self.target_critic, self.args.layout, batch["rows"])
        return out

    def _weight(self, batch: MicroBatch) -> float:
        """What a micro-batch counts in its batch: every item alike, in imitation every token."""
        if self.objective.imitates:
            return imitation_weights(batch, self.args).sum().item()
        return len(batch["input_ids"]) / self.objective.rows

    def after_step(self) -> None:
        """Once the optimizer has stepped: adapt alpha, let the average of past critics follow."""
        if self.args.kl_target is not None and self._step_kl and not self._critic_alone:
            sums = [
                sum(kl.double() * rows for kl, rows in self._step_kl),
                sum(torch.full_like(kl, rows) for kl, rows in self._step_kl),
            ]
            total, rows = self.accelerator.reduce(torch.stack([x.float() for x in sums])).double()  # type: ignore
            error = (total / rows / self.args.kl_target - 1).clamp(-0.2, 0.2)
            self._alpha *= 1 + KL_GAIN * error
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
        self.refuse_nan()
        means = metrics.restore_units(self._meters.read(lambda sums: gather_object([sums])), self.scale)
        if self.args.kl_target is not None and means:
            means["alpha"] = self.alpha
        super().log({**logs, **{name: round(value, 6) for name, value in means.items()}}, start_time)


class _AroundStep(TrainerCallback):
    def __init__(self, trainer: OreoTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.trainer.before_step()

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.trainer.before_update()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.trainer.after_step()
        self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        """A checkpoint is logged up to where it is: no line of a resumed run covers steps that it has not seen.

        The last step is logged, too, so that a short training leaves a log.
        """
        at_end = state.global_step >= state.max_steps
        control.should_log = control.should_log or control.should_save or at_end


def _check_arguments(
    model: Any, args: Any, train_dataset: Any, eval_dataset: Any, play: Any, tokenizer: Any
) -> None:
    """Refuse what cannot be before anything is loaded."""
    if not isinstance(args, OreoConfig):
        raise ConfigurationError(
            f"args is of type {type(args).__name__}: give an OreoConfig, as OreoConfig(output_dir)"
        )
    if model is None:
        raise ConfigurationError(
            "there is no model to train: OreoTrainer(model, args, train_dataset), as in OreoTrainer('small', "
            "OreoConfig('run'), 'runs/rollouts')"
        )
    if not isinstance(model, nn.Module | str | os.PathLike):
        raise ConfigurationError(
            f"model is of type {type(model).__name__}: give an agent's folder, a causal LM, or its name on the Hub"
        )
    if str(model) in FROM_SCRATCH and not Path(str(model)).exists():
        raise ConfigurationError(
            f"model {model!r} is a decoder that does not exist yet: make and train it with "
            f"oreo_agents.train(data, {str(model)!r}, output)"
        )
    if train_dataset is None and eval_dataset is None and play is None:
        raise ConfigurationError(f"there is nothing to train on, train_dataset is None: {REMEDY}")
    if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ConfigurationError(
            f"processing_class is of type {type(tokenizer).__name__}: give the tokenizer itself, as "
            "AutoTokenizer.from_pretrained(folder) makes it, or leave it out where model is a folder or a name"
        )


def _load_networks(
    model: PreTrainedModel | str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None,
    critic: Critic | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Critic | None]:
    """Policy, tokenizer and critic; those of a folder as master weights: the pass may run in bf16."""
    if isinstance(model, str | os.PathLike):
        policy, own = load_policy(os.fspath(model))
        if critic is None:
            critic = load_critic(os.fspath(model), policy)
            critic = critic and critic.float()
        return policy.float(), tokenizer or own, critic
    if tokenizer is None:
        if not (name := getattr(model, "name_or_path", "")):
            raise ConfigurationError(
                "processing_class is needed, the model does not say which: give its tokenizer"
            )
        tokenizer = load_tokenizer(name)
    return model, tokenizer, critic


def _cast_trained(policy: PreTrainedModel, critic: Critic | None) -> None:
    """Hold in float32 what is trained: at the rates for pretrained models less loses most of every update."""
    adapted = has_adapters(policy)
    for name, network in (("model", policy), ("critic", critic)):
        parameters = network.parameters() if network else ()
        narrow = [p for p in parameters if p.requires_grad and p.dtype.itemsize < torch.float32.itemsize]
        if not network or not narrow:
            continue
        dtype = str(narrow[0].dtype).removeprefix("torch.")
        warnings.warn(
            f"the {name} is in {dtype}, which drops most of every update at the rates for pretrained models: what is "
            "trained of it is cast to float32, in place; OreoConfig(bf16=True) has the passes in bfloat16",
            stacklevel=3,
        )
        if adapted:  # the weights below may stay as they are
            for parameter in narrow:
                parameter.data = parameter.data.float()
        else:
            network.float()


def _list_held_out(held_out: Any) -> Sequence[Items]:
    """Those of an evaluation, where there are any."""
    if held_out is None:
        return []
    return [*held_out.values()] if isinstance(held_out, dict) else [held_out]


def _choose_critic(policy: PreTrainedModel, critic: Critic | None, args: OreoConfig) -> Critic:
    if critic is None:
        return NEW_CRITICS[args.critic or "separate"](policy)
    if (kind := critic.kind(policy)) != (args.critic or kind):
        raise ConfigurationError(
            f"the model comes with a {kind} critic, but critic is {args.critic!r}: choose one"
        )
    if kind == "lora":
        Critic.adapted(policy)  # says what is wrong where the policy is trained as a whole
    return critic


def choose_scale(
    args: OreoConfig, before: ReturnScale, discount: float, episodes: EncodedEpisodes
) -> ReturnScale:
    """The unit of the values: the one asked for, else that of the critic it starts from, else one that fits."""
    if asked := args.return_range():
        return ReturnScale(*asked, discount)
    if before.is_plain and (measured := measure_range(episodes)):
        return ReturnScale(*measured, discount)
    return replace(before, discount=discount)


def _find_trunk(network: PreTrainedModel | Critic) -> PreTrainedModel:
    return network.backbone if isinstance(network, Critic) else trunk_of(network)


def _copy_frozen(critic: Critic) -> Critic:
    return copy_network(critic).requires_grad_(False).eval()
