"""Find the final answer that a solution states. Knows nothing about which answer is right.

Two questions are asked of a text. What it is *graded* by is read leniently: whatever a person would take for its
answer (:func:`extract_answer`). Whether it *ends* a solution is judged strictly (:func:`states_answer`): a sentence on
the way, such as ``The answer is a whole number.``, must not, and neither may a guess, a condition or a part.
"""

# ruff: noqa: RUF001 (models write such characters)

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from oreo_envs.math.grading.number_words import NUMBER_WORDS

# However long a text and whatever is in it, reading it takes time in proportion to its length.
MAX_BOXES = 50
MAX_BOX_CHARS = 4_000
MAX_SENTENCES = 50
MAX_RUN_ONS = 8
_REACH = 400
"""Characters around the word ``answer`` that are looked at."""

Found = tuple[int, str]
"""Where in the text an answer begins, and the answer."""

# --- marks: #### 18, \boxed{18}, <answer>18</answer> --------------------------------------------------------------

_HASHES = re.compile(r"####(?!#)[ \t]*([^\s#][^\n]*)")
_BOX = re.compile(r"\\f?box(?:ed)?(?:[ \t]*\{|[ \t]+([^\s${}\\]+))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_HEADING = re.compile(
    r"(?:step|part|case|explanation|calculations?|computation|given|method|approach|reasoning|notes?|problem|question"
    r"|analysis|summary|understanding|setup|plan|verification|check(?:ing)?|find(?:ing)?|calculat(?:e|ing)"
    r"|comput(?:e|ing)|determin(?:e|ing)|identify(?:ing)?|let'?s?|first|second|next|define|set up|write"
    r"|solv(?:e|ing))\b"
    r"|(?:(?:the )?(?:final )?answer|solution|conclusion|total|result|finally)\b(?!\s*[:=]?\s*(?:is\s)?\s*[-+$\\(]*\d)"
    r"|\d+[.)]\s+[A-Za-z]|[^\n]*:\**\s*$",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\s*|\?+|\.{2,}|…|[\[(<{]?(?:\\(?:text|mathrm|textbf)\s*\{\s*)?(?:\\[lc]?dots|\\phantom\{.*\}"
    r"|(?:(?:your|the|final|my|correct|numerical|insert)\s+)*(?:answer|result|value|number|solution)"
    r"(?:\s+(?:goes\s+)?here)?)\s*[\])>}]*",
    re.IGNORECASE,
)
_RUN_ON = re.compile(
    r"\n\s*(?:\*\*|#{1,6}\s*)?(?:(?:new |next )?question|problem|q|user|human|instruction|exercise)"
    r"(?:\s*\d+)?\s*(?:\*\*)?\s*[:.]",
    re.IGNORECASE,
)

# --- sentences: The answer is 18. ---------------------------------------------------------------------------------

_WORD = re.compile(
    r"\b(?:answer|ans|respuesta(?:\s+final)?|r[eé]ponse(?:\s+finale)?|antwort|risposta|resposta(?:\s+final)?)\b"
    r"|答案|ответ|答え|정답",
    re.IGNORECASE,
)
_ANY = re.compile(rf"####|\\f?box|<answer>|{_WORD.pattern}", re.IGNORECASE)
_LINK = re.compile(
    r"[\"'`*_]*"
    r"(?:\s*\([^()\n]{1,40}\))?"
    r"(?:\s+(?:to|for|of|in)\s(?P<about>[^.:=\n]{1,80}?))?"
    r"(?:\s*(?:\s(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|has\s+to\s+be|comes\s+(?:out\s+)?to(?:\s+be)?"
    r"|equals|becomes|then\s+is|es|est|ist|è|é)\b|[:=：]|是|为|為|は|は、|은|는)\s*[\"'`]*[:：]?"
    r"|(?(about)(?!)|(?P<heading>[*_]*\s+)))",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"[\s*_`\"'>]*(?:(?:therefore|thus|then|hence|simply|just|exactly|indeed|actually|now|equal\s+to|approximately"
    r"|about|roughly|≈|~|=)\s*,?[\s*_`\"']*)*",
    re.IGNORECASE,
)
_NOT = re.compile(r"not\b(?:[^.!?\n]{1,60}?\b(?:but|it\s+is|it's)\s+(?:rather\s+)?)?", re.IGNORECASE)
_FORMULA = re.compile(
    r"\$\$\s*((?:(?!\$\$).){1,400}?)\s*\$\$|\$((?:(?!\.\s)[^$])+)\$|\\\((.+?)\\\)|\\\[\s*(.+?)\s*\\\]",
    re.DOTALL,
)
_LIST = re.compile(r"-?\d[\d./]*(?:\s*,\s*(?:and\s+)?-?\d[\d./]*)+(?=\s*(?:[.!]?\s*$|[.!]\s))")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|[。！]|[,;](?=\s)|\s+(?:because|since|as|so)\s")
_MATHEMATICAL = re.compile(r"[-+−]?[\d$€£(\[{\\.|]|[a-zA-Z]\s*=|[-+]?[a-z]\b(?!\s*[a-z]{2})")

_UNIT = (
    r"(?!(?:more|less|fewer|greater|times|plus|minus|divided|multiplied|if|or|and|per|than|of|because|since|when|until"
    r"|unless|but|which|where|that|digits?|to|from|through|between|larger|smaller|bigger|higher|lower|at|on|for|each"
    r"|only|too|not|squared?\s+(?:plus|minus)|options?|parts?|steps?|cases?|ways?\s+to\s+\w+)\b)[A-Za-z°][\w'-]*\.?"
)
_NUMBER = r"[-+−]?\s?(?:\\?[$€£]\s?)?(?:\d(?:[\d,]|\{,\}|\\,|\.(?=\d))*|\.\d+)(?:\s?/\s?\d+)?\s?(?:\\?%)?(?:\s?\\?\$)?"
_VALUE = (
    r"(?:"
    rf"(?:{_NUMBER}|\b{NUMBER_WORDS})(?:\s(?:(?:square|cubic|per)\s)?{_UNIT}){{0,3}}"
    r"|\$\$[^$]+\$\$|\$[^$]+\$(?:\s"
    + _UNIT
    + r"){0,3}|\\\((?:(?!\\\)).)+\\\)(?:\s"
    + _UNIT
    + r"){0,3}|\\\[(?:(?!\\\]).)+\\\]"
    rf"|\([A-J]\)(?:\s+\S[^.!?]*)?|[B-HJ]|[a-z]\s?=\s?{_NUMBER}"
    rf"|[-+−\d$(][-+−*/×÷·^().,\s\d$]*=\s?{_NUMBER}(?:\s{_UNIT}){{0,3}}"
    r"|[\[(\\{]+[^\[\](){}]*\d[^\[\](){}]*[\]})\\]+|-?\\[dtc]?frac\S+|-?\d*\\sqrt\S+|-?\d*\\pi\b"
    rf"|{_NUMBER}(?:\s?,\s?(?:and\s)?{_NUMBER})+(?:\s?,?\sand\s{_NUMBER})?"
    r")"
)
_STRICT_VALUE = re.compile(
    rf"{_VALUE}(?:,?\s(?:altogether|together|in\s+total|in\s+all|total|overall|respectively|as\s+required))?"
    r"[\s*_`\"')\]}]*(?:[.!。！]+[\s*_`\"')]*(?P<rest>\S.*)?)?$",
    re.IGNORECASE | re.DOTALL,
)
_OPENING = re.compile(
    r"(?:(?:^|[\s*_#>\"(])(?:the|our|my|this|so|thus|then|hence|therefore|and|la|le|die|il|a|o|这个|所以|因此))?"
    r"(?:\s+(?:the|our|my))?"
    r"(?:(?:^|[\s*_#>\"(])(?:final|correct|right|numerical|numeric|overall|required|exact|desired|simplified|complete"
    r"|full|end|最终|正确))*[\s*_#>\"(]*$",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:^|[,;:.!?。，：)\]$\d—–-]|\b(?:that|so|and|gives|means|get|have|is|to|thus|hence|therefore|then))[\s*_#>\"(]*$",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:if|whether|suppos\w*|assum\w*|unless|maybe|perhaps|might|could|may|cannot|can't|not|never|say|says|said|think"
    r"|thinks|guess\w*|claim\w*|check\w*|verify\w*|verif\w*|estimat\w*|until|before|when|once|what|which|how|why|does|did"
    r"|first|partial\w*|intermediate|previous\w*|wrong|incorrect|old|initial|possib\w*|probab\w*|likely|example|otherwise"
    r"|expect\w*|would|should|want|need|see|seems?|let)\b(?!\s+that\b)|n't\b|\?\s*$",
    re.IGNORECASE,
)
_ON_THE_WAY = re.compile(
    r"(?:but|however|wait|no\b|actually|hmm+|let|now|next|then|we\s+(?:still|also|must|need|have\s+to)|is\s+(?:that|this)"
    r"|this\s+is\s+(?:not|wrong)|that\s+is\s+(?:not|wrong)|that's\s+(?:not|wrong)|check|oops|sorry)",
    re.IGNORECASE,
)
_WHOLE = re.compile(
    r"(?:(?:the|this|that|our)\s+(?:original\s+|given\s+|whole\s+|math\s+|word\s+)?)?"
    r"(?:problem|question|exercise|task|dollars?|cents?|total)\s*$",
    re.IGNORECASE,
)
_REVERSED = re.compile(
    rf"(?P<value>\$[^$\n]{{1,100}}\$|{_NUMBER}(?:\s{_UNIT}){{0,2}})\s+(?:is|was)\s+(?:thus\s+|therefore\s+|then\s+)?"
    r"(?:the|our|my)\s+(?:final\s+|correct\s+|right\s+)?answer\b(?P<after>[^.!?\n]*)(?P<end>[.!?]?)",
    re.IGNORECASE,
)


def extract_answer(text: str) -> str | None:
    r"""Return the final answer that ``text`` states, or None if it states none.

    Read are ``#### 18`` (GSM8K; to the end of the line), ``\boxed{...}`` with nested braces, ``<answer>...</answer>``,
    and where none of these stands, a sentence or a heading: ``The answer is 18.``, ``Answer: $\frac12$``, ``18 is the
    answer.``, ``### Answer`` before a line. The last one counts, up to where the text runs on into a new question; a
    last box that is never closed states nothing.

    >>> extract_answer(r"so $x = \boxed{\frac{1}{2}}$."), extract_answer("9 * 2 = 18\n#### 18")
    ('\\frac{1}{2}', '18')
    """
    first = _ANY.search(text)
    if first is None:
        return None
    for run_on in itertools.islice(_RUN_ON.finditer(text, first.end()), MAX_RUN_ONS):
        if answer := _extract_marked(text[: run_on.start()]):
            return answer
    return _extract_marked(text)


def states_answer(text: str) -> bool:
    r"""Whether ``text`` certainly states a final answer, and so ends a solution.

    A mark with an answer in it does (``#### 18``, ``\boxed{18}``, ``<answer>18</answer>``; not ``#### Solution``). A
    sentence does if it says nothing but that the answer is a value: a number with or without a unit, a formula, a
    choice.

    >>> states_answer("So the answer is 18 eggs."), states_answer("The answer is more than 6.")
    (True, False)
    """
    return bool(_find_marks(text)) or _states_in_sentence(text)


def _extract_marked(text: str) -> str | None:
    marked = _find_marks(text)
    if marked is None:  # a box that is never closed comes last
        return None
    if marked:
        return _unwrap_answer(max(marked)[1])
    return _find_sentence(text)


def _find_marks(text: str) -> list[Found] | None:
    """The last of each kind; None where an unfinished box comes after all of them."""
    found = [one for find in (_find_hashes, _find_tag) if (one := find(text)) is not None]
    box, unfinished = _find_box(text)
    found += [box] if box else []
    return None if unfinished is not None and unfinished > max(found, default=(-1, ""))[0] else found


def _pick_last(found: list[Found]) -> Found | None:
    stated = [one for one in found if not _PLACEHOLDER.fullmatch(one[1][:200])]
    return max(stated, default=None)


def _find_hashes(text: str) -> Found | None:
    lines = [(match.start(), _without_period(match[1])) for match in _HASHES.finditer(text)]
    return _pick_last([(place, line) for place, line in lines if not _HEADING.match(line[:_REACH])])


def _find_tag(text: str) -> Found | None:
    return _pick_last([(match.start(), match[1].strip()) for match in _TAGGED.finditer(text)])


def _find_box(text: str) -> tuple[Found | None, int | None]:
    """The box that opens last, so the innermost of nested ones; and where one opens last that is never closed."""
    openings = list(_BOX.finditer(text))[-MAX_BOXES:]
    boxes = [(box.start(), box[1] or _read_braces(text, box.end())) for box in openings]
    last = _pick_last([(place, answer) for place, answer in boxes if answer])
    open_ones = [place for place, answer in boxes if answer is None]
    return last, max(open_ones, default=None)


def _read_braces(text: str, start: int) -> str | None:
    """The text from ``start`` to the brace that closes there; None if none does."""
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_BOX_CHARS):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return None


_TEXT = re.compile(r"\\(?:text|textbf|textrm|mbox|mathrm)\s*\{([^{}]*)\}")
_LABEL = re.compile(
    r"(?:the\s+)?(?:final\s+)?(?:answer|total|result)\b\s*(?:is\b)?\s*[:=]?\s*(?=[-+$\\(]*\d)", re.IGNORECASE
)


def _unwrap_answer(answer: str) -> str:
    r"""What is stated in ``\text{The answer is 460}``, or after a label; other answers as they are."""
    inside = _TEXT.sub(r"\1", answer, count=1) if _TEXT.match(answer) else answer
    if _WORD.search(inside[:_REACH]) and (stated := _find_sentence(inside)):
        return stated
    return inside[label.end() :] if (label := _LABEL.match(inside)) else answer


def _split_sentences(text: str) -> Iterator[tuple[str, re.Match[str], str]]:
    """What stands before the word ``answer`` in its sentence, the link to what follows, and that; the last first."""
    for word in list(_WORD.finditer(text))[-MAX_SENTENCES:][::-1]:
        link = _LINK.match(text, word.end(), word.end() + _REACH)
        if link is None:
            continue
        before = re.split(r"(?<=[.!?])\s|\n|[。！]", text[max(0, word.start() - _REACH) : word.start()])[-1]
        heading = re.fullmatch(r"[\s*_#]*(?:(?:the|final|correct)\s+)*", before, re.IGNORECASE)
        if link["heading"] is not None and not (
            heading and ("\n" in link[0] or "#" in before or "**" in before)
        ):
            continue
        begin = _FILLER.match(text, link.end(), link.end() + _REACH)
        start = begin.end() if begin else link.end()
        yield before, link, text[start : start + _REACH]


def _find_sentence(text: str) -> str | None:
    """The last ``answer is ...`` followed by what looks like an answer: mathematics, or up to three words."""
    for _, _, said in _split_sentences(text):
        if answer := _read_stated(said):
            return answer
    for match in reversed(list(_REVERSED.finditer(text[-10 * _REACH :]))):
        return match["value"].strip("$ ")
    return None


def _read_stated(said: str) -> str | None:
    """The answer at the beginning of ``said``, if that looks like one."""
    negated = _NOT.match(said)
    if negated:
        if not re.search(r"(?:but|is|'s|rather)\s+$", negated[0]):
            return None
        said = said[negated.end() :]
    stated = said.replace("**", "").strip()
    if formula := _FORMULA.match(stated):
        return next(filter(None, formula.groups())).strip()
    if many := _LIST.match(stated):
        return many[0]
    answer = _without_period(_SENTENCE_END.split(stated.partition("\n")[0], maxsplit=1)[0]).strip("\"'`*_ ")
    if "{" not in answer:
        answer = answer.rstrip("\"'} ")
    if re.match(r"\\f?box(?:ed)?\b", answer):
        return None  # an empty one: a full one has been found
    return answer if answer and (_MATHEMATICAL.match(answer) or len(answer.split()) <= 3) else None


def _states_in_sentence(text: str) -> bool:
    for before, link, said in _split_sentences(text):
        opening = _OPENING.search(before)
        earlier = before[: opening.start()] if opening else before
        if not _JOINT.search(earlier) or _HEDGE.search(before):
            continue
        if link["about"] is not None and not _WHOLE.match(link["about"]):
            continue
        if re.search(r"\b(?:was|would|should)\b", link[0], re.IGNORECASE) and not re.match(
            r"\s*(?:would|should)", link[0]
        ):
            continue
        value = _STRICT_VALUE.match(said)
        if value and not (value["rest"] and _ON_THE_WAY.match(value["rest"])):
            return True
    for match in _REVERSED.finditer(text[-10 * _REACH :]):
        before = re.split(r"(?<=[.!?])\s|\n", text[-10 * _REACH :][: match.start()])[-1]
        about = re.fullmatch(r"(?:\s+to\s+" + _WHOLE.pattern + r")?\s*", match["after"], re.IGNORECASE)
        if match["end"] != "?" and about and not _HEDGE.search(before):
            return True
    return False


def _without_period(text: str) -> str:
    return text.strip().rstrip(".").rstrip()
