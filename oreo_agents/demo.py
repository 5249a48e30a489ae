"""The whole path in one command: record, imitate, roll out, train OREO, compare, one table.

Every stage leaves its result in the output folder together with a digest of what it was made from; a second
run reuses what is there and says so, and an interrupted one continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from oreo_envs.catalog import content_hash, describe, list_demonstrated
from rich.console import Console

from oreo_agents.environments import environments, games_of, made_from
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation import Result, evaluate, write_json
from oreo_agents.recorder import dialect_of
from oreo_agents.stages import Stage, Stages, identity, remove

STARTING_CHECKPOINT = Path(__file__).parent / "assets" / "start"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything. The defaults end within twelve minutes on two cores without a GPU."""

    seed: int = 0
    demonstrations: int = 2000
    """Expert episodes that are imitated."""
    epsilon: float = 0.15
    """Share of the expert's turns that are replaced by slips: not imitated, but recovered from."""
    sft_epochs: float = 8
    """Passes over them from scratch; enough to converge."""
    refine_epochs: float = 1
    """Passes over them from the shipped language model."""
    sft_learning_rate: float = 2e-3
    """Of imitation, with Muon."""
    scratch_model: str = "small"
    """What is trained from scratch, as ``oreo-agents train --model`` has it."""
    observation_weight: float = 0.3
    """In imitation the decoder also predicts what it will see: that teaches it which commands can work."""
    rollouts: int = 4000
    """Episodes of the imitating policy on training games: the offline dataset."""
    patience: int | None = 4
    """A rollout ends after so many useless commands in a row."""
    oreo_epochs: float = 1
    batch_size: int = 16
    learning_rate: float = 1e-4
    """Of the policy, in every method after SFT; well below the critic's, so that V explains failures, not pi."""
    critic_learning_rate: float = 1e-3
    critic_warmup: float = 0.25
    """Share of OREO's steps before the policy moves: it learns from a critic that has learnt something."""
    beta: float = 0.03
    alpha: float = 0.01
    k: int = 5
    temperature: float = 0.6
    """Of the candidates in best-of-k."""
    logprob_weight: float = 0.03
    """Of a candidate's log-probability beside its value; beta, as the soft-optimal policy has it."""
    eval_games: int = 200
    max_steps: int = 50
    max_new_tokens: int = 8
    """An action is cut after so many; ALFWorld's longest command has five tokens and its end."""
    slots: int = 100
    from_scratch: bool = False


REASONING = Recipe(
    demonstrations=6000,
    epsilon=0.0,
    sft_epochs=4,
    sft_learning_rate=4e-3,
    scratch_model="tiny",
    observation_weight=0.0,
    rollouts=3000,
    patience=None,
    oreo_epochs=1.5,
    learning_rate=3e-5,
    critic_learning_rate=7e-4,
    critic_warmup=0.0,
    eval_games=300,
    max_steps=8,
    max_new_tokens=16,
    from_scratch=True,
)
"""For arithmetic a step at a time: no slips to recover from, and problems cannot be predicted."""


RECIPES = {"household": Recipe(), "arithmetic": REASONING}
"""As the catalogue of environments calls them."""


