"""What a hundred million steps are made of, measured on a few: tokens, bytes, and what grows with their number.

    python benchmarks/plan/probe.py --games DIR --episodes DIR --model DIR [--steps 100000 1000000] [--output FILE]

``--episodes`` has KnowAgent's ``knowagent_D0.jsonl.gz`` and ``knowagent_D1.jsonl.gz``: a language model's episodes with
thoughts, won and lost, on real games. Their commands are played again on the native engine, with their thoughts as what
was said, tokenized by ``--model``, and with made-up log-probabilities, which compress no better than real ones. What is
recorded of that gives tokens and bytes a step, and the quantiles that ``simulate.py`` draws from.

Then the recorded episodes are written again and again, until there are ``--steps``, each number in a process of its
own: peak memory, files, and CPU seconds of everything that handles a whole dataset. Seconds are those of a machine with
other work; what counts are the ratios between the two sizes, and bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from oreo_envs.files import write_json

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.dataset.importers import import_dataset
from oreo_agents.dataset.journal import encode_row
from oreo_agents.dataset.reader import merge_datasets, write_dataset
from oreo_agents.dataset.schema import to_row
from oreo_agents.environments import environments
from oreo_agents.language.chat import Chat
from oreo_agents.language.encoded import gather_episodes, write_columns
from oreo_agents.language.prompt import Prompt
from oreo_agents.provenance import collect_provenance
from oreo_agents.report.dataset_card import describe_dataset
from oreo_agents.rollout.loop import rollout
from oreo_agents.rollout.schedule import Schedule, list_lacking, restore_order
from oreo_agents.trajectory import Action

FILES = ("knowagent_D0.jsonl.gz", "knowagent_D1.jsonl.gz")
QUANTILES = 51
RESULTS = Path(__file__).parents[1] / "results" / "plan_probe.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", help="ALFWorld's train split: a folder or an archive")
    parser.add_argument("--episodes", type=Path, help="folder with KnowAgent's files")
    parser.add_argument("--model", help="folder with a tokenizer")
    parser.add_argument("--steps", type=int, nargs="+", default=[100_000, 1_000_000], help="%(default)s")
    parser.add_argument("--grow", nargs=2, metavar=("SOURCE", "STEPS"), help="one size, in this process")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.grow:
        print(json.dumps(grow(Path(args.grow[0]), int(args.grow[1]))))
        return
    with tempfile.TemporaryDirectory() as place:
        played = Path(place, "played")
        results = measure_episodes(read_episodes(args.episodes), args.games, args.model, played)
        results |= {"provenance": collect_provenance(), "tokenizer": Path(args.model).name, "growth": {}}
        for count in args.steps:
            write_json(args.output, results)
            results["growth"][str(count)] = grow_apart(played, count)
    write_json(args.output, results)
    print(json.dumps({**results, "quantiles": "..."}, indent=1))


# --- tokens and bytes ---------------------------------------------------------------------------------------------


def read_episodes(folder: Path) -> list:
    """KnowAgent's, in the wording of the games."""
    with tempfile.TemporaryDirectory() as place:
        for file in FILES:
            import_dataset(folder / file, place, "knowagent", move=True)
        return list(load_trajectories(place))


class Repeater:
    """Does what was done before, saying what was said then."""

    name, tokenizer_fingerprint, needs = "repeater", None, frozenset({"admissible_commands"})

    def __init__(self, episodes, tokenizer):
        self.episodes, self.tokenizer = episodes, tokenizer
        self.turns = {}

    def prepare(self, slots):
        """Forget all."""

    def begin(self, slots, assignments):
        """An episode's seed is its place in the list."""
        self.turns |= {
            slot: iter(self.episodes[one.seed].turns) for slot, one in zip(slots, assignments, strict=True)
        }

    def act_many(self, slots, observations, infos):
        """The next command of each."""
        return [self._repeat(next(self.turns[slot], None)) for slot in slots]

    def _repeat(self, turn):
        if turn is None:
            return Decision(Action("look"), end="what was recorded ends")
        said = f"{turn.said.rpartition('Action:')[0]}Action: {turn.action}"  # in the wording of the games
        ids = (*self.tokenizer(said).input_ids, self.tokenizer.eos_token_id)
        logprobs = tuple(-random.expovariate(3.0) for _ in ids)
        return Decision(Action(turn.action, ids, logprobs, said=said), generated_tokens=len(ids))


