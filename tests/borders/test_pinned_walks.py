"""What the environments answer, and how answers are judged."""

import random

import gymnasium as gym
import pytest
from oreo_envs.math import extract_answer, grade
from pins import check

import oreo_agents as oreo_agents  # registers the ids


def seen(observation, reward, terminated, truncated, info):
    info = dict(info)
    if "admissible_commands" in info:
        info["admissible_commands"] = ", ".join(info["admissible_commands"])
    return {
        "observation": observation,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "info": info,
    }


@pytest.mark.parametrize("split", ["generated", "generated_unseen"])
def test_a_walk_through_rooms(split):
    env = gym.make("OREO-ALFWorld", split=split, expert=True, dialect="both", max_episode_steps=40)
    chooser, walks = random.Random(11), []
    for game in range(2):
        observation, info = env.reset(seed=game, options={"game": 100 * game + 7})
        walk = [seen(observation, None, False, False, info)]
        for step in range(9):
            command = chooser.choice(info["admissible_commands"])
            if step % 3 == 2:
                command = info["expert_plan"][0]
            if step == 4:
                command = command.replace(" 1", " 99") + " please"
            observation, reward, terminated, truncated, info = env.step(command)
            walk.append({"command": command, **seen(observation, reward, terminated, truncated, info)})
            if terminated or truncated:
                break
        walks.append(walk)
    check(f"walk-{split}", walks)


def test_a_plan_wins_from_a_restored_state():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True)
    _, info = env.reset(seed=3)
    start, plan, answers = env.unwrapped.clone_state(), info["expert_plan"], []
    for _ in range(2):
        env.unwrapped.restore_state(start)
        answers.append([env.unwrapped.step(command) for command in plan])
    assert answers[0] == answers[1]
    check(
        "plan",
        [{"command": c, "observation": a[0], "reward": a[1]} for c, a in zip(plan, answers[0], strict=True)],
    )


@pytest.mark.parametrize("task", ["gsm_symbolic", "chain_sum"])
def test_a_walk_through_problems(task):
    env = gym.make("OREO-Reasoning", task=task, split="test", expert=True)
    walks = []
    for problem in range(2):
        observation, info = env.reset(seed=problem)
        walk = [seen(observation, None, False, False, info)]
        for step in ["", "Let me think: 1 + 1 = 2", *info["expert_plan"]]:
            walk.append({"step": step, **seen(*env.step(step))})
            if walk[-1]["terminated"]:
                break
        walks.append(walk)
    check(f"walk-{task}", walks)


ANSWERS = [
    "The answer is 18.",
    "#### 1,234",
    r"so \boxed{\frac{1}{2}} and \boxed{x^2 + 1}",
    "The final answer is: -3.50 dollars",
    "Let me think: 1 + 1 = 2",
    "",
]
PAIRS = [
    ("18", "18.0"),
    ("1,234", "1234"),
    (r"\frac{1}{2}", "0.5"),
    ("1/2", "0.51"),
    ("x+1", "1+x"),
    (r"\{1, 2\}", r"\{2, 1\}"),
    ("(1, 2)", "(2, 1)"),
    ("50\\%", "50"),
    (r"\text{east}", "east"),
    ("", "0"),
]


def test_how_answers_are_found_and_graded():
    check(
        "answers",
        {
            "found": {text: extract_answer(text) for text in ANSWERS},
            "right": {f"{answer} for {gold}": grade(answer, gold) for answer, gold in PAIRS},
        },
    )
