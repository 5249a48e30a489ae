"""Success rates: an agent on a fixed list of games, with intervals, as data and as a file.

A result is a plain dict (see :func:`summarise`); report/ turns it into tables and plots.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.catalog import DEFAULT_ID, describe

from oreo_agents.agents import SEARCHES
from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.store import TrajectoryWriter, read_meta
from oreo_agents.environments import MakeEnv, environments, games_of, source_options
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.printable import printable
from oreo_agents.rollout import Episode, rollout
from oreo_agents.stages import identity
from oreo_agents.statistics import wilson
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.agents import Agent, Decision

Result = dict[str, Any]


def pick_games(make_env: MakeEnv, n: int | None, seed: int = 0) -> list[int]:
    """Indices of ``n`` games: all of them in order, or a sample that depends on ``seed`` alone."""
    total = len(games_of(make_env()))
    if n is None or n >= total:
        if total > 100_000:
            raise ConfigurationError("this split has no end: say how many games with --episodes")
        return list(range(total))
    return random.Random(seed).sample(range(total), n)


def play(
    make_env: MakeEnv,
    agent: Agent,
    games: Sequence[int],
    seed: int = 0,
    slots: int = 64,
    progress: str = "",
    journal: TrajectoryWriter | None = None,
) -> list[Trajectory]:
    """One episode on each of ``games``, in their order; each has ``metadata["seconds"]``, its share of wall time.

    Args:
        make_env: the environment.
        agent: who plays.
        games: indices; one that stands twice is played twice, with other randomness.
        seed: of environment and agent.
        slots: episodes at once.
        progress: name of a live view; none if empty.
        journal: keeps finished episodes; those it has are not played again. Episodes that failed for reasons
            outside the policy are not kept, so that the next run tries them again.
    """
    episodes = [Episode(game, seed * 1_000_003 + i) for i, game in enumerate(games)]
    kept = {} if journal is None else {episode.seed: episode for episode in load_trajectories(journal.path)}
    waiting = [episode for episode in episodes if episode.seed not in kept]
    played = _timed(make_env, agent, waiting, slots)
    if progress:
        from oreo_agents.terminal.live import watch

        played = watch(played, len(waiting), progress)
    for trajectory in played:
        kept[trajectory.seed] = trajectory
        if journal is not None and not trajectory.metadata.get("failed"):
            journal.append(trajectory)
    return [kept[episode.seed] for episode in episodes]


def _timed(make_env: MakeEnv, agent: Agent, episodes: Sequence[Episode], slots: int) -> Iterator[Trajectory]:
    clock = _Clock(agent)
    for trajectory in rollout(make_env, episodes, clock, slots):
        seconds = clock.seconds.pop(trajectory.seed or 0)
        yield replace(trajectory, metadata={**trajectory.metadata, "seconds": seconds})


class _Clock:
    """An agent that divides the wall time of its decisions among the episodes they are for."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.name = agent, agent.name
        self.tokenizer_fingerprint = agent.tokenizer_fingerprint
        self.prepare, self.follow = agent.prepare, agent.follow
        self.seconds: dict[int, float] = {}
        self._episodes: dict[int, int] = {}

    def begin(self, slots: Sequence[int], seeds: Sequence[int]) -> None:
        self.agent.begin(slots, seeds)
        self._episodes.update(zip(slots, seeds, strict=True))
        self.seconds.update(dict.fromkeys(seeds, 0.0))

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        start = time.perf_counter()
        decisions = self.agent.act_many(slots, observations, infos)
        share = (time.perf_counter() - start) / len(slots)
        for slot in slots:
            self.seconds[self._episodes[slot]] += share
        return decisions


def evaluate(
    make_env: MakeEnv,
    agent: Agent,
    games: Sequence[int],
    method: str,
    seed: int = 0,
    slots: int = 64,
    progress: bool = True,
    journal: TrajectoryWriter | None = None,
    partly: bool = False,
) -> tuple[Result, list[Trajectory]]:
    """Play every game once, or continue where ``journal`` stopped; the result and the episodes.

    Raises:
        EngineError: episodes could not be played for reasons outside the policy; with ``partly`` only if all of them.
    """
    trajectories = play(make_env, agent, games, seed, slots, method if progress else "", journal)
    result = summarise(trajectories, method)
    if result["errors"] and not partly:
        raise EngineError(failures(result))
    return result, trajectories


def failures(result: Result) -> str:
    """How many games of a result could not be played, and why the first of them."""
    game, reason = next(iter(result["errors"].items()))
    failed = len(result["errors"])
    return f"{failed} of {failed + result['n']} games could not be played, the first of them {game}: {reason}"


