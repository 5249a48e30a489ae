"""How long a training takes to begin, and what it holds in memory, by how many episodes there are.

    python benchmarks/speed/data.py [--episodes 1000 40000] [--turns 50] [--output FILE]

Each side runs in a process of its own, one after the other: the first start, which encodes on all cores and keeps what
it made, and the second, which finds it; and beside them, for the largest number of episodes, encoding alone, in one
process and in memory. A start ends when the first optimizer step has; the model is tiny. Memory is the process's
largest resident set, Python and torch included. The episodes are made up, in ALFWorld's manner: a few ten thousand
sentences, again and again.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from oreo_envs.files import write_json

from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.schema import SCHEMA
from oreo_agents.dataset.writer import TrajectoryWriter

SIDES = ("alone", "first", "second")
SENTENCES, OPENINGS, COMMANDS = 20_000, 500, 2_000
TABLE = 4_000
"""Episodes a shard."""
TOKENIZER = Path(__file__).parents[2] / "oreo_agents" / "assets" / "start"
PART = 256
MOST_MORE_MB, SECOND_S = 512, 30.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--episodes", type=int, nargs="+", default=[1000, 40_000], help="default: %(default)s"
    )
    parser.add_argument("--turns", type=int, default=50, help="of an episode; default: %(default)s")
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures")
    parser.add_argument("--data", type=Path, help="that side's episodes")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "data_speed.json"
    )
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    results = {"machine": platform.machine(), "cores": os.cpu_count(), "turns": args.turns, "episodes": {}}
    with tempfile.TemporaryDirectory() as place:
        for count in args.episodes:
            data = Path(place, str(count))
            make_episodes(data, count, args.turns)
            sides = SIDES if count == max(args.episodes) else SIDES[1:]
            results["episodes"][count] = {side: in_own_process(args, side, data, place) for side in sides}
    few, many = (results["episodes"][f(args.episodes)] for f in (min, max))
    results["times_faster"] = many["alone"]["seconds"] / many["first"]["seconds"]
    results["more_mb"] = max(many[side]["peak_mb"] - few[side]["peak_mb"] for side in SIDES[1:])
    results["holds"] = bool(results["more_mb"] <= MOST_MORE_MB and many["second"]["seconds"] <= SECOND_S)
    print(json.dumps(results, indent=1))
    write_json(args.output, results)
    sys.exit(int(not results["holds"]))


def in_own_process(args, side, data, place):
    command = [sys.executable, __file__, "--side", side, "--data", data]
    environment = {**os.environ, "XDG_CACHE_HOME": str(Path(place, "cache"))}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(ran.stdout.splitlines()[-1])


def measure(args):
    """One side: seconds until it could begin, CPU seconds of all its processes, and the largest resident set."""
    start = time.perf_counter()
    seconds = (encode_alone if args.side == "alone" else begin_training)(args.data, start)
    own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(one.ru_utime + one.ru_stime for one in (own, workers))
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": own.ru_maxrss / 1024}


def encode_alone(data, start):
    """Every episode in this process."""
    import torch  # noqa: F401  (a training holds it, too)

    from oreo_agents.language.chat import Chat
    from oreo_agents.language.encoded import join_columns
    from oreo_agents.models.agent_folder import load_tokenizer

    chat, episodes = Chat(load_tokenizer(TOKENIZER)), load_trajectories(data)
    places = range(0, len(episodes), PART)
    made = join_columns(chat.encode_many(list(episodes[place : place + PART])) for place in places)
    assert len(made) == len(episodes)
    return time.perf_counter() - start


def begin_training(data, start):
    """Two optimizer steps; the seconds until the first has begun."""
    from transformers import TrainerCallback

    from oreo_agents.models.agent_folder import load_tokenizer
    from oreo_agents.models.decoder import small_decoder
    from oreo_agents.training.config import OreoConfig
    from oreo_agents.training.trainer import OreoTrainer

    class Begun(TrainerCallback):
        seconds = None

        def on_step_begin(self, args, state, control, **kwargs):
            self.seconds = self.seconds or time.perf_counter() - start

    begun = Begun()
    tokenizer = load_tokenizer(TOKENIZER)
    with tempfile.TemporaryDirectory() as folder:
        options = {"max_steps": 2, "per_device_train_batch_size": 4, "use_cpu": True, "disable_tqdm": True}
        config = OreoConfig(folder, method="sft", max_length=100_000, **options)
        model = small_decoder(tokenizer, hidden_size=64, layers=1)
        OreoTrainer(model, config, data, processing_class=tokenizer, callbacks=[begun]).train()
    return begun.seconds


def make_episodes(path, count, turns):
    """Write a dataset in which every turn is drawn from a few ten thousand sentences."""
    rng, draw = random.Random(0), np.random.default_rng(0)
    texts = [pa.array(write(rng) for _ in range(n)) for write, n in WRITERS]
    with TrajectoryWriter(path) as writer:
        for begin in range(0, count, TABLE):
            writer.append_table(make_table(min(TABLE, count - begin), turns, texts, draw))


def make_table(count, turns, texts, draw):
    """Episodes as the schema has them, column by column."""
    sentences, openings, commands = texts
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * turns)
    seen = np.array(draw.integers(len(sentences), size=(count, turns)))
    games = draw.integers(len(openings), size=count)
    seen[:, 0] = len(sentences) + games
    won = np.arange(count) % 2 == 0
    rewards = np.zeros((count, turns))
    rewards[won, -1] = 1.0
    done = commands.take(pa.array(draw.integers(len(commands), size=count * turns)))
    each = {
        "observations": pa.concat_arrays([sentences, openings]).take(pa.array(seen.ravel())),
        "actions": done,
        "rewards": pa.array(rewards.ravel()),
        "action_statuses": pa.array(["ok"] * (count * turns)),
        "candidates": pa.array([[]] * (count * turns), SCHEMA.field("candidates").type.value_type),
    }
    columns = {
        "env_id": ["OREO-ALFWorld"] * count,
        "game": [f"room-{game}/trial" for game in games],
        "task": ["put a mug in desk"] * count,
        "task_type": ["pick_and_place_simple"] * count,
        "seed": range(count),
        "agent": ["expert"] * count,
        "tokenizer": [None] * count,
        "terminated": won,
        "truncated": ~won,
        "return": rewards.sum(1),
        "length": [turns] * count,
        "success": won,
        "final_observation": ["You put the mug in the desk."] * count,
        "metadata": ["{}"] * count,
    }
    arrays = []
    for field in SCHEMA:
        if field.name in columns:
            arrays.append(pa.array(columns[field.name], field.type))
        else:
            values = each.get(field.name)
            values = pa.nulls(count * turns, field.type.value_type) if values is None else values
            arrays.append(pa.ListArray.from_arrays(offsets, values.cast(field.type.value_type)))
    return pa.table(arrays, schema=SCHEMA)


THINGS = [
    "mug",
    "apple",
    "plate",
    "knife",
    "pan",
    "book",
    "pen",
    "lamp",
    "towel",
    "soap",
    "vase",
    "bowl",
    "candle",
    "statue",
]
PLACES = [
    "shelf",
    "desk",
    "cabinet",
    "drawer",
    "countertop",
    "fridge",
    "sinkbasin",
    "bed",
    "sofa",
    "sidetable",
]


def name(rng, words):
    return f"{rng.choice(words)} {rng.randint(1, 12)}"


def write_sentence(rng):
    seen = ", ".join(f"a {name(rng, THINGS)}" for _ in range(rng.randint(1, 5)))
    return f"You arrive at {name(rng, PLACES)}. On it, you see {seen}."


def write_opening(rng):
    seen = ", ".join(f"a {name(rng, PLACES)}" for _ in range(12))
    return (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        f"{seen}.\n\nYour task is to: put a {rng.choice(THINGS)} in {rng.choice(PLACES)}."
    )


def write_command(rng):
    return rng.choice([f"go to {name(rng, PLACES)}", f"take {name(rng, THINGS)} from {name(rng, PLACES)}"])


WRITERS = ((write_sentence, SENTENCES), (write_opening, OPENINGS), (write_command, COMMANDS))

if __name__ == "__main__":
    main()
