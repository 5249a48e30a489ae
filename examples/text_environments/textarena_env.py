"""TextArena's games for one player (pip install textarena).

oreo-agents record --env textarena_env:TextArena-v0 --games Wordle-v0 --agent random -n 50 -o runs/wordle
"""

import gymnasium as gym
import textarena
from oreo_envs.spaces import Text

MOVES = ["[up]", "[down]", "[left]", "[right]"]


class TextArenaEnv(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="FrozenLake-v0-random"):
        self.name, self.told = games, {"admissible_commands": MOVES} if "FrozenLake" in games else {}

    def reset(self, *, seed=None, options=None):
        self.game = textarena.make(self.name)  # one that has been played remembers what was said
        self.game.reset(num_players=1, seed=seed)
        self.text = self.game.get_observation()[1]
        return self.text, self.told

    def step(self, action):
        done, _ = self.game.step(action)
        reward, before = self.game.close()[0][0] if done else 0.0, len(self.text)
        self.text = self.text + "\n" if done else self.game.get_observation()[1]
        return self.text[before:], float(reward), done, False, self.told


gym.register("TextArena-v0", TextArenaEnv)
