"""Our environments as GEM's: made, played, vectorised and branched by GEM's own functions."""

from functools import partial

import pytest
from won_game import OPTIONS, play_expert

from oreo_agents.environments import environments

gem = pytest.importorskip("gem", reason="GEM is not installed: pip install --no-deps gem-llm")

PLAYED = {
    "OREO-ALFWorld": OPTIONS,
    "OREO-Puzzles": {"task": "countdown", "expert": True},
    "OREO-Habits": {"expert": True},
    "OREO-TextWorld": {"expert": True},
}


@pytest.fixture(params=PLAYED)
def env_id(request):
    """One of our ids, under which it is registered with GEM, too."""
    from oreo_agents.doors.gem import GEMEnv

    gem.register(request.param, partial(GEMEnv, environments(request.param, **PLAYED[request.param])))
    yield request.param
    del gem.envs.registration.ENV_REGISTRY[request.param]


def test_an_episode_is_gymnasiums_to_the_letter(env_id):
    env = gem.make(env_id)
    assert isinstance(env, gem.Env)
    opening, steps = play_expert(env_id, PLAYED[env_id], seed=11)
    assert env.reset(seed=11) == opening
    for command, told in steps:
        assert env.step(command) == told
    assert told[2] and not told[3] and (told[1] == 1 or env_id == "OREO-Habits")


@pytest.mark.parametrize("async_mode", [False, True])
def test_a_vector_of_it_begins_with_seeds_that_follow_each_other(env_id, async_mode):
    vector = gem.make_vec([env_id, env_id], seed=11, async_mode=async_mode)
    openings = [play_expert(env_id, PLAYED[env_id], seed=seed)[0] for seed in (11, 12)]
    assert vector.reset() == tuple(map(list, zip(*openings, strict=True)))
    assert vector.reset(seed=12)[0][0] == openings[1][0]
    commands = [play_expert(env_id, PLAYED[env_id], seed=seed)[1][0] for seed in (12, 13)]
    observations, rewards, *_ = vector.step([command for command, _ in commands])
    assert list(observations) == [told[0] for _, told in commands]
    assert list(rewards) == [told[1] for _, told in commands]


def test_a_child_goes_on_alone(env_id):
    """With the same state from here, with the step limit's count, else from anywhere."""
    env = gem.make(env_id)
    _, (first, *rest) = play_expert(env_id, PLAYED[env_id], seed=11)
    env.reset(seed=11)
    env.step(first[0])
    child = env.spawn(same_state=True)
    told = [child.step(command) for command, _ in rest]
    assert told == [told for _, told in rest] == [env.step(command) for command, _ in rest]
    assert env.spawn().reset(seed=11) == play_expert(env_id, PLAYED[env_id], seed=11)[0]


def test_a_random_action_is_an_admissible_one_and_follows_the_seed():
    env_id = "OREO-ALFWorld"
    from oreo_agents.doors.gem import GEMEnv

    env = GEMEnv(environments(env_id, **OPTIONS))
    drawn = []
    for _ in range(2):
        _, info = env.reset(seed=11)
        drawn.append([env.sample_random_action() for _ in range(9)])
        assert set(drawn[-1]) <= set(info["admissible_commands"])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 1
