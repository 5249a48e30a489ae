"""Branches lead where playing leads, and leave the episode where it is."""

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import data_equivalence
from oreo_envs.wrappers import OfferBranches


def alfworld(**options):
    return gym.make("OREO-ALFWorld", split="generated", max_episode_steps=3, **options)


def test_branches_lead_where_playing_leads():
    env, plain = OfferBranches(alfworld(expert=True)), alfworld(expert=True)
    (observation, info), (same, _) = (each.reset(options={"game": 5}) for each in (env, plain))
    plan = info["expert_plan"]
    branch = info["branch"]
    assert branch.observation == observation == same
    for command in plan:
        assert not branch.ended
        branch = branch.step(command)
    assert branch.ended and branch.reward == 1.0
    for command in ["sing", *plan[:2]]:  # siblings, and the time limit counts played steps alone
        info["branch"].step(plan[0]).step("look")
        *played, info = env.step(command)
        *alone, expected = plain.step(command)
        assert played == alone
        assert data_equivalence({key: info[key] for key in expected}, expected)
        assert info["branch"].observation == played[0]
    assert played[3]


def test_a_branch_outlives_the_step_it_was_made_before():
    env = OfferBranches(alfworld())
    _, info = env.reset(options={"game": 1})
    commands = [command for command in info["admissible_commands"] if command.startswith("go to")][:2]
    env.step(commands[0])
    fresh = alfworld()
    fresh.reset(options={"game": 1})
    assert info["branch"].step(commands[1]).observation == fresh.step(commands[1])[0]


def test_an_environment_without_snapshots_is_refused():
    with pytest.raises(TypeError, match="Blind cannot be branched: it has no clone_state"):
        OfferBranches(Blind())


class Blind(gym.Env):
    observation_space = action_space = gym.spaces.Text(10)
