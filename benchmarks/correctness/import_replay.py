"""Replay every imported ETO and KnowAgent episode in the native engine, and write down what disagrees.

    ALFWORLD_DATA=DIR python benchmarks/correctness/import_replay.py --episodes DIR [--output FILE]

The episodes folder holds ``eto_expert_train.jsonl.gz``, ``knowagent_D0.jsonl.gz``, ``knowagent_D1.jsonl.gz``.
Imports go through a dataset on disk, as ``oreo-agents`` users make it, in the wording of the ``move`` games.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from oreo_envs.files import write_json

from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.importers import import_dataset
from oreo_agents.environments import replay_environment
from oreo_agents.rollout.verify import verify_episodes

RESULTS = Path(__file__).parents[1] / "results" / "import_replay.json"
FILES = {
    "eto_expert_train.jsonl.gz": "eto",
    "knowagent_D0.jsonl.gz": "knowagent",
    "knowagent_D1.jsonl.gz": "knowagent",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=Path, required=True, help="folder of the collected episodes")
    parser.add_argument("--split", default="train", help="games to replay in; default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "import_replay.json"
    )
    args = parser.parse_args()
    env = replay_environment(None, split=args.split)
    results = {}
    for name, format in FILES.items():
        results[name] = replay_file(env, args.episodes / name, format)
        print(name, json.dumps({key: value for key, value in results[name].items() if key != "first"}))
    write_json(args.output, results)


def replay_file(env, source, format):
    with tempfile.TemporaryDirectory() as folder:
        import_dataset(source, folder, format, move=True)
        dataset = load_trajectories(folder)
        begin = time.perf_counter()
        report = verify_episodes(dataset, env)
        seconds = time.perf_counter() - begin
        rewritten = [episode.metadata.get("rewritten", {}) for episode in dataset]
    return {
        **report.as_json(),
        "recorded_as_won": int(dataset.success.sum()),
        "commands_rewritten": sum(len(one.get("commands", ())) for one in rewritten),
        "observations_rewritten": sum(len(one.get("observations", ())) for one in rewritten),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
