"""TextWorldExpress's games, of its own training and test seeds (pip install textworld-express; it needs Java).

oreo-agents record --env textworld_express_env:Express-v0 --games coin --agent random -n 50 -o runs/coin

Rewards are what a step adds to the score.
"""

import gymnasium as gym
from oreo_envs.spaces import Text
from textworld_express import TextWorldExpressEnv


class Express(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="cookingworld", split="train"):
        self.world, self.split, self.first = TextWorldExpressEnv(), split, {"train": 0, "test": 20_000}[split]
        self.world.load(games, "")

    def reset(self, *, seed=None, options=None):
        text, info = self.world.reset(self.first + (seed or 0) % 1000, self.split)
        return f"{info['taskDescription']}\n{text}", {"admissible_commands": info["validActions"]}

    def step(self, action):
        text, *rest, info = self.world.step(action)
        return text, *rest, False, {"won": info["tasksuccess"], "admissible_commands": info["validActions"]}


gym.register("Express-v0", Express, max_episode_steps=50)
