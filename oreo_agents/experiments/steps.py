"""What the stages of an experiment do: each turns folders into a folder. Settings first, then a stage's places.

Episodes are trained on in the order of their seeds, which is random but always the same, so that rollouts that were
interrupted and continued give the agent that they would have given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from oreo_envs.files import read_json, remove_path, write_json

from oreo_agents.agents.agent import Agent, options_for
from oreo_agents.agents.load import load_agent
from oreo_agents.agents.selection import Selection
from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.reader import TrajectoryDataset, concatenate_datasets, write_dataset
from oreo_agents.environments import environments
from oreo_agents.errors import OreoError
from oreo_agents.evaluation.evaluate import evaluate
from oreo_agents.evaluation.results import Result, summarise_episodes
from oreo_agents.experiments.arenas import Arena
from oreo_agents.experiments.suite import Demonstrations
from oreo_agents.experiments.verdicts import Judgement
from oreo_agents.inference.server import Server
from oreo_agents.rollout.loop import Watch, look_away
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.training.options import known_as
from oreo_agents.trajectory import Trajectory, name_outcome

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from oreo_agents.agents.oreo import OreoAgent


@dataclass(frozen=True, slots=True)
class Plays:
    """How training games are played."""

    episodes: int | None
    per_game: int
    max_steps: int
    seed: int
    slots: int = 1
    max_new_tokens: int = 8

    def options(self, games: int) -> dict[str, Any]:
        """For :func:`oreo_agents.rollout.record.record`, over so many games."""
        per_game = self.per_game if self.episodes is None else ceil(self.episodes / games)
        schedule = Schedule(per_game, self.seed, limit=self.episodes)
        return {"schedule": schedule, "max_steps": self.max_steps}


@dataclass(frozen=True, slots=True)
class Fit:
    """How an agent is trained."""

    method: str
    options: Mapping[str, Any]
    seed: int
    episodes: int | None = None
    """Of the data, at most so many."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How an agent is judged."""

    label: str
    selection: Selection
    step_limits: tuple[int, ...]
    seed: int
    slots: int

    def to_dict(self) -> dict[str, Any]:
        """Its fields, as a stage is known by them."""
        return {**asdict(self), "selection": self.selection.to_dict()}


@dataclass(frozen=True, slots=True)
class Views:
    """What shows how long work goes on. Stages may run in other processes, so these are functions of modules."""

    watch: Watch = look_away
    """Of episodes that are played."""
    follow_training: Callable[[str], TrainerCallback] | None = None
    """Makes transformers' callback for a training, from the method's name."""


SILENT = Views()

PARTS = 5
"""A training that is interrupted loses at most one of so many."""
WORTH_SAVING = 20
"""Optimizer steps; a shorter training is begun again."""


def record_demonstrations(
    arena: Arena, plays: Plays, shown: Demonstrations, path: Path, *, views: Views = SILENT
) -> None:
    """Episodes of a scripted player, to imitate."""
    player = load_agent(shown.agent, env_id=arena.env_id, epsilon=shown.epsilon, thoughts=shown.thoughts)
    options = plays.options(len(arena.indices))
    record(player, path, arena.env_id, watch=views.watch, **options, **arena.options)


def adopt_episodes(data: str, path: Path) -> None:
    """Recorded episodes, as they are."""
    remove_path(path)
    write_dataset(load_trajectories(data), path)


def adopt_model(model: str, prompt: Any, path: Path) -> None:
    """The model as it is, with its critic if it has one, and the prompt that is asked for, else its own."""
    from oreo_agents.models.agent_card import choose_prompt
    from oreo_agents.models.agent_folder import load_critic, load_policy, save_agent

    policy, tokenizer = load_policy(model)
    told = choose_prompt(model, prompt)
    save_agent(path, policy, tokenizer, load_critic(model, policy), prompt=told, method="none")


def imitate_expert(model: str, prompt: Any, fit: Fit, path: Path, *data: Path, views: Views = SILENT) -> None:
    """The start of all methods: a model that imitates the expert, with the prompt that is asked for, else its own."""
    options = {**fit.options, "prompt": prompt} if prompt else fit.options
    _train(fit, path, model, read_episodes(data), options, views)


