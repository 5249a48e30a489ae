"""How an agent chooses its actions, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.solution_search import Rule

Select = Literal["greedy", "sample", "best_of_k", "lookahead", "constrained", "constrained_best_of_k"] | Rule
"""How an action is chosen; see :class:`oreo_agents.OreoAgent`."""

RULES: tuple[str, ...] = get_args(Rule)
"""Of these, the searches over whole solutions."""

CONSTRAINED = ("constrained", "constrained_best_of_k")
"""Of these, the ones that choose among the commands that the environment lists."""

SELECTS: tuple[str, ...] = ("greedy", "sample", "best_of_k", "lookahead", *CONSTRAINED, *RULES)
SEARCHES = ("best_of_k", "lookahead", "constrained_best_of_k", *RULES)
"""Of these, the ones that look at ``k`` candidates."""

WITHOUT_CRITIC = ("greedy", "sample", "constrained", "majority_vote")


@dataclass(frozen=True, slots=True)
class Selection:
    """A way to choose actions; its fields are described at :class:`oreo_agents.OreoAgent`.

    Raises:
        ConfigurationError: unknown ``select``, or a number out of range.
    """

    select: Select = "greedy"
    k: int = 5
    max_new_tokens: int = 32
    temperature: float = 1.0
    logprob_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.select not in SELECTS:
            raise ConfigurationError(f"unknown select {self.select!r}; choose one of {', '.join(SELECTS)}")
        for name in ("k", "max_new_tokens"):
            if (number := getattr(self, name)) < 1:
                raise ConfigurationError(f"{name} is {number}, it must be at least 1")
        if not self.temperature > 0:
            raise ConfigurationError(
                f"temperature is {self.temperature}, it must be above 0: select greedy instead"
            )

    @property
    def searches(self) -> bool:
        """Whether it looks at several candidates, and judges them by V."""
        return self.select in SEARCHES

    @property
    def candidates(self) -> int:
        """How many a decision looks at."""
        return self.k if self.searches else 1

    @property
    def needs_critic(self) -> bool:
        """Whether it cannot do without a critic."""
        return self.select not in WITHOUT_CRITIC

    @property
    def needs_weights(self) -> bool:
        """Whether it cannot do with a policy behind a server, which gives text and no scores."""
        return self.select in (*CONSTRAINED, *RULES)

    @property
    def needs_growth(self) -> bool:
        """Whether it reads what would follow an action, so that no earlier turn may change by that."""
        return self.select == "lookahead" or self.select in RULES

    @property
    def title(self) -> str:
        """What it is called in tables, such as ``best-of-5``."""
        titles = {
            "best_of_k": f"best-of-{self.k}",
            "lookahead": f"lookahead-{self.k} on the simulator",
            "constrained_best_of_k": f"constrained best-of-{self.k}",
        }
        words = self.select.replace("_", "-")
        return titles.get(self.select, f"{words}-{self.k}" if self.searches else words)
