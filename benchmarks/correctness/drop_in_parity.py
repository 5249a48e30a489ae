"""Run programs as the field writes them for ALFWorld twice, on TextWorld and on the drop-in, and compare all they see.

    python benchmarks/correctness/drop_in_parity.py --games valid_seen.tar.xz put_grammar_valid_seen.tar.xz

A way (in) is such a program: how it makes its environment, and how it plays. Both sides play the same games, the task
types taken in turn, and what each call returns is compared value by value, with types and printed lines. The way
``random`` plays more games, and asks for everything that TextWorld can tell. A way that was measured with the same
options is not measured again, unless ``--again`` says so.

What may differ, and nothing else:

- the order of facts: TextWorld's own differs from process to process, so facts are compared as multisets. So does the
  order of the keys of a batch's infos;
- which plan is told: ``policy_commands``, the planner expert's, and the walkthrough that TextWorld works out where a
  file has none. Both must win from where they are told, and the native one is never longer. At a dead end, as when the
  hands hold what no receptacle of the game may contain, both must be empty;
- the handcoded expert in a batch of several games: it draws random numbers, which Python seeds anew in each of
  TextWorld's processes. There only the type of its plans is compared, and everything else as usual;
- in states of the engine (not in infos): they are of a subclass of ``GameState``, have no ``_valid_actions`` and
  ``_last_action``, which are the planner's own objects, and ``_valid_commands`` in another order.
"""

import argparse
import contextlib
import gc
import io
import json
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from alfworld_parity import CommandSource, choose_in_turn
from oreo_envs.alfworld import drop_in
from oreo_envs.alfworld.experts.planner import shortest_plan
from oreo_envs.alfworld.game import TASK_TYPES, Game
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.world import World
from oreo_envs.files import write_json
from quick_textworld import remember_parses

from oreo_agents.provenance import find_commit

RESULTS = Path(__file__).parents[1] / "results" / "drop_in_parity.json"
NONSENSE = ("dance", "go to mars 1", "", "  look ", "LOOK", "take", "think: where is it?", "help")
UNEQUAL_IN_STATES = ("_valid_actions", "_last_action")


# ---------------------------------------------------------------- games


def describe_trial(name: str) -> dict[str, Any]:
    """What ``traj_data.json`` says of a game of this name, as far as alfworld's environment and experts read it."""
    folder, trial = name.split("/")[-2:]
    kind, target, holder, third, scene = folder.split("-")
    lamp = kind == "look_at_obj_in_light"
    return {
        "task_id": trial,
        "task_type": kind,
        "pddl_params": {
            "object_target": target.removesuffix("Sliced"),
            "object_sliced": target.endswith("Sliced"),
            "mrecep_target": "" if holder == "None" else holder,
            "parent_target": "" if lamp else third,
            "toggle_target": third if lamp else "",
        },
        "scene": {"scene_num": int(scene)},
    }


def write_trials(games: Games, indices: Sequence[int], folder: Path) -> list[Path]:
    """Write games as alfworld has them, with the file beside each that its collector asks for."""
    paths = []
    for index in indices:
        place = folder / games.names[index]
        place.mkdir(parents=True)
        content = games.text(index)
        path = place / "game.tw-pddl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (place / "traj_data.json").write_text(json.dumps(describe_trial(games.names[index])))
        paths.append(path)
    return paths


def write_sources(sources: Sequence[str], count: int, seed: int, folder: Path) -> list[Path]:
    """Write ``count`` games of some folders or archives, the sources and task types taken in turn."""
    groups = {Path(source).name.partition(".")[0]: find_games(None, [source]) for source in sources}
    paths = []
    for name, index in choose_in_turn(groups, None, seed)[:count]:
        paths += write_trials(groups[name], [index], folder / name)
    return paths


@cache
def load_native(path: str) -> Game:
    """A game, for plans and commands that both sides are given."""
    return parse_game(Path(path).read_bytes(), "/".join(Path(path).parts[-3:-1]))


@cache
def find_walkthrough(path: str) -> tuple[str, ...]:
    """Commands that win a game."""
    game = load_native(path)
    return tuple(game.walkthrough or shortest_plan(World(game)))


def wins(path: str, commands: Sequence[str]) -> bool:
    """Whether a game is won after these commands."""
    world = World(load_native(path))
    world.reset()
    for command in commands:
        world.step(command)
    return world.won


