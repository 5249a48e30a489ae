"""Collect, train, evaluate, repeat: each round plays with the newest policy and learns from what it saw.

The paper's multi-iteration framework (Sec. 4.3): "after each iteration, a new dataset is collected using the updated
policy". Here the reference of a round is the policy that collected its data, and policy and critic go on from the
round before. Interrupted at any stage, the same command continues; with more iterations it goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from oreo_envs.files import lock_folder, write_json
from rich.console import Console

from oreo_agents.demo import Arena, Recipe, setting
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation import Result, evaluate
from oreo_agents.stages import Stage, Stages, identity

Policy = str | Path | Stage
"""A checkpoint, or the stage that makes it."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What is repeated."""

    method: str = "oreo"
    iterations: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    """Rollouts, passes, rates, games to be judged on; see :class:`oreo_agents.demo.Recipe`."""
    keep_data: bool = False
    """Train on the episodes of all rounds so far, not of the newest alone."""


def iterate(model: str | Path, arena: Arena, output: Path, loop: Loop, console: Console) -> list[Result]:
    """Run the loop under ``output``: ``rollouts-N``, ``policy-N`` and ``result-N.json`` of every round.

    Args:
        model: the policy to start from: an agent's folder, a Hugging Face causal LM, or ``small``, the shipped agent.
        arena: where to learn and to be judged.
        output: folder of the run, made if needed.
        loop: what is repeated.
        console: where progress goes.

    Returns:
        Success of the start and after every round, also in ``results.json``.

    Raises:
        ConfigurationError: ``output`` holds a run with other settings.
    """
    from oreo_agents.agents.oreo import SHIPPED

    model = SHIPPED.get(str(model), model)  # train would take the name for a new decoder
    output.mkdir(parents=True, exist_ok=True)
    _claim(output, model, arena, loop)
    rounds, stages = Rounds(arena, loop), Stages(output, console)
    policy: Policy = model
    data: list[Stage] = []
    results = [json.loads(stages.run(rounds.judge(0, model)).read_text())]
    for i in range(1, loop.iterations + 1):
        newest = rounds.collect(i, policy)
        data = [*data, newest] if loop.keep_data else [newest]
        policy = rounds.train(i, policy, data)
        results.append(json.loads(stages.run(rounds.judge(i, policy)).read_text()))
        write_json(output / "results.json", results)
    return results


class Rounds:
    """The stages of a round, each a method that names what it is made from."""

    def __init__(self, arena: Arena, loop: Loop) -> None:
        self.arena, self.loop, self.recipe = arena, loop, loop.recipe

    def collect(self, i: int, policy: Policy) -> Stage:
        """The newest policy's own episodes at temperature 1, on training games."""
        from oreo_agents.agents.oreo import OreoAgent
        from oreo_agents.collect import record_rollouts

        recipe, arena = self.recipe, self.arena
        plays = arena.plays(recipe.rollouts, recipe, i)
        options = {**plays, "slots": recipe.slots, "patience": recipe.patience}

        def work(path: Path, policy: str | Path) -> None:
            player = OreoAgent.from_pretrained(
                policy, select="sample", max_new_tokens=recipe.max_new_tokens, name=f"round {i}"
            )
            record_rollouts(player, path, arena.env_id, **options, **arena.train)

        return _stage(f"rollouts-{i}", options, work, policy)

    def train(self, i: int, policy: Policy, data: list[Stage]) -> Stage:
        """The method, from the policy that played."""
        from oreo_agents.dataset import load_trajectories
        from oreo_agents.train import train

        recipe = self.recipe
        options: dict[str, Any] = {
            "num_train_epochs": recipe.oreo_epochs,
            "learning_rate": recipe.learning_rate,
            "critic_learning_rate": recipe.critic_learning_rate,
            "critic_warmup": recipe.critic_warmup,
            "per_device_train_batch_size": recipe.batch_size,
            "seed": recipe.seed,
        }

        def work(path: Path, policy: str | Path, *data: Path) -> None:
            episodes = [episode for folder in data for episode in load_trajectories(folder)]
            train(self.loop.method, episodes, policy, path, **options)

        return _stage(f"policy-{i}", (self.loop.method, options), work, policy, *data)

    def judge(self, i: int, policy: Policy) -> Stage:
        """Success on games that no round learns from, greedily."""
        from oreo_agents.agents.oreo import OreoAgent

        recipe, arena = self.recipe, self.arena
        make_env = environments(arena.env_id, recipe.max_steps, **arena.test)
        games = list(range(min(recipe.eval_games, len(games_of(make_env())))))
        name = f"{self.loop.method} {i}" if i else "start"

        def work(path: Path, policy: str | Path) -> None:
            player = OreoAgent.from_pretrained(policy, max_new_tokens=recipe.max_new_tokens, name=name)
            result, _ = evaluate(make_env, player, games, name, recipe.seed, recipe.slots)
            write_json(path, {**result, "arena": arena.name})

        return _stage(f"result-{i}.json", games, work, policy)


def _stage(name: str, inputs: Any, work: Callable[..., None], policy: Policy, *data: Stage) -> Stage:
    """A stage that needs a policy: one that was given, or one that a stage makes."""
    if isinstance(policy, Stage):
        return Stage(name, inputs, work, (policy, *data))
    return Stage(name, (identity(policy), inputs), lambda path, *data: work(path, policy, *data), data)


def _claim(output: Path, model: str | Path, arena: Arena, loop: Loop) -> None:
    """Rounds build on each other, so a folder belongs to one loop; only the number of rounds may grow."""
    games = {"learnt_on": arena.learnt_on(), "judged_on": arena.judged_on()}
    settings = {"model": identity(model), **games, **asdict(replace(loop, iterations=0))}
    settings = json.loads(json.dumps(settings, default=str))
    path = output / "settings.json"
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise ConfigurationError(
            f"{output} holds a run with other settings ({path}): choose another --output"
        )
    write_json(path, settings)


def run(args: argparse.Namespace) -> int:
    """``oreo-agents iterate``."""
    from oreo_agents.report.tables import success_table

    arena, recipe = setting(args.env, args.games)
    given = {"rollouts": args.rollouts, "eval_games": args.episodes, "max_steps": args.max_steps}
    recipe = replace(recipe, seed=args.seed, **{k: v for k, v in given.items() if v is not None})
    loop = Loop(args.method, args.iterations, recipe, args.keep_data)
    with lock_folder(args.output):
        results = iterate(args.model, arena, args.output, loop, Console(stderr=True))
    Console().print(success_table(results, title=f"{arena.name}, {results[0]['n']} games, seed {args.seed}"))
    return 0