def summarise(trajectories: Sequence[Trajectory], method: str) -> Result:
    """What a set of episodes comes to.

    Episodes that failed for reasons outside the policy (``metadata["failed"]``) are counted and named, and are in no
    other figure.

    Returns:
        ``method``, ``n``, ``successes``, ``success_rate``, ``wilson95``, ``by_task_type``,
        ``invalid_action_rate`` (of all actions), ``mean_steps``, ``mean_steps_success``,
        ``tokens_per_episode`` (read and generated, policy and critic), ``cost_per_episode`` (these apart, and
        steps on the environment and on copies of it), ``seconds_per_episode`` and ``seconds_per_decision``
        (shares of wall time, many being played at once), ``ended_early`` (reason: episodes, where the agent could
        not go on), ``errors`` (game: reason), ``games`` and ``won`` (in the order played, for paired
        comparisons).

    Raises:
        ConfigurationError: there are no episodes.
        EngineError: all of them failed.
    """
    if not trajectories:
        raise ConfigurationError("there are no episodes to summarise: ask for at least one game")
    failed = [trajectory for trajectory in trajectories if trajectory.metadata.get("failed")]
    played = [trajectory for trajectory in trajectories if not trajectory.metadata.get("failed")]
    if not played:
        raise EngineError(f"none of {len(failed)} episodes could be played: {failed[0].metadata['ended']}")
    n, won = len(played), [trajectory.success for trajectory in played]
    statuses = [turn.action_status for trajectory in played for turn in trajectory.turns]
    winning = [len(trajectory) for trajectory in played if trajectory.success]
    cost = _cost_per_episode(played)
    seconds = sum(trajectory.metadata.get("seconds", 0.0) for trajectory in played)
    return {
        "method": method,
        "n": n,
        "successes": sum(won),
        "success_rate": sum(won) / n,
        "wilson95": list(wilson(sum(won), n)),
        "by_task_type": _by_task_type(played),
        "invalid_action_rate": sum(status not in (None, "ok") for status in statuses) / max(len(statuses), 1),
        "mean_steps": cost["steps"],
        "mean_steps_success": sum(winning) / max(len(winning), 1),
        "tokens_per_episode": sum(cost[f"{kind}_tokens"] for kind in TOKENS),
        "cost_per_episode": cost,
        "seconds_per_episode": seconds / n,
        "seconds_per_decision": seconds / max(sum(map(len, played)), 1),
        "ended_early": dict(Counter(t.metadata["ended"] for t in played if "ended" in t.metadata)),
        "errors": {trajectory.game: trajectory.metadata["ended"] for trajectory in failed},
        "games": [trajectory.game for trajectory in played],
        "won": won,
    }


TOKENS = ("prompt", "generated", "critic")


def _cost_per_episode(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    n, cost = len(trajectories), {"steps": sum(map(len, trajectories)) / len(trajectories)}
    for kind in TOKENS:
        tokens = (trajectory.metadata.get("tokens", {}).get(kind, 0) for trajectory in trajectories)
        cost[f"{kind}_tokens"] = sum(tokens) / n
    cost["simulated_steps"] = sum(t.metadata.get("simulated_steps", 0) for t in trajectories) / n
    return cost


def _by_task_type(trajectories: Sequence[Trajectory]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"n": 0, "successes": 0})
    for trajectory in trajectories:
        counts[trajectory.task_type]["n"] += 1
        counts[trajectory.task_type]["successes"] += trajectory.success
    return dict(sorted(counts.items()))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def load_agent(
    name: str,
    endpoint: str | None = None,
    model: str | None = None,
    env_id: str = DEFAULT_ID,
    **options: Any,
) -> Agent:
    """A scripted agent by name (``expert``, ``random``), or the trained one at a path, with its ``options``.

    Args:
        name: which.
        endpoint: URL of the OpenAI-compatible server that has the policy; tokenizer and critic are at the path.
        model: what that server calls it; default: ``name``.
        env_id: what it plays; a scripted one plays each environment in another way.
        options: of :class:`oreo_agents.OreoAgent`.
    """
    from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent

    if name in SCRIPTED:
        return ScriptedAgent(name, env_id)
    from oreo_agents.agents.oreo import OreoAgent

    if endpoint is None:
        return OreoAgent.from_pretrained(name, **options)
    from oreo_agents.inference.endpoint import Endpoint

    options.pop("dtype", None)  # the critic of a remote policy is in float32
    return OreoAgent.from_endpoint(Endpoint(endpoint, model or name), name, **options)


