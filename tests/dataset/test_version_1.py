"""Datasets of 0.1.0, whose schema had no word for what was said beside what was done."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from learning import EPISODES

from oreo_agents import load_trajectories
from oreo_agents.dataset.schema import SCHEMA_VERSION
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.trajectory import Candidate

FIRST = Path(__file__).parent / "version_1"


def expected():
    """What was recorded then."""
    candidates = (Candidate("look", -1.5, 0.25), Candidate("go to desk 1"))
    sampled = {"token_ids": (5, 2), "logprobs": (-0.5, -1.0), "value": 0.25, "candidates": candidates}
    told = {"admissible_commands": ("look", "go to desk 1"), "action_status": "ok"}
    for seed, episode in enumerate(EPISODES[:2]):
        first = dataclasses.replace(episode.turns[0], **sampled, **told)
        turns = (first, *episode.turns[1:])
        yield dataclasses.replace(episode, turns=turns, seed=seed, metadata={"noise_turns": [1]})


@pytest.fixture(params=["shards", "journal"])
def recorded(request, tmp_path):
    return Path(shutil.copytree(FIRST / request.param, tmp_path / "recorded"))


def test_they_are_read_as_they_were(recorded):
    dataset = load_trajectories(recorded)
    assert list(dataset) == list(expected())
    assert list(dataset.filter(success=True)) == list(expected())[:1]
    dataset.check_files()


def test_they_are_continued_and_saved_in_todays_version(recorded, tmp_path):
    said = dataclasses.replace(EPISODES[2].turns[0], said="Thought: why not?\nAction: look")
    spoken = dataclasses.replace(EPISODES[2], turns=(said,))
    with TrajectoryWriter(recorded) as writer:
        writer.append(spoken)
    dataset = load_trajectories(recorded)
    assert list(dataset) == [*expected(), spoken]
    assert dataset.metas[0].schema_version == SCHEMA_VERSION
    dataset[[2, 0]].save(tmp_path / "view")
    assert list(load_trajectories(tmp_path / "view")) == [spoken, next(expected())]
    merged = load_trajectories(FIRST / "shards").merge(dataset)
    assert list(merged) == [*expected(), *expected(), spoken]
