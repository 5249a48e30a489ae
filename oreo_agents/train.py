"""From recorded episodes and a starting model to a trained agent on disk: what ``oreo-agents train`` does."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_envs.catalog import describe

from oreo_agents.errors import CheckpointError, ConfigurationError, DatasetError
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.trainer import OreoConfig, OreoTrainer

FROM_SCRATCH = {"small": 256, "tiny": 128}
"""Model names that stand for a new decoder of four layers, and its width: 3 million parameters, 0.8 million."""

SCRATCH_RATES = {"sft": 4e-3, "rejection": 3e-4, "oreo": 3e-4}
"""Peak learning rates for a decoder of a few million parameters; pretrained models take the paper's 5e-6."""


def train(
    method: str,
    episodes: Sequence[Trajectory],
    model: str | Path,
    output: str | Path,
    progress: bool = True,
    play: Callable[[OreoAgent], Iterable[Trajectory]] | None = None,
    play_every: int = 100,
    patience: int | None = None,
    max_new_tokens: int = 32,
    lora: int | None = None,
    save_every: int | None = None,
    **options: Any,
) -> OreoTrainer:
    """Train on ``episodes`` and write the agent to ``output``, whole or not at all.

    Args:
        method: a key of :data:`oreo_agents.objectives.METHODS`.
        episodes: recorded trajectories; those of a language model carry its token ids.
        model: an agent's folder, a Hugging Face causal LM, or ``small`` or ``tiny`` for a new decoder whose
            vocabulary is learnt from ``episodes``.
        output: the agent's folder; an agent already there is replaced when training has ended.
        progress: show loss, tokens/s and time left.
        play: plays the games that judge the policy while it is trained, and after the last step.
        play_every: steps between two such evaluations.
        patience: stop after so many of them without a better one, and keep the best policy.
        max_new_tokens: an action is cut after this many tokens in them.
        lora: train adapters of this rank on every linear layer (PEFT), and the weights below them not.
        save_every: steps between checkpoints in ``<output>.checkpoints``. An interrupted training that is begun again
            goes on from the last of them, to the same weights; they are removed once it has ended.
        options: fields of :class:`oreo_agents.OreoConfig`.

    Raises:
        CheckpointError: ``model`` is not a checkpoint, the checkpoints are another training's, or ``output`` holds
            something else than an agent.
        DatasetError: the episodes do not fit the method or the model's tokenizer.
    """
    import torch
    from transformers import PrinterCallback

    from oreo_agents.callbacks import EvaluateEvery, TrainingProgress
    from oreo_agents.chat import Chat
    from oreo_agents.model_card import data_hash
    from oreo_agents.models import agent_folder, load_critic
    from oreo_agents.stages import identity
    from oreo_agents.trainer import OreoConfig, OreoTrainer

    output = agent_folder(output)
    options = {**machine_defaults(), **_method_defaults(method, str(model)), **options}
    saving = {"save_strategy": "steps", "save_steps": save_every, "save_total_limit": 1} if save_every else {}
    config = OreoConfig(output_dir=f"{output}.checkpoints", **{**options, **saving})
    torch.manual_seed(config.seed)
    policy, tokenizer = _start(model, episodes)
    critic = None if str(model) in FROM_SCRATCH else load_critic(model, policy)
    critic, policy = (
        critic and critic.float(),
        policy.float(),
    )  # master weights; the forward pass may run in bf16
    chat = Chat(tokenizer)
    encoded = [chat.encode(episode) for episode in episodes]
    shown = TrainingProgress(method) if progress else None
    trainer = OreoTrainer(
        with_lora(policy, lora) if lora else policy,
        tokenizer,
        config,
        encoded,
        critic=critic,
        callbacks=[shown] if shown else [],
    )
    trainer.remove_callback(PrinterCallback)
    if play:
        trainer.add_callback(EvaluateEvery(trainer, play, play_every, shown, patience, max_new_tokens))
    checkpoint = None
    if save_every:
        in_order = [data_hash([episode]) for episode in encoded]
        checkpoint = _last_checkpoint(config, [options, lora, identity(model), in_order])
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_agent(output, steps=trainer.state.global_step, episodes=len(episodes))
    if config.push_to_hub:
        trainer.push_to_hub(episodes=len(episodes))
    checkpoints = Path(str(config.output_dir))
    if save_every and trainer.args.should_save:
        shutil.rmtree(checkpoints)
    with suppress(OSError):  # it stays where there are checkpoints in it
        checkpoints.rmdir()
    return trainer


