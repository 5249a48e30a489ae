"""What is recorded: the rows and the description of data sets, and the files of generated games."""

import json
from pathlib import Path

import gymnasium as gym
import pytest
from pins import Exact, check, check_text, dataset, do, sha256

EXPERT = "record --agent expert --split generated -n 6 --epsilon 0.3 --seed 3 -o expert"
SAMPLED = "record --agent small --split generated -n 4 --max-steps 8 --seed 3 -o sampled"


@pytest.fixture(scope="module", autouse=True)
def recorded(alike_everywhere):
    do(EXPERT)
    do(SAMPLED)


@pytest.mark.parametrize("name", ["expert", "sampled"])
def test_what_is_recorded(name):
    shards = json.loads((Path(name) / "meta.json").read_text())["shards"]
    check(name, {**dataset(name), "shards": [Exact(shard["sha256"]) for shard in shards]})


def test_an_episode_recorded_in_python():
    from oreo_agents import OreoAgent, RecordTrajectories, load_trajectories

    agent = OreoAgent.from_pretrained("small", select="best_of_k", k=3)
    env = gym.make("OREO-ALFWorld", split="generated_unseen", max_episode_steps=6)
    env = RecordTrajectories(env, "mine", agent="me", tokenizer=agent.tokenizer_fingerprint)
    observation, info = env.reset(seed=0)
    agent.reset()
    done = False
    while not done:
        decision = agent.act(observation, info)
        observation, _, terminated, truncated, info = env.step(decision.action)
        done = terminated or truncated
    env.close()
    check("recorder", dataset("mine"))
    [episode] = load_trajectories("mine")
    assert [turn.action for turn in episode.turns] == dataset("mine")["rows"][0]["actions"]


def test_a_data_set_is_described_and_exported():
    do("dataset export expert -o messages.jsonl")
    lines = Path("messages.jsonl").read_text().splitlines()
    described = json.loads(do("dataset info expert --json"))
    described.pop("versions", None)
    check(
        "described", {"info": described, "first": json.loads(lines[0]), "messages": sha256("messages.jsonl")}
    )
    do("dataset merge expert sampled -o merged")
    assert dataset("merged")["rows"] == dataset("expert")["rows"] + dataset("sampled")["rows"]


def test_an_episode_is_printed():
    check_text("replay", do("replay sampled --episode 1 --verify"))


def test_generated_games():
    do("data generate --count 3 --seed 5 -o games")
    files = sorted(path for path in Path("games").rglob("*") if path.is_file())
    check("games", {str(path): sha256(path) for path in files})
