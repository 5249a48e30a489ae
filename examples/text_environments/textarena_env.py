"""TextArena's games for one player (pip install textarena).

oreo-agents record --env textarena_env:TextArena-v0 --games Wordle-v0 --agent random -n 50 -o runs/wordle
"""

import gymnasium as gym
import textarena
from oreo_envs.spaces import Text


class TextArenaEnv(gym.Env):
    observation_space = action_space = Text()

    def __init__(self, games="FrozenLake-v0-random"):
        self.game = textarena.make(f"{games}-raw")  # the others repeat all that was said before
        self.told = {"admissible_commands": ["[w]", "[a]", "[s]", "[d]"]} if "Lake" in games else {}

    def reset(self, *, seed=None, options=None):
        self.game.reset(num_players=1, seed=seed)  # a message is then its sender, its text and its kind
        return "\n".join(x[1] for x in self.game.get_observation()[1]), self.told

    def step(self, action):
        done, said = self.game.step(action)[0], self.game.get_observation()[1]
        return "\n".join(x[1] for x in said), self.game.close()[0][0] if done else 0, done, False, self.told


gym.register("TextArena-v0", TextArenaEnv)
