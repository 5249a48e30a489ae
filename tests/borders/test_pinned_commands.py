"""What the command line says: its help, and one sentence for each thing that cannot be done."""

import json
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from pins import check, check_text, do, run

import oreo_agents as oreo_agents  # registers the ids

HELP = [
    "",
    "demo",
    "data",
    "data generate",
    "play",
    "replay",
    "report",
    "record",
    "train",
    "iterate",
    "eval",
    "export",
    "serve",
    "bench",
    "dataset",
    "dataset info",
    "dataset filter",
    "dataset split",
    "dataset sample",
    "dataset verify",
    "dataset merge",
    "dataset import",
    "dataset export",
    "doctor",
]

COMMON = "--split generated -n 1 -o new"
REFUSED = f"""
dance
record
record --agent expert --env OREO-Nothing -o new
record --env OREO-ALFWorld --split test -o new
record --env OREO-Reasoning --games chain_sum --split valid_seen -o new
record --split valid -o new
record --split train -o new
record --games nowhere -o new
record --games empty -o new
record --games damaged-game -o new
record --games damaged-game.zip -o new
record --games game-without-room -o new
record --env OREO-TextWorld --games nowhere.z8 -o new
record --agent no/such/agent {COMMON}
record --agent damaged-agent {COMMON}
record --agent expert --temperature 2 {COMMON}
record --agent small --epsilon 0.1 {COMMON}
record --agent random --epsilon 0.1 {COMMON}
record --agent expert --epsilon 2 {COMMON}
record --agent random --thoughts {COMMON}
record --agent small --thoughts {COMMON}
record --agent expert --shard 3/2 {COMMON}
record --agent expert --shard one {COMMON}
record --agent expert --split generated -o new
record --agent expert --split generated -n 1 --seed 9 -o something
record --agent expert --split generated -n 1 -o damaged-dataset
record --agent random --env OREO-Reasoning --games chain_sum -n 1 -o new
record --agent small --select lookahead --env OREO-TextWorld --games nowhere.z8 -n 1 -o new
record --env OREO-GSM8K --games nowhere.jsonl -o new
record --env OREO-GSM8K --games wrong.jsonl -o new
record --env OREO-GSM8K --games cut.jsonl -o new
record --env OREO-GSM8K --games empty.jsonl -o new
record --env OREO-MATH --games wrong.jsonl -o new
eval --agent no/such/agent --split generated -n 1
eval --agent no/such/agent
eval --agent expert --split generated
eval --agent expert --split generated -n 1 --select greedy
eval --agent expert --split generated -n 1 --endpoint http://127.0.0.1:9/v1
eval --agent small --split generated -n 1 --temperature 0
eval --agent small --split generated -n 1 --k 0
eval --agent small --split generated -n 1 --select beam
eval --agent small --split generated -n 1 --select constrained --endpoint http://127.0.0.1:9/v1
eval --agent small --split generated -n 1 --endpoint http://127.0.0.1:9/v1
eval --agent small --env OREO-Reasoning --games chain_sum -n 1 --select constrained
eval --agent small --split generated -n 1 -o .
train --data nowhere --model new-tiny -o new
train --data empty --model new-tiny -o new
train --data damaged-dataset --model new-tiny -o new
train --data cut-dataset --model new-tiny -o new
train --data newer-dataset --model new-tiny -o new
train --data episodes --method ppo --model new-tiny -o new
train --data episodes --method rejection --after-action answer --model new-tiny -o new
train --data episodes --method dpo --model new-tiny -o new
train --data won --method kto --model new-tiny -o new
train --data episodes -o new
train --data episodes --model no/such/agent -o new
train --data episodes --model new-tiny -o damaged-agent
train --data episodes --model damaged-agent -o new
train --data episodes --model new-tiny -o something
train --data episodes --model new-tiny --learning-rate -1 -o new
train --data episodes --model new-tiny --critic lora -o new
train --data episodes --patience 2 --model new-tiny -o new
train --data episodes --steps 3 --epochs 2 --model new-tiny -o new
train --data rollout --model new-tiny -o new
iterate --model no/such/agent -o new
iterate --model small --env OREO-GSM8K -o new
iterate --model small --method sft --beta 0.1 -o new
iterate --model new-tiny -o new
demo --env OREO-GSM8K -o new
bench --suite nothing
bench --suite nothing.toml
bench --suite wrong.toml
bench --suite wrong-key.toml
bench --suite wrong-type.toml
bench --suite nowhere-judged.toml
bench --suite smoke --methods ppo
dataset
dataset info nowhere
dataset info damaged-dataset
dataset verify cut-dataset --files-only
dataset merge episodes episodes -o something
dataset filter episodes --min-return 5 -o new
dataset split won -o new newer
dataset sample episodes -n 50 -o new
export small -o something
export expert -o new
serve no/such/agent
dataset import episodes.jsonl --format nothing -o new
dataset import wrong.jsonl --format eto -o new
dataset export episodes --format nothing -o new.jsonl
dataset export episodes -o new.nothing
dataset export episodes -o wrong.jsonl
dataset export episodes --format minari -o folder
play --split generated --task-type fly
replay nowhere
replay episodes --search xyzzy
report nowhere
report episodes -o .
play --games games --task-type nothing
play --split generated --game nothing
play --split generated --agent no/such/agent
play --env CartPole-v1
data --from nowhere
data --from wrong.jsonl -o newer
data generate --count 0 -o new
data generate --count 1 -o something
data generate --count 1 --task nothing -o new
data generate --count 1 --room nothing -o new
data generate --count 1 --task pick_heat_then_place_in_recep --room bedroom -o new
"""

