"""The whole path in one command: record, imitate, roll out, train OREO, compare, one table.

Every stage leaves its result in the output folder together with a digest of what it was made from; a second
run reuses what is there and says so, and an interrupted one continues where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation import Result, alfworld, evaluate, play, write_json

if TYPE_CHECKING:
    from oreo_envs.alfworld.data import Games

STARTING_CHECKPOINT = Path(__file__).parent / "assets" / "start"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything. The defaults end within twelve minutes on two cores without a GPU."""

    seed: int = 0
    demonstrations: int = 400
    """Expert episodes that are imitated, one per training game."""
    sft_epochs: float = 30
    """Passes over them from scratch; enough to converge."""
    refine_epochs: float = 2
    """Passes over them from the shipped starting checkpoint."""
    rollout_games: int = 1200
    """Training games the imitating policy plays for the offline dataset."""
    rollouts_per_game: int = 1
    oreo_epochs: float = 2
    learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    beta: float = 0.03
    alpha: float = 0.003
    k: int = 5
    eval_games: int = 140
    max_steps: int = 50
    slots: int = 100
    from_scratch: bool = False


class Stages:
    """Runs the parts of a recipe once each, in order, and remembers them in the output folder."""

    def __init__(self, output: Path, console: Console) -> None:
        self.output, self.console = output, console
        self.digest = ""

    def run(self, name: str, inputs: Any, work: Callable[[Path], None]) -> Path:
        """Do ``work`` on ``output/name`` unless that was done before with the same inputs and predecessors."""
        self.digest = hashlib.sha256(
            f"{self.digest}{name}{json.dumps(inputs, default=str)}".encode()
        ).hexdigest()
        path, mark = self.output / name, self.output / f".{name}.done"
        if mark.is_file() and mark.read_text() == self.digest and path.exists():
            self.console.print(f"[dim]{name}: reusing {path}[/dim]", highlight=False)
            return path
        mark.unlink(missing_ok=True)
        start = time.monotonic()
        work(path)
        mark.write_text(self.digest)
        self.console.print(f"{name}: {time.monotonic() - start:.0f} s", highlight=False)
        return path


