import json
from random import Random

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import environments, replay_environment
from oreo_agents.errors import DatasetError
from oreo_agents.rollout.vector_wrapper import RecordVectorTrajectories
from oreo_agents.rollout.verify import verify_episodes
from oreo_agents.rollout.wrapper import RecordTrajectories
from oreo_agents.trajectory import Action, Candidate


class AnyText(gym.Space):
    def __init__(self):
        super().__init__(None, None)

    def contains(self, x):
        return isinstance(x, str)

    def sample(self, mask=None, probability=None):
        return "forward"


class Corridor(gym.Env):
    """Walk ``length`` steps forward, drawn at reset; "fly" does not apply; five steps at most."""

    observation_space, action_space = AnyText(), AnyText()
    spec = gym.envs.registration.EnvSpec("Corridor", entry_point="corridor:Corridor")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.steps = int(self.np_random.integers(2, 4)), 0
        return f"A corridor of {self.length} steps.", self.info("ok") | {"task": "walk", "task_type": "easy"}

    def step(self, action):
        self.steps += 1
        self.length -= action == "forward"
        won = self.length == 0
        status = "ok" if action == "forward" else "not_applicable"
        return f"{self.length} to go.", float(won), won, self.steps == 5 and not won, self.info(status)

    def info(self, status):
        return {
            "admissible_commands": ["forward", f"wait {self.length}"],
            "action_status": status,
            "game": f"corridor/{self.length}",
            "won": self.length == 0,
        }


def play(env, actions, seed=None):
    returned = [env.reset(seed=seed)]
    for action in actions:
        returned.append(env.step(action))
        if returned[-1][2] or returned[-1][3]:
            break
    return returned


def test_recording_is_invisible(tmp_path):
    actions = ["forward", "fly", "forward", "forward"]
    recorded = RecordTrajectories(Corridor(), tmp_path / "d")
    assert play(recorded, actions, seed=5) == play(Corridor(), actions, seed=5)
    assert recorded.observation_space is Corridor.observation_space
    recorded.close()