def continue_imitation(
    fit: Fit, shown: int, path: Path, start: Path, rollouts: Path, *needs: Path, views: Views = SILENT
) -> None:
    """As many more optimizer steps on the demonstrations as another method makes on the rollouts.

    Args:
        fit: how.
        shown: how many of ``needs``, the first, are demonstrations; a sweep's choice may follow them.
        path: of the new agent.
        start: it starts from this agent.
        rollouts: the other method learns from these.
        needs: see ``shown``.
        views: show how it goes.
    """
    demonstrations, choice = needs[:shown], next(iter(needs[shown:]), None)
    options = {**fit.options, **_read_options(choice)}
    updates = count_updates(options, len(load_trajectories(rollouts)[: fit.episodes]))
    _train(fit, path, start, read_episodes(demonstrations), {**options, "max_steps": updates}, views)


def train_method(fit: Fit, rounds: int, path: Path, start: Path, *needs: Path, views: Views = SILENT) -> None:
    """A method on rollouts, with the options that a sweep has chosen if there was one.

    All make as many optimizer steps as there are batches of all rollouts: one that keeps a part of them, the won ones
    or pairs, goes over that part more often, so that methods are compared and not amounts of training.

    Args:
        fit: how.
        rounds: how many of ``needs``, the first, are rollouts; a sweep's choice may follow them.
        path: of the new agent.
        start: it starts from this agent.
        needs: see ``rounds``.
        views: show how it goes.
    """
    rollouts, choice = needs[:rounds], next(iter(needs[rounds:]), None)
    options = {**fit.options, **_read_options(choice)}
    episodes = read_episodes(rollouts)[: fit.episodes]
    updates = count_updates(options, len(episodes))
    _train(fit, path, start, episodes, {**options, "max_steps": updates}, views)


def adopt_trial(path: Path, choice: Path, *trials: Path) -> None:
    """The agent of a sweep's best trial, as it is."""
    copytree(trials[_read_choice(choice)["best"]], path, dirs_exist_ok=True)


def roll_out_policy(
    arena: Arena,
    plays: Plays,
    patience: int | None,
    temperature: float,
    path: Path,
    policy: Path,
    *,
    views: Views = SILENT,
    server: Server | None = None,
    dtype: str | None = None,
) -> None:
    """A policy's own sampled episodes, on training games; ``server`` has it, too, if there is one."""
    sampling = {"select": "sample", "temperature": temperature, "max_new_tokens": plays.max_new_tokens}
    sampling |= {"dtype": dtype} if dtype else {}
    with _load_agent(policy, server, name="policy", env_id=arena.env_id, **sampling) as agent:
        options = {**plays.options(len(arena.indices)), "slots": plays.slots, "patience": patience}
        record(agent, path, arena.env_id, watch=views.watch, **options, **arena.options)


def judge_agent(
    arena: Arena,
    trial: Trial,
    path: Path,
    agent: Path,
    critic: Path | None = None,
    *,
    views: Views = SILENT,
    server: Server | None = None,
    dtype: str = "float32",
) -> None:
    """An agent's success on a set of games, with another agent's critic where one is given."""
    options: dict[str, Any] = {**asdict(trial.selection), "name": trial.label, "env_id": arena.env_id}
    options |= {} if server else {"critic": critic, "dtype": dtype}
    with _load_agent(agent, server, **options) as player:
        _judge_agent(arena, trial, path, player, views)


def judge_scripted(arena: Arena, trial: Trial, name: str, path: Path, *, views: Views = SILENT) -> None:
    """A scripted player's success on a set of games."""
    from oreo_agents.agents.scripted import ScriptedAgent

    _judge_agent(arena, trial, path, ScriptedAgent(name, arena.env_id), views)


def choose_options(trials: Sequence[Mapping[str, Any]], path: Path, *verdicts: Path) -> None:
    """The first of the trials with the highest success, or else mean return, on the dev games; all are recorded."""
    results = [next(iter(Judgement.read(verdict).results.values())) for verdict in verdicts]
    rates = [result.score for result in results]
    best = rates.index(max(rates))
    tried = [
        {"options": dict(options), **_describe_score(result)}
        for options, result in zip(trials, results, strict=True)
    ]
    write_json(path, {"trials": tried, "best": best, "options": dict(trials[best])})


# ---------------------------------------------------------------------------------------------- details


def _describe_score(result: Result) -> dict[str, Any]:
    names = ("mean_return", "return_ci95") if result.won is None else ("success_rate", "wilson95")
    written = result.to_json()
    return {name: written[name] for name in (names[0], "n", names[1], "invalid_action_rate")}


def _read_options(choice: Path | None) -> dict[str, Any]:
    """What a sweep has chosen, if there was one."""
    return {} if choice is None else _read_choice(choice)["options"]


