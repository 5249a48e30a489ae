"""Puzzles as environments: the contract, snapshots, splits, and what the demonstrator does."""

import random
from collections import Counter

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the environments)
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from oreo_envs.errors import DataNotFoundError
from oreo_envs.testing import check_text_env

TASKS = ("countdown", "jugs", "shortest_path", "sokoban")
KINDS = ("habits", *TASKS)


def make(kind, **options):
    options = {"split": "test", "expert": True, **options}
    if kind == "habits":
        return gym.make("OREO-Habits", **options)
    return gym.make("OREO-Puzzles", task=kind, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_they_keep_the_contract(kind):
    plan = make(kind).reset(seed=7)[1]["expert_plan"]
    for actions in (["fly", "", *plan], ["fill Z", "up", "combine 99 + 1", *plan]):
        check_text_env(lambda: make(kind, expert=False), actions)
        check_text_env(lambda: make(kind), actions)


@pytest.mark.parametrize("kind", KINDS)
def test_the_experts_plan_wins_in_as_many_moves_and_is_made_anew(kind):
    env = make(kind)
    for game in range(8):
        _, info = env.reset(options={"game": game})
        assert info["solvable"]
        for command in (plan := info["expert_plan"]):
            assert command in info["admissible_commands"]
            _, reward, terminated, _, info = env.step(command)
            assert (reward == 1.0) == terminated == info["won"]
            assert info["solvable"] and len(info["expert_plan"]) < len(plan)
        assert info["won"] and not info["lost"] and info["expert_plan"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_done_changes_nothing_and_says_why(kind):
    env = make(kind)
    _, info = env.reset(options={"game": 3})
    here = env.unwrapped.clone_state()
    grammatical = {"habits": ["ferry", "vault"], "countdown": ["combine 99 + 1"]}
    grammatical |= {"jugs": ["empty A"], "shortest_path": ["up", "down", "left", "right"], "sokoban": ["up"]}
    for command in ["", "sing", *grammatical[kind]]:
        if command in info["admissible_commands"]:
            continue
        said, reward, terminated, truncated, info = env.step(command)
        assert (said, reward, terminated, truncated) == ("Nothing happens.", 0.0, False, False)
        assert info["action_status"] == ("not_applicable" if command in grammatical[kind] else "unparsable")
        assert env.unwrapped.clone_state() == here._replace(status=info["action_status"])
    with pytest.raises(InvalidAction):
        env.step(7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_is_exact_and_works_in_another_environment(kind):
    env, other, chooser = make(kind), make(kind), random.Random(4)
    with pytest.raises(ResetNeeded):
        env.unwrapped.clone_state()
    _, info = env.reset(options={"game": 5})
    env.step(chooser.choice(info["admissible_commands"]))
    state = env.unwrapped.clone_state()

    def walk(world):
        world.unwrapped.restore_state(state)
        drawn, outcomes = random.Random(1), []
        commands = sorted(world.unwrapped.puzzle.commands(state.position))
        for _ in range(6):
            if not commands:
                break
            outcomes.append(world.unwrapped.step(drawn.choice(commands)))
            commands = outcomes[-1][-1]["admissible_commands"]
        return outcomes

    assert walk(env) == walk(env) == walk(other)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_and_seeds_have_no_game_in_common(kind):
    def openings(**options):
        env = make(kind, size=30, **options)
        games = env.unwrapped.games
        return list(games.names), [repr(games[i]) for i in range(30)]

    sets = [openings(split=split) for split in ("train", "dev", "test")] + [openings(seed=1)]
    names = [name for listed, _ in sets for name in listed]
    assert len(names) == len(set(names)) == 120
    assert openings() == openings()
    assert not any(" at 0x" in opening for _, listed in sets for opening in listed)  # suites hash them
    with pytest.raises(ValueError, match="split='valid' is none of 'train', 'dev', 'test'"):
        make(kind, split="valid")


@pytest.mark.parametrize("kind", KINDS)
def test_a_game_is_found_by_name(kind):
    env = make(kind)
    name = env.unwrapped.games.names[2]
    assert env.reset(options={"game": name})[1]["game"] == name
    with pytest.raises(DataNotFoundError, match="no game is named 'nothing'"):
        env.reset(options={"game": "nothing"})


def test_there_is_no_other_puzzle():
    with pytest.raises(DataNotFoundError, match="no puzzle 'chess': choose one of countdown, jugs"):
        gym.make("OREO-Puzzles", task="chess")


@pytest.mark.parametrize("kind", KINDS)
def test_the_demonstrator_wins_now_and_then(kind):
    """By its own probabilities, which are those of admissible commands; the suites want 10 to 30 %."""
    env, chooser, won = make(kind, split="train"), random.Random(0), Counter()
    for game in range(300):
        _, info = env.reset(options={"game": game})
        for _ in range(100):
            shares = info["demonstrator"]
            assert sum(shares.values()) == pytest.approx(1)
            assert set(shares) <= set(info["admissible_commands"])
            command = chooser.choices(list(shares), list(shares.values()))[0]
            _, _, terminated, _, info = env.step(command)
            if terminated:
                break
        assert info["won"] or info["lost"] or kind == "sokoban"
        won[info["won"]] += 1
    assert 0.1 < won[True] / 300 < 0.3


@pytest.mark.parametrize("kind", TASKS)
def test_solvable_means_that_a_plan_is_left(kind):
    """Against a search over the environment's own steps, which knows nothing of the solver."""
    env = make(kind, expert=False)
    judge = make(kind)
    chooser = random.Random(9)
    for game in range(4):
        _, info = env.reset(options={"game": game})
        for _ in range(3):
            if not info["admissible_commands"]:
                break
            _, _, _, _, info = env.step(chooser.choice(info["admissible_commands"]))
        state = env.unwrapped.clone_state()
        judge.unwrapped.restore_state(state)
        solvable = judge.unwrapped._info()["solvable"]
        assert solvable == can_be_won(env.unwrapped, state)


def can_be_won(env, state):
    seen, stack = {state.position}, [state]
    while stack:
        here = stack.pop()
        env.restore_state(here)
        info = env._info()
        if info["won"]:
            return True
        for command in info["admissible_commands"]:
            env.restore_state(here)
            env.step(command)
            there = env.clone_state()
            if there.position not in seen:
                seen.add(there.position)
                stack.append(there)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_the_position(kind):
    env, seen = make(kind, state_hash=True), {}
    assert "state_hash" not in make(kind).reset(seed=1)[1]
    for seed in range(20):
        shown, info = env.reset(seed=seed, options={"game": 2})
        for command in ["sing", *(info["expert_plan"] or info["admissible_commands"])[:3]]:
            before = info["state_hash"]
            assert seen.setdefault(shown, before) == before
            said, _, ended, _, info = env.step(command)
            assert (info["state_hash"] == before) == (info["action_status"] != "ok")
            shown = said if info["action_status"] == "ok" else shown
            if ended:
                break
    assert len({*seen.values()}) == len(seen) > 1