# ---------------------------------------------------------------- what a program sees


@dataclass
class Scene:
    """What a program plays, and all that it sees.

    Attributes:
        games: its game files.
        folder: where they lie.
        steps: how many commands a program gives that does not stop by itself.
        seen: what each call returned.
        played: the files of the games that were begun.
    """

    games: list[Path]
    folder: Path
    steps: int = 30
    seed: int = 0
    seen: list[Any] = field(default_factory=list)
    played: list[str] = field(default_factory=list)

    def begin(self, files: Sequence[str], *values: Any) -> None:
        """Games begin, and these values were returned."""
        self.played += files
        self.see(*values)

    def see(self, *values: Any) -> None:
        """A call has returned these values."""
        self.seen.append(values)


def describe(value: Any) -> Any:
    """A value with its types, so that equal descriptions are equal to a program; facts in a fixed order."""
    from textworld.core import GameState
    from textworld.generator.game import EntityInfo
    from textworld.logic import Proposition

    if isinstance(value, Mapping):
        kind = "GameState" if isinstance(value, GameState) else type(value).__name__
        return kind, {key: describe(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = [describe(one) for one in value]
        facts = items and all(isinstance(one, Proposition) for one in value)
        return type(value).__name__, sorted(items) if facts else items
    if isinstance(value, Proposition):
        return f"{value.name}({', '.join(f'{one.name!r}: {one.type}' for one in value.arguments)})"
    if isinstance(value, EntityInfo):
        return "EntityInfo", {name: getattr(value, name) for name in value.__slots__}
    return type(value).__name__, value


def find_difference(theirs: Any, ours: Any, where: str = "") -> str | None:
    """Where two descriptions differ first."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = dict.fromkeys((*theirs, *ours))
        pairs = [(key, theirs.get(key, "nothing"), ours.get(key, "nothing")) for key in keys]
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and len(theirs) == len(ours):
        pairs = [(i, *pair) for i, pair in enumerate(zip(theirs, ours, strict=True))]
    else:
        return None if theirs == ours else f"{where}: {str(theirs)[:300]} | {str(ours)[:300]}"
    return next((found for key, *pair in pairs if (found := find_difference(*pair, f"{where}/{key}"))), None)


# ---------------------------------------------------------------- programs


def make_config(scene: Scene, **changes: Any) -> dict[str, Any]:
    """Alfworld's configuration over a scene's games; ``changes`` are method, expert, shuffle and limit."""
    import alfworld

    data = Path(getattr(alfworld, "__file__", "")).parent / "data"
    training = {"training": {"max_nb_steps_per_episode": changes.get("limit", 50)}}
    return {
        "env": {
            "type": "AlfredTWEnv",
            "goal_desc_human_anns_prob": 0,
            "task_types": [1, 2, 3, 4, 5, 6],
            "domain_randomization": changes.get("shuffle", False),
            "expert_type": changes.get("expert", "handcoded"),
        },
        "dataset": {
            "data_path": str(scene.folder),
            "eval_id_data_path": str(scene.folder),
            "eval_ood_data_path": str(scene.folder),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "logic": {"domain": str(data / "alfred.pddl"), "grammar": str(data / "alfred.twl2")},
        "general": {"training_method": changes.get("method", "dqn")},
        "rl": training,
        "dagger": training,
    }


def make_environment(scene: Scene, split: str, **changes: Any) -> Any:
    """Alfworld's environment, as its documentation makes it."""
    from alfworld.agents.environment import get_environment

    env = get_environment("AlfredTWEnv")(make_config(scene, **changes), train_eval=split)
    scene.see(env.game_files, env.num_games, env.train_eval)
    return env


def play_walkthroughs(scene: Scene, env: Any) -> None:
    """Play each game of a batch of one as ReAct's loop does, and go on a little after its end."""
    for _ in scene.games:
        observations, infos = env.reset()
        file = infos["extra.gamefile"][0]
        scene.begin([file], observations, infos)
        for command in ("look", "think: I need to find it.", "inventory", *find_walkthrough(file), "look"):
            result = env.step([command])
            scene.see(*result)
        print(f"{file}: {result[-1]['won'][0]} {result[1][0]}")


def play_batches(scene: Scene, env: Any, size: int, rounds: int, hide_plans: bool = False) -> None:
    """Play batches: half of the games along their walkthroughs, half at random, past the end of episodes."""
    draw = random.Random(scene.seed)
    for _ in range(rounds):
        results = env.reset()
        infos = results[-1]
        files = infos["extra.gamefile"]
        scene.begin(files, *show_plans(results, hide_plans))
        plans = [iter(find_walkthrough(file)) for file in files]
        for _ in range(scene.steps):
            commands = []
            for number, plan in enumerate(plans):
                useless = draw.random() < 0.2
                known = next(plan, "look") if number % 2 and not useless else None
                offered = infos["admissible_commands"][number]
                commands.append(known or draw.choice(NONSENSE if useless else offered))
            results = env.step(commands)
            infos = results[-1]
            scene.see(*show_plans(results, hide_plans))
    print(env.render(mode="text"))


def show_plans(results: tuple[Any, ...], hide: bool) -> tuple[Any, ...]:
    """What a batch returned; of the plans only the types, if they are to be hidden."""
    *others, infos = results
    if not hide:
        return results
    return *others, infos | {"extra.expert_plan": [type(plan) for plan in infos["extra.expert_plan"]]}


def enter_by_name(scene: Scene) -> None:
    """As ReAct, Reflexion, ETO and ExpeL: the class is an attribute of alfworld's package, which it was until 0.4."""
    from alfworld.agents import environment

    config = make_config(scene)
    kind = config["env"]["type"]
    make = getattr(environment, kind, None) or environment.get_environment(kind)
    env = make(config, train_eval="eval_out_of_distribution").init_env(batch_size=1)
    env.skip(3)
    play_walkthroughs(scene, env)
    env.close()


def enter_by_get_environment(scene: Scene) -> None:
    """As alfworld's documentation since 0.4."""
    env = make_environment(scene, "eval_in_distribution").init_env(batch_size=1)
    env.seed(7)
    play_walkthroughs(scene, env)
    print(env.render(mode="text"))
    env.close()


def enter_by_subclass(scene: Scene) -> None:
    """As AgentBench and AgentGym: a subclass with one game, which collects nothing."""
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    class OneGame(AlfredTWEnv):
        def __init__(self, config: dict[str, Any], path: str) -> None:
            self.config, self.train_eval = config, "eval_out_of_distribution"
            self.game_files, self.num_games = [path], 1
            self.get_game_logic()

    for path in scene.games:
        one = Scene([path], scene.folder, seen=scene.seen, played=scene.played)
        maker = OneGame(make_config(scene), str(path))
        scene.see(maker.game_logic)
        env = maker.init_env(batch_size=1)
        play_walkthroughs(one, env)
        env.close()


def enter_by_game_files(scene: Scene) -> None:
    """As ExpeL and AgentGym: the games are named after construction."""
    maker = make_environment(scene, "eval_out_of_distribution", limit=14)
    for path in scene.games:
        maker.game_files = [str(path)]
        env = maker.init_env(batch_size=1)
        play_walkthroughs(Scene([path], scene.folder, seen=scene.seen, played=scene.played), env)
        env.close()


def enter_by_processes(scene: Scene) -> None:
    """As verl-agent and its descendants: a process for each game, with an environment of the program's own."""
    context = multiprocessing.get_context("fork")
    for start in range(0, len(scene.games), 4):
        jobs = []
        for number, path in enumerate(scene.games[start : start + 4]):
            here, there = context.Pipe()
            process = context.Process(target=serve_game, args=(there, str(path), number), daemon=True)
            process.start()
            jobs.append((here, process))
        for path, (pipe, process) in zip(scene.games[start:], jobs, strict=False):
            scene.begin([str(path)], pipe.recv())
            for command in (*find_walkthrough(str(path)), "look"):
                pipe.send(command)
                scene.see(pipe.recv())
            pipe.send(None)
            process.join()


def serve_game(pipe: Any, path: str, seed: int) -> None:
    """An environment over TextWorld in a process of its own."""
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    name = textworld.gym.register_games(
        [path], infos, batch_size=1, wrappers=[AlfredDemangler(shuffle=False), AlfredInfos]
    )
    env = textworld.gym.make(name)
    env.seed(seed)
    pipe.send(env.reset())
    while (command := pipe.recv()) is not None:
        pipe.send(env.step([command]))
    env.close()


def enter_by_register_games(scene: Scene) -> None:
    """As RAGEN and QLASS: TextWorld's own pool, with alfworld's wrappers."""
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    asked = textworld.EnvInfos(
        won=True, admissible_commands=True, moves=True, facts=True, extras=["gamefile"]
    )
    files, wrappers = list(map(str, scene.games)), [AlfredDemangler(), AlfredInfos]
    name = textworld.gym.register_games(files, asked, batch_size=1, max_episode_steps=25, wrappers=wrappers)
    env = textworld.gym.make(name)
    play_walkthroughs(scene, env)
    env.close()


def enter_without_batch(scene: Scene) -> None:
    """The same without batches: single values instead of lists."""
    play_singly(scene, demangled=True)


def enter_without_demangler(scene: Scene) -> None:
    """The same, things under the ids that they have in the file."""
    play_singly(scene, demangled=False)


def play_singly(scene: Scene, demangled: bool) -> None:
    """TextWorld's environment for one game at a time; half of the games at random."""
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    asked = textworld.EnvInfos(
        feedback=True,
        won=True,
        lost=True,
        score=True,
        moves=True,
        admissible_commands=True,
        last_command=True,
    )
    asked.facts = asked.command_templates = True
    asked.extras.append("gamefile")
    wrappers = [AlfredDemangler(), AlfredInfos] if demangled else [AlfredInfos]
    files, draw = list(map(str, scene.games)), random.Random(scene.seed)
    env = textworld.gym.make(
        textworld.gym.register_games(files, asked, max_episode_steps=20, wrappers=wrappers)
    )
    for number in range(len(files)):
        observation, infos = env.reset()
        file = infos["extra.gamefile"]
        scene.begin([file], observation, infos)
        plan = iter(find_walkthrough(file) if number % 2 and demangled else ())
        for _ in range(22):
            command = next(plan, None) or draw.choice([*infos["admissible_commands"], *NONSENSE])
            *result, infos = env.step(command)
            scene.see(*result, infos)
    env.close()


def enter_by_start(scene: Scene) -> None:
    """As TALES: one game, no pool; the filter inside the demangler."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.wrappers import Filter

    for path in scene.games:
        asked = textworld.EnvInfos(
            feedback=True,
            won=True,
            lost=True,
            score=True,
            max_score=True,
            moves=True,
            admissible_commands=True,
        )
        asked.extras = ["walkthrough"] if load_native(str(path)).walkthrough else ["nothing"]
        env = textworld.start(str(path), asked, wrappers=[Filter, AlfredDemangler()])
        for _ in range(2):
            scene.begin([str(path)], *env.reset())
            for command in ("help", *find_walkthrough(str(path)), "inventory"):
                scene.see(*env.step(command))
        env.close()


def enter_by_dagger(scene: Scene) -> None:
    """As alfworld's DAgger: the train split in batches of ten, with the handcoded expert and its facts."""
    env = make_environment(scene, "train", method="dagger", limit=scene.steps - 5).init_env(batch_size=10)
    play_batches(scene, env, 10, -(-len(scene.games) // 10), hide_plans=True)
    env.close()


def enter_by_expert(scene: Scene) -> None:
    """The same in a batch of one, whose expert draws from the program's random numbers; mostly as it says."""
    env = make_environment(scene, "train", method="dagger", limit=scene.steps).init_env(batch_size=1)
    draw = random.Random(scene.seed)
    for _ in scene.games:
        observations, infos = env.reset()
        scene.begin(infos["extra.gamefile"], observations, infos)
        for _ in range(scene.steps):
            wandering = draw.random() < 0.2
            [offered], [plan] = infos["admissible_commands"], infos["extra.expert_plan"]
            *results, infos = env.step([draw.choice(offered) if wandering else plan[0]])
            scene.see(*results, infos, random.getstate()[1][-1])
            if results[-1][0]:
                break
    env.close()


def enter_by_planner(scene: Scene) -> None:
    """The planner expert: a plan for the whole game at every step; compared is whether it wins.

    The wrapper is used by itself, since alfworld 0.4 gives the handcoded expert whatever the configuration says. Of
    the games only the smallest fifth are played: Fast Downward takes minutes for a large one.
    """
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredInfos

    asked = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile", "expert_plan"])
    wrappers = [AlfredDemangler(), AlfredInfos, AlfredExpert(expert_type="planner")]
    small = sorted(scene.games, key=lambda path: path.stat().st_size)[: -(-len(scene.games) // 5)]
    name = textworld.gym.register_games(list(map(str, small)), asked, batch_size=1, wrappers=wrappers)
    env = textworld.gym.make(name)
    draw = random.Random(scene.seed)
    for _ in small:
        *results, infos = env.reset()
        [file] = infos["extra.gamefile"]
        scene.begin([file], *results, judge_plans(infos, file, []))
        sent: list[str] = []
        for _ in range(3):
            [offered] = infos["admissible_commands"]
            sent += [draw.choice(offered), "dance"]
            for command in sent[-2:]:
                *results, infos = env.step([command])
            scene.see(*results, judge_plans(infos, file, sent))
        for command in infos["extra.expert_plan"][0]:
            *results, infos = env.step([command])
        scene.see(results[-1], infos["won"])
    env.close()


def judge_plans(infos: Mapping[str, Any], file: str, sent: Sequence[str]) -> dict[str, Any]:
    """A batch of one's infos; of plans their type and whether they win."""
    plans = {name: infos[name][0] for name in ("extra.expert_plan", "policy_commands") if name in infos}
    judged = {name: (type(plan).__name__, wins(file, [*sent, *plan])) for name, plan in plans.items()}
    return {**infos, **judged}


def enter_by_six(scene: Scene) -> None:
    """A seeded and skipped pool in batches of six, beyond its end."""
    env = make_environment(scene, "eval_out_of_distribution", limit=scene.steps - 3).init_env(batch_size=6)
    scene.see(env.seed(3))
    env.skip(2)
    play_batches(scene, env, 6, -(-len(scene.games) // 6))
    env.close()


def enter_by_thirty_two(scene: Scene) -> None:
    """Batches of thirty-two."""
    env = make_environment(scene, "eval_in_distribution", limit=scene.steps - 3).init_env(batch_size=32)
    play_batches(scene, env, 32, -(-len(scene.games) // 32))
    env.close()


def enter_with_shuffled_names(scene: Scene) -> None:
    """Domain randomization: the numbers of things are drawn from the program's random numbers."""
    env = make_environment(scene, "train", shuffle=True, limit=scene.steps - 2).init_env(batch_size=1)
    play_batches(scene, env, 1, len(scene.games))
    env.close()


WAYS: dict[str, Callable[[Scene], None]] = {
    "getattr": enter_by_name,
    "get_environment": enter_by_get_environment,
    "subclass": enter_by_subclass,
    "game_files": enter_by_game_files,
    "processes": enter_by_processes,
    "register_games": enter_by_register_games,
    "no batch": enter_without_batch,
    "no demangler": enter_without_demangler,
    "start": enter_by_start,
    "dagger": enter_by_dagger,
    "expert": enter_by_expert,
    "planner": enter_by_planner,
    "batch of 6": enter_by_six,
    "batch of 32": enter_by_thirty_two,
    "shuffled names": enter_with_shuffled_names,
}


# ---------------------------------------------------------------- both sides


def watch(way: Callable[[Scene], None], scene: Scene) -> float:
    """Run a program, record what it saw and printed, and return the seconds it took."""
    random.seed(scene.seed)
    np.random.seed(scene.seed)
    lines = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(lines):
        way(scene)
    seconds = time.perf_counter() - started
    scene.see(lines.getvalue().splitlines())
    return seconds


def compare_way(name: str, games: list[Path], folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Run a program on both sides."""
    theirs, ours = (Scene(games, folder, steps, seed) for _ in range(2))
    seconds = [watch(WAYS[name], theirs)]
    with drop_in.installed():
        seconds.append(watch(WAYS[name], ours))
    pairs = [tuple(map(describe, pair)) for pair in zip(theirs.seen, ours.seen, strict=False)]
    unlike = [i for i, (one, other) in enumerate(pairs) if one != other]
    return {
        "what": (WAYS[name].__doc__ or "").split("\n")[0],
        "games": len(theirs.played),
        "task_types": count_types(theirs.played),
        "states": len(theirs.seen),
        "differences": len(unlike) + abs(len(theirs.seen) - len(ours.seen)),
        "first_difference": f"state {unlike[0]}: {find_difference(*pairs[unlike[0]])}" if unlike else None,
        "seconds": {"textworld": round(seconds[0], 2), "native": round(seconds[1], 3)},
        "ratio": round(seconds[0] / seconds[1], 1),
    }


def count_types(files: Sequence[str]) -> dict[str, int]:
    """How many of these games there are of each task type."""
    counts = Counter(Path(file).parts[-3].partition("-")[0] for file in files)
    return {kind: counts[kind] for kind in TASK_TYPES}


# ---------------------------------------------------------------- random play

NAMINGS = ("alfworld", "alfworld", "raw", "shuffled")
"""How things are called in every fourth game each."""


def start_engine(path: str, naming: str, plans: bool) -> Any:
    """TextWorld's engine for a game, asked for everything, or for all but what Fast Downward works out."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    attributes = {name: name != "policy_commands" or plans for name in textworld.EnvInfos.__slots__}
    planned = not load_native(path).walkthrough
    extras = ["gamefile", *["walkthrough"] * (plans or not planned)]
    infos = textworld.EnvInfos(**attributes | {"extras": extras})
    wrappers = [] if naming == "raw" else [AlfredDemangler(shuffle=naming == "shuffled")]
    return textworld.start(path, infos, wrappers=[*wrappers, AlfredInfos])


def describe_state(state: Mapping[str, Any], planned: bool) -> Any:
    """A state of the engine without what may differ."""
    shown = {key: value for key, value in state.items() if key not in (*UNEQUAL_IN_STATES, "policy_commands")}
    if planned:
        shown.pop("extra.walkthrough", None)
    shown["_valid_commands"] = sorted(shown["_valid_commands"])
    shown["_facts"] = state._facts  # type: ignore[attr-defined]
    return describe({**shown, "class": "GameState"})


def compare_random(task: tuple[str, int, int, int]) -> dict[str, Any]:
    """Play a game at random, natively and then with the same commands on TextWorld.

    At the end both follow the native plan from there; it must win on both. Where names are alfworld's, every plan on
    the way must win too, as the native engine has it. TextWorld is asked for a plan only where none is told natively
    though the game is not won, and must have none there: the way ``planner`` does the rest.
    """
    path, number, steps, seed = task
    naming = NAMINGS[number % len(NAMINGS)]
    game = load_native(path)
    planned = not game.walkthrough
    ours, theirs, sent = [], [], []
    faults: list[str] = []
    dead_ends: list[int] = []
    random.seed(seed)
    source = CommandSource(game, seed)
    started = time.perf_counter()
    with drop_in.installed():
        env = start_engine(path, naming, plans=True)
        state = env.reset()
        if naming == "alfworld" and planned and not wins(path, state["extra.walkthrough"]):
            faults.append("the walkthrough does not win")
        ours.append((describe_state(state, planned), None, None))
        while len(sent) < steps:
            sent.append(source.next(state["admissible_commands"]))
            state, *result = env.step(sent[-1])
            ours.append((describe_state(state, planned), *describe(result)))
            if not (state["policy_commands"] or state["won"]):
                dead_ends.append(len(sent))
            elif naming == "alfworld" and not wins(path, [*sent, *state["policy_commands"]]):
                faults.append(f"state {len(sent)}: the plan does not win")
        for command in state["policy_commands"]:
            sent.append(command)
            state, *result = env.step(command)
            ours.append((describe_state(state, planned), *describe(result)))
    native = time.perf_counter() - started
    random.seed(seed)
    started = time.perf_counter()
    env = start_engine(path, naming, plans=False)
    state = env.reset()
    theirs.append((describe_state(state, planned), None, None))
    for count, command in enumerate(sent, start=1):
        env.unwrapped.request_infos.policy_commands = count in dead_ends
        state, *result = env.step(command)
        theirs.append((describe_state(state, planned), *describe(result)))
        if count in dead_ends and state["policy_commands"]:
            faults.append(
                f"state {count}: no plan is told, but TextWorld has one: {state['policy_commands']}"
            )
    if not state["won"] and len(sent) not in dead_ends:
        faults.append("the last plan does not win")
    env.close()
    unlike = [i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1]]
    faults += [f"state {i}: {find_difference(theirs[i], ours[i])}" for i in unlike]
    first = f"{path} ({naming}), {faults[0]}, after {sent}" if faults else None
    return {
        "game": path,
        "states": len(ours),
        "dead_end": bool(dead_ends),
        "differences": len(faults),
        "first_difference": first,
        "native": native,
        "textworld": time.perf_counter() - started,
    }


def start_worker() -> None:
    """TextWorld without its repeated work."""
    remember_parses()
    gc.set_threshold(1_000_000)


def compare_randoms(games: list[Path], steps: int, seed: int, jobs: int) -> dict[str, Any]:
    """Play games at random in processes, renewed now and then because TextWorld leaks."""
    tasks = [(str(path), number, steps, seed) for number, path in enumerate(games)]
    context = multiprocessing.get_context("spawn")
    rows, started = [], time.monotonic()
    with context.Pool(jobs, start_worker, maxtasksperchild=100) as pool:
        for row in pool.imap_unordered(compare_random, tasks):
            rows.append(row)
            if row["first_difference"]:
                print(row["first_difference"], flush=True)
            if len(rows) % 20 == 0:
                spent = time.monotonic() - started
                print(f"random: {len(rows)} of {len(tasks)} games, {spent:.0f} s", flush=True)
    seconds = {side: sum(row[side] for row in rows) for side in ("textworld", "native")}
    return {
        "what": "Random play, everything asked for at once; TextWorld without its repeated work.",
        "games": len(rows),
        "task_types": count_types([row["game"] for row in rows]),
        "namings": dict(Counter(NAMINGS[number % len(NAMINGS)] for number in range(len(games)))),
        "states": sum(row["states"] for row in rows),
        "dead_ends": sum(row["dead_end"] for row in rows),
        "differences": sum(row["differences"] for row in rows),
        "first_difference": next(filter(None, (row["first_difference"] for row in rows)), None),
        "seconds": {side: round(spent, 2) for side, spent in seconds.items()},
        "ratio": None,
    }


# ---------------------------------------------------------------- the command


def run_ways(options: argparse.Namespace, done: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way that is asked for and not done."""
    todo = [name for name in options.ways if options.again or name not in done]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        games = write_sources(options.games, options.count, options.seed, folder / "ways") if todo else []
        for name in todo:
            print(f"{name} ...", flush=True)
            if name == "random":
                many = write_sources(options.games, options.random, options.seed + 100, folder / "random")
                random.Random(options.seed).shuffle(many)  # else namings would go with sources
                row = compare_randoms(many, options.steps, options.seed, options.jobs)
            else:
                row = compare_way(name, games, folder / "ways", options.steps, options.seed)
            if row["first_difference"]:  # named by its game, not by where this machine keeps it
                row["first_difference"] = row["first_difference"].replace(f"{folder}{os.sep}", "")
            yield name, row


def read_done(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ways that were measured before with these settings."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    return kept["ways"] if kept.get("settings") == settings else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*WAYS, "random"]
    parser.add_argument("--games", nargs="+", required=True, help="folders or archives of ALFWorld games")
    parser.add_argument("--count", type=int, default=20, help="games for each way")
    parser.add_argument("--random", type=int, default=500, help="games for the way `random`")
    parser.add_argument(
        "--ways", nargs="+", default=names, choices=names, metavar="WAY", help=", ".join(names)
    )
    parser.add_argument(
        "--steps", type=int, default=30, help="commands of a program that does not stop by itself"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes for the way `random`")
    parser.add_argument("--quick", action="store_true", help="leave out TextWorld's repeated work: no speeds")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    settings = {name: getattr(options, name) for name in ("count", "random", "steps", "seed", "quick")}
    settings["games"] = [Path(source).name for source in options.games]
    ways = read_done(options.output, settings)
    if options.quick:
        start_worker()
    for name, row in run_ways(options, ways):
        ways[name] = row | {"commit": find_commit()} | ({"ratio": None} if options.quick else {})
        print(f"{name}: {json.dumps(row)}", flush=True)
        write_json(
            options.output,
            {
                "what": "programs for alfworld and TextWorld, on TextWorld and on the drop-in",
                "settings": settings,
                "ways": dict(sorted(ways.items(), key=lambda item: names.index(item[0]))),
                "python": platform.python_version(),
                "versions": {name: version(name) for name in ("alfworld", "textworld")},
            },
        )
    return int(any(row["differences"] for row in ways.values()))


if __name__ == "__main__":
    sys.exit(main())
