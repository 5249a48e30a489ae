"""Play in a Ray cluster of several nodes: what one process makes, to the byte, also where a node is killed."""

import json
import os
import pickle
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install ray")

from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.evaluation.evaluate import play_games
from oreo_agents.rollout import ray_pool
from oreo_agents.rollout.ray_pool import RayPool
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule

SLOW = "slow_rooms:Slow-v0"
HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one CPU each, on the first of which the test runs."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), *sys.path]))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's 15 starves beside other tests
        small = {"num_cpus": 1, "object_store_memory": 80 << 20}
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **small})
        cluster.working = [cluster.add_node(**small)]
        yield cluster
        cluster.shutdown()


def record_lift(path, episodes, pool=None, **options):
    agent = partial(ScriptedAgent, "random", SLOW)
    spread = {"spread": pool.spread(agent)} if pool else {}
    return record(agent(), path, SLOW, schedule=Schedule(limit=episodes, seed=2), **spread, **options)


def list_shards(path):
    return [shard["sha256"] for shard in json.loads((path / "meta.json").read_text())["shards"]]


def test_a_node_that_is_killed_costs_no_episode_and_doubles_none(cluster, tmp_path):
    """Exactly the episodes of one process, in its order, to the byte: what is trained on them is equal, too."""
    episodes = 60
    record_lift(tmp_path / "one", episodes)
    played = []

    def kill_a_node(stream, total, name):
        for episode in stream:
            played.append(episode)
            if len(played) == 10:
                cluster.remove_node(cluster.working.pop(), allow_graceful=False)
            yield episode

    with RayPool(cluster.address) as pool:
        assert pool.workers == 2
        recording = record_lift(tmp_path / "many", episodes, pool, watch=kill_a_node)
    assert recording.episodes == len(played) == episodes
    assert list_shards(tmp_path / "many") == list_shards(tmp_path / "one")


def test_one_pool_judges_and_completes_what_lacks(cluster, tmp_path):
    make_env, agent, games = (
        environments(SLOW, split="test"),
        partial(ScriptedAgent, "random", SLOW),
        [3, 0, 7, 3],
    )
    record_lift(tmp_path / "part", 4)
    record_lift(tmp_path / "one", 9)
    with RayPool(cluster.address, workers=1) as pool:
        away = play_games(make_env, agent(), games, spread=pool.spread(agent))
        resumed = record_lift(tmp_path / "part", 9, pool, slots=3)
    here = play_games(make_env, agent(), games)
    assert [(one.game, one.seed, one.turns) for one in away] == [
        (one.game, one.seed, one.turns) for one in here
    ]
    assert all(episode.metadata["seconds"] > 0 for episode in away)
    assert (resumed.already_there, resumed.episodes) == (4, 5)
    assert [*load_trajectories(tmp_path / "part")] == [*load_trajectories(tmp_path / "one")]


def test_what_a_cluster_lacks_is_said(cluster, monkeypatch):
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match="300 workers want 1 CPU each, and there is room for"):
        RayPool(cluster.address, workers=300)
    with pytest.raises(
        ConfigurationError, match="1 workers want 1 CPU and 1 GPU each, and there is room for 0"
    ):
        RayPool(cluster.address, workers=1, gpus=1)
    with RayPool(cluster.address, workers=1):  # the killed one may still be counted
        monkeypatch.setattr(ray_pool, "PATIENCE", 2)
        with pytest.raises(ConfigurationError, match="others hold what the cluster has"):
            RayPool(cluster.address, workers=1)
    assert time.monotonic() - start < 30


def test_where_there_is_no_cluster_it_is_said_soon():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(ConfigurationError, match=r"there is no Ray cluster at .*refused"):
        RayPool(f"127.0.0.1:{port}")
    with pytest.raises(ConfigurationError, match="name HOST:PORT"):
        RayPool("ray://head:10001")


def test_what_goes_wrong_in_a_worker_is_said_as_here(cluster, monkeypatch):
    agent, make_env = ScriptedAgent("random", SLOW), environments(SLOW, split="test")
    demonstrator = partial(ScriptedAgent, "demonstrator", SLOW)
    monkeypatch.setattr(ray_pool, "DEATHS", 1)

    def play(agent, make_agent):
        return play_games(make_env, agent, [0], spread=pool.spread(make_agent))

    with RayPool(cluster.address, workers=1) as pool:
        with pytest.raises(
            ConfigurationError, match=r"another agent \(demonstrator; here: random\): every machine"
        ):
            play(agent, demonstrator)
        with pytest.raises(ConfigurationError, match="this environment has no demonstrator: take expert"):
            play(demonstrator(), demonstrator)
        lock = threading.Lock()
        with pytest.raises(ConfigurationError, match="cannot be sent to other machines"):
            play(agent, lambda: lock)
        with pytest.raises(EngineError, match="2 workers died one after the other"):
            play(agent, partial(os._exit, 3))


def test_a_machine_with_other_games_is_refused(monkeypatch):
    """Sent, a maker of environments is how to make it; what it makes has to be the same games."""
    make_env = environments("OREO-ALFWorld", split="generated")
    sent = pickle.dumps(make_env)
    assert games_of(pickle.loads(sent)()).names[:3] == games_of(make_env()).names[:3]
    monkeypatch.setattr("oreo_agents.environments._hash_names", lambda env: "others")
    with pytest.raises(ConfigurationError, match="has other games on"):
        pickle.loads(sent)


def test_a_model_plays_for_the_command_line_as_it_plays_here(cluster, tmp_path):
    common = ["record", "--agent", "small", "--split", "generated", "--max-steps", "4", "-n", "6"]
    assert main([*common, "-o", str(tmp_path / "one")]) == 0
    assert main([*common, "-o", str(tmp_path / "many"), "--ray", cluster.address, "--ray-workers", "1"]) == 0
    one, many = (load_trajectories(tmp_path / name) for name in ("one", "many"))
    for played, other in zip(one, many, strict=True):
        assert (other.game, other.seed, other.metadata) == (played.game, played.seed, played.metadata)
        assert [turn.token_ids for turn in other.turns] == [turn.token_ids for turn in played.turns]
        assert [turn.observation for turn in other.turns] == [turn.observation for turn in played.turns]
        for turn, same in zip(played.turns, other.turns, strict=True):  # as batches of another size round
            assert same.logprobs == pytest.approx(turn.logprobs, abs=1e-4)


def test_options_without_a_cluster_are_refused(tmp_path, capsys):
    assert main(["record", "--ray-workers", "2", "-o", str(tmp_path / "d")]) == 2
    assert "--ray-workers is of a Ray cluster: name one with --ray" in capsys.readouterr().err
