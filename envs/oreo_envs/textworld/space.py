"""The space of actions: any text, sampled as commands that most games know."""

from __future__ import annotations

from typing import Any

from oreo_envs.spaces import Text

COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
COMMANDS = (
    *(f"go {direction}" for direction in (*COMPASS, "up", "down")),
    "enter",
    "exit",
    "look",
    "inventory",
    "wait",
    "listen",
    "take all",
    "drop all",
    "open door",
    "close door",
    "examine me",
)
"""What Infocom's games and those written with Inform understand, whatever is in them."""


class Commands(Text):
    """Every text of at most ``max_length`` characters; a sample is one of :data:`COMMANDS`."""

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """One of the commands, each as likely as another; masks and probabilities must be None."""
        if mask is not None or probability is not None:
            raise ValueError("a space of commands is sampled without mask and probability")
        return COMMANDS[int(self.np_random.integers(len(COMMANDS)))]
