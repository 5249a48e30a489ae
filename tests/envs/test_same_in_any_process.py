"""An episode follows from its seed and its actions alone: two new processes that hash otherwise play the same one."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from long_tests import LONG
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.catalog import CATALOG
from oreo_envs.puzzles.procedural import TASKS

GSM8K = [{"question": "2 and 3?", "answer": "2 + 3 = 5\n#### 5"}, {"question": "None?", "answer": "#### 0"}]
MATH = [{"problem": "What is half?", "answer": r"\frac{1}{2}", "level": "Level 1", "type": "Prealgebra"}]
CASES = {
    "generated": ("OREO-ALFWorld", {"split": "generated"}),
    "generated_unseen": ("OREO-ALFWorld", {"split": "generated_unseen", "wording": "put"}),
    "file": ("OREO-TextWorld", {"games": "game.tw-pddl"}),
    "cooking": ("OREO-TextWorld", {"challenge": "cooking", "level": "recipe1+take0+cut+rooms1"}),
    "gsm8k": ("OREO-GSM8K", {"data": "gsm8k"}),
    "math": ("OREO-MATH", {"data": "math"}),
    "chain_sum": ("OREO-Reasoning", {"task": "chain_sum"}),
    "gsm_symbolic": ("OREO-Reasoning", {"task": "gsm_symbolic"}),
    "habits": ("OREO-Habits", {}),
    **{task: ("OREO-Puzzles", {"task": task}) for task in TASKS},
}
"""At least one of every id; files lie in the folder of the processes."""
PLAY = """
import json, random, sys
import gymnasium as gym, oreo_envs

def play(env_id, options, steps=6):
    env = gym.make(env_id, expert=True, disable_env_checker=True, **options)
    rng = random.Random(3)
    env.action_space.seed(3)
    seen = [env.reset(seed=11)]
    for number in range(steps):
        info = seen[-1][-1]
        choices = [info["expert_plan"][:1], info.get("admissible_commands"), [env.action_space.sample()]]
        seen.append(env.step(rng.choice(next(filter(None, choices[number % 2 :])))))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return list(map(repr, seen))

for name, case in json.load(sys.stdin).items():
    print(json.dumps([name, play(*case)]), flush=True)
"""


def why_not(name):
    """What lacks for a case, or nothing."""
    env_id, options = CASES[name]
    if env_id == "OREO-TextWorld" and not importlib.util.find_spec("textworld"):
        return "TextWorld is not installed"
    if "challenge" in options and not LONG:
        return "the game would have to be made twice: LONG=1"
    return ""


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """By case, what was seen in each of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "game.tw-pddl").write_text(GeneratedGames("generated").text(15))
    for name, rows in (("gsm8k", GSM8K), ("math", MATH)):
        (folder / name).mkdir()
        (folder / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cases = json.dumps({name: case for name, case in CASES.items() if not why_not(name)})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PLAY],
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONHASHSEED": number,
                "XDG_CACHE_HOME": str(folder / f"cache-{number}"),
            },
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("1", "2")
    ]
    for process in processes:
        process.stdin.write(cases)
        process.stdin.close()
    told = [dict(map(json.loads, process.stdout)) for process in processes]
    assert [process.wait() for process in processes] == [0, 0]
    return {name: [episodes[name] for episodes in told] for name in told[0]}


def test_every_environment_is_played():
    assert {env_id for env_id, _ in CASES.values()} == {entry.id for entry in CATALOG}


@pytest.mark.parametrize("name", CASES)
def test_an_episode_is_the_same_in_any_process(name, played):
    if reason := why_not(name):
        pytest.skip(reason)
    first, second = played[name]
    assert len(first) > 6 and len(set(first)) > 2
    assert first == second
