"""What of TextWorld's text is the game's: the banner, the status line and the interpreter's own commands are not."""

from __future__ import annotations

import re

LONGEST_COMMAND = 190
"""Characters that the interpreter reads of a command."""

REFUSAL = "That's not a verb I recognise."
"""What Inform answers to a verb that it does not know; here also to the commands of the interpreter itself."""

_INTERPRETERS_OWN = re.compile(
    r"save|restore|restart|quit|q|undo|oops|o|script|transcript|noscript|unscript|verbose|brief|superbrief|normal|long|"
    r"short|notify|version|verify|recording|record|replay|unrecord|actions|trace|showme|rules|relations|responses|scope|"
    r"showheap|showverb|showtree|test|tw-.*"
)
_CLAUSE = re.compile(r"[.,;]|\bthen\b", re.IGNORECASE)

_BANNER = re.compile(r"\A(?:[|\\$_/> \t]*\n)+")
_STATUS = re.compile(r"[ \t]{20,}(?:-= [^\n]* =-)?[^\n]*\Z")
_MENU = re.compile(r"\n\s*Would you like to RESTART, RESTORE a saved game, QUIT[^\n]*\?\s*\Z")
_UNPARSED = re.compile(
    r"\A\W*(?:That's not a verb I recogni[sz]e|I didn't understand|I only understood you as far as|"
    r"You can't see any such thing|You seem to have said too little|I beg your pardon|"
    r"What do you want to|You use word\(s\) I don't know|I don't know the word|You excepted something)"
)


def clean_command(command: str) -> str:
    """A command in one line of printable ASCII, as long as the interpreter reads; without backslashes, which it takes
    for itself, and asks again and again for another line."""
    line = " ".join(command.split()).encode("ascii", "replace").decode()
    return re.sub(r"[^ -~]|\\", "?", line)[:LONGEST_COMMAND]


def is_interpreters_own(command: str) -> bool:
    """Whether it is for the interpreter (``save``, ``undo``, ``quit``, ...): such a command would leave the game.

    >>> is_interpreters_own("take knife, then UNDO"), is_interpreters_own("take knife")
    (True, False)
    """
    clauses = (clause.split() for clause in _CLAUSE.split(command.lower()))
    return any(words and _INTERPRETERS_OWN.fullmatch(words[0]) for words in clauses)


def clean_feedback(raw: str) -> str:
    """What the game says: without TextWorld's banner, the status line, the prompt and the menu after the end."""
    text = _BANNER.sub("", raw.replace("\r", "") + "\n")[:-1]
    text = _STATUS.sub("", text.rstrip())
    text = text.rstrip().removesuffix(">").rstrip()
    return re.sub(r"\n{3,}", "\n\n", _MENU.sub("", text)).strip()


def is_unparsable(feedback: str) -> bool:
    """Whether the game says that it did not understand a command."""
    return bool(_UNPARSED.match(feedback))