def run(args: argparse.Namespace) -> int:
    """``oreo-agents eval``.

    The result file holds nothing that depends on the clock, and models compute in float32, so that a run that was
    killed and resumed ends with the file of one that was not; seconds are in the file and the episodes beside it.
    """
    from rich.console import Console

    from oreo_agents.report.plots import budget_plot
    from oreo_agents.report.tables import success_table

    _refuse_idle_options(args)
    results = list(_results(args))
    if args.output and len(results) > 1:
        budget_plot(results, args.output.with_suffix(".png"))
    Console().print(success_table(results))
    for result in results:
        if result["errors"]:
            print(printable(f"{result['method']}: {failures(result)}"), file=sys.stderr)
    return 0


def _refuse_idle_options(args: argparse.Namespace) -> None:
    """Raise ConfigurationError if a player without a model is to choose in some way."""
    from oreo_agents.agents.scripted import SCRIPTED

    given = {"--select": args.select, "--k": args.k, "--endpoint": args.endpoint, "--model": args.model}
    given |= {"--temperature": args.temperature != 1, "--logprob-weight": args.logprob_weight}
    idle = [option for option, value in given.items() if value]
    if args.agent in SCRIPTED and idle:
        raise ConfigurationError(f"{args.agent} has no model and makes no use of {idle[0]}: leave it out")


def _results(args: argparse.Namespace) -> Iterator[Result]:
    """One result for each setting, written as soon as it is there."""
    from oreo_agents.agents.scripted import follows_plan

    options = source_options(args.env, args.split, args.games)
    if follows_plan(args.agent, args.env):
        options["expert"] = True
    games = pick_games(environments(args.env, args.max_steps, **options), args.episodes, args.seed)
    known = {"agent": identity(args.agent), "endpoint": args.endpoint, "model": args.model, "env": args.env}
    known |= {"options": options, "seed": args.seed, "max_steps": args.max_steps, "games": games}
    length = args.max_new_tokens or describe(args.env).max_new_tokens
    results: list[Result] = []
    for select, k in _settings(args):
        make_env = environments(args.env, args.max_steps, branches=select == "lookahead", **options)
        sampling = {"select": select, "k": k, "max_new_tokens": length}
        sampling |= {"temperature": args.temperature, "logprob_weight": args.logprob_weight}
        agent = load_agent(args.agent, args.endpoint, args.model, args.env, **sampling, dtype="float32")
        label = f"{agent.name} {search_title(select, k)}"
        with _journal(args.output, label, {**known, **sampling}) as journal:
            result, _ = evaluate(
                make_env, agent, games, label, args.seed, args.num_envs, journal=journal, partly=True
            )
        results.append({**result, **sampling, "split": args.split, "max_steps": args.max_steps})
        if args.output:
            write_json(args.output, [_only(result, clock=False) for result in results])
            write_json(
                args.output.with_suffix(".seconds.json"), [_only(result, clock=True) for result in results]
            )
        yield results[-1]


def _settings(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Every ``--select`` with every ``--k`` that makes a difference to it."""
    for select in args.select or ["best_of_k" if args.k else "greedy"]:
        for k in (args.k or [5]) if select in SEARCHES else [1]:
            yield select, k


def search_title(select: str, k: int) -> str:
    """What a way to choose among ``k`` candidates is called in tables."""
    titles = {
        "best_of_k": f"best-of-{k}",
        "lookahead": f"lookahead-{k} on the simulator",
        "constrained_best_of_k": f"constrained best-of-{k}",
    }
    words = select.replace("_", "-")
    return titles.get(select, f"{words}-{k}" if select in SEARCHES else words)


@contextmanager
def _journal(output: Path | None, label: str, settings: Result) -> Iterator[TrajectoryWriter | None]:
    """The episodes beside the result file: ``results.episodes/LABEL`` for ``results.json``.

    Raises:
        ConfigurationError: those there are of another evaluation.
    """
    if output is None:
        yield None
        return
    path = output.with_suffix(".episodes") / label.replace(" ", "-").replace("/", "-")
    digest = hashlib.sha256(json.dumps(settings, default=str, sort_keys=True).encode()).hexdigest()
    if (path / "meta.json").is_file() and read_meta(path).metadata.get("evaluation") != digest:
        raise ConfigurationError(
            f"{path} holds the episodes of another evaluation (agent, games or options differ): "
            "choose another --output, or remove that folder"
        )
    with TrajectoryWriter(path, metadata={"evaluation": digest}) as writer:
        yield writer


def _only(result: Result, clock: bool) -> Result:
    """What depends on the clock, with the method's name, or the rest."""
    return {key: x for key, x in result.items() if key == "method" or key.startswith("seconds_") == clock}
