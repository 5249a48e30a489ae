"""TextArena's games for one player (pip install textarena).

oreo-agents record --env textarena_env:TextArena-v0 --games Wordle-v0 --agent random -n 50 -o runs/wordle
"""

import gymnasium as gym
import textarena
from oreo_envs.spaces import Text


class TextArenaEnv(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="FrozenLake-v0-random"):
        self.game = textarena.make(games)

    def reset(self, *, seed=None, options=None):
        self.game.reset(num_players=1, seed=seed)
        self.text = self.game.get_observation()[1]
        return self.text, {}

    def step(self, action):
        done, _ = self.game.step(action)
        reward, before = self.game.close()[0][0] if done else 0.0, len(self.text)
        self.text = self.text + "\n" if done else self.game.get_observation()[1]
        return self.text[before:], float(reward), done, False, {}


gym.register("TextArena-v0", TextArenaEnv)
