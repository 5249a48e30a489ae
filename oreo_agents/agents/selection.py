"""How an agent chooses its actions, as a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.filters import Filters
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

TEMPERATURE, LOGPROB_WEIGHT = 1.0, 0.03
"""What holds where neither the caller nor the agent's folder says otherwise: the policy's own distribution, and V plus
beta times the log-probability, with the beta that policies are trained with."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A way to choose actions; its fields are described at :class:`oreo_agents.OreoAgent`.

    Raises:
        ConfigurationError: unknown ``select``, or a number out of range.
    """

    select: Select = "greedy"
    k: int = 5
    max_new_tokens: int = 32
    temperature: float = TEMPERATURE
    logprob_weight: float = LOGPROB_WEIGHT
    no_repeat: bool = False
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

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
        _ = self.filters
        if self.no_repeat and self.select in RULES:
            raise ConfigurationError(
                f"no_repeat is about single commands, and {self.select} searches over whole solutions: leave it out"
            )

    @property
    def filters(self) -> Filters:
        """Which tokens may be drawn."""
        return Filters(self.top_p, self.top_k, self.min_p)

    @property
    def searches(self) -> bool:
        """Whether it looks at several candidates, and judges them by V."""
        return self.select in SEARCHES

    @property
    def candidates(self) -> int:
        """How many a decision looks at; without a search, so many only where a command has just failed."""
        return self.k if self.searches or self.resamples else 1

    @property
    def resamples(self) -> bool:
        """Whether it looks further than at one command only where one has failed."""
        return self.no_repeat and self.select in ("greedy", "sample")

    @property
    def samples(self) -> bool:
        """Whether the temperature changes anything."""
        several = self.candidates > 1 and self.select not in CONSTRAINED
        return self.select == "sample" or several

    @property
    def weighs(self) -> bool:
        """Whether the weight of the log-probability changes anything."""
        return self.searches and self.needs_critic and self.candidates > 1

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
        title = titles.get(self.select, f"{words}-{self.k}" if self.searches else words)
        if self.resamples:
            return f"no-repeat-{self.k}" if self.select == "greedy" else f"{title} no-repeat-{self.k}"
        return f"{title} no-repeat" if self.no_repeat else title

    @property
    def rule(self) -> str:
        """What is taken among what, with temperature and weight, in words."""
        drawn = f" at temperature {self.temperature:g}" if self.samples else ""
        drawn += f" ({self.filters})" if self.samples and self.filters else ""
        judged = f"V + {self.logprob_weight:g} log pi" if self.logprob_weight else "V"
        words = {
            "greedy": "the likeliest token each time",
            "sample": f"one sample{drawn}",
            "best_of_k": f"the highest {judged} among the greedy command and {self.k - 1} samples{drawn}",
            "lookahead": f"the highest {judged} after the answer, tried on the simulator, among the greedy command and "
            f"{self.k - 1} samples{drawn}",
            "constrained": "the likeliest admissible command",
            "constrained_best_of_k": f"the highest {judged} among the {self.k} likeliest admissible commands",
            "beam": f"{self.k} beams over the steps of a solution by {judged}, steps sampled{drawn}",
            "best_of_n": f"the highest {judged} among {self.k**2} solutions sampled{drawn}",
            "majority_vote": f"the commonest answer of {self.k**2} solutions sampled{drawn}",
            "value_vote": f"the answer with the highest sum of V over {self.k**2} solutions sampled{drawn}",
        }
        rule = words[self.select]
        if not self.no_repeat:
            return rule
        if self.select == "greedy":
            return (
                f"{rule}; where a command has failed since the last one that worked, the likeliest of this and "
                f"{self.k - 1} samples{drawn} that has not"
            )
        if self.select == "sample":
            return f"{rule}, drawn again (up to {self.k} times) while it has failed since the last one that worked"
        return f"{rule}, less those that have failed since the last one that worked"

    def to_dict(self) -> dict[str, Any]:
        """Its fields, less filters that leave nothing out."""
        without = set(asdict(self.filters)) - set(self.filters.set_ones())
        return {name: x for name, x in asdict(self).items() if name not in without}

    def to_json(self) -> dict[str, Any]:
        """As it is written: with the rule in words, null for what changes nothing, and filters only where there are
        any.
        """
        plain = self if self.samples else replace(self, **asdict(Filters()))
        written = {**plain.to_dict(), "rule": self.rule}
        written["temperature"] = self.temperature if self.samples else None
        written["logprob_weight"] = self.logprob_weight if self.weighs else None
        return written
