"""Text environments of somebody else's: nothing in them knows of this project."""

import threading
from typing import ClassVar

import gymnasium as gym
from gymnasium.spaces import Text

LETTERS = Text(
    200, min_length=1, charset=" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.'-"
)


class Lift(gym.Env):
    """Returns between -5 and 20, no word on winning, and an episode is its seed."""

    observation_space = action_space = LETTERS
    commands: ClassVar = ["down", "open", "up"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.floor, self.waiting = 0, int(self.np_random.integers(1, 3))
        return f"You are on floor 0. Somebody waits on floor {self.waiting}.", {
            "admissible_commands": self.commands
        }

    def step(self, action):
        info = {"admissible_commands": self.commands}
        if action == "open":
            return "The door opens.", 20.0 if self.floor == self.waiting else -4.0, True, False, info
        self.floor += {"up": 1, "down": -1}.get(action, 0)
        return f"You are on floor {self.floor}.", -0.25, False, False, info


class Echo(gym.Env):
    """No list of commands, no copies (it holds a lock), a win that it tells; an episode is its seed."""

    observation_space = LETTERS
    action_space = Text(1, min_length=1, charset="ab")

    def __init__(self):
        self.lock = threading.Lock()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.wanted, self.said = "".join("ab"[i] for i in self.np_random.integers(0, 2, size=2)), ""
        return f"Say {self.wanted}.", {"success": False}

    def step(self, action):
        self.said += action[:1]
        right = self.wanted.startswith(self.said)
        won = self.said == self.wanted
        return "Yes." if right else "No.", float(won), won or not right, False, {"success": won}


class Words:
    """A list of games as this project documents it."""

    def __init__(self):
        self.names = [f"word {i}" for i in range(10)]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, position):
        return "abcdefghij"[position]


class Spell(Echo):
    """A list of games that is not divided."""

    def __init__(self):
        super().__init__()
        self.games = Words()

    def reset(self, *, seed=None, options=None):
        gym.Env.reset(self, seed=seed)
        name = (options or {}).get("game", self.games.names[0])
        self.wanted, self.said = self.games[self.games.names.index(name)], ""
        return f"Say {self.wanted}.", {"success": False, "game": name}


class Safe(gym.Env):
    """Says whether it is won in the step that ends an episode, and never before."""

    observation_space = action_space = LETTERS
    commands: ClassVar = ["read note", "turn a", "turn b"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.right = "ab"[int(self.np_random.integers(2))]
        return "A safe with a dial and a note.", {"admissible_commands": self.commands}

    def step(self, action):
        info = {"admissible_commands": self.commands}
        if not action.startswith("turn "):
            return f"The note says {self.right}.", 0.0, False, False, info
        won = action == f"turn {self.right}"
        return "Click." if won else "Alarm.", float(won), True, False, {**info, "won": won}


class Kinds(Safe):
    """A word says which game it is, and another option how many floors the house has."""

    def __init__(self, games="easy", floors=1):
        self.kind, self.floors = games, floors

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return f"{self.kind}, {self.floors} floors. {observation}", info


class Divided(Safe):
    """Has words of its own for its splits, and an episode is its seed."""

    def __init__(self, split="train"):
        if split not in ("train", "validation"):
            raise ValueError(f"no split {split}")
        self.of = "of many" if split == "train" else "of few"

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return f"One {self.of}. {observation}", info


class DividedWords(Spell):
    """Has words of its own for the splits of its list."""

    def __init__(self, split="easy"):
        if split not in ("easy", "hard"):
            raise ValueError(f"no split {split}")
        super().__init__()
        self.games.names = self.games.names[:4] if split == "easy" else self.games.names[4:]


gym.register("Divided-v0", Divided, max_episode_steps=2)
gym.register("DividedWords-v0", DividedWords, max_episode_steps=3)
gym.register("Kinds-v0", Kinds, max_episode_steps=2)
gym.register("Safe-v0", Safe, max_episode_steps=2)
gym.register("Lift-v0", Lift, max_episode_steps=6)
gym.register("Echo-v0", Echo)
gym.register("Spell-v0", Spell, max_episode_steps=3)
gym.register("Goal-v0", Lift, max_episode_steps=6, reward_threshold=15.0)
