"""``--config FILE`` and ``--print-config``: the options of ``train`` in a file, which is read as options are.

A file has the options by their names, those of training under ``[training]``, also by the names of OreoConfig's fields
and with any field of transformers' TrainingArguments, and the games that judge under ``[eval]``.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oreo_envs.suggestions import suggest_word

from oreo_agents.cli.parser import HelpfulParser
from oreo_agents.errors import ConfigurationError
from oreo_agents.training.options import OPTIONS, known_as

TRAINING, JUDGING = "training", "eval"
JUDGED_BY = (
    "every",
    "episodes",
    "data",
    "patience",
    "env",
    "env_options",
    "split",
    "games",
    "wording",
    "max_steps",
    "max_new_tokens",
)
"""The keys of ``[eval]``; the first three are ``--eval-NAME``."""


class ConfigurableParser(HelpfulParser):
    """A parser to whose words those of ``--config FILE`` are put in front, so that what is typed counts."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        """As ArgumentParser's."""
        words = list(args or ())
        if any("--config" in action.option_strings for action in self._actions):
            words = [*self._read_words(words), *words]
        return super().parse_known_args(words, namespace)

    def _read_words(self, words: Sequence[str]) -> list[str]:
        found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        found.add_argument("--config", type=Path)
        file = found.parse_known_args([word for word in words if word not in ("-h", "--help")])[0].config
        if file is None:
            return []
        flags = {flag for action in self._actions for flag in action.option_strings}
        try:
            return list(spell_options(read_tables(file), flags, words))
        except ConfigurationError as error:
            self.error(f"{file}: {error}")


def read_tables(file: Path) -> dict[str, Any]:
    """What a TOML or YAML file says.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix in (".yaml", ".yml"):
            import yaml

            try:
                tables = yaml.safe_load(text) or {}
            except yaml.YAMLError as error:
                raise ValueError(" ".join(str(error).split())) from error
        else:
            tables = tomllib.loads(text)
    except FileNotFoundError as error:
        there = [path.name for path in file.parent.glob("*") if path.suffix in (".toml", ".yaml", ".yml")]
        raise ConfigurationError(f"there is no such file{suggest_word(file.name, there)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"cannot be read as {'YAML' if file.suffix[:2] == '.y' else 'TOML'}: {reason}"
        ) from error
    if not isinstance(tables, dict):
        raise ConfigurationError("it has no options: write NAME = VALUE lines")
    return tables


def spell_options(tables: Mapping[str, Any], flags: set[str], typed: Sequence[str] = ()) -> Iterator[str]:
    """A file's options as words of a command line; without those that exclude one that was typed.

    Raises:
        ConfigurationError: there is no such option.
    """
    typed_flags = {word.partition("=")[0] for word in typed}
    groups = {option.either for option in OPTIONS.values() if option.either and option.flag in typed_flags}
    for name, value in tables.items():
        if name == TRAINING:
            for key, one in known_as(_require_table(name, value)).items():
                option = OPTIONS.get(key)
                if option is not None and option.either in groups - {""}:
                    continue
                yield from _spell_training(key, one, flags)
        elif name == JUDGING:
            for key, one in _require_table(name, value).items():
                _require_name(key, JUDGED_BY, f"[{JUDGING}] has no option")
                yield from _spell_option(
                    f"--eval-{key}" if f"--eval-{_dash_name(key)}" in flags else f"--{key}", one
                )
        else:
            known = sorted(flag[2:].replace("-", "_") for flag in flags if flag.startswith("--"))
            _require_name(name, known, "there is no option")
            yield from _spell_option(f"--{name}", value)


def _spell_training(name: str, value: Any, flags: set[str]) -> Iterator[str]:
    """An option of this package's by its flag, one of transformers' by ``--trainer``."""
    option = OPTIONS.get(name)
    if option is not None and option.flag in flags and (option.group or name == "method"):
        yield from _spell_option(option.flag, value)
    elif name == "seed":
        yield from _spell_option("--seed", value)
    elif value is not None:
        yield from ("--trainer", f"{name}={value if isinstance(value, str) else json.dumps(value)}")


def _spell_option(flag: str, value: Any) -> Iterator[str]:
    flag = _dash_name(flag)
    if isinstance(value, bool):
        yield flag if value else f"--no-{flag[2:]}"
    elif isinstance(value, list):
        yield from (flag, *map(str, value))
    elif value is not None:
        yield f"{flag}={value}"


def _dash_name(name: str) -> str:
    return name.replace("_", "-")


def _require_table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} is {value!r}, it must be a table: write [{name}]")
    return value


def _require_name(name: str, known: Sequence[str], complaint: str) -> None:
    if name not in known:
        meant = suggest_word(name, known) or f": choose one of {', '.join(known)}"
        raise ConfigurationError(f"{complaint} {name!r}{meant}")


def format_config(args: argparse.Namespace, training: Mapping[str, Any]) -> str:
    """What ``--config`` reads: every option, those that were left at their defaults as comments."""
    lines = [
        _format_line("method", args.method),
        _format_line("data", [str(path) for path in args.data]),
        _format_line("model", str(args.model)),
        _format_line("output", str(args.output)),
        *(_format_line(name, getattr(args, name)) for name in ("seed", "lora", "save_every", "license")),
        "",
        f"[{TRAINING}]",
    ]
    for name, option in OPTIONS.items():
        if name not in ("method", "seed") and name not in training:
            default = _format_line(name, option.default).removeprefix("# ")
            lines.append(f"# {name}: {option.usual}" if option.usual else f"# {default}")
    lines += [_format_line(name, value) for name, value in training.items() if name != "seed"]
    lines += ["", f"[{JUDGING}]"]
    for key in JUDGED_BY:
        value = getattr(args, f"eval_{key}" if hasattr(args, f"eval_{key}") else key)
        lines.append(_format_line(key, [str(one) for one in value] if isinstance(value, list) else value))
    return "\n".join(line for line in lines if line is not None) + "\n"


def _format_line(name: str, value: Any) -> str:
    return f"# {name}" if value is None else f"{name} = {json.dumps(value)}"
