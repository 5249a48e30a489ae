"""A space of texts.

Gymnasium's own ``Text`` takes a set of allowed characters, rejects line breaks and "" by default, and needs
seconds to set up for all of Unicode. An environment that speaks English needs none of that.
"""

from typing import Any

import gymnasium as gym

_SAMPLED = "abcdefghijklmnopqrstuvwxyz 0123456789"


class Text(gym.Space[str]):
    """Every `str` of at most `max_length` characters.

    It is not a subclass of ``gymnasium.spaces.Text``, whose shared-memory code corrupts observations:
    ``AsyncVectorEnv`` refuses it and asks for ``shared_memory=False``, with which observations are true.
    """

    def __init__(self, max_length: int = 65_536, seed: int | None = None):
        self.max_length = max_length
        super().__init__(shape=None, dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Texts are not vectors."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text; masks and probabilities have no meaning here and must be None."""
        if mask is not None or probability is not None:
            raise ValueError("a Text space is sampled without mask and probability")
        length = self.np_random.integers(1, min(self.max_length, 24), endpoint=True)
        return "".join(self.np_random.choice(list(_SAMPLED), size=int(length)))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of at most `max_length` characters."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.max_length == other.max_length

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Text({self.max_length})"
