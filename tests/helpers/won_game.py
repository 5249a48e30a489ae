"""A short game as Gymnasium's environment tells it when the expert plays, to compare what others say of it with."""

import gymnasium as gym

import oreo_agents  # noqa: F401  registers the ids

GAME = "look_at_obj_in_light-Watch-None-DeskLamp-326/trial_g000025"
OPTIONS = {"split": "generated", "expert": True}


def play_expert(env_id="OREO-ALFWorld", options=OPTIONS, seed=None):
    """The opening, and each step as (command, what ``step`` returned); with a seed of its game, else of GAME."""
    env = gym.make(env_id, **options)
    opening = _, info = env.reset(seed=seed, options={"game": GAME} if seed is None else None)
    steps = []
    while plan := info["expert_plan"]:
        steps.append((plan[0], env.step(plan[0])))
        *_, info = steps[-1][1]
    return opening, steps
