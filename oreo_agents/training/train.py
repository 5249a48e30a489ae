"""From recorded episodes and a starting model to a trained agent on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_envs.files import LOCK, hash_json, lock_folder, remove_folder, write_file

from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.models.start import FROM_SCRATCH, starting_model, with_lora
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from oreo_agents.training.config import OreoConfig
    from oreo_agents.training.judged import Play
    from oreo_agents.training.trainer import OreoTrainer

SCRATCH_RATES = {"sft": 4e-3, "rejection": 3e-4, "oreo": 3e-4}
"""Peak learning rates for a decoder of a few million parameters; pretrained models take the paper's 5e-6."""


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
            something else than an agent, or one that is not to be replaced.
        ConfigurationError: another training into ``output`` is at work.
        DatasetError: the episodes do not fit the method or the model's tokenizer.
    """
    from oreo_agents.training.datasets import read_data

    data = read_data(episodes)

    import torch
    from transformers import PrinterCallback

    from oreo_agents.models.agent_folder import agent_folder, choose_prompt, load_critic
    from oreo_agents.models.model_files import identify_model
    from oreo_agents.training.callbacks import KeepBest
    from oreo_agents.training.trainer import OreoTrainer

    interrupted = any(
        Path(f"{Path(output).resolve()}.checkpoints").glob("checkpoint-*")
    )  # it was allowed then
    output = agent_folder(output, overwrite or interrupted)
    options = {**machine_defaults(), **_method_defaults(method, str(model)), **options}
    judging = {"eval_strategy": "steps", "eval_steps": eval_every} if eval_every else {}
    saving = {"save_strategy": "steps", "save_steps": save_every, "save_total_limit": 1} if save_every else {}
    config = _make_config({**options, **judging, **saving, "output_dir": f"{output}.checkpoints"})
    checkpoints = Path(str(config.output_dir))
    with _hold_folder(checkpoints) if config.process_index == 0 else nullcontext():
        torch.manual_seed(config.seed)
        policy, tokenizer = starting_model(model, cast(Sequence[Trajectory], data.episodes))
        critic = None if str(model) in FROM_SCRATCH else load_critic(model, policy)
        critic, policy = critic and critic.float(), policy.float()  # master weights; the pass may run in bf16
        trainer = OreoTrainer(
            with_lora(policy, lora) if lora else policy,
            config,
            data,
            eval_dataset,
            tokenizer,
            critic=critic,
            callbacks=[*callbacks],
            play=play,
            prompt=choose_prompt(model, config.prompt),
        )
        trainer.start = model
        trainer.remove_callback(PrinterCallback)
        if play or eval_dataset is not None:
            trainer.add_callback(KeepBest(trainer, patience))
        checkpoint = None
        if save_every:
            in_order = [digest.hex() for digest in trainer.items.list_digests()]
            checkpoint = _last_checkpoint(config, [options, lora, identify_model(model), in_order])
        trainer.train(resume_from_checkpoint=checkpoint)
        count = len(data.episodes)
        trainer.save_agent(output, license, steps=trainer.state.global_step, episodes=count)
        if config.push_to_hub:
            trainer.push_to_hub(episodes=count, license=license)
        if save_every and trainer.args.should_save:
            remove_folder(checkpoints)
    return trainer


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


def _last_checkpoint(config: OreoConfig, made_from: Sequence[Any]) -> str | None:
    """Where an interrupted training from the same things got to; notes what this one is made from."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(str(config.output_dir))
    digest, note, last = hash_json(made_from), folder / "made_from.sha256", None
    if folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if not note.is_file() or note.read_text() != digest:
            raise CheckpointError(
                f"{folder} has checkpoints of another training (other episodes, model or options): "
                "delete it, or choose another --output"
            )
    elif config.should_save:
        write_file(note, digest)
    return last


def machine_defaults() -> dict[str, Any]:
    """Precision and batch shape for the machine at hand."""
    from oreo_agents.models.decoder import best_device, fast_bf16

    defaults: dict[str, Any] = {"bf16": fast_bf16(), "disable_tqdm": True}
    if best_device().type == "cpu":
        defaults |= {"use_cpu": True, "micro_batch_tokens": 2048}  # small, so that little of it is padding
    return defaults


def _method_defaults(method: str, model: str) -> dict[str, Any]:
    scratch = {"learning_rate": SCRATCH_RATES.get(method, 3e-4), "muon": True}
    return {"method": method, **(scratch if model in FROM_SCRATCH else {})}
