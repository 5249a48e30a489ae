"""From recorded episodes and a starting model to a trained agent on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_envs.files import LOCK, hash_json, lock_folder, read_json, remove_folder, write_json

from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.models.agent_card import agent_folder, choose_prompt
from oreo_agents.models.model_files import checkpoint_folder
from oreo_agents.models.recipe import TrainingRecipe
from oreo_agents.models.start import FROM_SCRATCH, starting_model, with_lora
from oreo_agents.training.ingredients import (
    JUDGED,
    WATCHED,
    find_finished,
    list_changes,
    refuse_other,
)
from oreo_agents.training.options import OPTIONS
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from oreo_agents.training.config import OreoConfig
    from oreo_agents.training.judged import Play
    from oreo_agents.training.trainer import OreoTrainer

SCRATCH_RATES = {"sft": 4e-3, "rejection": 3e-4, "oreo": 3e-4}
"""Peak learning rates for a decoder of a few million parameters; pretrained models take the paper's 5e-6."""

NOTE = "made_from.json"
"""Beside the checkpoints: what the training that they are of is made from."""


def train(
    method: str,
    episodes: Any,
    model: str | Path,
    output: str | Path,
    *,
    eval_dataset: Any = None,
    callbacks: Sequence[TrainerCallback] = (),
    play: Play | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    lora: int | None = None,
    save_every: int | None = None,
    license: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> OreoTrainer:
    """Train on ``episodes`` and write the agent to ``output``, whole or not at all.

    Where ``output`` has the agent that the same call has trained, that is what comes back, and nothing is trained.

    Args:
        method: a key of :data:`oreo_agents.training.methods.METHODS`.
        episodes: recorded trajectories, or anything else that ``train_dataset`` of :class:`OreoTrainer` may be; those
            of a language model carry its token ids.
        model: an agent's folder, a Hugging Face causal LM, ``small``, the shipped agent, or ``new-small``, ``new-tiny``
            or ``new-mini`` for a new decoder whose vocabulary is learnt from ``episodes``.
        output: the agent's folder.
        eval_dataset: held-out episodes, of the same kinds.
        callbacks: transformers', such as :class:`oreo_agents.terminal.training_progress.TrainingProgress`.
        play: from an agent to its episodes in the games that judge it, see :class:`OreoTrainer`.
        eval_every: optimizer steps between evaluations with ``play`` and ``eval_dataset``; another one follows the last
            step. None: only that one, if there is anything to judge by.
        patience: end the training after so many evaluations without a higher success rate, and keep the best policy.
        lora: train adapters of this rank on every linear layer (PEFT), and the weights below them not.
        save_every: steps between checkpoints in ``<output>.checkpoints``. An interrupted training that is begun again
            goes on from the last of them, to the same weights; they are removed once it has ended.
        license: of the agent, for its card; an identifier of the Hub's.
        overwrite: replace an agent that is in ``output``, when training has ended.
        options: fields of :class:`oreo_agents.OreoConfig`.

    Raises:
        CheckpointError: ``model`` is not a checkpoint, the checkpoints are another training's, or ``output`` holds
            something else than an agent, or another training's that is not to be replaced.
        ConfigurationError: another training into ``output`` is at work.
        DatasetError: the episodes do not fit the method or the model's tokenizer.
    """
    from oreo_agents.training.datasets import read_data

    data = read_data(episodes)
    asked, output = output, agent_folder(output)
    beside = {"lora": lora, "patience": patience}
    resumes = bool(save_every and find_checkpoints(output))
    finished = None
    if not (overwrite or resumes):
        finished = find_earlier(asked, method, model, {**options, **beside})  # before torch is loaded
    options = {**_method_defaults(method, str(model)), **options}

    import torch
    from transformers import PrinterCallback

    from oreo_agents.models.agent_folder import load_critic
    from oreo_agents.training.callbacks import KeepBest
    from oreo_agents.training.recipe import describe_base, list_settings
    from oreo_agents.training.trainer import OreoTrainer

    options = {**machine_defaults(), **options}
    judging = {"eval_strategy": "steps", "eval_steps": eval_every} if eval_every else {}
    saving = {"save_strategy": "steps", "save_steps": save_every, "save_total_limit": 1} if save_every else {}
    config = _make_config({**options, **judging, **saving, "output_dir": str(checkpoint_folder(output))})
    checkpoints = checkpoint_folder(output)
    with _hold_folder(checkpoints) if config.process_index == 0 else nullcontext():
        torch.manual_seed(config.seed)
        base = describe_base(model, config)
        known = {**list_settings(config), "method": method, **beside}
        if config.process_index == 0:  # which alone hashes weights
            known["model"] = {"name": base.hub or base.name, "weights": base.sha256}
            if finished:
                refuse_other(asked, finished, known, whole=True)
        begin = output if finished else model
        policy, tokenizer = starting_model(begin, cast(Sequence[Trajectory], data.episodes))
        critic = None if str(begin) in FROM_SCRATCH else load_critic(begin, policy)
        critic, policy = critic and critic.float(), policy.float()  # master weights; the pass may run in bf16
        trainer = OreoTrainer(
            with_lora(policy, lora) if lora and not finished else policy,
            config,
            data,
            eval_dataset,
            tokenizer,
            critic=critic,
            callbacks=[*callbacks],
            play=play,
            prompt=choose_prompt(begin, config.prompt),
        )
        trainer.start, trainer.base_model, trainer.beside = model, base, beside
        trainer.remove_callback(PrinterCallback)
        count = len(data.episodes)
        if finished:
            trainer.take_finished(asked, finished)
        else:
            if play or eval_dataset is not None:
                trainer.add_callback(KeepBest(trainer, patience))
            checkpoint = None
            if save_every:
                known["data"] = {
                    "episodes": len(trainer.items),
                    "sha256": hash_json([digest.hex() for digest in trainer.items.list_digests()]),
                }
                given = {name: value for name, value in options.items() if isinstance(value, dict | list)}
                checkpoint = _last_checkpoint(config, {**known, **given})
            trainer.train(resume_from_checkpoint=checkpoint)
            trainer.save_agent(output, license, steps=trainer.state.global_step, episodes=count)
        if config.push_to_hub:
            trainer.push_to_hub(episodes=count, license=license)
        if save_every and trainer.args.should_save:
            remove_folder(checkpoints)
    return trainer


def find_earlier(
    output: str | Path, method: str, model: str | Path, given: Mapping[str, Any]
) -> TrainingRecipe | None:
    """The recipe of the agent in ``output``, where it may be that of the training that is asked for; None where there
    is no agent.

    Raises:
        CheckpointError: it is another training's.
    """
    options = {**_method_defaults(method, str(model)), **given}
    known = {
        name: value for name, value in options.items() if name in OPTIONS or name in ("lora", "patience")
    }
    return find_finished(output, known)


def find_checkpoints(output: str | Path) -> list[int]:
    """The steps whose checkpoints an interrupted training into ``output`` has left, the last one last."""
    found = (path.name.partition("-")[2] for path in checkpoint_folder(output).glob("checkpoint-*"))
    return sorted(int(step) for step in found if step.isdecimal())


def has_begun(output: str | Path) -> bool:
    """Whether a training into ``output`` has begun to be kept and has not ended."""
    return (checkpoint_folder(output) / NOTE).is_file()


def _make_config(options: Mapping[str, Any]) -> OreoConfig:
    """Transformers' complaints in one sentence, too."""
    from oreo_agents.training.config import OreoConfig

    try:
        return OreoConfig(**options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"these options of training cannot be: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def _hold_folder(checkpoints: Path) -> Iterator[None]:
    """Keep other trainings away; afterwards the folder goes, unless there are checkpoints in it."""
    with lock_folder(checkpoints):
        try:
            yield
        finally:
            with suppress(OSError):
                if {entry.name for entry in checkpoints.iterdir()} <= {LOCK}:
                    shutil.rmtree(checkpoints)


def _last_checkpoint(config: OreoConfig, made_from: Mapping[str, Any]) -> str | None:
    """Where an interrupted training from the same things got to; notes what this one is made from."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(str(config.output_dir))
    note, last = folder / NOTE, None
    if folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        changes = _list_changes(note, made_from)
        if changes:
            raise CheckpointError(
                f"{folder} has checkpoints of another training ({'; '.join(changes)}): go on with what it had, "
                "delete it, or choose another --output"
            )
    elif config.should_save:
        write_json(note, dict(made_from))
    return last


def _list_changes(note: Path, made_from: Mapping[str, Any]) -> list[str]:
    try:
        before = read_json(note)
        return list_changes(before, made_from, WATCHED | JUDGED)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [f"what it is made from is not known: there is no readable {NOTE}"]


def machine_defaults() -> dict[str, Any]:
    """Device and precision for the machine at hand."""
    from oreo_agents.models.decoder import best_device, fast_bf16

    defaults: dict[str, Any] = {"bf16": fast_bf16(), "disable_tqdm": True}
    if best_device().type == "cpu":
        defaults["use_cpu"] = True
    return defaults


def _method_defaults(method: str, model: str) -> dict[str, Any]:
    scratch = {"learning_rate": SCRATCH_RATES.get(method, 3e-4), "muon": True}
    return {"method": method, **(scratch if model in FROM_SCRATCH else {})}