def _read_choice(choice: Path) -> dict[str, Any]:
    """What :func:`choose_options` has written."""
    try:
        found = read_json(choice)
        return {"best": int(found["best"]), "options": known_as(found["options"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OreoError(f"{choice} is damaged ({error!r}): delete it, and it is chosen again") from error


def count_updates(options: Mapping[str, Any], episodes: int) -> int:
    """Optimizer steps that a training makes on so many episodes."""
    if (steps := options.get("max_steps", -1)) > 0:
        return steps
    batches = ceil(episodes / options.get("per_device_train_batch_size", 32))
    each = ceil(batches / options.get("gradient_accumulation_steps", 1))
    return ceil(options.get("num_train_epochs", 1.0) * each)


def _train(
    fit: Fit,
    path: Path,
    start: str | Path,
    episodes: TrajectoryDataset,
    options: Mapping[str, Any],
    views: Views,
) -> None:
    from oreo_agents.training.datasets import Data
    from oreo_agents.training.train import train

    callbacks = [views.follow_training(fit.method)] if views.follow_training else []
    updates = count_updates(options, len(episodes))
    every = ceil(updates / PARTS) if updates >= WORTH_SAVING else None
    train(
        fit.method,
        Data(cast(Sequence[Trajectory], episodes)),
        start,
        path,
        callbacks=callbacks,
        save_every=every,
        overwrite=True,
        **{"seed": fit.seed, **options},
    )


def read_episodes(data: Sequence[Path]) -> TrajectoryDataset:
    """The episodes of some datasets in the order of their seeds, however they were written."""
    found = concatenate_datasets(*map(load_trajectories, data))
    seeds, games = found.column("seed"), found.games
    order = sorted(range(len(found)), key=lambda row: (seeds[row] or 0, games[row]))
    return found[np.array(order, np.int64)]


@contextmanager
def _load_agent(path: Path, server: Server | None, **options: Any) -> Iterator[OreoAgent]:
    """The agent in a folder, whose policy a server has, too, if there is one; what that was asked for is told."""
    from oreo_agents.agents.oreo import OreoAgent

    if server is None:
        yield OreoAgent.from_pretrained(path, **options)
        return
    from oreo_agents.inference.endpoint import Endpoint

    endpoint = Endpoint.from_server(server)
    yield OreoAgent.from_endpoint(endpoint, path, **options)
    print(endpoint.describe_use(), file=sys.stderr)


def _judge_agent(arena: Arena, trial: Trial, path: Path, agent: Agent, views: Views) -> None:
    from oreo_agents.dataset.writer import TrajectoryWriter
    from oreo_agents.evaluation.beliefs import Beliefs
    from oreo_agents.rollout.destination import introduce_player

    options = {**arena.options, **options_for(agent)}
    make_env = environments(arena.env_id, max(trial.step_limits), **options)
    about = introduce_player(agent, path / "episodes")
    with TrajectoryWriter(path / "episodes", metadata=about, dialect=arena.dialect) as journal:
        _, episodes = evaluate(
            make_env, agent, arena.indices, trial.label, trial.seed, trial.slots, views.watch, journal
        )
    beliefs = Beliefs()
    for episode in episodes:
        beliefs.add(episode)
    results = {limit: summarise_at_limit(episodes, limit, trial) for limit in trial.step_limits}
    Judgement(results, tuple(beliefs.calibration()), agent.tokenizer_fingerprint).write(path)


def summarise_at_limit(episodes: Sequence[Trajectory], limit: int, trial: Trial) -> Result:
    """The result with a step limit, from episodes that were played to the largest of them.

    A policy does not know the limit, so its first steps are those that it would have taken. What an episode cost is
    known of the whole episode alone, and is left out where that was longer.
    """
    result = summarise_episodes([cut_episode(episode, limit) for episode in episodes], trial.label)
    if limit == max(trial.step_limits):
        return result
    unknown = replace(result, tokens_per_episode=None, cost_per_episode=None)
    return replace(unknown, seconds_per_episode=None, seconds_per_decision=None)


def cut_episode(episode: Trajectory, limit: int) -> Trajectory:
    """The episode's first ``limit`` steps; one that goes on beyond them is not won, where winning is defined."""
    if episode.terminated and len(episode) <= limit:
        return episode
    turns = episode.turns[:limit]
    success = episode.success if len(episode) <= limit or episode.success is None else False
    outcome = name_outcome(success, sum(turn.reward for turn in turns))
    counts = len(episode) < limit or "failed" in episode.metadata
    metadata = {k: v for k, v in episode.metadata.items() if k != "ended" or counts}
    cut = replace(episode, turns=turns, outcome=outcome, metadata=metadata)
    return replace(cut, terminated=False, truncated=True)
