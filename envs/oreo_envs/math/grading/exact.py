r"""Compare answers without algebra: undo what is only spelling, then numbers as fractions, words as words.

Knows nothing about where an answer came from, and answers None where algebra is needed.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

# What means the same however it is written, in the order in which it is undone.
_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\[()\[\]]", ""),  # \( \) \[ \], but not the line break of a matrix before a bracket
        (r"\\?\$", ""),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac *(\\[a-zA-Z]+|[0-9a-zA-Z]) *([0-9a-zA-Z])", r"\\frac{\1}{\2}"),
        (r"(?<=\d)(?:\\,|\{,\})(?=\d{3})", ","),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])", " "),
        ("[\u2212\u2013]", "-"),
        ("\u03c0|(?<![\\\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        ("\u221e|(?<![\\\\a-zA-Z])(?:infinity|oo)(?![a-zA-Z])", r"\\infty "),
        ("\u221a\\(?(\\d+)\\)?|(?<![\\\\a-zA-Z])sqrt\\(([^()]*)\\)", r"\\sqrt{\1\2}"),
        (r"\*\*", "^"),
        ("(?<=[)\\]]) *(?:U|\u222a) *(?=[(\\[])", r"\\cup "),
        (r"\s+", " "),
    )
]

_WRAPPED = r"\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf) *\{"
_WHOLE_TEXT = re.compile(_WRAPPED + r"([^{}]*)\}")
_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
# Words after a number that are no unit, because they change what the number means.
_NO_UNIT = r"(?! *(?:[ap]\.?m\b|hundred|thousand|[a-z]+illion|dozen|and\b|or\b|mod\b))"
_NUMBER = re.compile(
    r"(?:[a-z] ?= ?)?"
    r"(?P<sign>[-+]?) ?"
    r"(?:"
    rf"(?P<whole>\d+ ?(?=\\frac)|\d+ (?=\d+/\d))?"
    rf"(?:\\frac ?(?:\{{ ?(?P<n1>-?{_DECIMAL}) ?\}}|(?P<n2>\d))"
    rf" ?(?:\{{ ?(?P<d1>-?{_DECIMAL}) ?\}}|(?P<d2>\d))"
    rf"|(?P<n3>{_DECIMAL}) ?/ ?(?P<d3>{_DECIMAL}))"
    rf"|(?P<decimal>{_DECIMAL})"
    r")"
    r"(?P<percent> ?\\?%| percent\b| ?\\text\{ ?percent\})?"
    r"(?: ?\^? ?\{? ?(?:\\circ|\u00b0) ?\}?)?"
    rf"(?:(?: ?{_WRAPPED}{_NO_UNIT}[^{{}}\d]*\}}| {_NO_UNIT}[a-z]{{2}}[a-z .]*)(?: ?\^ ?\{{?[23]\}}?)?)?",
    re.IGNORECASE,
)
_BASED = re.compile(r"([-+]?[0-9A-Z.]*\d[0-9A-Z.]*)(?: ?_ ?\{? ?(\d+) ?\}?)")
_WORDS = re.compile(r"[a-zA-Z][a-zA-Z' -]{3,}")


class Number(NamedTuple):
    """An exact value, as written before any per cent sign."""

    value: Fraction
    is_percentage: bool


def normalise_spelling(answer: str) -> str:
    r"""Return ``answer`` in one spelling: no ``$``, ``\left``, ``\dfrac``, double space or end period."""
    for pattern, replacement in _SPELLINGS:
        answer = pattern.sub(replacement, answer)
    return answer.strip().rstrip(" .,;")


def compare_answers(given: str, expected: str) -> bool | None:
    """Decide between two answers in one spelling; None if that takes algebra."""
    if given == expected:
        return True
    one, other = parse_number(given), parse_number(expected)
    if one is not None and other is not None:
        return _same_number(one, other)
    if _BASED.fullmatch(expected):
        return _compare_numerals(given, expected)
    if _is_text(given) or _is_text(expected):
        return _split_items(given) == _split_items(expected)
    return None


def parse_number(answer: str) -> Number | None:
    r"""Read an integer, decimal, fraction, mixed number or percentage, with or without a unit."""
    text = _WHOLE_TEXT.fullmatch(answer)
    match = _NUMBER.fullmatch(text[1].strip() if text else answer)
    if match is None:
        return None
    numerator = match["decimal"] or match["n1"] or match["n2"] or match["n3"]
    denominator = _parse_fraction(match["d1"] or match["d2"] or match["d3"] or "1")
    if denominator == 0:
        return None
    value = _parse_fraction(match["whole"] or "0") + _parse_fraction(numerator) / denominator
    return Number(-value if match["sign"] == "-" else value, match["percent"] is not None)


def _parse_fraction(digits: str) -> Fraction:
    return Fraction(digits.strip().replace(",", ""))


def _same_number(one: Number, other: Number) -> bool:
    if one.value == other.value or one.is_percentage == other.is_percentage:
        return one.value == other.value
    percentage, plain = (one, other) if one.is_percentage else (other, one)
    return percentage.value == 100 * plain.value


def _compare_numerals(given: str, expected: str) -> bool:
    """Compare a numeral that names its base with one that may leave it to the problem."""
    one, other = _BASED.fullmatch(given), _BASED.fullmatch(expected)
    if one and other:
        return one.groups() == other.groups()
    return other is not None and given == other[1]


def _is_text(answer: str) -> bool:
    return bool(_WHOLE_TEXT.fullmatch(answer) or _WORDS.fullmatch(answer))


def _split_items(answer: str) -> list[str]:
    """The items of a list of words, in no order; case, brackets and punctuation do not count."""
    parts = re.split(r",|;|&|\band\b", re.sub(_WRAPPED, "", answer))
    return sorted(filter(None, (re.sub(r"[\W_]+", "", part).casefold() for part in parts)))