def test_what_happened_is_what_is_stored(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d", agent="walker", tokenizer="bytes", author="me")
    first, *steps = play(env, ["forward", "fly", "forward", "forward"], seed=5)
    env.close()
    (episode,) = load_trajectories(tmp_path / "d")
    assert [turn.observation for turn in episode.turns] == [first[0], *[s[0] for s in steps[:-1]]]
    assert episode.final_observation == steps[-1][0]
    assert episode.rewards == tuple(s[1] for s in steps)
    assert [turn.action_status for turn in episode.turns] == [s[4]["action_status"] for s in steps]
    offered = [first[1]["admissible_commands"], *[s[4]["admissible_commands"] for s in steps[:-1]]]
    assert [list(turn.admissible_commands) for turn in episode.turns] == offered
    assert (episode.game, episode.task, episode.task_type) == (first[1]["game"], "walk", "easy")
    assert (episode.env_id, episode.agent, episode.tokenizer, episode.seed) == (
        "Corridor",
        "walker",
        "bytes",
        5,
    )
    assert episode.terminated and not episode.truncated and episode.success


def test_sampled_actions_keep_how_they_were_sampled(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    action = Action("forward", (7, 1), (-0.5, -0.25), 0.75, (Candidate("fly", -3.0, 0.1),))
    play(env, [action, "forward"], seed=5)
    env.close()
    sampled, plain = load_trajectories(tmp_path / "d")[0].turns[:2]
    assert (sampled.token_ids, sampled.logprobs, sampled.value) == ((7, 1), (-0.5, -0.25), 0.75)
    assert sampled.candidates == (Candidate("fly", -3.0, 0.1),)
    assert (plain.token_ids, plain.logprobs, plain.value, plain.candidates) == (None, None, None, ())


def test_what_was_cut_or_put_in_is_kept_wherever_it_is_recorded(tmp_path):
    said = Action("fly", text_only=True)
    actions = [said, said.amend(cut=True), Action("fly", noise=True), Action("fly"), "fly"]
    assert str(actions[1]) == "fly" and not said.cut
    env = RecordTrajectories(Corridor(), tmp_path / "d", tokenizer="mine")
    play(env, actions, seed=5)
    env.close()
    episode = load_trajectories(tmp_path / "d")[0]
    assert episode.metadata == {"cut_turns": [1], "noise_turns": [2], "text_only": True}
    assert episode.tokenizer is None, "no token of it is known"


def test_an_unseeded_reset_draws_a_seed_that_replays_the_episode(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    openings = [play(env, ["fly"] * 5)[0][0] for _ in range(8)]
    env.close()
    episodes = list(load_trajectories(tmp_path / "d"))
    assert len({episode.seed for episode in episodes}) == 8
    assert [Corridor().reset(seed=episode.seed)[0] for episode in episodes] == openings
    assert all(episode.truncated and not episode.terminated for episode in episodes)


def test_seeds_drawn_follow_from_the_last_seed_given(tmp_path):
    drawn = []
    for name in "ab":
        env = RecordTrajectories(Corridor(), tmp_path / name)
        play(env, ["forward"], seed=3)
        play(env, ["forward"])
        env.close()
        drawn.append(load_trajectories(tmp_path / name).column("seed").tolist())
    assert drawn[0] == drawn[1] and drawn[0][0] == 3


def test_abandoned_episodes_are_kept_as_neither_won_nor_cut(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    play(env, ["fly"])
    play(env, [])  # nothing happened, nothing to keep
    play(env, ["fly", "fly"])
    env.close()
    episodes = list(load_trajectories(tmp_path / "d"))
    assert [len(episode) for episode in episodes] == [1, 2]
    assert not any(episode.terminated or episode.truncated for episode in episodes)


def test_discarded_episodes_are_not_kept(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    play(env, ["fly"])
    env.discard()
    env.step("fly")  # still the same episode
    play(env, ["fly", "fly"])
    env.discard()
    env.close()
    assert len(load_trajectories(tmp_path / "d")) == 0


def test_annotations_belong_to_their_episode(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    env.reset(seed=0)
    env.annotate(noise_turns=[0])
    play_out(env)
    env.reset(seed=0)
    play_out(env)
    env.close()
    assert [dict(e.metadata) for e in load_trajectories(tmp_path / "d")] == [{"noise_turns": [0]}, {}]


def play_out(env):
    while not env.step("forward")[2]:
        pass


def test_wrappers_compose_and_the_spec_names_the_recorder(tmp_path):
    env = RecordTrajectories(gym.wrappers.TimeLimit(Corridor(), 2), tmp_path / "d", agent="x")
    play(env, ["fly"] * 2)
    (wrapper,) = [w for w in env.spec.additional_wrappers if w.name == "RecordTrajectories"]
    assert wrapper.kwargs["agent"] == "x"
    env.close()
    assert load_trajectories(tmp_path / "d")[0].truncated
    assert json.loads((tmp_path / "d" / "meta.json").read_text())["env_spec"]["id"] == "Corridor"


def test_two_recorders_on_one_path(tmp_path):
    env = RecordTrajectories(Corridor(), tmp_path / "d")
    with pytest.raises(DatasetError, match="another process or writer"):
        RecordTrajectories(Corridor(), tmp_path / "d")
    env.close()
    env.close()


# ------------------------------------------------------------------------------- vector environments


def run_vector(envs, steps=12):
    """What each sub-environment lived through, written down from outside by Gymnasium's rules."""
    returned = [envs.reset(seed=[0, 1, 2])]
    for _ in range(steps):
        returned.append(envs.step(("forward", "forward", "fly")))
    return returned


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_recording(tmp_path, mode):
    make = lambda: SyncVectorEnv([Corridor] * 3, autoreset_mode=mode)  # noqa: E731
    envs = RecordTrajectories(make(), tmp_path / "d", agent="walker")
    assert isinstance(envs, RecordVectorTrajectories)
    returned, expected = run_vector(envs), run_vector(make())
    for mine, theirs in zip(returned, expected, strict=True):
        assert mine[0] == theirs[0]
        assert all(np.array_equal(a, b) for a, b in zip(mine[1:-1], theirs[1:-1], strict=True))
    envs.close()

    episodes = list(load_trajectories(tmp_path / "d"))
    assert [e.seed for e in episodes if e.seed is not None and e.turns[0].action == "forward"] in (
        [0, 1],
        [1, 0],
    )
    ended = [e for e in episodes if e.terminated or e.truncated]
    dones = sum(int((r[2] | r[3]).sum()) for r in returned[1:])
    assert len(ended) == dones > 5
    for episode in ended:
        env = Corridor()
        env.reset()
        env.length = int(episode.turns[0].observation.split()[3])
        alone = [env.step(turn.action) for turn in episode.turns]
        assert [a[0] for a in alone] == [
            *[t.observation for t in episode.turns[1:]],
            episode.final_observation,
        ]
        assert [a[4]["action_status"] for a in alone] == [t.action_status for t in episode.turns]
        assert alone[-1][1:4] == (episode.rewards[-1], episode.terminated, episode.truncated)
        assert episode.game == f"corridor/{episode.turns[0].observation.split()[3]}"


def test_vector_recording_with_manual_resets(tmp_path):
    envs = RecordTrajectories(
        SyncVectorEnv([Corridor] * 2, autoreset_mode=AutoresetMode.DISABLED), tmp_path / "d"
    )
    envs.reset(seed=[0, 1])
    for _ in range(6):
        _, _, terminated, truncated, _ = envs.step(("forward", "forward"))
        if (terminated | truncated).any():
            envs.reset(options={"reset_mask": terminated | truncated})
    envs.close()
    ended = [e for e in load_trajectories(tmp_path / "d") if e.terminated]
    assert len(ended) >= 4
    assert all(e.seed is not None and len(e) == int(e.turns[0].observation.split()[3]) for e in ended)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vectors_of_alfworld_games_are_recorded_as_they_were_played(tmp_path, mode):
    options = {"split": "generated", "state_hash": True}
    envs = gym.make_vec("OREO-ALFWorld", num_envs=3, max_episode_steps=6, autoreset_mode=mode, **options)
    envs = RecordTrajectories(envs, tmp_path / "d", agent="random")
    random = Random(0)
    _, infos = envs.reset(seed=3)
    for _ in range(20):
        *_, infos = envs.step(
            tuple(random.choice(list(commands)) for commands in infos["admissible_commands"])
        )
    envs.close()
    dataset = load_trajectories(tmp_path / "d")
    assert set(dataset.lengths) == {6, 20 % 7 if mode is AutoresetMode.NEXT_STEP else 20 % 6}
    assert [seed for seed in dataset.column("seed") if seed is not None] == [3, 4, 5]
    assert dataset.agreed("dialect") == "move"
    env = replay_environment(dataset.agreed("env_spec"))
    report = verify_episodes(dataset, env)
    assert report.ok, str(report)
    episode = dataset[0]
    _, info = env.reset(seed=episode.seed, options={"game": episode.game})
    for turn in episode.turns:
        assert turn.state_hash == info["state_hash"]
        *_, info = env.step(turn.action)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_vectors_of_any_kind_say_how_they_are_worded_and_replay(tmp_path, vectorization):
    """Their arguments are kept beside the environment's own, and a replay has no use for them."""
    envs = gym.make_vec(
        "OREO-ALFWorld",
        num_envs=2,
        vectorization_mode=vectorization,
        vector_kwargs={"shared_memory": False} if vectorization == "async" else {"copy": False},
        wrappers=[gym.wrappers.RecordEpisodeStatistics],
        split="generated",
    )
    envs = RecordTrajectories(envs, tmp_path / "d")
    envs.reset(seed=3)
    envs.step(("look", "inventory"))
    envs.close()
    dataset = load_trajectories(tmp_path / "d")
    assert len(dataset) == 2 and dataset.agreed("dialect") == "move"
    assert verify_episodes(dataset, replay_environment(dataset.agreed("env_spec"))).ok


def test_other_environments_replay_too(tmp_path):
    env = RecordTrajectories(gym.make("OREO-Reasoning"), tmp_path / "d")
    for _ in range(3):
        env.reset()
        env.step("#### 18")
    env.close()
    dataset = load_trajectories(tmp_path / "d")
    assert len(dataset) == 3 and dataset.agreed("dialect") is None
    assert verify_episodes(dataset, replay_environment(dataset.agreed("env_spec"))).ok


def test_options_are_kept_where_no_game_is_named(tmp_path):
    class Plain(Corridor):
        def info(self, status):
            return {}

    env = RecordTrajectories(Plain(), tmp_path / "d")
    env.reset(options={"level": 3})
    env.step("forward")
    env.close()
    (episode,) = load_trajectories(tmp_path / "d")
    assert dict(episode.metadata) == {"options": {"level": 3}}
    assert episode.turns[0].admissible_commands is None and episode.turns[0].action_status is None


@pytest.mark.parametrize("vector", [False, True])
def test_somebody_elses_environment_is_recorded_as_record_does(vector, tmp_path):
    """By its module and seeds, so that its episodes can be split, joined to recorded ones and verified."""
    from text_environments import Lift  # noqa: F401  (registers it)

    from oreo_agents.agents.scripted import ScriptedAgent
    from oreo_agents.rollout.record import record
    from oreo_agents.rollout.schedule import Schedule

    make = lambda: gym.make("Lift-v0", disable_env_checker=True)  # noqa: E731
    env = RecordTrajectories(SyncVectorEnv([make, make]) if vector else make(), tmp_path / "mine", agent="me")
    for seed in (3, 5):
        env.reset(seed=[seed, seed + 1] if vector else seed)
        env.step(("open", "open") if vector else "open")
    env.close()
    mine = load_trajectories(tmp_path / "mine")
    assert [*mine.games] == [f"seed {n}" for n in ((3, 4, 5, 6) if vector else (3, 5))]
    record(
        ScriptedAgent("random", "text_environments:Lift-v0"),
        tmp_path / "theirs",
        "text_environments:Lift-v0",
        schedule=Schedule(limit=2),
    )
    theirs = load_trajectories(tmp_path / "theirs")
    assert {*mine.env_ids} == {"text_environments:Lift-v0"}
    assert {*theirs.env_ids} == {"text_environments:Lift-v0"}
    assert verify_episodes(mine, environments("text_environments:Lift-v0")()).ok


def test_whoever_does_not_register_an_environment_does_not_name_it(tmp_path, monkeypatch):
    """The class of one is in a module, and another one registers it: either may be named to play it again."""
    import sys

    (tmp_path / "its_class.py").write_text("from text_environments import Lift\n\nclass Shop(Lift): pass\n")
    register = 'import gymnasium as gym\n\ngym.register("Shop-v7", "its_class:Shop", max_episode_steps=4)\n'
    (tmp_path / "its_register.py").write_text(register)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("its_register")
    env = RecordTrajectories(gym.make("Shop-v7", disable_env_checker=True), tmp_path / "mine", agent="me")
    env.reset(seed=3)
    env.step("open")
    env.close()
    mine = load_trajectories(tmp_path / "mine")
    assert {*mine.env_ids} == {"Shop-v7"}
    spec, named = mine.agreed("env_spec"), "its_register:Shop-v7"
    assert verify_episodes(mine, replay_environment(spec, None, None, None, named)).ok
    for name in ("its_class", "its_register"):
        sys.modules.pop(name)
    gym.registry.pop("Shop-v7")
