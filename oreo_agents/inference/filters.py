"""Which tokens may be drawn, as a value; :func:`oreo_agents.inference.sampling.filter_logits` obeys it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from oreo_agents.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Filters:
    """What is left of a policy's distribution before a token is drawn; each of these values leaves all of it.

    Raises:
        ConfigurationError: a number out of range.
    """

    top_p: float = 1.0
    """The fewest likeliest tokens that have this much probability together (nucleus sampling, arXiv 1904.09751)."""
    top_k: int = 0
    """So many likeliest tokens; 0: all."""
    min_p: float = 0.0
    """The tokens that have at least this share of the likeliest one's probability (arXiv 2407.01082)."""

    def __post_init__(self) -> None:
        for name, fits, words in (
            ("top_p", lambda p: 0 < p <= 1, "above 0 and at most 1"),
            (
                "top_k",
                lambda k: 0 <= k < 2**31 and k == int(k),
                "a whole number from 0, where 0 leaves all tokens",
            ),
            ("min_p", lambda p: 0 <= p < 1, "at least 0 and below 1"),
        ):
            number = getattr(self, name)
            if type(number) not in (int, float) or not fits(number):
                raise ConfigurationError(f"{name} is {number!r}, it must be {words}")

    def __bool__(self) -> bool:
        return self != Filters()

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self.set_ones().items())

    def set_ones(self) -> dict[str, float]:
        """Those that leave something out, by name."""
        return {one.name: x for one in fields(self) if (x := getattr(self, one.name)) != one.default}


def read_filters(settings: Any) -> dict[str, float]:
    """What a model's ``generation_config`` says of how it is sampled; nothing where it is not to be sampled."""
    if settings is None or not settings.do_sample:
        return {}
    told = {one.name: getattr(settings, one.name, None) for one in fields(Filters)}
    return {name: x for name, x in told.items() if x is not None}
