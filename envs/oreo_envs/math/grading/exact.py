r"""Compare answers without algebra: undo what is only spelling, then numbers as fractions, words as words.

Knows nothing about where an answer came from, and answers None where algebra is needed.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from oreo_envs.math.grading.number_words import NUMBER_WORDS, read_number_words

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
# Thousands apart as in 1 234 and 1.234,50 (of the latter only with a decimal comma: 1.234 is a decimal).
_SPACED = re.compile(r"([-+]?)(\d{1,3}(?: \d{3})+(?:\.\d+)?)")
_CONTINENTAL = re.compile(r"([-+]?)(\d{1,3}(?:\.\d{3})+,\d+)")
_REPEATING = re.compile(r"([-+]?)(\d*)\.(\d*)(?:\\overline *\{ ?(\d+) ?\}|\((\d+)\)|(\d)\u0305)")
_IN_WORDS = re.compile(
    rf"(-|minus |negative )?({NUMBER_WORDS})(?: {_NO_UNIT}(?!hal[fv]|third|quarter|[a-z]+ths?\b)[a-z]+){{0,2}}",
    re.IGNORECASE,
)
_SUM = re.compile(r"[-+*/\u00d7\u00f7^().,\d ]*\d[-+*/\u00d7\u00f7^().,\d ]*= ?(?P<result>[^=]+)")
_CHOICE = re.compile(rf"(?:{_WRAPPED})?\(?([A-J])\)?\}}?")
_CHOSEN = re.compile(rf"(?:{_WRAPPED})? ?(?:\(([A-J])\)|([A-J])(?=[).:]))[ ).:}}].*")
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
    if choice := _CHOICE.fullmatch(expected):
        chosen = _CHOICE.fullmatch(given) or _CHOSEN.fullmatch(given)
        if chosen:
            return choice[1] in chosen.groups()
    one, other = parse_number(given), parse_number(expected)
    if one is not None and other is not None:
        return _same_number(one, other)
    if _BASED.fullmatch(expected):
        return _compare_numerals(given, expected)
    if _is_text(given) or _is_text(expected):
        return _split_items(given) == _split_items(expected)
    return None


def parse_number(answer: str) -> Number | None:
    r"""Read an integer, decimal, fraction, mixed number or percentage, in digits or words, with or without a unit."""
    text = _WHOLE_TEXT.fullmatch(answer)
    answer = text[1].strip() if text else answer
    match = _NUMBER.fullmatch(answer)
    if match is None:
        return _read_unusual(answer)
    numerator = match["decimal"] or match["n1"] or match["n2"] or match["n3"]
    denominator = _parse_fraction(match["d1"] or match["d2"] or match["d3"] or "1")
    if denominator == 0:
        return None
    value = _parse_fraction(match["whole"] or "0") + _parse_fraction(numerator) / denominator
    return Number(-value if match["sign"] == "-" else value, match["percent"] is not None)


def _read_unusual(answer: str) -> Number | None:
    """A number in one of the rarer spellings, or the result of a sum that is written out."""
    if match := _SPACED.fullmatch(answer):
        value = Fraction(match[2].replace(" ", ""))
    elif match := _CONTINENTAL.fullmatch(answer):
        value = Fraction(match[2].replace(".", "").replace(",", "."))
    elif match := _REPEATING.fullmatch(answer):
        before, once, again = match[2] or "0", match[3], match[4] or match[5] or match[6]
        value = Fraction(
            int(before + once + again) - int(before + once), 10 ** len(once + again) - 10 ** len(once)
        )
    elif (match := _IN_WORDS.fullmatch(answer)) and (words := read_number_words(match[2])) is not None:
        value = words
    elif match := _SUM.fullmatch(answer):
        return parse_number(match["result"].strip())
    else:
        return None
    return Number(value if match[1] in ("", "+", None) else -value, is_percentage=False)


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
