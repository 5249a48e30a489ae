"""Text environments of somebody else's that say what they say in a form of their own, or take snapshots themselves."""

from collections.abc import Iterator
from copy import deepcopy
from typing import ClassVar

import gymnasium as gym
import numpy as np
from text_environments import LETTERS, Lift, Spell, Words

COMMANDS = ["up", "open", "down"]
GOOD = {
    "tuple": {"admissible_commands": ("up", "open")},
    "set": {"admissible_commands": {"up", "open", "down"}},
    "array": {"admissible_commands": np.array(COMMANDS)},
    "none": {"admissible_commands": None},
    "won-numpy": {"won": np.bool_(True)},
    "won-1": {"won": 1},
    "won-none": {"won": None, "success": True},
}
"""What is understood."""
BAD = {
    "dict": (
        {"admissible_commands": dict.fromkeys(COMMANDS)},
        r"\['admissible_commands'\] is dict, and has to be",
    ),
    "ints": (
        {"admissible_commands": [1, 2]},
        r"\['admissible_commands'\] is list of int, and has to be a list of",
    ),
    "text": (
        {"admissible_commands": "up"},
        r"\['admissible_commands'\] is str, and has to be a list of texts",
    ),
    "plan": ({"expert_plan": 3}, r"\['expert_plan'\] is int, and has to be a list of texts"),
    "won-array": ({"won": np.array([True, False])}, r"\['won'\] is ndarray .*, and has to be True or False"),
    "share": ({"success": 0.3}, r"\['success'\] is float 0.3, and has to be True or False: say bool"),
}
"""What is not, and what is said then."""
NAMES = {"silent": {}, "zork": {"game": "Zork"}, "seven": {"game": 7}}


class Odd(Lift):
    """A lift that says something more."""

    told: ClassVar = {}

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, **deepcopy(self.told)}

    def step(self, action):
        *outcome, info = super().step(action)
        return *outcome, {**info, **deepcopy(self.told)}


class Listed(Spell):
    """Games that are objects, and no word on which one is played but an odd one."""

    told: ClassVar = {}

    def __init__(self):
        super().__init__()
        self.games = Objects()

    def reset(self, *, seed=None, options=None):
        gym.Env.reset(self, seed=seed)
        name = options["game"]
        self.wanted, self.said = self.games[self.games.names.index(name)].letter, ""
        return f"Say {self.wanted}.", {"success": False, **self.told}


class Objects(Words):
    """They print as addresses."""

    def __getitem__(self, position):
        if position >= len(self):
            raise IndexError(position)
        return Letter(super().__getitem__(position))

    def __iter__(self) -> Iterator["Letter"]:
        return map(self.__getitem__, range(len(self)))


class Letter:
    def __init__(self, letter):
        self.letter = letter


class Dial(gym.Env):
    """Numbers as actions, snapshots of its own, and a fault where it is turned to 3."""

    observation_space, action_space = LETTERS, gym.spaces.Discrete(3)

    def __init__(self):
        self.snapshots = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = [int(self.np_random.integers(9))]
        return self.tell()

    def step(self, action):
        self.shown.append([1, 2, 4][action])
        if len(self.shown) > 2 and self.shown[-1] == 4:
            raise RuntimeError("the dial is stuck")
        observation, info = self.tell()
        return observation, float(self.shown[-1]), False, False, info

    def tell(self):
        return "The dial shows " + " ".join(map(str, self.shown)) + ".", {
            "admissible_commands": ["a", "b", "c"]
        }

    def clone_state(self):
        self.snapshots += 1
        return tuple(self.shown)

    def restore_state(self, state):
        self.shown = list(state)


class Lettered(Dial):
    """The same for letters."""

    action_space = LETTERS

    def step(self, action):
        return super().step("abc".index(action))


class Spelt(gym.ActionWrapper):
    """Letters for a dial that takes numbers."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = LETTERS

    def action(self, action):
        return "abc".index(action)


class Counted(gym.Wrapper):
    """Tells how many steps have been taken."""

    def reset(self, **options):
        self.steps = 0
        return self.env.reset(**options)

    def step(self, action):
        self.steps += 1
        observation, *rest = self.env.step(action)
        return f"{self.steps}. {observation}", *rest


for name, told in NAMES.items():
    gym.register(f"Named-{name}-v0", type("Named", (Odd,), {"told": told}), max_episode_steps=6)
    gym.register(f"Listed-{name}-v0", type("Listed", (Listed,), {"told": told}), max_episode_steps=3)
for name, told in [*GOOD.items(), *((name, told) for name, (told, _) in BAD.items())]:
    gym.register(f"Odd-{name}-v0", type("Odd", (Odd,), {"told": told}), max_episode_steps=6)
gym.register("Dial-v0", Lettered, max_episode_steps=4)
gym.register("Dial-spelt-v0", lambda: Spelt(Dial()), max_episode_steps=4)
gym.register("Dial-counted-v0", lambda: Counted(Lettered()), max_episode_steps=4)
