"""The parser of every command: what is wrong in one line, with what may have been meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

from oreo_envs.suggestions import suggest_word

REQUIRED = "the following arguments are required: "
"""How argparse says what is missing."""


class HelpfulParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line; the options are listed by ``--help`` alone."""

    words: Sequence[str] = ()
    """What is being parsed."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        missing = message.removeprefix(REQUIRED)
        if missing != message:
            # argparse sees first what is missing, and a word that it does not know may be meant for that
            message = REQUIRED + "; ".join(map(self._explain, missing.split(", ")))
            message = self._name_unknown([word for word in self.words if word.startswith("--")]) or message
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        """As ArgumentParser's; words that a command does not know are its own to refuse."""
        self.words = sys.argv[1:] if args is None else args
        found, extras = super().parse_known_args(args, namespace)
        if extras and not any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            flags = [*self._option_string_actions]
            self.error(
                self._name_unknown(extras)
                or f"{' '.join(extras)!r} is too much"
                + (_place_folder(extras[0], flags) or f": {self._describe_words()}")
            )
        return found, extras

    def _name_unknown(self, words: Sequence[str]) -> str:
        """The options among words that there are not, with what may have been meant; empty where there are all."""
        flags = [*self._option_string_actions]
        unknown = [
            flag
            for word in words
            if word.startswith("-") and (flag := word.partition("=")[0]) != "--"
            if not any(known.startswith(flag) for known in flags)  # argparse takes an option by its beginning
        ]
        return "; ".join(f"there is no option {flag}{suggest_word(flag, flags)}" for flag in unknown)

    def _describe_words(self) -> str:
        """What a command takes beside its options."""
        words = [str(a.metavar or a.dest.upper()) for a in self._actions if not a.option_strings]
        return f"{self.prog} takes {' '.join(words) if words else 'options'} alone"

    def _explain(self, name: str) -> str:
        """An argument, by what argparse calls it, and what it is for."""
        for action in self._actions:
            if name == "/".join(action.option_strings) and action.help:
                return f"{name} ({self._get_formatter()._expand_help(action)})"
        return name

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            meant = suggest_word(str(value), known)
            raise argparse.ArgumentError(
                action, f"there is no {value!r}{meant}; choose one of {', '.join(known)}"
            )


def _place_folder(path: str, flags: Sequence[str]) -> str:
    """Which option a folder may be meant for, by what is in it; empty where there is none."""
    wanted = [flag for file, options in FOLDERS.items() if (Path(path) / file).is_file() for flag in options]
    meant = [flag for flag in wanted if flag in flags]
    return f": did you mean {meant[0]} {quote(path)}?" if meant else ""


FOLDERS = {"meta.json": ("--data",), "agent.json": ("--agent", "--model")}
"""Options that take a folder, by the file that is in such a folder."""
