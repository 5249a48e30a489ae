"""Training as a user has it, from Python and the command line alike: from data and a model to an agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_envs.catalog import describe, list_splits

from oreo_agents.agents.load import choose_reply_length
from oreo_agents.environments import require_split
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.start import require_start
from oreo_agents.models.trust import trusting_code
from oreo_agents.training.options import OPTIONS, known_as, refuse_unused
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from oreo_agents.training.judged import Networks, Play
    from oreo_agents.training.trainer import OreoTrainer

Watch = Callable[[Iterable[Trajectory]], Iterable[Trajectory]]


PLAYED_IN = "the episodes were played in"
"""How an error begins where nobody says in which environment to judge."""


@dataclass(frozen=True, slots=True)
class EvalGames:
    """The games that judge a policy while it is trained: the same ones every time, each played once, greedily."""

    env: str | None = None
    """None: where the episodes were played that are trained on, if that is one of this package's environments."""
    split: str | None = None
    """None: held-out games, in ALFWorld ``valid_seen`` where real games are and else ``generated_unseen``, or what
    ``games`` is."""
    games: str | os.PathLike[str] | None = None
    """A folder, archive or file of games or problems, instead of a split."""
    episodes: int = 50
    """So many of them, drawn with ``seed``."""
    max_steps: int | None = None
    """Of an episode; None: what the environment is registered with."""
    max_new_tokens: int | None = None
    """Of a reply; None: the prompt's, else the environment's."""
    wording: str | None = None
    seed: int = 0
    success_return: float | None = None
    """An episode is won from this return on, where the environment does not say."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the environment takes, as for ``gym.make``."""

    def __new__(cls, *args: Any, **options: Any) -> EvalGames:
        """Say which word is meant where an agent's is taken."""
        if "env_id" in options:
            raise TypeError("EvalGames has no env_id: the environment's id is env here")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        entry = describe(self.env) if self.env else None
        if entry is None or not entry.foreign:
            require_split(self.split, entry.splits if entry else list_splits())


