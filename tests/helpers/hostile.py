"""An environment whose every text tries to take over the terminal."""

import gymnasium as gym
from episodes import HOSTILE


class HostileEnv(gym.Env):
    observation_space = action_space = gym.spaces.Text(1000)

    def reset(self, *, seed=None, options=None):
        return HOSTILE, self._info()

    def step(self, action):
        return HOSTILE, 0.0, False, False, self._info()

    def clone_state(self):
        return None

    def restore_state(self, state):
        pass

    def goal_conditions(self):
        return [(HOSTILE, True), (HOSTILE, False)]

    def _info(self):
        texts = dict.fromkeys(("task", "game", "task_type", "action_status"), HOSTILE)
        lists = {name: [HOSTILE] for name in ("admissible_commands", "suggestions", "expert_plan")}
        return {**texts, **lists, "won": False}


gym.register("Hostile-v0", HostileEnv)
