r"""Whether two answers are the same mathematical object: math-verify, without its own timeouts.

Meant for a worker process with a deadline (sympy may compute for ever). Knows nothing about extraction.

Three of math-verify's liberties are not taken: it drops letters that could be units (``2k`` would be 2, and
``a + b + c`` no formula), rounds to six decimals (``1/2^{98}`` would be ``1/7^{98}``), and compares an
equation with a number by its right-hand side (``x^2 + y^2 = 13`` would be 13).
"""

from __future__ import annotations

import logging
import re
from typing import Any

from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its timeouts are off

_LATEX = (
    LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
        ),
    ),
)
_UNIT = re.compile(
    r"\s*(?:\\(?:text|textnormal|mbox|mathrm)\s*\{[^{}\d]*\}"
    r"| (?:sq\.?|square|cubic)? ?(?:[ckm]?m|(?:kilo|centi|milli)?meters?|ft|foot|feet|inch(?:es)?|miles?"
    r"|units?|degrees|dollars))"
    r"(?:\s*\^\s*\{?[23]\}?)?$"
)
# An equation that says more than what one name equals: x^2 + y^2 = 13, but not x = 5 or f(x) = 5.
_EQUATION = re.compile(r"^(?!\w+(?:_\S+| ?\([a-z]\))? ?=)[^=<>]*[a-zA-Z][^=<>]*=")


def is_equivalent(prediction: str, gold: str) -> bool:
    """Whether ``prediction`` equals ``gold``; both are the inside of a LaTeX formula."""
    if _EQUATION.search(gold) and "=" not in prediction:
        return False
    expected, given = _parse_answer(gold), _parse_answer(prediction)
    return verify(expected, given, timeout_seconds=None) and not _different_fractions(expected, given)


def _parse_answer(answer: str) -> list[Any]:
    formula = _UNIT.sub("", answer) or answer
    return parse(f"${formula}$", _LATEX, fallback_mode="no_fallback", parsing_timeout=None)


def _different_fractions(expected: list[Any], given: list[Any]) -> bool:
    one, other = (getattr(parsed[0], "doit", lambda: None)() for parsed in (expected, given))
    return all(getattr(value, "is_Rational", False) for value in (one, other)) and bool(one != other)


# sympy and its parser load much at first use; no deadline counts here
is_equivalent(r"\sqrt{8}", r"2 \sqrt{2}")
