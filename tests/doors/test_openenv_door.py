"""Our environments behind OpenEnv's server, asked by OpenEnv's own client over a socket."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import gymnasium as gym
import pytest
from won_game import GAME, OPTIONS, play_expert

from oreo_agents.environments import environments

openenv = pytest.importorskip("openenv", reason="OpenEnv is not installed: pip install openenv")
uvicorn = pytest.importorskip("uvicorn", reason="what OpenEnv serves with: pip install uvicorn")


@contextmanager
def serving(env_id="OREO-ALFWorld", options=OPTIONS, **limits):
    from oreo_agents.doors.openenv import make_app

    app = make_app(environments(env_id, **limits, **options))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


def open_session(url):
    return openenv.GenericEnvClient(base_url=url).sync()


def assert_same(result, observation, reward, terminated, truncated, info):
    """A result says what Gymnasium's environment says."""
    assert result.observation["text"] == observation
    assert (result.reward, result.done) == (reward, terminated or truncated)
    assert result.observation["truncated"] == truncated
    for key in ("admissible_commands", "won"):
        assert result.observation[key] == info[key]
    for key in ("game", "task", "task_type", "action_status", "episode_hash"):
        assert result.metadata[key] == info[key]


def test_an_episode_is_gymnasiums_over_the_wire(url):
    opening, steps = play_expert()
    with open_session(url) as session:
        observation, info = opening
        assert_same(session.reset(game=GAME, episode_id="first"), observation, None, False, False, info)
        for command, told in steps:
            assert_same(session.step({"command": command}), *told)
        assert told[1] == 1
        state = session.state()
        assert state["episode_id"] == "first" and state["game"] == GAME and state["games"] == 1_000_000
        assert state["step_count"] == len(steps)
        with pytest.raises(RuntimeError, match="episode is over"):
            session.step({"command": "look"})
        assert session.reset(game=25).observation["text"] == observation
        assert session.reset(seed=3).observation["text"] == play_expert(seed=3)[0][0]
        with pytest.raises(RuntimeError, match="no game 'nowhere'"):
            session.reset(game="nowhere")


def test_sessions_do_not_disturb_each_other(url):
    def play_game(seed):
        opening, steps = play_expert(seed=seed)
        with open_session(url) as session:
            texts = [session.reset(seed=seed).observation["text"]]
            texts += [session.step({"command": command}).observation["text"] for command, _ in steps]
        return texts == [opening[0], *(told[0] for _, told in steps)]

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(play_game, range(6)))


def test_a_step_limit_truncates():
    with serving(max_steps=2) as url, open_session(url) as session:
        session.reset(game=GAME)
        assert not session.step({"command": "look"}).done
        last = session.step({"command": "look"})
        assert (
            last.done and last.observation["truncated"] and not last.observation["won"] and last.reward == 0
        )


def test_an_environment_of_your_own_is_served_too():
    with serving("text_environments:Lift-v0", {}) as url, open_session(url) as session:
        env = gym.make("text_environments:Lift-v0")
        opening, _ = env.reset(seed=5)
        first = session.reset(game="seed 5")
        assert first.observation["text"] == opening and first.observation["won"] is None
        for command in ("up", "open"):
            observation, reward, terminated, *_ = env.step(command)
            result = session.step({"command": command})
            assert (result.observation["text"], result.reward, result.done) == (
                observation,
                reward,
                terminated,
            )
        assert session.state()["game"] == "seed 5"
