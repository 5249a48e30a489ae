"""What the stages of a suite do: each turns folders into a folder. Settings first, then the places of a stage.

Episodes are trained on in the order of their seeds, which is random but always the same, so that rollouts that were
interrupted and continued give the agent that they would have given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from oreo_agents.bench.games import Found
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import environments
from oreo_agents.evaluation import Result, evaluate, summarise, write_json
from oreo_agents.trajectory import Trajectory

COSTS = ("tokens_per_episode", "cost_per_episode", "seconds_per_episode", "seconds_per_decision")


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
        """For :mod:`oreo_agents.collect`, over so many games."""
        per_game = self.per_game if self.episodes is None else ceil(self.episodes / games)
        counts = {"episodes_per_game": per_game, "limit": self.episodes}
        return {**counts, "seed": self.seed, "max_steps": self.max_steps, "progress": False}


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
    select: str
    k: int
    step_limits: tuple[int, ...]
    seed: int
    slots: int
    max_new_tokens: int
    temperature: float = 1.0
    logprob_weight: float = 0.0


def demonstrate(games: Found, plays: Plays, epsilon: float, path: Path) -> None:
    """The expert's episodes."""
    from oreo_agents.collect import record

    options = plays.options(len(games.indices))
    record("expert", path, games.env_id, epsilon=epsilon, **options, **games.options)


def adopt(model: str, path: Path) -> None:
    """The model as it is, as an agent's folder."""
    from oreo_agents.models import load_policy, save_agent

    save_agent(path, *load_policy(model), method="none")


def imitate(model: str, fit: Fit, path: Path, *data: Path) -> None:
    """The start of all methods: a model that imitates the expert."""
    _train(fit, path, model, data, fit.options)


def train(fit: Fit, path: Path, start: Path, data: Path, choice: Path | None = None) -> None:
    """A method, with the options that a sweep has chosen if there was one."""
    _train(fit, path, start, [data], {**fit.options, **_chosen(choice)})


def continue_imitation(fit: Fit, shown: int, path: Path, start: Path, rollouts: Path, *needs: Path) -> None:
    """As many more updates on the demonstrations as another method makes on the rollouts.

    Args:
        fit: how.
        shown: how many of ``needs``, the first, are demonstrations; a sweep's choice may follow them.
        path: of the new agent.
        start: it starts from this agent.
        rollouts: the other method learns from these.
        needs: see ``shown``.
    """
    demonstrations, choice = needs[:shown], next(iter(needs[shown:]), None)
    options = {**fit.options, **_chosen(choice)}
    episodes = len(load_trajectories(rollouts))
    updates = _updates(options, min(episodes, fit.episodes or episodes))
    _train(replace(fit, episodes=None), path, start, demonstrations, {**options, "max_steps": updates})


def roll_out(
    games: Found, plays: Plays, patience: int | None, temperature: float, path: Path, policy: Path
) -> None:
    """A policy's own sampled episodes, on training games."""
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.collect import record_rollouts

    agent = OreoAgent.from_pretrained(
        policy, select="sample", temperature=temperature, max_new_tokens=plays.max_new_tokens, name="policy"
    )
    options = {**plays.options(len(games.indices)), "slots": plays.slots, "patience": patience}
    record_rollouts(agent, path, games.env_id, **options, **games.options)


def judge(games: Found, trial: Trial, path: Path, agent: Path, critic: Path | None = None) -> None:
    """An agent's success on a set of games, with another agent's critic where one is given."""
    branches = trial.select == "lookahead"
    _judge(games, trial, path, _agent(trial, agent, critic), {**games.options, "branches": branches})


def judge_scripted(games: Found, trial: Trial, name: str, path: Path) -> None:
    """A scripted player's success on a set of games."""
    from oreo_agents.agents.scripted import ScriptedAgent, follows_plan

    expert = {"expert": True} if follows_plan(name, games.env_id) else {}
    _judge(games, trial, path, ScriptedAgent(name, games.env_id), {**games.options, **expert})


