"""ScienceWorld's tasks, a variation a seed (pip install scienceworld; it needs Java).

oreo-agents record --env scienceworld_env:ScienceWorld-v0 --games boil --agent random -n 20 -o runs/boil

Rewards are points, -100 for what spoils the task. ScienceWorld lists what lies in a room in any order, so a few
episodes do not happen again exactly; `dataset verify` says which.
"""

import gymnasium as gym
from oreo_envs.spaces import Text
from scienceworld import ScienceWorldEnv


class ScienceWorld(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="find-plant"):
        self.world, self.task = ScienceWorldEnv(""), games

    def reset(self, *, seed=None, options=None):
        self.world.load(self.task, (seed or 0) % self.world.get_max_variations(self.task), "easy")
        text, info = self.world.reset()
        return f"{info['taskDesc']}\n{text}", {"admissible_commands": info["valid"], "won": False}

    def step(self, action):
        text, reward, done, info = self.world.step(action)
        return text, reward, done, False, {"admissible_commands": info["valid"], "won": info["score"] == 100}


gym.register("ScienceWorld-v0", ScienceWorld, max_episode_steps=100)