@dataclass(frozen=True, slots=True)
class Arena:
    """An environment, and its options where an agent learns and where it is judged, which share no game."""

    name: str
    env_id: str
    train: Mapping[str, Any]
    test: Mapping[str, Any]

    @classmethod
    def of(cls, env_id: str, source: str | Path | None = None) -> Arena:
        """The environment's own games, or those of one place or kind, divided.

        Raises:
            ConfigurationError: they cannot be divided.
            DataNotFoundError: there are no games at ``source``.
        """
        name, train, test = describe(env_id).games.divide(source)
        return cls(name, env_id, train, test)

    def learnt_on(self) -> list[Any]:
        """What play on the training games depends on."""
        return self._made_from(self.train)

    def judged_on(self) -> list[Any]:
        """What play on the others depends on."""
        return self._made_from(self.test)

    def _made_from(self, options: Mapping[str, Any]) -> list[Any]:
        games = games_of(environments(self.env_id, **options)())
        return made_from(self.env_id, options, content_hash(games, range(len(games))))

    def plays(self, episodes: int, recipe: Recipe, turn: int = 0) -> dict[str, Any]:
        """So many episodes on training games, each game as often as needed; another ``turn``, another order."""
        repeats = -(-episodes // len(games_of(environments(self.env_id, **self.train)())))
        limits = {"limit": episodes, "max_steps": recipe.max_steps}
        return {"episodes_per_game": repeats, "seed": recipe.seed + turn, **limits}


def run(args: argparse.Namespace) -> int:
    """``oreo-agents demo``."""
    from oreo_agents.report.plots import success_plot
    from oreo_agents.report.tables import success_table

    start = time.monotonic()
    console = Console(stderr=True)
    arena, recipe = setting(args.env, args.games)
    options = {"eval_games": args.episodes} if args.episodes else {}
    recipe = replace(recipe, seed=args.seed, from_scratch=args.from_scratch or recipe.from_scratch, **options)
    output = Path(args.output or f"runs/demo{describe(args.env).suffix}")
    results = whole_path(arena, output, recipe, console)
    success_plot(results, output / "results.png")
    Console().print(
        success_table(results, title=f"{results[0]['arena']}, {results[0]['n']} games, seed {recipe.seed}")
    )
    console.print(
        f"{time.monotonic() - start:.0f} s. Results: {output}/results.json and results.png. "
        f"Watch an episode: oreo-agents replay {output}/episodes",
        highlight=False,
        markup=False,
    )
    return 0


def setting(env_id: str, source: str | None) -> tuple[Arena, Recipe]:
    """Where the demo of an environment plays, and how much it does there.

    Args:
        env_id: one whose entry in the catalogue names a recipe.
        source: a folder or archive of games, or a task; None for the demo's own.

    Raises:
        ConfigurationError: there is no demo of that environment, or the games cannot be divided.
        DataNotFoundError: there are no games.
    """
    entry = describe(env_id)
    if not entry.demo:
        raise ConfigurationError(f"there is no demo of {env_id!r}; choose {' or '.join(list_demonstrated())}")
    return Arena.of(env_id, source), RECIPES[entry.demo]


def whole_path(arena: Arena, output: Path, recipe: Recipe, console: Console) -> list[Result]:
    """Run all stages of ``recipe`` under ``output``; one result per method, also in ``results.json``.

    Args:
        arena: where to learn and to be judged.
        output: folder of the run, made if needed.
        recipe: how much of everything.
        console: where progress goes.
    """
    output.mkdir(parents=True, exist_ok=True)
    stages = Stages(output, console)
    path = Steps(arena, recipe, output)
    demonstrations = path.record()
    sft = path.imitate(demonstrations)
    rollouts = path.roll_out(sft)
    agents = {
        "SFT": (sft, "greedy"),
        "SFT continued": (path.continue_imitation(sft, demonstrations, rollouts), "greedy"),
        "rejection sampling": (path.train("rejection", sft, rollouts), "greedy"),
    }
    oreo = path.train("oreo", sft, rollouts)
    agents["OREO"] = (oreo, "greedy")
    agents[f"OREO best-of-{recipe.k}"] = (oreo, "best_of_k")
    for stage in (agent for agent, _ in agents.values()):
        stages.run(stage)
    results = [json.loads(stages.run(path.judge(name, *agent)).read_text()) for name, agent in agents.items()]
    write_json(output / "results.json", results)
    return results


class Steps:
    """The stages, each a method that names what it is made from."""

    def __init__(self, arena: Arena, recipe: Recipe, output: Path) -> None:
        self.arena, self.recipe, self.output = arena, recipe, output
        self.make_test_env = environments(arena.env_id, recipe.max_steps, **arena.test)
        env = self.make_test_env()
        self.games = list(range(min(recipe.eval_games, len(games_of(env)))))
        env.reset(options={"game": 0})
        self.dialect = dialect_of(env.unwrapped)
        self.judged_on = arena.judged_on()

    def record(self) -> Stage:
        """The expert on training games; where it slips now and then, it recovers."""
        from oreo_agents.collect import record

        recipe = self.recipe
        options = {**self.arena.plays(recipe.demonstrations, recipe), "epsilon": recipe.epsilon}

        def work(path: Path) -> None:
            record("expert", path, self.arena.env_id, **options, **self.arena.train)

        return Stage("demonstrations", (self.arena.learnt_on(), options), work)

    def imitate(self, demonstrations: Stage) -> Stage:
        """SFT on the demonstrations, from the shipped checkpoint or from scratch."""
        recipe = self.recipe
        shipped = not recipe.from_scratch and STARTING_CHECKPOINT.is_dir()
        model = STARTING_CHECKPOINT if shipped else recipe.scratch_model
        options = {
            "num_train_epochs": recipe.refine_epochs if shipped else recipe.sft_epochs,
            "learning_rate": recipe.sft_learning_rate,
            "muon": True,
            "observation_weight": recipe.observation_weight,
        }

        def work(path: Path, data: Path) -> None:
            self._fit("sft", model, data, path, options)

        return Stage("sft", (identity(model) if shipped else model, options), work, (demonstrations,))

    def roll_out(self, policy: Stage) -> Stage:
        """The offline dataset: the policy's own episodes at temperature 1, successes and failures."""
        from oreo_agents.agents.oreo import OreoAgent
        from oreo_agents.collect import record_rollouts

        recipe = self.recipe
        plays = self.arena.plays(recipe.rollouts, recipe, 1)
        options = {**plays, "slots": recipe.slots, "patience": recipe.patience}

        def work(path: Path, policy: Path) -> None:
            agent = OreoAgent.from_pretrained(
                policy, select="sample", max_new_tokens=recipe.max_new_tokens, name="sft"
            )
            record_rollouts(agent, path, self.arena.env_id, **options, **self.arena.train)

        return Stage("rollouts", (recipe.max_new_tokens, options), work, (policy,))

    def continue_imitation(self, start: Stage, demonstrations: Stage, rollouts: Stage) -> Stage:
        """The control: as many more updates as OREO gets, on the demonstrations."""
        from oreo_agents.dataset import load_trajectories

        options = {
            "learning_rate": self.recipe.learning_rate,
            "per_device_train_batch_size": self.recipe.batch_size,
            "observation_weight": self.recipe.observation_weight,
        }

        def work(path: Path, start: Path, demonstrations: Path, rollouts: Path) -> None:
            share = len(load_trajectories(rollouts)) / len(load_trajectories(demonstrations))
            epochs = {"num_train_epochs": self.recipe.oreo_epochs * share}
            self._fit("sft", start, demonstrations, path, epochs | options)

        inputs = (self.recipe.oreo_epochs, options)
        return Stage("sft-continued", inputs, work, (start, demonstrations, rollouts))

    def train(self, method: str, start: Stage, rollouts: Stage) -> Stage:
        """One of the compared methods, from the SFT policy on its rollouts."""
        recipe = self.recipe
        options: dict[str, Any] = {
            "num_train_epochs": recipe.oreo_epochs,
            "learning_rate": recipe.learning_rate,
            "per_device_train_batch_size": recipe.batch_size,
        }
        if method == "oreo":
            names = ("critic_learning_rate", "critic_warmup", "beta", "alpha")
            options |= {name: getattr(recipe, name) for name in names}

        def work(path: Path, start: Path, rollouts: Path) -> None:
            self._fit(method, start, rollouts, path, options)

        return Stage(method, options, work, (start, rollouts))

    def judge(self, method: str, agent: Stage, select: str) -> Stage:
        """Success on the held-out games."""
        from oreo_agents.agents.oreo import OreoAgent
        from oreo_agents.dataset.store import TrajectoryWriter

        recipe = self.recipe
        options: dict[str, Any] = {"select": select, "max_new_tokens": recipe.max_new_tokens}
        if select == "best_of_k":
            options |= {
                "k": recipe.k,
                "temperature": recipe.temperature,
                "logprob_weight": recipe.logprob_weight,
            }

        def work(path: Path, agent: Path) -> None:
            player = OreoAgent.from_pretrained(agent, **options, name=method)
            result, episodes = evaluate(
                self.make_test_env, player, self.games, method, recipe.seed, recipe.slots
            )
            write_json(path, {**result, "arena": self.arena.name, "recipe": asdict(recipe)})
            if select == "best_of_k":
                remove(self.output / "episodes")  # of other settings, or of an interrupted run
                with TrajectoryWriter(self.output / "episodes", dialect=self.dialect) as writer:
                    for episode in episodes[:20]:
                        writer.append(episode)

        name = "result-" + method.lower().replace(" ", "-") + ".json"
        return Stage(name, (self.judged_on, self.games, options), work, (agent,))

    def _fit(self, method: str, model: str | Path, data: Path, path: Path, options: dict[str, Any]) -> None:
        from oreo_agents.dataset import load_trajectories
        from oreo_agents.train import train

        train(method, list(load_trajectories(data)), model, path, seed=self.recipe.seed, **options)
