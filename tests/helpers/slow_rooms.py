"""A text environment that takes its time, as a server or a large model does; named as ``slow_rooms:Slow-v0``."""

import time

import gymnasium as gym
from text_environments import LETTERS, Lift

SECONDS = 0.02


class SlowLift(Lift):
    """A lift that sleeps at every step."""

    observation_space = action_space = LETTERS

    def __init__(self, seconds=SECONDS):
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


gym.register("Slow-v0", SlowLift, max_episode_steps=6)
