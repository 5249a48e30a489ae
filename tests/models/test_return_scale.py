"""Returns between -5 and 20 as a critic reads them, worked by hand."""

import dataclasses

import pytest

from oreo_agents.language.encoded import EncodedEpisode, gather_episodes
from oreo_agents.models.return_scale import PLAIN, ReturnScale, measure_range
from oreo_agents.trajectory import Trajectory, Turn


def encoded(*returns):
    n = len(returns)
    return EncodedEpisode([0] * n, [True] * n, [True] * n, [True] * n, list(returns), None)


def columns(*episodes):
    return gather_episodes(encoded(*returns) for returns in episodes)


def test_the_range_is_that_of_all_rewards_to_go():
    assert measure_range(columns((20.0, 10.0), (-5.0, -4.0))) == (-5.0, 20.0)
    assert measure_range(columns((1.0, 1.0), (0.0,))) is None  # the paper's case stays as it is
    assert measure_range(columns((100.0,), (100.0, 100.0))) == (0.0, 100.0)  # no difference, and yet a unit
    assert measure_range(columns((-5.0,))) == (-5.0, 0.0)
    assert measure_range(columns((float("nan"), 7.0))) is None


def test_returns_come_to_lie_between_0_and_1_and_back():
    scale = ReturnScale(-5.0, 20.0)
    assert scale.normalise(columns((20.0, 7.5, -5.0)))[0].returns == [1.0, 0.5, 0.0]
    assert [scale.restore(value) for value in (1.0, 0.5, None)] == [20.0, 7.5, None]
    assert PLAIN.normalise(episodes := columns((1.0,))) is episodes


def test_a_reward_and_the_value_after_it_are_the_value_before():
    """V = r + V' in the unit of the values, also at the end, where there is no V'."""
    scale = ReturnScale(-5.0, 20.0)
    before, after = scale.normalise(columns((8.0, 10.0)))[0].returns
    assert scale.reward(-2.0, 0, False) + after == pytest.approx(before)
    assert scale.reward(10.0, 1, True) == pytest.approx(after)


def test_discounted_rewards_still_add_up():
    turns = tuple(Turn("you see", "go", reward) for reward in (1.0, 2.0, 4.0))
    assert list(Trajectory(turns).returns_to_go(0.5)) == [3.0, 2.0, 1.0]
    assert ReturnScale(0.0, 2.0, 0.5).reward(4.0, 2, False) == pytest.approx(0.5)


def test_what_is_no_scale_is_refused():
    scale = ReturnScale(-5.0, 20.0, 0.9)
    assert ReturnScale.from_json(scale.to_json()) == scale and ReturnScale.from_json(None) == PLAIN
    odd = [{"low": 3}, {**scale.to_json(), "low": 20.0}, {**scale.to_json(), "discount": 2}, [], "x"]
    for written in [*odd, {**scale.to_json(), "high": float("inf")}, {**scale.to_json(), "low": None}]:
        with pytest.raises(ValueError, match="returns is"):
            ReturnScale.from_json(written)


def test_the_scale_of_a_critic_is_its_folders(tmp_path, policy, tokenizer):
    from oreo_agents.models.agent_folder import load_critic, save_agent
    from oreo_agents.models.critic import Critic

    critic = Critic.from_policy(policy)
    critic.scale = ReturnScale(-5.0, 20.0, 0.9)
    save_agent(tmp_path / "agent", policy, tokenizer, critic)
    assert load_critic(tmp_path / "agent", policy).scale == critic.scale
    assert dataclasses.asdict(critic.scale)["low"] == -5.0
