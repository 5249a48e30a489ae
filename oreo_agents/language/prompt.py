"""A prompt as a value: what an agent is told beside its observations, and in which form it is to answer.

An agent carries its prompt and saves it (``agent.json``); episodes sampled under one prompt are not trained on under
another. Knows nothing about tokens.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date as Date
from pathlib import Path
from typing import Any, Literal

from oreo_envs.files import hash_json

from oreo_agents.errors import ConfigurationError
from oreo_agents.language.reply import (
    FORMS,
    WITH_THOUGHTS,
    Reply,
    check_form,
    find_thought,
    read_reply,
    write_reply,
)

SHIPPED_PROMPTS = Path(__file__).parents[1] / "assets" / "prompts"

_PLACES = re.compile(r"\{(thought|action)\}")
_PROBES = ("look", "go to desk 1", "18")
"""Commands of which a form of one's own reads one at least."""

LEFT_OUT = "\n\n[...]\n\n"
"""Stands for the turns that a short history leaves out."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an agent is told, and how it is to answer. The default adds nothing to what the environment says.

    >>> Prompt(commands="\\nYou can: {commands}").message("You are in a room.", ["look", "go to desk 1"])
    'You are in a room.\\nYou can: look, go to desk 1'

    Raises:
        ConfigurationError: a field of the wrong type, or out of range.
    """

    system: str | None = None
    """The system message; None leaves what the chat template says by itself, an empty one empties that. Where there is
    no place for one (no template, or one that refuses it), it is put before the instructions."""
    instructions: str = ""
    """Put before the first message."""
    examples: tuple[tuple[str, str], ...] = ()
    """Worked turns, message and reply, put before the first observation."""
    commands: str = ""
    """How admissible commands are shown after an observation: a text with ``{commands}``; empty: they are not."""
    commands_shown: Literal["every", "last"] = "every"
    """Whether earlier turns show theirs, too."""
    history: int | None = None
    """Earlier turns that the agent sees beside the opening; None: all."""
    form: str = "any"
    """Of a reply: a name of :data:`oreo_agents.language.reply.FORMS`, or a regular expression with a group
    ``action``."""
    reminder: str = ""
    """Put after the environment's answer to a reply that named no command it understands."""
    thinking: bool | None = None
    """``enable_thinking`` for templates that know it, also of a server; None: their default."""
    reply_tokens: int | None = None
    """Tokens that a reply may have, where its form takes more than a command; None: what the environment's actions
    take."""
    date: str = "2024-07-26"
    """The day that templates are told it is, so that a prompt does not change at midnight."""
    environments: tuple[tuple[str, Prompt], ...] = ()
    """What the agent is told instead in some environments: their ids, with a prompt each (also as a mapping, and the
    prompts as :func:`as_prompt` takes them); one agent may have learnt in several."""
    writes: str = ""
    """How a reply in a form of one's own is written, for demonstrations and for commands that are to be scored: a text
    with ``{action}`` and, where it thinks first, ``{thought}`` before it; a line whose thought is empty is left out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", _read_examples(self.examples))
        object.__setattr__(self, "environments", _read_environments(self.environments))
        for name in ("system", "instructions", "commands", "form", "reminder", "date", "writes"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "system" and value is None):
                raise ConfigurationError(f"a prompt's {name} is text, not {value!r}")
        if self.commands and "{commands}" not in self.commands:
            raise ConfigurationError(
                f"a prompt's commands say where they stand by {{commands}}: {self.commands!r}"
            )
        if self.commands_shown not in ("every", "last"):
            raise ConfigurationError(f"commands_shown is 'every' or 'last', not {self.commands_shown!r}")
        if self.history is not None and (type(self.history) is not int or self.history < 0):
            raise ConfigurationError(f"history is a number of turns from 0, not {self.history!r}")
        if self.reply_tokens is not None and (type(self.reply_tokens) is not int or self.reply_tokens < 1):
            raise ConfigurationError(f"reply_tokens is a number from 1, not {self.reply_tokens!r}")
        if self.thinking not in (None, True, False):
            raise ConfigurationError(f"thinking is true or false, not {self.thinking!r}")
        try:
            Date.fromisoformat(self.date)
        except ValueError as error:
            raise ConfigurationError(f"a prompt's date is a day such as 2024-07-26: {error}") from error
        check_form(self.form)
        if self.writes:
            self._check_writes()

    @classmethod
    def load(cls, name: str | Path) -> Prompt:
        """One that the package ships, by name, or a TOML file.

        Raises:
            ConfigurationError: there is neither, or the file is no prompt.
        """
        shipped = SHIPPED_PROMPTS / f"{name}.toml"
        path = shipped if shipped.parent == SHIPPED_PROMPTS and shipped.is_file() else Path(name)
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigurationError(
                f"there is no prompt {str(name)!r}: name a TOML file, or one of {', '.join(list_prompts())}"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} is no TOML file: {error}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Prompt:
        """What :meth:`to_dict` gave; fields may be missing.

        Raises:
            ConfigurationError: an unknown field, or a value that it cannot have.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values).difference(known)):
            raise ConfigurationError(f"a prompt has no {', '.join(unknown)}; it has {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from the default's, as JSON values."""
        default = asdict(Prompt())
        values = {name: value for name, value in asdict(self).items() if value != default[name]}
        if self.environments:
            values["environments"] = {env_id: prompt.to_dict() for env_id, prompt in self.environments}
        if self.examples:
            values["examples"] = [{"message": message, "reply": reply} for message, reply in self.examples]
        return values

    @property
    def digest(self) -> str:
        """Identifies what it says; empty for the default."""
        values = self.to_dict()
        return hash_json(values)[:16] if values else ""

    @property
    def read_digest(self) -> str:
        """:attr:`digest` without what no model reads: how long a reply may be, and how those are written that it has
        not said.
        """
        return replace(self, reply_tokens=None, writes="").digest

    def in_environment(self, env_id: str | None) -> Prompt:
        """What the agent is told there: the prompt of that environment, else these words without those of others."""
        return dict(self.environments).get(env_id or "") or replace(self, environments=())

    def message(self, observation: str, commands: Sequence[str] | None = None, missed: bool = False) -> str:
        """What the agent reads in a turn.

        Args:
            observation: what the environment says.
            commands: the admissible ones, where they are shown.
            missed: the reply before it named no command.
        """
        text = f"{observation}\n{self.reminder}" if missed and self.reminder else observation
        if not self.commands or commands is None:
            return text
        return text + self.commands.replace("{commands}", ", ".join(commands))

    @property
    def takes_thoughts(self) -> bool:
        """Whether its form has a place for a thought before the action."""
        return self.form in WITH_THOUGHTS or "{thought}" in self.writes

    @property
    def can_write(self) -> bool:
        """Whether it is known how a reply in its form is written."""
        return self.form in FORMS or bool(self.writes)

    def write_reply(self, action: str, thought: str = "") -> str:
        """A reply in its form, for whoever has a command and says nothing by itself.

        >>> told = Prompt(form=r"Do (?P<action>.+)", writes="{thought}\\nDo {action}")
        >>> told.write_reply("look", "I see nothing."), told.write_reply("look")
        ('I see nothing.\\nDo look', 'Do look')

        Raises:
            ConfigurationError: the form is one's own, and ``writes`` does not say how, or other than it reads.
        """
        if self.form in FORMS:
            return write_reply(action, thought, self.form)
        if not self.writes:
            raise ConfigurationError(
                f"the prompt's form is an expression, {self.form!r}, which says how replies are read and not how a "
                "command is written in it: add writes, such as '{thought}\\nAction: {action}'"
            )
        text = self._fill(action, thought)
        read = read_reply(text, [action], self.form)
        if not read.named or read.action != action:
            raise ConfigurationError(
                f"the prompt's form {self.form!r} does not read {action!r} in {text!r}, as its writes has it: mend "
                "one of them"
            )
        return text

    def find_thought(self, reply: Reply) -> str:
        """What a reply thinks before it acts, as :meth:`write_reply` takes it; all of it where it names nothing."""
        if self.form in FORMS:
            return find_thought(reply, self.form)
        found = re.search(self.form, reply.said)
        thought = reply.said[: found.start("action")] if found else reply.said
        lead, _, rest = self.writes.partition("{thought}")
        between = rest.partition("{action}")[0]
        return thought.strip().removeprefix(lead.strip()).removesuffix(between.strip()).strip()

    def _fill(self, action: str, thought: str) -> str:
        lines = self.writes.split("\n")
        shown = [line for line in lines if thought or "{thought}" not in line or "{action}" in line]
        given = {"action": action, "thought": thought}
        return _PLACES.sub(lambda found: given[found[1]], "\n".join(shown)).strip()

    def _check_writes(self) -> None:
        if self.form in FORMS:
            raise ConfigurationError(
                f"writes is for a form of your own: how {self.form!r} is written is known"
            )
        if self.writes.count("{action}") != 1 or "{thought}" in self.writes.partition("{action}")[2]:
            raise ConfigurationError(
                f"a prompt's writes has {{action}} once, and {{thought}} before it: {self.writes!r}"
            )
        for action in _PROBES:
            read = read_reply(self._fill(action, "I see."), [action], self.form)
            if read.named and read.action == action:
                return
        raise ConfigurationError(
            f"a prompt's form {self.form!r} does not read what its writes has: {self._fill(_PROBES[0], 'I see.')!r}"
        )


def list_prompts() -> list[str]:
    """Names of the prompts that the package ships."""
    return sorted(path.stem for path in SHIPPED_PROMPTS.glob("*.toml"))


def as_prompt(prompt: Prompt | Mapping[str, Any] | str | Path | None) -> Prompt:
    """A prompt, its fields, its name or its file; None is the default.

    Raises:
        ConfigurationError: there is no such prompt.
    """
    if prompt is None:
        return Prompt()
    if isinstance(prompt, Mapping):
        return Prompt.from_dict(prompt)
    return prompt if isinstance(prompt, Prompt) else Prompt.load(prompt)


def _read_environments(environments: Any) -> tuple[tuple[str, Prompt], ...]:
    """Pairs, or a mapping, sorted by id."""
    try:
        pairs = [*(environments.items() if isinstance(environments, Mapping) else environments)]
        read = {str(env_id): as_prompt(prompt) for env_id, prompt in pairs}
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"environments of a prompt are ids with a prompt each, not {environments!r}"
        ) from error
    if any(prompt.environments for prompt in read.values()):
        raise ConfigurationError("a prompt of one environment has no environments of its own")
    return tuple(sorted(read.items()))


def _read_examples(examples: Any) -> tuple[tuple[str, str], ...]:
    """Pairs, or TOML's tables with ``message`` and ``reply``."""
    try:
        pairs = [
            (example["message"], example["reply"]) if isinstance(example, Mapping) else tuple(example)
            for example in examples
        ]
    except (TypeError, KeyError) as error:
        raise ConfigurationError(f"an example of a prompt has a message and a reply: {error!r}") from error
    if any(len(pair) != 2 or not all(isinstance(text, str) for text in pair) for pair in pairs):
        raise ConfigurationError("an example of a prompt has a message and a reply, both text")
    return tuple(pairs)
