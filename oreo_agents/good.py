"""Which episodes are good: the ones that were won or, where nobody says what winning is, those of the highest returns.

One rule, for trainings and for exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

from oreo_agents.errors import DatasetError

BEST = "25%"
"""The rule where nobody says what winning is: the best quarter."""

RULES = "success, a return such as 5, or a share such as 25%"
"""What a rule may be, in words."""


def is_rule(text: str) -> bool:
    """Whether it is ``success``, a number, or a share in percent."""
    number = text.removesuffix("%")
    try:
        return text == "success" or (0 < float(number) <= 100 if text != number else isfinite(float(number)))
    except ValueError:
        return False


def find_good(won: Sequence[bool] | None, returns: Sequence[float], rule: str | None = None) -> list[bool]:
    """Which of some episodes are good.

    Args:
        won: whether each was won; None where some do not say.
        returns: of each.
        rule: ``success``, a return from which on an episode is good, or the best share by return, such as ``25%``; of
            equal returns all are good or none, and none where that would be more than the share, unless no better one
            is there. None: ``success`` where all episodes say so, else :data:`BEST`.

    Raises:
        DatasetError: ``success`` is asked for, and some episodes do not say.

    >>> find_good(None, [3.0, -5.0, 20.0, 4.0]), find_good([True, False], [0.0, 1.0])
    ([False, False, True, False], [True, False])
    """
    if rule in (None, "success") and won is not None:
        return list(won)
    if rule == "success":
        raise DatasetError(
            "some episodes do not say whether they were won: good must be a return, or a share such as 25%"
        )
    rule = rule or BEST
    least = _find_least(returns, float(rule[:-1]) / 100) if rule.endswith("%") else float(rule)
    return [return_ >= least for return_ in returns]


def _find_least(returns: Sequence[float], share: float) -> float:
    """The lowest return of the best share of them."""
    if not returns:
        return 0.0
    ordered = sorted(returns, reverse=True)
    count = ceil(share * len(ordered))
    better = [return_ for return_ in ordered if return_ > ordered[count - 1]]
    cut = count < len(ordered) and ordered[count] == ordered[count - 1]
    return better[-1] if cut and better else ordered[count - 1]
