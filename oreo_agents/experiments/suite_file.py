"""From a suite's TOML file to a :class:`Suite`. Plays nothing.

A key that a table does not have, a method or a split that does not exist, and a test that would be no test are
errors that name the place and the remedy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from oreo_envs.catalog import require_from_file
from oreo_envs.files import read_file

from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.suite import (
    PAGE,
    Demonstrations,
    GameSet,
    Method,
    Options,
    Rollouts,
    Search,
    Suite,
    Sweep,
    require_known,
)
from oreo_agents.experiments.suite_checks import check_suite

T = TypeVar("T")

FOLDERS = (Path(__file__).parent / "suites", Path(__file__).parents[2] / "benchmarks" / "suites")
"""Where the suites of an installed package and of a checkout are."""


def load_suite(name: str, named: Sequence[str] = ()) -> Suite:
    """The suite of that name, or in that file.

    Args:
        name: which.
        named: ids of environments that the user named, with their modules; others than registered ones and these it
            may not have.

    Raises:
        ConfigurationError: there is none, or it says something that cannot be.
    """
    path = _find_suite(name)
    suite = parse_suite(_read_tables(path), path.stem)
    for games in (suite.train, *([suite.dev] if suite.dev else []), *suite.tests.values()):
        require_from_file(f"suite {suite.name}", suite.environment, games.options, named)
    own = {one.rpartition(":")[2]: one for one in named}
    return replace(suite, environment=own.get(suite.environment, suite.environment))


def _read_tables(path: Path) -> dict[str, Any]:
    """The tables of a suite's file; those it does not have itself are those of the suite that it names as ``base``."""
    try:
        tables = tomllib.loads(read_file(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str) or _find_suite(base) == path:
        raise ConfigurationError(f"{path}: base = {base!r} must name another suite")
    return {**_read_tables(_find_suite(base)), **tables}


def parse_suite(table: Options, name: str) -> Suite:
    """A suite from the values of its file.

    Raises:
        ConfigurationError: it says something that cannot be.
    """
    values = dict(table)
    tests = {
        key: _parse_table(GameSet, given, f"[test.{key}]")
        for key, given in _require_tables(values.pop("test", {}), "test")
    }
    methods = {
        key: _parse_method(key, given) for key, given in _require_tables(values.pop("methods", {}), "methods")
    }
    for key, kind in (
        ("train", GameSet),
        ("dev", GameSet),
        ("demonstrations", Demonstrations),
        ("rollouts", Rollouts),
        ("search", Search),
    ):
        if key in values:
            values[key] = _parse_table(kind, values[key], f"[{key}]")
    if "sweep" in values:
        values["sweep"] = _parse_sweep(values["sweep"])
    suite = _parse_table(Suite, {**values, "name": name, "tests": tests, "methods": methods}, f"suite {name}")
    check_suite(suite)
    return suite


def _find_suite(name: str) -> Path:
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise ConfigurationError(
                f"there is no suite {name}; give a file, or a name: {', '.join(list_suites())}"
            )
        return Path(name)
    for folder in FOLDERS:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise ConfigurationError(
        f"there is no suite {name!r}; choose {', '.join(list_suites())}, or give a file of your own that ends in .toml "
        f"({PAGE})"
    )


def list_suites() -> list[str]:
    """The suites that come with the package."""
    return sorted({file.stem for folder in FOLDERS for file in folder.glob("*.toml")})


def _require_tables(value: Any, key: str) -> list[tuple[str, Options]]:
    if not isinstance(value, Mapping) or not all(isinstance(one, Mapping) for one in value.values()):
        raise ConfigurationError(f"{key} must be tables: [{key}.NAME]")
    return list(value.items())


def _parse_method(name: str, table: Options) -> Method:
    own = {field.name for field in fields(Method)} - {"name", "options"}
    given = {key: value for key, value in table.items() if key in own}
    options = {key: value for key, value in table.items() if key not in own}
    method = {"method": name, **given, "name": name, "options": options}
    return _parse_table(Method, method, f"[methods.{name}]")


def _parse_sweep(table: Any) -> Sweep:
    sweep = _parse_table(Sweep, table, "[sweep]")
    for name, trials in sweep.trials.items():
        if not isinstance(trials, list) or not all(isinstance(trial, Mapping) for trial in trials):
            raise ConfigurationError(f"[sweep.trials] {name} must be a list of tables of options")
    return replace(sweep, trials={name: tuple(trials) for name, trials in sweep.trials.items()})


def _parse_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table whose keys and types are its fields'."""
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where} must be a table, not {table!r}")
    hints = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        require_known(key, hints, f"{where} has no key")
        if not _fits_hint(value, hints[key]):
            raise ConfigurationError(
                f"{where}: {key} = {value!r} is of the wrong type: {_name_type(hints[key])} is wanted"
            )
        values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _name_type(hint: Any) -> str:
    """What a key takes, as TOML has it."""
    inner = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is UnionType or isinstance(hint, UnionType):
        return " or ".join(map(_name_type, inner))
    if get_origin(hint) is tuple:
        return f"a list of {_name_type(inner[0]).split(' ', 1)[1]}s"
    names = {str: "a text", bool: "a truth value", int: "a whole number", float: "a number"}
    return names.get(hint, "a table")


def _fits_hint(value: Any, hint: Any) -> bool:
    """Whether a TOML value is what a field takes."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType or isinstance(hint, UnionType):
        return any(_fits_hint(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits_hint(one, inner[0]) for one in value)
    if origin is not None:
        return isinstance(value, origin)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
