"""Datasets of earlier schemas: the first had no word for what was said, the second none for what was drawn from, the
third none for the state in which a turn was taken."""

import dataclasses
import shutil
from pathlib import Path

import gymnasium as gym
import pytest
from learning import EPISODES as PLAYED

from oreo_agents import OreoAgent, cli, load_trajectories, train
from oreo_agents.dataset.schema import SCHEMA_VERSION
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import DatasetError
from oreo_agents.rollout.verify import verify_episodes
from oreo_agents.trajectory import Candidate

HERE = Path(__file__).parent
EPISODES = tuple(dataclasses.replace(one, env_id="") for one in PLAYED)


def first_recorded():
    """What was recorded in version 1."""
    candidates = (Candidate("look", -1.5, 0.25), Candidate("go to desk 1"))
    sampled = {"token_ids": (5, 2), "logprobs": (-0.5, -1.0), "value": 0.25, "candidates": candidates}
    told = {"admissible_commands": ("look", "go to desk 1"), "action_status": "ok"}
    for seed, episode in enumerate(EPISODES[:2]):
        first = dataclasses.replace(episode.turns[0], **sampled, **told)
        turns = (first, *episode.turns[1:])
        yield dataclasses.replace(episode, turns=turns, seed=seed, metadata={"noise_turns": [1]})


def second_recorded():
    """The same with replies, in version 2."""
    for episode in first_recorded():
        first = episode.turns[0]
        one, *others = first.candidates
        considered = (dataclasses.replace(one, said=f"Action: {one.action}"), *others)
        said = f"Thought: why not?\nAction: {first.action}"
        first = dataclasses.replace(first, said=said, candidates=considered)
        yield dataclasses.replace(episode, turns=(first, *episode.turns[1:]))


def third_recorded():
    """The same with what was drawn from, in version 3."""
    for episode in second_recorded():
        first = dataclasses.replace(episode.turns[0], drawn_logprobs=(-0.25, 0.0))
        yield dataclasses.replace(episode, turns=(first, *episode.turns[1:]))


EXPECTED = {
    "version_1": tuple(first_recorded()),
    "version_2": tuple(second_recorded()),
    "version_3": tuple(third_recorded()),
}


@pytest.fixture(params=EXPECTED)
def version(request):
    return request.param


@pytest.fixture
def expected(version):
    return EXPECTED[version]


@pytest.fixture(params=["shards", "journal"])
def recorded(request, version, tmp_path):
    return Path(shutil.copytree(HERE / version / request.param, tmp_path / "recorded"))


def test_they_are_read_as_they_were(recorded, expected):
    dataset = load_trajectories(recorded)
    assert tuple(dataset) == expected
    assert list(dataset.filter(success=True)) == [expected[0]]
    dataset.check_files()


def test_they_are_continued_and_saved_in_todays_version(recorded, version, expected, tmp_path):
    drawn = {"token_ids": (5, 2), "logprobs": (-0.5, -1.0), "drawn_logprobs": (-0.25, 0.0)}
    said = dataclasses.replace(EPISODES[2].turns[0], said="Thought: why not?\nAction: look", **drawn)
    spoken = dataclasses.replace(EPISODES[2], turns=(said,))
    with TrajectoryWriter(recorded) as writer:
        writer.append(spoken)
    dataset = load_trajectories(recorded)
    assert list(dataset) == [*expected, spoken]
    assert dataset.metas[0].schema_version == SCHEMA_VERSION
    dataset[[2, 0]].save(tmp_path / "view")
    assert list(load_trajectories(tmp_path / "view")) == [spoken, expected[0]]
    merged = load_trajectories(HERE / version / "shards").merge(dataset)
    assert list(merged) == [*expected, *expected, spoken]


class AsRecorded(gym.Env):
    """Answers as it did in some episodes, each of which begins with another seed."""

    observation_space = action_space = gym.spaces.Text(10_000)

    def __init__(self, episodes):
        self.episodes = {episode.seed: episode for episode in episodes}

    def _info(self):
        turn = self.left[0] if self.left else None
        return {"admissible_commands": turn and turn.admissible_commands and list(turn.admissible_commands)}

    def reset(self, *, seed=None, options=None):
        self.left = [*self.episodes[seed].turns]
        self.episode = self.episodes[seed]
        return self.left[0].observation, self._info()

    def step(self, action):
        turn = self.left.pop(0)
        assert action == turn.action
        ended = not self.left
        observation = self.episode.final_observation if ended else self.left[0].observation
        info = {**self._info(), "action_status": turn.action_status}
        if ended:
            info["won"] = self.episode.success
        return (
            observation,
            turn.reward,
            ended and self.episode.terminated,
            ended and self.episode.truncated,
            info,
        )


def test_they_are_verified_and_replayed(recorded, expected, capsys):
    found = verify_episodes(load_trajectories(recorded), AsRecorded(expected))
    assert found.ok and found.episodes == len(expected)
    assert cli.main(["dataset", "verify", str(recorded), "--files-only"]) == 0
    assert "2 episodes, every file as it was written" in capsys.readouterr().out
    assert cli.main(["replay", str(recorded), "--plain"]) == 0
    told = capsys.readouterr().out
    assert "move mug 1 to shelf 1" in told and "heat mug 1 with microwave 1" in told


def as_text(episode):
    """Without the ids, which are of a tokenizer that nobody has."""
    turns = (
        dataclasses.replace(turn, token_ids=None, logprobs=None, drawn_logprobs=None)
        for turn in episode.turns
    )
    return dataclasses.replace(episode, turns=tuple(turns))


def test_they_are_trained_on_and_the_agent_plays(recorded, tmp_path):
    options = {"max_steps": 2, "use_cpu": True, "bf16": False}
    episodes = load_trajectories(recorded)
    with pytest.raises(DatasetError, match="with the model's tokenizer"):
        train(episodes, "new-mini", tmp_path / "agent", "oreo", **options)
    train([*map(as_text, episodes)], "new-mini", tmp_path / "agent", "oreo", **options)
    agent = OreoAgent.from_pretrained(tmp_path / "agent", select="best_of_k", k=2, max_new_tokens=4)
    assert agent.act(EPISODES[0].turns[0].observation, {}).action.value is not None
