"""Success where an environment tells it at the end of an episode alone."""

import text_environments  # noqa: F401  (registers them)

from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.dataset import load_trajectories
from oreo_agents.evaluation.outcomes import Outcomes
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.trajectory import settle_success

SAFE, LIFT = "text_environments:Safe-v0", "text_environments:Lift-v0"


def play(path, env_id=SAFE, **options):
    return record(ScriptedAgent("random", env_id), path, env_id, schedule=Schedule(limit=30), **options)


def test_an_episode_cut_at_the_step_limit_is_not_won(tmp_path):
    made = play(tmp_path / "safe")
    episodes = load_trajectories(tmp_path / "safe")
    won = [episode.return_ == 1 for episode in episodes]
    cut = [episode.truncated and not episode.terminated for episode in episodes]
    assert any(cut) and 0 < sum(won) < len(won)
    assert all(episode.success is None for episode, one in zip(episodes, cut, strict=True) if one)
    assert f"{sum(won) / len(won):.1%} won" in str(made)
    assert episodes.defines_success and episodes.success.tolist() == won
    assert len(episodes.filter(success=False)) == len(won) - sum(won)
    counted = Outcomes()
    for episode in episodes:
        counted.add(episode)
    assert counted.defines_success and counted.score == sum(won) / len(won)


def test_nothing_is_won_or_lost_where_it_is_never_told(tmp_path):
    assert "mean return" in str(play(tmp_path / "lift", LIFT))
    assert not load_trajectories(tmp_path / "lift").defines_success


def test_one_environment_does_not_speak_for_another():
    assert settle_success(["a", "a", "b"], [True, None, None]) == [True, False, None]
    mixed = Outcomes()
    mixed.count(True, 1.0, "a")
    mixed.count(None, 5.0, "b")
    assert not mixed.defines_success