def train(
    data: Any,
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    method: str = "oreo",
    *,
    eval_data: Any = None,
    eval_games: EvalGames | str | os.PathLike[str] | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    lora: int | None = None,
    save_every: int | None = None,
    license: str | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    watch: Watch | None = None,
    **options: Any,
) -> OreoTrainer:
    """Train on recorded episodes and write the agent to ``output``, as ``oreo-agents train`` does, to the bit.

    >>> trainer = train("episodes", "Qwen/Qwen3-0.6B", "agent", num_train_epochs=3)      # doctest: +SKIP

    Args:
        data: a folder of recorded episodes or several, or what else ``train_dataset`` of
            :class:`oreo_agents.OreoTrainer` may be.
        model: an agent's folder, a Hugging Face causal LM, ``small``, the shipped agent, or ``new-small``, ``new-tiny``
            or ``new-mini`` for a new decoder.
        output: the agent's folder.
        method: a key of :data:`oreo_agents.training.methods.METHODS`.
        eval_data: held-out episodes, for losses and the critic's errors.
        eval_games: games, for a success rate; a split's name stands for ``EvalGames(split=name)``, any other path for
            ``EvalGames(games=path)``.
        eval_every: optimizer steps between evaluations; one follows the last step anyhow.
        patience: end the training after so many evaluations without a higher success rate, and keep the best policy.
        lora: train adapters of this rank on every linear layer (PEFT).
        save_every: optimizer steps between checkpoints; the same call then goes on where it was interrupted.
        license: of the agent, an identifier of the Hub's such as ``apache-2.0``.
        overwrite: replace an agent that is in ``output``, when training has ended.
        trust_remote_code: let code run that the model brings.
        callbacks: transformers'.
        watch: sees the episodes of the evaluations pass by.
        options: fields of :class:`oreo_agents.OreoConfig`, also by the names that suites and the command line have.

    Raises:
        ConfigurationError: an option that does not exist, that the method makes no use of, or that cannot be.
        DatasetError: the episodes do not fit the method or the model's tokenizer.
        CheckpointError: ``model`` is not a checkpoint, or ``output`` holds an agent or something else.
    """
    from oreo_agents.models.agent_card import choose_prompt
    from oreo_agents.training import train as training
    from oreo_agents.training.datasets import read_data

    OPTIONS["method"].check(method)
    require_start(os.fspath(model))
    options = known_as(options)
    refuse_unused(method, options)
    if patience and eval_games is None:
        raise ConfigurationError("patience counts evaluations in games: say which with eval_games")
    if eval_every and eval_games is None and eval_data is None:
        raise ConfigurationError("there is nothing to evaluate on: give eval_games or eval_data")
    if eval_games is not None and not isinstance(eval_games, EvalGames):
        eval_games = (
            EvalGames(split=str(eval_games))
            if eval_games in list_splits() and not os.path.exists(eval_games)
            else EvalGames(games=eval_games)
        )
    prompt = choose_prompt(os.fspath(model), options.get("prompt"))
    data = read_data(data)
    play = make_player(eval_games, watch, prompt, data.environments) if eval_games else None
    with trusting_code(trust_remote_code):
        return training.train(
            method,
            data,
            os.fspath(model),
            Path(output),
            eval_dataset=eval_data,
            play=play,
            eval_every=eval_every,
            patience=patience,
            lora=lora,
            save_every=save_every,
            license=license,
            overwrite=overwrite,
            callbacks=callbacks,
            **options,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training would take."""

    parameters: int
    episodes: int
    tokens: int
    """Of the episodes, each once."""
    longest: int
    epochs: float
    memory: Mapping[str, int]
    """Bytes on one card, by what they are for; see :func:`oreo_agents.training.estimate.count_memory`."""
    operations: float
    """Floating-point ones, of a whole training."""
    seconds: Mapping[str, float]
    """By card, at the utilisation that :mod:`oreo_agents.training.estimate` assumes."""


def forecast_training(
    data: Any, model: str | os.PathLike[str], method: str = "oreo", lora: int | None = None, **options: Any
) -> Forecast:
    """What :func:`train` with the same arguments would take of memory and time; nothing is trained.

    Raises:
        DatasetError: as :func:`train`.
        CheckpointError: as :func:`train`.
    """
    from oreo_agents.language.chat import Chat
    from oreo_agents.models.agent_card import choose_prompt
    from oreo_agents.models.decoder import text_config
    from oreo_agents.models.return_scale import PLAIN
    from oreo_agents.models.start import starting_model
    from oreo_agents.training.config import OreoConfig
    from oreo_agents.training.datasets import read_data
    from oreo_agents.training.encoding import encode_episodes
    from oreo_agents.training.estimate import (
        PEAKS,
        Shape,
        Workload,
        count_flops,
        count_memory,
        estimate_seconds,
    )
    from oreo_agents.training.methods import METHODS
    from oreo_agents.training.objectives import select_items
    from oreo_agents.training.train import machine_defaults
    from oreo_agents.training.trainer import choose_scale

    config = OreoConfig(
        **{**machine_defaults(), "output_dir": "unused", "method": method, **known_as(options)}
    )
    episodes = read_data(data).episodes
    policy, tokenizer = starting_model(os.fspath(model), cast(Sequence[Trajectory], episodes))
    prompt = choose_prompt(os.fspath(model), config.prompt)
    chat = Chat(tokenizer, prompt)
    objective, shape = METHODS[method], Shape.of(text_config(policy))
    discount = PLAIN.discount if config.discount is None else config.discount
    encoded = encode_episodes(episodes, chat, discount=discount, environments=prompt.environments)
    scale = choose_scale(config, PLAIN, discount, encoded)
    items = select_items(objective, scale.normalise(encoded), config, text_config(policy))
    facts = items.episodes.facts[items.places.ravel()]
    lengths = facts["tokens"].astype(float)
    tokens = int(lengths.sum())
    kind: Any = (config.critic or "separate") if objective.critic else "none"
    work = Workload(
        "lora" if lora else kind,
        bool(objective.reference),
        lora or 0,
        config.micro_batch_tokens,
        float((lengths**2).sum() / tokens),
        head_chunk=config.head_chunk,
        bf16=bool(config.bf16),
        checkpointing=bool(config.gradient_checkpointing),
    )
    epochs = config.num_train_epochs
    if config.max_steps > 0:
        epochs = config.max_steps * config.train_batch_size / len(items)
    return Forecast(
        shape.parameters,
        len(facts),
        tokens,
        items.longest,
        epochs,
        count_memory(shape, work),
        count_flops(shape, work) * tokens * epochs,
        {card: estimate_seconds(shape, work, round(tokens * epochs), peak) for card, peak in PEAKS.items()},
    )


def make_player(
    games: EvalGames,
    watch: Watch | None = None,
    prompt: Prompt | None = None,
    learnt: Mapping[str, Mapping[str, Any]] | None = None,
) -> Play:
    """Plays the games, the same ones every time, with the agent that it is given; they are found now.

    Args:
        games: which.
        watch: sees the episodes pass by.
        prompt: of the agent.
        learnt: the environments in which it learns, see :func:`oreo_agents.environments.choose_environment`.

    Raises:
        ConfigurationError: there are no such games, or their environment has to be named.
    """
    from oreo_agents.environments import choose_environment, environments, judging_options
    from oreo_agents.evaluation.evaluate import pick_games, play_games

    place = None if games.games is None else os.fspath(games.games)
    env_id, known = choose_environment(PLAYED_IN, learnt or {}, games.env)
    options = judging_options(env_id, games.split, place, games.wording, known, games.options)
    make_env = environments(env_id, games.max_steps, success_return=games.success_return, **options)
    chosen = pick_games(make_env, games.episodes, games.seed)
    told = (prompt or Prompt()).in_environment(env_id)
    length = games.max_new_tokens or choose_reply_length(told, env_id)

    def play(networks: Networks) -> Iterable[Trajectory]:
        from oreo_agents.agents.oreo import OreoAgent

        agent = OreoAgent(*networks, max_new_tokens=length, prompt=told)
        episodes = play_games(make_env, agent, chosen, games.seed)
        return watch(episodes) if watch else episodes

    return play
