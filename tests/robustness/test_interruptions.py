"""Killed at any point and run again, every command ends as if nothing had happened."""

import json
import random
import shutil

import pytest
from long_tests import LONG

from oreo_agents.dataset import load_trajectories
from oreo_agents.errors import OreoError

CLOCKS = ("seconds", "seconds_per_episode", "seconds_per_decision", "interrupted", "started", "ended_at")
COMMANDS = {
    "record": "record --agent expert --split generated --max-steps 12 -n 10 -o made",
    "record a model": "record --agent small --split generated --max-steps 5 -n 6 -o made",
    "train": "train --method sft --data {material}/one --model {start} -o made --overwrite --epochs 3 --batch-size 2 "
    "--save-every 3",
    "train oreo": "train --method oreo --data {material}/two --model {start} -o made --overwrite --epochs 4 "
    "--batch-size 2 --save-every 2",
    "eval": "eval --agent small --split generated_unseen -n 4 --max-steps 5 -o made.json",
    "merge": "dataset merge {material}/one {material}/two -o made",
    "export": "dataset export {material}/one -o made.jsonl",
    "import": "dataset import {material}/one.jsonl --format sharegpt -o made",
    "generate": "data generate --count 3 -o made",
    "unpack": "data --from {material}/splits -o made",
    "demo": "demo --episodes 2 -o made --jobs 1",
    "iterate": "iterate --model small --iterations 2 --rollouts 12 --episodes 2 -o made",
    "bench": "bench --suite {material}/tiny.toml -o made --results made.json --jobs 1",
    "bench aside": "bench --suite {material}/tiny.toml -o made --results made.json --jobs 2",
}
WEIGHT = {"demo": 8, "iterate": 8, "bench": 8, "bench aside": 8, "train": 24, "train oreo": 16}
"""How many of 200 interruptions; the others share the rest."""
SHORT = ("record", "train", "merge", "export")
SUITE = """
summary = "tiny"
seeds = [0]
model = "start"
step_limits = [5]
[train]
split = "generated"
[test.unseen]
split = "generated_unseen"
limit = 2
[demonstrations]
episodes = 4
[rollouts]
games = 2
episodes = 4
patience = 3
[search]
ks = [1]
[methods.sft]
[methods.sft-continued]
"""


def list_times(name):
    if not LONG:
        return 2 if name in SHORT else 0
    rest = [one for one in COMMANDS if one not in WEIGHT]
    return WEIGHT.get(name) or -(-(200 - sum(WEIGHT.values())) // len(rest))


@pytest.fixture(scope="module")
def inputs(material):
    from oreo_agents.models.model_files import SHIPPED

    (material / "tiny.toml").write_text(SUITE)
    talk = {
        "conversations": [
            {"from": "human", "value": "Room.\nYour task is to: x."},
            {"from": "gpt", "value": "look"},
        ]
    }
    (material / "one.jsonl").write_text(json.dumps(talk) + "\n")
    for split in ("train", "valid_seen"):
        shutil.copytree(material / "games", material / "splits" / split, dirs_exist_ok=True)
    start = SHIPPED["small"].parent / "start"
    return {"material": material, "start": start}


def describe_files(folder):
    """What is there, without times: episodes as episodes, JSON without clocks, the rest byte for byte."""
    found = {}
    datasets = {file.parent for file in folder.rglob("meta.json")}
    for dataset in datasets:
        episodes = [describe_episode(one) for one in load_trajectories(dataset)]
        found[dataset.relative_to(folder)] = sorted(episodes)
    for file in sorted(folder.rglob("*")):
        if file.is_dir() or file.parent in datasets or file.suffix in (".png", ".svg") or "lock" in file.name:
            continue
        name, content = file.relative_to(folder), file.read_bytes()
        if file.suffix in (".json", ".stage"):
            content = json.dumps(drop_clocks(json.loads(content)), sort_keys=True)
        elif file.name == "log.jsonl":
            lines = map(json.loads, content.splitlines())
            content = json.dumps([drop_clocks(line) for line in lines], sort_keys=True)
        elif file.name == "README.md":  # a model card says how long it took
            timed = (b"| seconds", b"| trained |", b"| command |")
            content = [line for line in content.splitlines() if not line.startswith(timed)]
        found[name] = content
    return found


def is_whole(folder, expected):
    """Whether the kill came after the work: some commands then say that it is there already."""
    try:
        return describe_files(folder) == expected
    except (OreoError, ValueError):
        return False


def describe_episode(episode):
    values = [episode.game, episode.agent, episode.seed, episode.success, episode.terminated]
    turns = [(turn.observation, turn.action, turn.reward, turn.token_ids) for turn in episode.turns]
    return repr((*values, turns))


def drop_clocks(value):
    if isinstance(value, dict):
        timed = ("runtime", "per_second")
        kept = {
            key: drop_clocks(one)
            for key, one in value.items()
            if key not in CLOCKS and not key.endswith(timed)
        }
        return {
            key: one
            for key, one in kept.items()
            if key not in ("stages", "command", "from", "machine", "program")
        }
    return [drop_clocks(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", [name for name in COMMANDS if list_times(name)])
def test_killed_and_run_again_it_ends_as_if_undisturbed(commands, inputs, tmp_path, name):
    command = COMMANDS[name].format(**inputs).split()
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    whole = commands.run(undisturbed, *command).require_done()
    expected, operations = describe_files(undisturbed), whole.operations
    assert expected and operations
    chance = random.Random(name)
    killed = 0
    for number in range(list_times(name)):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        moment = {"kill_at": chance.randint(1, operations)}
        if number % 3 == 2:
            moment = {"kill_after": chance.uniform(0, whole.seconds)}
        stopped = commands.run(folder, *command, **moment).require_clean()
        killed += stopped.killed
        whole_already = not (stopped.killed or stopped.status) or is_whole(folder, expected)
        if not whole_already:
            commands.run(folder, *command).require_done()
            left = [file.name for file in (*folder.rglob(".*.new*"), *folder.glob("*.checkpoints"))]
            assert not left, moment
        assert describe_files(folder) == expected, moment
        shutil.rmtree(folder)
    print(f"\n{name}: {killed} of {list_times(name)} killed among {operations} operations, all resumed alike")
    assert killed