def choose(trials: Sequence[Mapping[str, Any]], path: Path, *verdicts: Path) -> None:
    """The first of the trials with the highest success on the dev games; all are recorded."""
    results = [json.loads((verdict / "result.json").read_text())["results"][0] for verdict in verdicts]
    rates = [result["success_rate"] for result in results]
    best = rates.index(max(rates))
    tried = [
        {"options": dict(options), "success_rate": rate, "n": result["n"], "wilson95": result["wilson95"]}
        for options, rate, result in zip(trials, rates, results, strict=True)
    ]
    write_json(path, {"trials": tried, "best": best, "options": dict(trials[best])})


# ---------------------------------------------------------------------------------------------- details


def _chosen(choice: Path | None) -> dict[str, Any]:
    from oreo_agents.bench.suite import training_options

    return {} if choice is None else training_options(json.loads(choice.read_text())["options"])


def _updates(options: Mapping[str, Any], episodes: int) -> int:
    """Optimizer steps that a training makes on so many episodes."""
    if (steps := options.get("max_steps", -1)) > 0:
        return steps
    batches = ceil(episodes / options.get("per_device_train_batch_size", 32))
    each = ceil(batches / options.get("gradient_accumulation_steps", 1))
    return ceil(options.get("num_train_epochs", 1.0) * each)


def _train(fit: Fit, path: Path, start: str | Path, data: Sequence[Path], options: Mapping[str, Any]) -> None:
    from oreo_agents.train import train

    episodes = [episode for folder in data for episode in load_trajectories(folder)]
    episodes.sort(key=lambda episode: (episode.seed or 0, episode.game))
    episodes = list(islice(episodes, fit.episodes))
    train(fit.method, episodes, start, path, progress=False, **{"seed": fit.seed, **options})


def _agent(trial: Trial, path: Path, critic: Path | None) -> Any:
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.models import load_critic

    options: dict[str, Any] = {
        "select": trial.select,
        "k": trial.k,
        "temperature": trial.temperature,
        "logprob_weight": trial.logprob_weight,
        "max_new_tokens": trial.max_new_tokens,
        "name": trial.label,
    }
    if critic is None:
        return OreoAgent.from_pretrained(path, dtype="float32", **options)
    alone = OreoAgent.from_pretrained(path, dtype="float32")
    lent = load_critic(critic)
    device = next(alone.policy.parameters()).device  # type: ignore[union-attr]
    return OreoAgent(alone.policy, alone.chat.tokenizer, lent and lent.float().to(device), **options)


def _judge(games: Found, trial: Trial, path: Path, agent: Any, options: Mapping[str, Any]) -> None:
    from oreo_agents.dataset.store import TrajectoryWriter
    from oreo_agents.report.beliefs import Beliefs

    make_env = environments(games.env_id, max(trial.step_limits), **options)
    with TrajectoryWriter(path / "episodes", dialect=games.dialect) as journal:
        _, episodes = evaluate(
            make_env, agent, games.indices, trial.label, trial.seed, trial.slots, False, journal
        )
    beliefs = Beliefs()
    for episode in episodes:
        beliefs.add(episode)
    calibration = [asdict(one) for one in beliefs.calibration()]
    results = [at_limit(episodes, limit, trial) for limit in trial.step_limits]
    fingerprint = agent.tokenizer_fingerprint
    write_json(path / "result.json", {"results": results, "calibration": calibration, "prompt": fingerprint})


def at_limit(episodes: Sequence[Trajectory], limit: int, trial: Trial) -> Result:
    """The result with a step limit, from episodes that were played to the largest of them.

    A policy does not know the limit, so its first steps are those that it would have taken. What an episode cost is
    known of the whole episode alone, and is left out where that was longer.
    """
    result = summarise([cut(episode, limit) for episode in episodes], trial.label)
    if limit < max(trial.step_limits):
        for key in COSTS:
            result.pop(key)
    return {**result, "max_steps": limit}


def cut(episode: Trajectory, limit: int) -> Trajectory:
    """The episode's first ``limit`` steps; one that did not end by itself within them is not won."""
    if episode.terminated and len(episode) <= limit:
        return episode
    turns = tuple(replace(turn, reward=0.0) for turn in episode.turns[:limit])
    counts = len(episode) < limit or "failed" in episode.metadata
    metadata = {k: v for k, v in episode.metadata.items() if k != "ended" or counts}
    return replace(episode, turns=turns, terminated=False, truncated=True, metadata=metadata)
