import subprocess
import sys
import threading
import warnings
from random import Random

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from oreo_envs.alfworld.env import ALFWorldEnv
from oreo_envs.alfworld.world import World
from oreo_envs.errors import DataNotFoundError, GameFileError
from oreo_envs.testing import check_text_env

INFO_KEYS = {"admissible_commands", "won", "task", "task_type", "game", "action_status"}


@pytest.fixture
def env():
    return gym.make("OREO-ALFWorld", split="generated")


def start(env, game=0):
    return env.reset(seed=0, options={"game": game})


def win(env):
    """Play the walkthrough and return the last step."""
    outcome = None
    for command in env.unwrapped.game.walkthrough:
        outcome = env.step(command)
    return outcome


def test_the_contract_of_text_environments(env):
    check_text_env(
        lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=5),
        ["look", "help", "inventory", "nonsense", ""],
    )
    start(env)
    walkthrough = list(env.unwrapped.game.walkthrough)
    name = env.unwrapped.game.name

    class Fixed(ALFWorldEnv):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed, options={"game": name})

    check_text_env(lambda: Fixed(split="generated"), walkthrough)


def test_gymnasiums_checker_is_content(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_infos_are_the_documented_ones(env):
    _, info = start(env)
    assert set(info) >= INFO_KEYS
    assert info["admissible_commands"] == sorted(info["admissible_commands"])
    assert info["won"] is False
    assert info["game"] == env.unwrapped.game.name
    assert info["task"] == env.unwrapped.game.task
    assert set(env.step("look")[-1]) == set(info)


def test_winning_ends_the_episode_with_a_reward_of_one(env):
    start(env)
    *_, last = env.unwrapped.game.walkthrough
    observation, reward, terminated, truncated, info = win(env)
    assert (reward, terminated, truncated, info["won"]) == (1.0, True, False, True)
    assert observation
    with pytest.raises(ResetNeeded):
        env.step(last)
    start(env)
    assert env.step("look")[1:4] == (0.0, False, False)


def test_a_step_before_reset_raises(env):
    with pytest.raises(ResetNeeded):
        env.unwrapped.step("look")


@pytest.mark.parametrize("ask", ["clone_state", "render", "goal_conditions"])
def test_before_reset_there_is_nothing_to_copy_or_show(ask):
    env = ALFWorldEnv("generated", render_mode="ansi")
    with pytest.raises(ResetNeeded, match=r"reset\(\)"):
        getattr(env, ask)()


def test_truncation_after_fifty_steps_or_as_asked(env):
    start(env)
    assert [env.step("look")[3] for _ in range(50)] == [False] * 49 + [True]
    short = gym.make("OREO-ALFWorld", split="generated", max_episode_steps=3)
    start(short)
    assert [short.step("look")[3] for _ in range(3)] == [False, False, True]


def test_a_truncated_episode_stays_truncated_as_in_gymnasium():
    env, cartpole = (
        gym.make("OREO-ALFWorld", split="generated", max_episode_steps=2),
        gym.make("CartPole-v1", max_episode_steps=2),
    )
    start(env)
    cartpole.reset(seed=0)
    assert [env.step("look")[3] for _ in range(4)] == [cartpole.step(0)[3] for _ in range(4)]
    start(env)
    assert env.step("look")[2:4] == (False, False)


def test_games_are_chosen_by_name_position_and_seed(env):
    _, info = start(env, 5)
    name = info["game"]
    assert env.reset(options={"game": name})[1]["game"] == name
    assert env.reset(seed=3)[1]["game"] == env.reset(seed=3)[1]["game"]
    assert len({env.reset()[1]["game"] for _ in range(5)}) > 1


def test_games_are_chosen_by_path(seen_games):
    env = gym.make("OREO-ALFWorld", games=seen_games.paths[3].parent)
    _, info = env.reset(options={"game": str(seen_games.paths[3])})
    assert info["game"] == seen_games.names[3]


@pytest.mark.parametrize("game", ["no such game", "../../etc/passwd", 10**9, -(10**9), 1.5, b"x"])
def test_unknown_games_are_refused_and_the_environment_lives_on(env, game):
    with pytest.raises(DataNotFoundError):
        start(env, game)
    assert start(env)[0]


def test_a_damaged_game_leaves_the_environment_usable(env, tmp_path):
    good = env.unwrapped.games.text(0)
    for name, content in (("a", good), ("b", good[:500])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "game.tw-pddl").write_text(content)
    mixed = gym.make("OREO-ALFWorld", games=tmp_path)
    start(mixed, 0)
    state = mixed.unwrapped.clone_state()
    with pytest.raises(GameFileError, match=r"game\.tw-pddl"):
        start(mixed, 1)
    with pytest.raises(ResetNeeded):
        mixed.step("look")  # the game before it is over
    for ask in (mixed.unwrapped.clone_state, lambda: mixed.unwrapped.game):
        with pytest.raises(ResetNeeded):
            ask()
    mixed.unwrapped.restore_state(state)
    assert mixed.step("look")[4]["game"] == mixed.unwrapped.game.name == mixed.unwrapped.games.names[0]
    assert start(mixed, 0)[0]


@pytest.mark.parametrize("option", [{"backend": "nativ"}, {"dialect": "throw"}, {"render_mode": "rgb_array"}])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match="is none of"):
        ALFWorldEnv(split="generated", **option)


