"""GEM's text games (pip install gem-llm).

oreo-agents record --env gem_env:GEM-v0 --games game:Hangman-v0-easy --agent random -n 50 -o runs/hangman
"""

import gem
import gymnasium as gym
from oreo_envs.spaces import Text


class GEMEnv(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="game:GuessTheNumber-v0-easy"):
        self.game = gem.make(games)

    def reset(self, *, seed=None, options=None):
        return self.game.reset(seed=seed)

    def step(self, action):
        return self.game.step(action)


gym.register("GEM-v0", GEMEnv)
