"""Whether two answers are the same mathematical object: math-verify, without its own timeouts.

Meant for a worker process with a deadline (sympy may compute for ever). Knows nothing about extraction.
"""

from __future__ import annotations

import logging
import re

from math_verify import LatexExtractionConfig, parse, verify

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its timeouts are off

# An equation that says more than what one name equals: x^2 + y^2 = 13, but not x = 5 or f(x) = 5.
_EQUATION = re.compile(r"^(?![a-zA-Z](?:_\S+| ?\([a-z]\))? ?=)[^=<>]*[a-zA-Z][^=<>]*=")
_LATEX = (LatexExtractionConfig(boxed_match_priority=-1),)


def equivalent(prediction: str, gold: str) -> bool:
    """Whether ``prediction`` equals ``gold``; both are the inside of a LaTeX formula."""
    if _EQUATION.search(gold) and "=" not in prediction:
        return False  # math-verify would compare the right-hand side alone
    expected, given = (
        parse(f"${answer}$", _LATEX, fallback_mode="no_fallback", parsing_timeout=None)
        for answer in (gold, prediction)
    )
    return verify(expected, given, timeout_seconds=None)
