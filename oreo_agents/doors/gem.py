"""Our environments in GEM (``pip install --no-deps gem-llm``, whose pins contradict ours)."""

from __future__ import annotations

import copy
import random
from typing import Any

from oreo_envs.wrappers import find_snapshots

from oreo_agents.environments import MakeEnv
from oreo_agents.errors import ConfigurationError

try:
    import gem
except ImportError as error:
    raise ConfigurationError("GEM's environments need GEM: pip install --no-deps gem-llm") from error


class GEMEnv(gem.Env):
    """Any of our environments as one of GEM's, step by step what Gymnasium's says.

    Args:
        make: makes the environment; see :func:`oreo_agents.environments.environments`.
        seed: of the first ``reset()`` without one, as ``gem.make_vec`` gives it.

    >>> gem.register("oreo:ALFWorld", partial(GEMEnv, environments("OREO-ALFWorld", split="train")))
    >>> env = gem.make("oreo:ALFWorld")
    """

    def __init__(self, make: MakeEnv, seed: int | None = None) -> None:
        self._make, self._seed = make, seed
        self.env = make()
        self._info: dict[str, Any] = {}

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Begin the episode of a seed; without one, the next of its random ones."""
        seed, self._seed = self._seed if seed is None else seed, None
        super().reset(seed)
        observation, self._info = self.env.reset(seed=seed)
        return observation, self._info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command."""
        observation, reward, terminated, truncated, self._info = self.env.step(action)
        return observation, float(reward), terminated, truncated, self._info

    def sample_random_action(self) -> str:
        """One of the admissible commands; where there are none, a sample of the space of actions."""
        commands = self._info.get("admissible_commands")
        return random.choice(commands) if commands else self.env.action_space.sample()

    def spawn(self, same_state: bool = False, **options: Any) -> GEMEnv:
        """Another one of the same games, with ``same_state`` in the middle of the same episode."""
        if not same_state:
            return GEMEnv(self._make, **options)
        child = copy.deepcopy(self)  # the wrappers' counts of steps are in no snapshot
        find_snapshots(child.env).restore_state(find_snapshots(self.env).clone_state())
        return child
