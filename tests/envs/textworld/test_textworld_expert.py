"""The expert that reads: it wins TextWorld's games from what they say, and nothing else."""

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
from long_tests import LONG
from oreo_envs.catalog import describe
from oreo_envs.textworld.expert import TextWorldExpert

SUITE = "recipe1+take1+open+cook+cut+rooms6"
"""The level of benchmarks/suites/textworld-cooking.toml."""
PLAYED = [
    ("cooking", SUITE, 60),
    ("cooking", "recipe3+take3+open+cook+cut+drop+rooms9", 20),
    ("coin_collector", 5, 10),
]
FEW = [("cooking", "recipe1+take0+cut+drop+rooms1", 2), ("coin_collector", 2, 1)]


def play(env, expert, game):
    observation, info = env.reset(options={"game": game})
    expert.reset(observation)
    ended = False
    while not ended:
        command = expert.act(observation)
        observation, _, terminated, truncated, info = env.step(command)
        expert.observe(command, observation)
        ended = terminated or truncated
    return info["won"]


@pytest.mark.parametrize(("challenge", "level", "count"), PLAYED if LONG else FEW)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_wins_nine_of_ten(challenge, level, count, seed):
    env = gym.make("OREO-TextWorld", challenge=challenge, level=level, disable_env_checker=True)
    env.unwrapped.games.prepare(range(count))
    won = sum(play(env, TextWorldExpert(seed), game) for game in range(count))
    assert won >= 0.9 * count
    env.close()


def test_it_reads_no_info_and_answers_what_it_does_not_understand():
    expert = describe("OREO-TextWorld").make_expert(seed=3)
    for observation in ("", "-= Hall =-\nNothing.", "\x00", "Ingredients:\n\nDirections:\n"):
        expert.reset(observation)
        for _ in range(3):
            command = expert.act(observation)
            assert isinstance(command, str) and command
            expert.observe(command, "What?")


def test_food_that_is_cooked_already_is_not_cooked_again():
    """A second time burns it, which loses the game."""
    expert = TextWorldExpert()
    expert.reset(
        "Check the cookbook in the kitchen.\n\n-= Kitchen =-\nYou see a stove. On the table is a cookbook."
    )
    answers = {
        "inventory": "You are carrying: a fried diced red apple.",
        "examine cookbook": "Ingredients:\n  red apple\n\nDirections:\n  dice the red apple\n  fry the red apple\n"
        "  prepare meal",
        "prepare meal": "Adding the meal to your inventory.",
    }
    done = []
    for _ in range(5):
        done.append(expert.act(""))
        expert.observe(done[-1], answers.get(done[-1], ""))
    assert done == ["inventory", "examine cookbook", "inventory", "prepare meal", "eat meal"]


def test_it_looks_for_the_knife_with_full_hands():
    expert = TextWorldExpert()
    expert.reset(
        "Check the cookbook in the kitchen.\n\n-= Kitchen =-\nA cookbook and a knife are on the counter."
    )
    said = {
        "examine cookbook": "Ingredients:\n  leek\n  kale\n\nDirections:\n  dice the leek\n  prepare meal"
    }
    held, done = ["leek", "kale"], []
    for _ in range(12):
        command = expert.act("")
        done.append(command)
        verb, _, thing = command.partition(" ")
        if command == "inventory":
            said[command] = "You are carrying: " + " and ".join(f"a {name}" for name in held) + "."
        if verb == "take":
            said[command] = (
                "You're carrying too many things already." if len(held) > 1 else f"You take the {thing}."
            )
            held += [thing] if len(held) < 2 else []
        if verb == "drop":
            held.remove(thing)
            said[command] = f"You drop the {thing} on the ground."
        if verb == "dice":
            assert {"leek", "knife"} <= set(held)
            said[command] = "You dice the leek."
        expert.observe(command, said.get(command, ""))
        if command == "prepare meal":
            break
    assert done[-1] == "prepare meal" and set(held) == {"leek", "kale"}