SUITE = """
[train]
split = "generated"
[test.unseen]
split = "generated_unseen"
[methods.sft]
"""


usual_python = pytest.mark.skipif(
    sys.version_info[:2] not in ((3, 11), (3, 12)), reason="argparse and json word some sentences otherwise"
)


@usual_python
@pytest.mark.parametrize("command", HELP)
def test_help(command):
    status, out, err = run(*command.split(), "--help")
    assert (status, err) == (0, "")
    check_text("-".join(["help", *command.split()]), out)


@pytest.fixture(scope="module")
def things(alike_everywhere):
    """Files and folders to trip over."""
    do("data generate --count 1 -o games")
    do("record --split generated -n 6 --epsilon 0.3 --seed 3 --max-steps 12 -o episodes")
    do("record --split generated -n 1 --max-steps 30 -o won")
    do("record --agent small --split generated -n 1 --max-steps 2 -o rollout")
    for folder in ("empty", "something", "damaged-agent", "damaged-dataset", "cut-dataset", "newer-dataset"):
        Path(folder).mkdir()
    Path("something/notes.txt").write_text("mine\n")
    for name, text in {
        "damaged-game": "{",
        "game-without-room": '{"grammar": "", "pddl_domain": ""}',
    }.items():
        game = Path(name) / "pick_and_place_simple-Mug-None-Shelf-1" / "trial_1" / "game.tw-pddl"
        game.parent.mkdir(parents=True)
        game.write_text(text)
    Path("damaged-game.zip").write_text("PK")
    Path("damaged-agent/agent.json").write_text("{")
    meta = json.loads(Path("episodes/meta.json").read_text())
    meta["shards"][0]["bytes"] = 1000
    Path("damaged-dataset/meta.json").write_text(json.dumps(meta)[:100])
    Path("cut-dataset/meta.json").write_text(json.dumps(meta))
    Path("cut-dataset/shard-00000.parquet").write_bytes(
        Path("episodes/shard-00000.parquet").read_bytes()[:100]
    )
    Path("newer-dataset/meta.json").write_text(json.dumps({**meta, "schema_version": 99}))
    Path("wrong.jsonl").write_text('{"question": "1 + 1?"}\n')
    Path("cut.jsonl").write_text('{"question": "1 + 1?", "answer": "2 ####')
    Path("empty.jsonl").write_text("")
    Path("episodes.jsonl").write_text("")
    Path("wrong.toml").write_text("seeds = [")
    Path("wrong-key.toml").write_text("sedes = [0]\n" + SUITE)
    Path("wrong-type.toml").write_text('seeds = "0"\n' + SUITE)
    Path("nowhere-judged.toml").write_text('[train]\nsplit = "generated"\n[methods.sft]\n')
    return alike_everywhere


@usual_python
def test_what_cannot_be_done_is_said_in_a_sentence(things, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # a server is tried again after a while
    said = {}
    for line in REFUSED.strip().splitlines():
        status, _, err = run(*line.split())
        sentence = err.strip().splitlines()[-1]  # argparse says how the command is used before
        said[line] = [status, sentence.replace(str(things), "FOLDER")]
    check("refused", said)


IDS = {
    "OREO-Nothing": {},
    "OREO-ALFWorld": {"colour": "red"},
    "OREO-Reasoning": {"colour": "red"},
    "OREO-GSM8K": {"data": "nowhere"},
    "OREO-MATH": {"data": "wrong.jsonl"},
    "OREO-TextWorld": {"game": "nowhere"},
}
OPTIONS = {
    "OREO-ALFWorld": [
        {"split": "nothing"},
        {"split": "generated", "games": "nowhere"},
        {"split": "generated", "backend": "nothing"},
        {"split": "generated", "dialect": "nothing"},
        {"split": "generated", "render_mode": "nothing"},
    ],
    "OREO-Reasoning": [
        {"split": "nothing"},
        {"task": "chain_sum", "config": {"colour": "red"}},
        {"granularity": "nothing"},
        {"render_mode": "nothing"},
    ],
}


def refusal(call):
    with pytest.raises(Exception) as caught:
        call()
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_what_gym_make_refuses(things):
    given = [(name, options) for name, options in IDS.items()]
    given += [(name, options) for name, many in OPTIONS.items() for options in many]
    said = {
        f"{name} {options}": refusal(lambda n=name, o=options: gym.make(n, **o)) for name, options in given
    }
    rooms = gym.make("OREO-ALFWorld", split="generated", disable_env_checker=True).unwrapped
    said["step before reset"] = refusal(lambda: rooms.step("look"))
    said["reset to an unknown game"] = refusal(lambda: rooms.reset(options={"game": "nothing"}))
    problems = gym.make("OREO-Reasoning", disable_env_checker=True).unwrapped
    said["problem that is not there"] = refusal(lambda: problems.reset(options={"problem": 10**9}))
    check("gym", said)