def test_an_unknown_split_is_refused():
    with pytest.raises(DataNotFoundError, match="valid_unseen"):
        ALFWorldEnv(split="test")


# ---------------------------------------------------------------- help for agents


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tak mug", ["take mug 1 from desk 1", "take mug 2 from desk 1"]),
        ("goto desk 1", ["go to desk 1"]),
        ("go desk 1", ["go to desk 1"]),
        ("exmaine desk", ["examine desk 1"]),
        ("qwerty", []),
    ],
)
def test_a_typo_suggests_what_was_meant_first(typed, meant):
    from oreo_envs.suggestions import suggest_commands

    known = [
        "examine desk 1",
        "go to bed 1",
        "go to desk 1",
        "go to desk 2",
        "go to drawer 1",
        "go to mirror 1",
    ]
    known += [
        "inventory",
        "look",
        "take mug 1 from desk 1",
        "take mug 2 from desk 1",
        "take pen 1 from desk 1",
    ]
    found = suggest_commands(typed, known)
    assert found[: len(meant)] == meant and bool(found) == bool(meant)


def test_failed_commands_get_suggestions(env):
    _, info = start(env)
    target = next(command for command in info["admissible_commands"] if command.startswith("go to "))
    observation, *_, info = env.step(target[:-2] + "  1")
    assert observation == "Nothing happens."
    assert info["action_status"] == "unparsable"
    assert 0 < len(info["suggestions"]) <= 3
    assert set(info["suggestions"]) <= set(info["admissible_commands"])
    assert env.step("look")[-1]["suggestions"] == []


def placing(env):
    """Play up to the first command that puts something down, and return that."""
    for command in env.unwrapped.game.walkthrough:
        if command.startswith("move "):
            return command
        env.step(command)
    raise AssertionError("this game places nothing")


@pytest.mark.parametrize("dialect, accepted", [("put", True), ("both", True), ("move", False), (None, False)])
def test_the_put_wording_is_accepted_on_request_and_reported(dialect, accepted):
    env = gym.make("OREO-ALFWorld", split="generated", dialect=dialect)
    index = next(
        i for i in range(50) if any(c.startswith("move") for c in env.unwrapped.games[i].walkthrough)
    )
    start(env, index)
    move = placing(env)
    put = move.replace("move ", "put ").replace(" to ", " in/on ")
    observation, *_, info = env.step(put)
    assert observation.startswith("You move the") is accepted
    assert info.get("rewritten_command") == (move if accepted else None)


@pytest.mark.parametrize("dialect, accepted", [("move", True), ("both", True), ("put", False), (None, False)])
def test_the_move_wording_is_accepted_in_old_games(put_games, dialect, accepted):
    env = ALFWorldEnv(games=put_games, dialect=dialect)
    _, info = env.reset(options={"game": 0})
    held = World(env.game).game.goal.objects
    assert held
    *_, info = env.step("move mug 1 to desk 1")
    assert ("rewritten_command" in info) is accepted


def test_expert_plans_win_from_any_state():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True)
    _, info = start(env, 2)
    wrong = [command for command in info["admissible_commands"] if command.startswith("go to")][-1]
    info = env.step(wrong)[-1]
    for command in info["expert_plan"]:
        _, reward, terminated, _, info = env.step(command)
    assert (reward, terminated) == (1.0, True)


def test_snapshots_bring_back_game_state_and_hash(env):
    env = env.unwrapped
    start(env, 1)
    *walkthrough, last = env.game.walkthrough
    for command in walkthrough:
        env.step(command)
    state = env.clone_state()
    first = env.step(last)
    start(env, 2)
    env.restore_state(state)
    assert env.step(last) == first
    with pytest.raises(ResetNeeded):
        env.step("look")