def measure_episodes(episodes, games, model, played):
    """Tokens and bytes of a step, with thoughts and without; leaves the episodes at ``played``."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    make_env = environments("OREO-ALFWorld", games=games)
    names = set(make_env().unwrapped.games.names)
    episodes = [one for one in episodes if one.game in names and all(turn.said for turn in one.turns)]
    assert episodes, f"none of the episodes is on a game of {games}"
    plan = [Assignment(one.game, seed=place) for place, one in enumerate(episodes)]
    with TrajectoryWriter(played) as writer:
        repeated = list(rollout(make_env, plan, Repeater(episodes, tokenizer), slots=1))
        for one in repeated:
            writer.append(one)
    steps = sum(map(len, repeated))
    bare = [
        replace(
            one, turns=tuple(replace(turn, said=None, token_ids=None, logprobs=None) for turn in one.turns)
        )
        for one in repeated
    ]
    found = {
        "episodes": len(repeated),
        "steps": steps,
        "journal_bytes_per_step": sum(len(encode_row(to_row(one))) for one in repeated) / steps,
        "parquet_bytes_per_step": count_bytes(played, "*.parquet") / steps,
    }
    kinds = {"thoughts": (repeated, "alfworld-react"), "actions": (bare, "alfworld")}
    quantiles = {"steps": list_quantiles([len(one) for one in repeated])}
    for kind, (spoken, prompt) in kinds.items():
        with tempfile.TemporaryDirectory() as place:
            encoded = gather_episodes(Chat(tokenizer, Prompt.load(prompt)).encode_many(spoken))
            write_columns([encoded], Path(place))
            encoded_bytes = count_bytes(Path(place), "*")
        said = [len(part) for one in encoded for part in list_replies(one)]
        facts = encoded.facts
        found[kind] = {
            "opening_tokens": float(facts["prompt"].mean()),
            "reply_tokens_per_step": sum(said) / steps,
            "read_tokens_per_step": float(facts["tokens"].sum() - facts["prompt"].sum() - sum(said)) / steps,
            "tokens_per_episode": float(facts["tokens"].mean()),
            "tokens_of_the_longest": int(facts["tokens"].max()),
            "length_weighted_by_tokens": float((facts["tokens"] ** 2.0).sum() / facts["tokens"].sum()),
            "encoded_bytes_per_token": encoded_bytes / int(facts["tokens"].sum()),
        }
        quantiles[f"{kind}_reply_tokens"] = list_quantiles(said)
    return {**found, "quantiles": quantiles}


def list_replies(episode):
    """The runs of tokens that the agent said."""
    runs = itertools.groupby(episode.action_mask)
    return [list(run) for said, run in runs if said]


def list_quantiles(values):
    """From the least to the most."""
    return np.quantile(np.array(values), np.linspace(0, 1, QUANTILES)).round(2).tolist()


def count_bytes(folder, pattern):
    return sum(file.stat().st_size for file in folder.rglob(pattern))


# --- what grows ---------------------------------------------------------------------------------------------------


def grow_apart(played, steps):
    """:func:`grow` in a process of its own, whose memory is nobody else's."""
    command = [sys.executable, __file__, "--grow", played, str(steps)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def find_peak():
    """Megabytes that this program has held at most; ``ru_maxrss`` is also that of who started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def grow(source, steps):
    """CPU seconds, and megabytes at the peak, after each thing that is done with so many steps."""
    told, clock = {}, [time.process_time()]

    def tell(name, **more):
        now, peak = time.process_time(), find_peak()
        told[name] = {"cpu_seconds": round(now - clock[0], 3), "peak_mb": round(peak), **more}
        clock[0] = time.process_time()

    with tempfile.TemporaryDirectory() as place:
        data = Path(place, "data")
        few = list(load_trajectories(source))
        tell("begin")
        count = round(steps / (sum(map(len, few)) / len(few)))
        names = sorted({one.game for one in few})
        plan = Schedule(episodes_per_game=-(-count // len(names)), limit=count).assign(names)
        tell("plan", episodes=len(plan))
        passed = (SimpleNamespace(game=one.game, seed=one.seed) for one in plan)
        assert sum(1 for _ in restore_order(passed, plan)) == count
        tell("restore order")
        with TrajectoryWriter(data) as writer:
            for one, episode in zip(plan, itertools.cycle(few), strict=False):
                writer.append(replace(episode, game=one.game, seed=one.seed))
        meta = (data / "meta.json").stat().st_size
        tell("record", shards=len(list(data.glob("*.parquet"))), meta_bytes=meta)
        with TrajectoryWriter(data) as writer:
            assert not list_lacking(plan, writer, few[0].agent)
        tell("continue")
        del plan, passed
        dataset = load_trajectories(data)
        tell("open")
        describe_dataset(dataset)
        tell("dataset info")
        shuffled = dataset.shuffle(1)
        for i in range(min(200, len(shuffled))):
            shuffled[i]
        tell("read 200 at random")
        for _ in itertools.islice(dataset, 2000):
            pass
        tell("read 2000 in order")
        merge_datasets([data], Path(place, "merged"))
        tell("merge", shards=len(list(Path(place, "merged").glob("*.parquet"))))
        write_dataset(dataset.sample(min(len(dataset), 2000)), Path(place, "sampled"))
        tell("sample 2000")
    return told


if __name__ == "__main__":
    main()
