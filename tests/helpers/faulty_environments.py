"""Text environments of somebody else's that break down, or answer with what nobody can store."""

import gymnasium as gym
from text_environments import LETTERS, Lift

ANSWERS = {
    "nan": lambda answer: (answer[0], float("nan"), *answer[2:]),
    "none": lambda answer: (answer[0], None, *answer[2:]),
    "number": lambda answer: (3, *answer[1:]),
    "four": lambda answer: answer[:4],
}


class Faulty(Lift):
    """A lift that fails in its second step, or in its reset, in some episodes; or one that answers wrongly there."""

    observation_space = action_space = LETTERS

    def __init__(self, fault="raise", at="step", of=1):
        self.fault, self.at, self.of = fault, at, of

    def reset(self, *, seed=None, options=None):
        self.broken, self.steps = seed % self.of == 0, 0
        if self.broken and self.at == "reset":
            raise RuntimeError("the motor is hot")
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        answer = super().step("up")
        if not self.broken or self.steps != 2:
            return answer
        return self.fail() if self.fault == "raise" else ANSWERS[self.fault](answer)

    def fail(self):
        raise RuntimeError("the motor is hot")


for fault in ("raise", *ANSWERS):
    gym.register(f"Faulty-{fault}-v0", Faulty, max_episode_steps=4, kwargs={"fault": fault})
    gym.register(f"Some-{fault}-v0", Faulty, max_episode_steps=4, kwargs={"fault": fault, "of": 3})
gym.register("Faulty-reset-v0", Faulty, max_episode_steps=4, kwargs={"at": "reset"})
gym.register("Some-reset-v0", Faulty, max_episode_steps=4, kwargs={"at": "reset", "of": 3})
gym.register(
    "Discrete-v0", lambda: gym.wrappers.TransformAction(Lift(), lambda a: "up", gym.spaces.Discrete(3))
)
