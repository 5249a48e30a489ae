import gymnasium as gym
import numpy as np
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from oreo_envs.alfworld.vector import ALFWorldVectorEnv


def make(num_envs=3, **options):
    return gym.make_vec("OREO-ALFWorld", num_envs=num_envs, split="generated", **options)


def play_to_the_end(envs):
    """Let the first environment follow its walkthrough while the others look; returns the last step."""
    for command in envs.unwrapped.envs[0].unwrapped.game.walkthrough:
        outcome = envs.step([command] + ["look"] * (envs.num_envs - 1))
    return outcome


def test_make_vec_gives_the_native_vector_environment():
    envs = make(4)
    assert isinstance(envs.unwrapped, ALFWorldVectorEnv)
    observations, infos = envs.reset(seed=5)
    assert observations in envs.observation_space
    assert len(set(infos["game"])) > 1
    observations, rewards, terminations, truncations, infos = envs.step(["look"] * 4)
    assert all("You are in the middle of a room" in observation for observation in observations)
    assert rewards.tolist() == [0.0] * 4
    assert not terminations.any() and not truncations.any()
    assert all(isinstance(commands, list) for commands in infos["admissible_commands"])


def test_each_environment_is_the_single_one_with_the_next_seed():
    observations, _ = make(3).reset(seed=5)
    single = gym.make("OREO-ALFWorld", split="generated")
    assert observations == tuple(single.reset(seed=5 + number)[0] for number in range(3))


def test_next_step_autoreset():
    envs = make()
    envs.reset(seed=1)
    _, rewards, terminations, _, infos = play_to_the_end(envs)
    assert (rewards[0], terminations[0], infos["won"][0]) == (1.0, True, True)
    observations, rewards, terminations, _, infos = envs.step(["ignored"] * 3)
    assert observations[0].startswith("-= Welcome")
    assert (rewards[0], terminations[0], infos["won"][0]) == (0.0, False, False)


def test_same_step_autoreset():
    envs = make(autoreset_mode=AutoresetMode.SAME_STEP)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.reset(seed=1)
    observations, rewards, terminations, _, infos = play_to_the_end(envs)
    assert (rewards[0], terminations[0]) == (1.0, True)
    assert observations[0].startswith("-= Welcome")
    assert not infos["final_obs"][0].startswith("-= Welcome")
    assert infos["final_info"]["won"][0]


def test_disabled_autoreset():
    envs = make(autoreset_mode="Disabled")
    envs.reset(seed=1)
    assert play_to_the_end(envs)[2][0]
    observations, _ = envs.reset(options={"reset_mask": np.array([True, False, False])})
    assert observations[0].startswith("-= Welcome")
    assert not observations[1].startswith("-= Welcome")


def test_episodes_are_truncated():
    envs = make(2, max_episode_steps=2)
    envs.reset(seed=1)
    assert not envs.step(["look"] * 2)[3].any()
    assert envs.step(["look"] * 2)[3].all()


def test_vector_wrappers_compose():
    envs = RecordEpisodeStatistics(make())
    envs.reset(seed=1)
    infos = play_to_the_end(envs)[-1]
    assert infos["episode"]["r"][0] == 1.0


def test_asynchronous_environments_with_shared_memory_are_refused():
    with pytest.raises(Exception, match="shared_memory=False"):
        make(2, vectorization_mode="async")


def test_asynchronous_environments_without_shared_memory_tell_the_truth():
    envs = make(2, vectorization_mode="async", vector_kwargs={"shared_memory": False})
    try:
        assert envs.reset(seed=5)[0] == make(2).reset(seed=5)[0]
        assert envs.step(["inventory"] * 2)[0] == ("You are not carrying anything.",) * 2
    finally:
        envs.close()


def test_synchronous_environments_agree():
    assert make(2, vectorization_mode="sync").reset(seed=5)[0] == make(2).reset(seed=5)[0]