def test_in_the_same_state_the_same_can_happen():
    env, chooser, met = gym.make("OREO-ALFWorld", split="generated", state_hash=True).unwrapped, Random(3), {}
    _, info = env.reset(options={"game": 0})
    for _ in range(300):
        met.setdefault(info["state_hash"], []).append(env.clone_state())
        command = "look" if chooser.random() < 0.1 else chooser.choice(info["admissible_commands"])
        _, _, ended, _, info = env.step(command)
        if ended:
            _, info = env.reset(options={"game": 0})
    for states in met.values():
        futures = set()
        for state in states:
            env.restore_state(state)
            outcomes = []
            for command in env.world.admissible_commands():
                env.restore_state(state)
                outcomes.append((command, *env.step(command)[:3]))
            futures.add(tuple(outcomes))
        assert len(futures) == 1
    assert 1 < len(met) < 250
    assert len(
        {env.world.clone_state() for states in met.values() for _ in map(env.restore_state, states)}
    ) == len(met)


def test_both_backends_and_every_process_name_states_alike():
    walks = []
    for backend in ("native", "textworld"):
        env = gym.make("OREO-ALFWorld", split="generated", backend=backend, state_hash=True).unwrapped
        _, info = env.reset(options={"game": 0})
        walk = [info["state_hash"]]
        for command in (*env.game.walkthrough[:4], "look", "nonsense"):
            walk.append(env.step(command)[-1]["state_hash"])
        walks.append(walk)
    assert walks[0] == walks[1] and walks[0][0] == "6cac76763c93016d"
    assert walks[0][4] == walks[0][5] == walks[0][6], "neither look nor what is no command changes anything"


def test_search_beneath_a_step_limit_costs_no_steps():
    env = gym.make("OREO-ALFWorld", split="generated", max_episode_steps=3)
    start(env)
    state = env.unwrapped.clone_state()
    for command in env.unwrapped.game.walkthrough:
        env.unwrapped.step(command)
    env.unwrapped.restore_state(state)
    assert [env.step("look")[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


# ---------------------------------------------------------------- gymnasium


def test_specs_survive_json(env):
    spec = gym.make("OREO-ALFWorld", split="generated_unseen", dialect="both", max_episode_steps=9).spec
    again = gym.make(EnvSpec.from_json(spec.to_json()))
    assert again.unwrapped.dialect == "both"
    assert again.spec.max_episode_steps == 9
    assert start(again)[0] == start(gym.make(spec))[0]


def test_wrappers_compose(env):
    wrapped = TimeLimit(RecordEpisodeStatistics(env), 20)
    start(wrapped)
    info = win(wrapped)[-1]
    assert info["episode"]["r"] == 1.0
    assert info["episode"]["l"] == len(env.unwrapped.game.walkthrough)


def test_rendering(capsys):
    env = gym.make("OREO-ALFWorld", split="generated", render_mode="ansi")
    observation, _ = start(env)
    assert env.render() == observation
    env.step("inventory")
    assert env.render() == "> inventory\nYou are not carrying anything."
    human = gym.make("OREO-ALFWorld", split="generated", render_mode="human")
    start(human)
    human.step("inventory")
    assert capsys.readouterr().out == f"{observation}\n\n> inventory\nYou are not carrying anything.\n\n"


EPISODE = """
import gymnasium, oreo_envs, sys
env = gymnasium.make("OREO-ALFWorld", split="generated")
observation, info = env.reset(seed=11)
for step in range(30):
    commands = info["admissible_commands"]
    *_, terminated, _, info = env.step(commands[step * 7 % len(commands)])
    if terminated: break
print(info["episode_hash"])
assert not {"torch", "textworld", "pyarrow", "matplotlib"} & set(sys.modules)
"""


def test_episode_hashes_agree_across_processes_and_imports_stay_light():
    hashes = [
        subprocess.run([sys.executable, "-c", EPISODE], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0].strip()) == 64


def test_episode_hashes_tell_episodes_apart(env):
    _, first = start(env)
    assert env.step("look")[-1]["episode_hash"] != first["episode_hash"]
    start(env)
    assert env.step("inventory")[-1]["episode_hash"] != env.step("inventory")[-1]["episode_hash"]


def test_many_threads_play_at_once():
    """Eight threads over the same games see what one sees."""
    shared = ALFWorldEnv(split="generated").games

    def episodes():
        env, seen = ALFWorldEnv(games=shared), []
        for game in range(6):
            _, info = start(env, game)
            for step in range(60):
                commands = info["admissible_commands"]
                *_, terminated, _, info = env.step(commands[step * 5 % len(commands)])
                if terminated:
                    break
            seen.append(info["episode_hash"])
        return seen

    alone, together = episodes(), []
    threads = [threading.Thread(target=lambda: together.append(episodes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 8


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat_over_resets_and_environments():
    def resets(env):
        for number in range(500):
            _, info = start(env, number % 50)
            env.step(info["admissible_commands"][-1])

    env = gym.make("OREO-ALFWorld", split="generated")
    resets(env)
    before = resident()
    resets(env)
    for _ in range(100):
        again = gym.make("OREO-ALFWorld", games=env.unwrapped.games)
        start(again)
        again.close()
    assert resident() - before < 5_000_000