@dataclass(frozen=True, slots=True)
class Arena:
    """Where to learn and where to be judged; the two share no room, or are ALFWorld's own splits."""

    name: str
    train: Games
    train_indices: Sequence[int]
    test: Games
    test_indices: Sequence[int]

    @classmethod
    def choose(cls, source: Path | None, recipe: Recipe) -> Arena:
        """Generated rooms, ALFWorld's ``train`` and ``valid_seen`` under ``source``, or its rooms split in two.

        Raises:
            DataNotFoundError: there are no games at ``source``.
        """
        from oreo_envs.alfworld.data import find_games, find_split

        rng = random.Random(f"demo {recipe.seed}")
        if source is None:
            train, test = find_games("generated"), find_games("generated_unseen")
            name = "generated games, rooms never seen"
        elif find_split("train", source) and find_split("valid_seen", source):
            train, test = (find_games(games=find_split(split, source)) for split in ("train", "valid_seen"))
            name = "ALFWorld valid_seen"
        else:
            games = find_games(games=source)
            return cls._hold_out_rooms(games, recipe)
        wanted = max(recipe.demonstrations, recipe.rollout_games)
        chosen = rng.sample(range(len(train)), min(wanted, len(train)))
        judged = list(range(min(recipe.eval_games, len(test))))
        return cls(name, train, chosen, test, judged)

    @classmethod
    def _hold_out_rooms(cls, games: Games, recipe: Recipe) -> Arena:
        rooms = sorted({_room(name) for name in games.names})
        if len(rooms) < 2:
            raise ConfigurationError("these games are all in one room: nothing would be left to judge on")
        held_out = set(random.Random("held-out rooms").sample(rooms, max(1, len(rooms) // 5)))
        test = [i for i, name in enumerate(games.names) if _room(name) in held_out][: recipe.eval_games]
        train = [i for i, name in enumerate(games.names) if _room(name) not in held_out]
        random.Random(f"demo {recipe.seed}").shuffle(train)
        return cls("games in rooms held out", games, train, games, test)


def _room(name: str) -> str:
    return name.split("/")[0].rsplit("-", 1)[-1]


def run(args: argparse.Namespace) -> int:
    """``oreo-agents demo``."""
    from oreo_agents.report.plots import success_plot
    from oreo_agents.report.tables import success_table

    options = {"eval_games": args.episodes} if args.episodes else {}
    start = time.monotonic()
    console = Console(stderr=True)
    recipe = Recipe(seed=args.seed, from_scratch=args.from_scratch, **options)
    results = whole_path(args.games, Path(args.output), recipe, console)
    success_plot(results, Path(args.output) / "results.png")
    Console().print(
        success_table(results, title=f"{results[0]['arena']}, {results[0]['n']} games, seed {recipe.seed}")
    )
    console.print(
        f"{time.monotonic() - start:.0f} s. Results: {args.output}/results.json and results.png. "
        f"Watch an episode: oreo-agents replay {args.output}/episodes",
        highlight=False,
        markup=False,
    )
    return 0


def whole_path(source: Path | None, output: Path, recipe: Recipe, console: Console) -> list[Result]:
    """Run all stages of ``recipe`` under ``output``; one result per method, also in ``results.json``.

    Args:
        source: a folder or archive of games; None for generated ones.
        output: folder of the run, made if needed.
        recipe: how much of everything.
        console: where progress goes.
    """
    output.mkdir(parents=True, exist_ok=True)
    arena = Arena.choose(source, recipe)
    path = _Path(arena, recipe, Stages(output, console))
    sft = path.imitate()
    rollouts = path.roll_out(sft)
    agents = {
        "SFT": (sft, "greedy"),
        "SFT continued": (path.continue_imitation(sft, rollouts), "greedy"),
        "rejection sampling": (path.train("rejection", sft, [rollouts]), "greedy"),
    }
    oreo = path.train("oreo", sft, [rollouts])
    agents["OREO"] = (oreo, "greedy")
    agents[f"OREO best-of-{recipe.k}"] = (oreo, "best_of_k")
    results = [path.judge(method, *agent) for method, agent in agents.items()]
    write_json(output / "results.json", results)
    return results


class _Path:
    """The stages, each a method that names what it is made from."""

    def __init__(self, arena: Arena, recipe: Recipe, stages: Stages) -> None:
        self.arena, self.recipe, self.stages = arena, recipe, stages
        self.make_train_env = alfworld(games=arena.train, max_steps=recipe.max_steps)
        self.make_test_env = alfworld(games=arena.test, max_steps=recipe.max_steps)

    def record(self) -> Path:
        """The searching expert on training games."""
        from oreo_agents.agents.scripted import ScriptedAgent

        games = self.arena.train_indices[: self.recipe.demonstrations]
        expert = ScriptedAgent("expert")
        return self.stages.run(
            "demonstrations", (self.arena.name, games), lambda path: self._play(path, expert, games, slots=1)
        )

    def imitate(self) -> Path:
        """SFT on the demonstrations, from the shipped checkpoint or from scratch."""
        self.demonstrations = self.record()
        shipped = not self.recipe.from_scratch and STARTING_CHECKPOINT.is_dir()
        model: str | Path = STARTING_CHECKPOINT if shipped else "small"
        epochs = self.recipe.refine_epochs if shipped else self.recipe.sft_epochs
        rate = self.recipe.learning_rate if shipped else 1.5e-3
        options = {"num_train_epochs": epochs, "learning_rate": rate, "per_device_train_batch_size": 32}
        return self.stages.run(
            "sft",
            (str(model), options),
            lambda path: self._train("sft", model, [self.demonstrations], path, options),
        )

    def roll_out(self, policy: Path) -> Path:
        """The offline dataset: the policy's own episodes at temperature 1, successes and failures."""
        from oreo_agents.agents.oreo import OreoAgent

        games = list(self.arena.train_indices[: self.recipe.rollout_games]) * self.recipe.rollouts_per_game

        def work(path: Path) -> None:
            agent = OreoAgent.from_pretrained(policy, select="sample", max_new_tokens=8)
            self._play(path, agent, games, self.recipe.slots)

        return self.stages.run("rollouts", len(games), work)

    def train(
        self, method: str, start: Path, data: Sequence[Path], epochs: float | None = None, name: str = ""
    ) -> Path:
        """One of the compared methods, from the SFT policy."""
        options = {
            "num_train_epochs": epochs or self.recipe.oreo_epochs,
            "learning_rate": self.recipe.learning_rate,
            "critic_learning_rate": self.recipe.critic_learning_rate,
            "beta": self.recipe.beta,
            "alpha": self.recipe.alpha,
            "per_device_train_batch_size": 32,
        }
        return self.stages.run(
            name or method, options, lambda path: self._train(method, start, data, path, options)
        )

    def continue_imitation(self, start: Path, rollouts: Path) -> Path:
        """The control: as many more updates as OREO gets, on the demonstrations."""
        from oreo_agents.dataset import load_trajectories

        share = len(load_trajectories(rollouts)) / len(load_trajectories(self.demonstrations))
        epochs = self.recipe.oreo_epochs * share
        return self.train("sft", start, [self.demonstrations], epochs, name="sft-continued")

    def judge(self, method: str, agent: Path, select: str) -> Result:
        """Success on the held-out games."""
        from oreo_agents.agents.oreo import OreoAgent
        from oreo_agents.dataset.store import TrajectoryWriter

        def work(path: Path) -> None:
            player = OreoAgent.from_pretrained(
                agent, select=select, k=self.recipe.k, max_new_tokens=8, name=method
            )
            seed, games = self.recipe.seed, self.arena.test_indices
            result, episodes = evaluate(self.make_test_env, player, games, method, seed, self.recipe.slots)
            write_json(path, {**result, "arena": self.arena.name, "recipe": asdict(self.recipe)})
            if select == "best_of_k":
                with TrajectoryWriter(self.stages.output / "episodes") as writer:
                    for episode in episodes[:20]:
                        writer.append(episode)

        name = "result-" + method.lower().replace(" ", "-") + ".json"
        return json.loads(self.stages.run(name, (len(self.arena.test_indices), select), work).read_text())

    def _play(self, path: Path, agent: Any, games: Sequence[int], slots: int) -> None:
        from oreo_agents.dataset.store import TrajectoryWriter

        episodes = play(self.make_train_env, agent, games, self.recipe.seed, slots, progress=path.name)
        with TrajectoryWriter(path) as writer:
            for episode in episodes:
                writer.append(episode)

    def _train(self, method: str, model: str | Path, data: Sequence[Path], path: Path, options: dict) -> None:
        from oreo_agents.dataset import load_trajectories
        from oreo_agents.train import train

        episodes = [episode for part in data for episode in load_trajectories(part)]
        train(method, episodes, model, path, seed=self.recipe.seed, **options)