def _last_checkpoint(config: OreoConfig, made_from: Sequence[Any]) -> str | None:
    """Where an interrupted training from the same things got to; notes what this one is made from."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(str(config.output_dir))
    digest = hashlib.sha256(json.dumps(made_from, default=str).encode()).hexdigest()
    note, last = folder / "made_from.sha256", None
    if folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if not note.is_file() or note.read_text() != digest:
            raise CheckpointError(
                f"{folder} has checkpoints of another training (other episodes, model or options): "
                "delete it, or choose another --output"
            )
    elif config.should_save:
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(digest)
    return last


def machine_defaults() -> dict[str, Any]:
    """Precision and batch shape for the machine at hand."""
    from oreo_agents.models import best_device, fast_bf16

    defaults: dict[str, Any] = {"bf16": fast_bf16(), "disable_tqdm": True}
    if best_device().type == "cpu":
        defaults |= {"use_cpu": True, "micro_batch_tokens": 2048}  # small, so that little of it is padding
    return defaults


def _method_defaults(method: str, model: str) -> dict[str, Any]:
    scratch = {"learning_rate": SCRATCH_RATES.get(method, 3e-4), "muon": True}
    return {"method": method, **(scratch if model in FROM_SCRATCH else {})}


def _start(
    model: str | Path, episodes: Sequence[Trajectory]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from oreo_agents.models import load_policy, small_decoder

    if str(model) not in FROM_SCRATCH:
        return load_policy(model)
    if not episodes:
        raise DatasetError("a new decoder learns its vocabulary from episodes, and there are none")
    tokenizer = tokenizer_for(episodes)
    return small_decoder(tokenizer, FROM_SCRATCH[str(model)]), tokenizer


def with_lora(policy: PreTrainedModel, rank: int) -> PreTrainedModel:
    """The policy with LoRA adapters (arXiv 2106.09685) on every linear layer but the head, alpha twice the rank."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return cast("PreTrainedModel", get_peft_model(policy, config))


def tokenizer_for(episodes: Sequence[Trajectory]) -> PreTrainedTokenizerBase:
    """A vocabulary learnt from ``episodes``, of the kind that their environments suit; any text where they differ."""
    from oreo_agents.tokenizer import learn_text_tokenizer, learn_tokenizer

    suited = {describe(episode.env_id).vocabulary for episode in episodes}
    learn = learn_tokenizer if suited == {"shorthand"} else learn_text_tokenizer
    return learn(texts_of(episodes))


def texts_of(episodes: Iterable[Trajectory]) -> Iterable[str]:
    """Every observation and action, and the answer to a command that fails."""
    yield "Nothing happens."
    for episode in episodes:
        for turn in episode.turns:
            yield turn.observation
            yield turn.action


def run(args: argparse.Namespace) -> int:
    """``oreo-agents train``."""
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.objectives import METHODS

    if args.patience and not args.eval_every:
        raise ConfigurationError("--patience counts evaluations: say how often with --eval-every")
    options = {
        "learning_rate": args.learning_rate,
        "beta": args.beta,
        "alpha": args.alpha,
        "critic": args.critic,
        "critic_learning_rate": args.critic_learning_rate,
        "critic_warmup": args.critic_warmup,
        "after_action": args.after_action,
        "observation_weight": args.observation_weight,
        "per_device_train_batch_size": args.batch_size,
        "lora": args.lora,
        "save_every": args.save_every,
        "micro_batch_tokens": args.batch_tokens,
        "max_steps": args.steps,
        "num_train_epochs": args.epochs,
        "seed": args.seed,
    }
    given = {k: v for k, v in options.items() if v is not None}
    if idle := sorted(
        f"--{option.replace('_', '-')}" for option in METHODS[args.method].unused & given.keys()
    ):
        raise ConfigurationError(f"{args.method} makes no use of {', '.join(idle)}: leave it out")
    episodes = [episode for path in args.data for episode in load_trajectories(path)]
    if args.eval_every:
        given |= {"play": judge(args), "play_every": args.eval_every, "patience": args.patience}
        given |= {"max_new_tokens": args.max_new_tokens or describe(args.env).max_new_tokens}
    train(args.method, episodes, args.model, args.output, **given)
    return 0


def judge(args: argparse.Namespace) -> Callable[[OreoAgent], Iterable[Trajectory]]:
    """Plays the games that the options name, the same ones every time."""
    from oreo_agents.environments import environments, source_options
    from oreo_agents.evaluation import pick_games, play

    unseen = None if args.games else describe(args.env).judging_split
    options = source_options(args.env, args.split or unseen, args.games)
    make_env = environments(args.env, args.max_steps, **options)
    games = pick_games(make_env, args.eval_episodes, args.seed)
    return lambda agent: play(make_env, agent, games, args.seed)
