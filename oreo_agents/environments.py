"""Which environment, over which games: the one place that makes them, for whoever plays, records or judges."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import lru_cache, partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator
from oreo_envs.catalog import DEFAULT_ID, HASHED, describe, is_unknown, list_ids, require_from_file
from oreo_envs.suggestions import suggest_word

from oreo_agents.errors import ConfigurationError, DatasetError, OreoError

MakeEnv = Callable[[], gym.Env[str, str]]

_PLACES = ("games", "data")
"""Options of this package's environments that say where games lie, and nothing about them."""


def environments(
    env_id: str = DEFAULT_ID,
    max_steps: int | None = None,
    *,
    patience: int | None = None,
    branches: bool = False,
    success_return: float | None = None,
    **options: Any,
) -> MakeEnv:
    """A maker of environments over one list of games, which is looked up once.

    It can be sent to another process or machine, which looks the games up for itself and refuses others.

    One that is not in the catalogue is played as :class:`oreo_envs.foreign.ForeignEnv` says, and its id keeps the name
    of its module. Its module may lie in the current folder.

    Args:
        env_id: a Gymnasium id, with its module where that is not imported: ``module:Id``.
        max_steps: step limit of an episode; None: the registration's, see :func:`find_step_limit`.
        patience: end an episode after so many useless commands in a row; None: play on to the step limit.
        branches: let agents try actions (``info["branch"]``, see :class:`oreo_envs.wrappers.OfferBranches`).
        success_return: from this return on an episode counts as won, where its info does not say; None: from the
            ``reward_threshold`` of the registration on, and without one nothing is said of success.
        options: as for ``gym.make(env_id)``.

    Raises:
        ConfigurationError: there is no such environment, or it does not take these options.
        DataNotFoundError: there are no such games.
    """
    from oreo_envs.wrappers import OfferBranches, TruncateWhenStuck

    limit = max_steps or find_step_limit(env_id)

    def make() -> gym.Env[str, str]:
        if describe(env_id).foreign:
            env = _make_foreign(env_id, limit, options)
        else:
            env = gym.make(env_id, max_episode_steps=limit, disable_env_checker=True, **options)
        if success_return is not None and env.unwrapped.spec is not None:
            env.unwrapped.spec.reward_threshold = success_return
        if patience is not None:
            env = TruncateWhenStuck(env, patience)
        return OfferBranches(env) if branches else env

    try:
        env = make()
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(_explain_failure(env_id, error, options)) from error
    again = partial(
        environments,
        env_id,
        max_steps,
        patience=patience,
        branches=branches,
        success_return=success_return,
        **options,
    )
    if describe(env_id).foreign:  # nobody knows whether it can be copied
        made = [env]
        return _Maker(lambda: made.pop() if made else make(), again)
    return _Maker(lambda: copy.deepcopy(env), again)  # lists of games are immutable: the copies share one


class _Maker:
    """Makes environments; pickled, it is how to make it again, and of which games."""

    def __init__(self, make: MakeEnv, again: Callable[[], MakeEnv]) -> None:
        self._make, self._again = make, again

    def __call__(self) -> gym.Env[str, str]:
        return self._make()

    def __reduce__(self) -> Any:
        return _make_again, (self._again, _hash_names(self()))


def _make_again(again: Callable[[], MakeEnv], names: str) -> MakeEnv:
    make_env = again()
    if _hash_names(make_env()) != names:
        told = again.args[0] if isinstance(again, partial) else "the environment"
        raise ConfigurationError(
            f"{told} has other games on {platform.node()} than where the run was begun: every machine has to see the "
            "same ones, at the same place"
        )
    return make_env


def _hash_names(env: gym.Env[str, str]) -> str:
    """Of an environment's games; those that are made on demand are known by the first of them."""
    games = games_of(env)
    names = getattr(games, "names", ())
    first = "\n".join(map(str, names[:HASHED] if getattr(games, "made_on_demand", True) else names))
    return hashlib.sha256(f"{len(names)}\n{first}".encode(errors="surrogatepass")).hexdigest()


def find_step_limit(env_id: str) -> int:
    """The step limit that an environment is registered with; 50 where it has none, so that every episode ends.

    Raises:
        ConfigurationError: there is no such environment.
    """
    return find_registered_limit(env_id) or describe(env_id).max_episode_steps


def find_registered_limit(env_id: str) -> int | None:
    """The step limit that an environment is registered with; None where it has none.

    Raises:
        ConfigurationError: there is no such environment.
    """
    import_module_of(env_id)
    try:
        spec = gym.spec(env_id.rpartition(":")[2])
    except (gym.error.Error, ImportError) as error:
        raise ConfigurationError(_explain_failure(env_id, error)) from error
    return spec.max_episode_steps


def import_module_of(env_id: str) -> None:
    """Import the module of ``module:Id``, which the user has named, also from the current folder.

    Raises:
        ConfigurationError: it cannot be imported.
    """
    module = env_id.rpartition(":")[0]
    if not module:
        return
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last, so that nothing installed is hidden
    try:
        import_module(module)
    except (Exception, SystemExit) as error:  # it is the user's code, and may do anything
        raise ConfigurationError(_explain_import(env_id, error)) from error


def _make_foreign(env_id: str, limit: int, options: Mapping[str, Any]) -> gym.Env[str, str]:
    """Somebody else's environment.

    Raises:
        ConfigurationError: its code has failed.
        OreoError: as :class:`oreo_envs.foreign.ForeignEnv` does.
    """
    import_module_of(env_id)  # in a process of its own nobody has done it before
    asked = dict(options)
    try:
        return _wrap_foreign(env_id, limit, asked)
    except OreoError:
        raise
    except Exception as error:
        raise ConfigurationError(_explain_failure(env_id, error, asked)) from error


def _wrap_foreign(env_id: str, limit: int, options: dict[str, Any]) -> gym.Env[str, str]:
    """A split or an expert that somebody else's environment does not know is not asked of it.

    One with words of its own for its splits takes those; where it refuses one of ours, seeds stand for it. Seeds of its
    own words are neither those to learn on nor those to be judged on.
    """
    from oreo_envs.foreign import SEEDS, ForeignEnv, takes_option

    spec = gym.spec(env_id.rpartition(":")[2])
    split = options.pop("split", None) or "all"
    divided = takes_option(spec, "split")
    if not divided and split not in SEEDS:
        raise ConfigurationError(f"{env_id} has no split {split!r}: choose one of {', '.join(SEEDS)}")
    if not takes_option(spec, "expert"):
        options.pop("expert", None)  # its info then has a plan anyhow, or there is no expert
    make = partial(gym.make, env_id, max_episode_steps=limit, disable_env_checker=True, **options)
    if not divided or split == "all":
        env = make()
    else:
        try:
            env = make(split=split)
        except Exception as refused:
            if split not in SEEDS:
                raise
            env, divided = _make_whole(env_id, split, make, refused), False
    if env.unwrapped.spec is not None:
        env.unwrapped.spec.id = env_id
    if divided and hasattr(env.unwrapped, "games"):
        split = "all"
    return ForeignEnv(env, split if split in SEEDS else "dev")


def _make_whole(env_id: str, split: str, make: MakeEnv, refused: Exception) -> gym.Env[str, str]:
    """An environment that does not know our word for a split, without one: its seeds are kept apart.

    Raises:
        ConfigurationError: it has a list of games, which it divides in its own way.
        Exception: it cannot be made without a split either, ``refused``.
    """
    try:
        env = make()
    except Exception:
        raise refused from None
    if hasattr(env.unwrapped, "games"):
        raise ConfigurationError(
            f"{env_id} refuses split={split!r} ({refused}): name one of its own words with --split"
        ) from refused
    _tell_seeds(env_id, split)
    return env


@lru_cache
def _tell_seeds(env_id: str, split: str) -> None:
    """Say once what a word stands for that an environment refuses."""
    from oreo_envs.foreign import SEEDS

    seeds = SEEDS[split]
    logging.getLogger(__name__).warning(
        f"{env_id} refuses split={split!r}: seeds {seeds[0]:,} to {seeds[-1]:,} stand for it; --split takes its words"
    )


def _explain_import(env_id: str, error: BaseException) -> str:
    """Why the module that the user has named cannot be imported: where it is not, or where in it what was raised."""
    from oreo_envs.foreign import describe_error, find_place

    if isinstance(error, ModuleNotFoundError):
        return _explain_failure(env_id, error)
    module = env_id.rpartition(":")[0]
    place = find_place(error, {module.partition(".")[0]})
    return f"{module} cannot be imported: {describe_error(error)}{f' ({place})' if place else ''}"


def _explain_failure(env_id: str, error: Exception, options: Mapping[str, Any] | None = None) -> str:
    """What is wrong with the id, with an option or with the environment's code, in one sentence."""
    from oreo_envs.foreign import describe_error, find_place

    options = options or {}
    if isinstance(error, ModuleNotFoundError):
        if place := _explain_place(env_id, error):
            return place
        missing = str(error).partition(". ")[0].replace("No module", "no module")
        return f"there is no environment {env_id!r}, {missing}: install it, or choose {_list_ids()}"
    if isinstance(error, gym.error.UnregisteredEnv):
        module, _, name = env_id.rpartition(":")
        if module and module not in ("oreo_agents", "oreo_envs"):
            return _explain_module(module, name)
        meant = suggest_word(name, list_ids())
        also = " Choose" if meant else ": choose"
        return f"there is no environment {env_id!r}{meant}{also} {_list_ids()}, or name your own as module:Id"
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    known = _list_options(env_id)
    unasked = {"split", "expert"} if describe(env_id).foreign else set()
    wrong = [name for name in options if known and name not in known and name not in unasked]
    if isinstance(error, TypeError) and wrong:
        meant = suggest_word(wrong[0], known) or f": choose one of {', '.join(known)}"
        return f"{env_id} has no option {wrong[0]!r}{meant}"
    told = f"{env_id} cannot be made{f' with {given}' if given else ''}"
    if raised := find_place(error, _list_packages(env_id)):
        return f"{told}: {describe_error(error)} ({raised})"
    explains = isinstance(error, gym.error.Error | TypeError | ValueError)
    return f"{told}: {error if explains else describe_error(error)}"


def _list_packages(env_id: str) -> set[str]:
    """The packages of somebody else's environment: that of the module that is named, and that of its class."""
    module, _, name = env_id.rpartition(":")
    if not describe(env_id).foreign:
        return set()
    made_by = getattr(gym.registry.get(name), "entry_point", None)
    home = made_by if isinstance(made_by, str) else getattr(made_by, "__module__", "")
    return {home.partition(":")[0].partition(".")[0], module.partition(".")[0]} - {"", "gymnasium"}


def _explain_place(env_id: str, error: ModuleNotFoundError) -> str:
    """Where the module that the user has named has to lie; empty where one that it imports is missing."""
    module, _, name = env_id.rpartition(":")
    file = Path(module if module.endswith(".py") else f"{module}.py")
    if "/" in module or os.sep in module or module.endswith(".py"):
        folder = "this folder" if file.parent == Path() else str(file.parent)
        return (
            f"{module} is a file, and a module is named as in an import: run the command in {folder} with "
            f"--env {file.stem}:{name}, or set PYTHONPATH to that folder"
        )
    package = module.partition(".")[0]
    if not module or error.name != package:
        return ""
    return (
        f"there is no environment {env_id!r}, no module named {package!r}: run the command in the folder where "
        f"{package}.py lies, set PYTHONPATH to that folder, or install it"
    )


def _explain_module(module: str, name: str) -> str:
    """A module was imported and has not registered this id: which ones it has."""
    package = module.partition(".")[0]
    there = [
        one
        for one, spec in gym.registry.items()
        if str(getattr(spec.entry_point, "__module__", spec.entry_point)).partition(":")[0].partition(".")[0]
        == package
    ]
    if not there:
        return (
            f"{module} registers no environment: call gym.register({name!r}, ..., max_episode_steps=N) in it, at the "
            "top level"
        )
    return f"{module} has no environment {name!r}{suggest_word(name, there) or ''}; it registers {', '.join(there)}"


def _list_options(env_id: str) -> list[str]:
    """What an environment takes, by name; empty where that is not known."""
    made_by = gym.spec(env_id.rpartition(":")[2]).entry_point
    creator = load_env_creator(made_by) if isinstance(made_by, str) else made_by
    parameters = signature(creator).parameters if callable(creator) else {}
    return [] if any(one.kind is one.VAR_KEYWORD for one in parameters.values()) else [*parameters]


def _list_ids() -> str:
    return f"one of {', '.join(list_ids())}"


class Home(NamedTuple):
    """Where is played: an environment, and options that say which kind of games it has."""

    env_id: str = DEFAULT_ID
    options: Mapping[str, Any] = {}


def choose_environment(who: str, learnt: Mapping[str, Mapping[str, Any]], asked: str | None = None) -> Home:
    """Where is played by what has learnt in some environments: there, unless another one is asked for.

    Args:
        who: begins the error, such as ``runs/oreo was trained in``.
        learnt: options by id, as an agent's folder or a dataset says; nothing where it does not.
        asked: the id that the user names; None: none.

    Raises:
        ConfigurationError: nobody has named one, and there are several, or one that only its module's code can make.
    """
    if asked is not None:
        same = [options for env_id, options in learnt.items() if is_same_id(env_id, asked)]
        return Home(asked, same[0] if same else {})
    if len(learnt) > 1:
        named = " or ".join(f"--env {name_with_module(env_id)}" for env_id in learnt)
        raise ConfigurationError(f"{who} {join_words(learnt)}: say which one is meant, {named}")
    for env_id, options in learnt.items():
        if env_id not in list_ids():
            raise ConfigurationError(
                f"{who} {env_id}, and a module's code runs only where you name it: "
                f"add --env {name_with_module(env_id)}"
            )
        return Home(env_id, options)
    return Home()


def name_with_module(env_id: str) -> str:
    """What ``--env`` takes; where nobody knows the module, a word stands for it."""
    return env_id if ":" in env_id or env_id in list_ids() else f"MODULE:{env_id}"


def join_words(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def keep_options(env_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of an environment's options those that say which kind of games it has, wherever they lie and whichever of them
    are played; a file may give them.

    Of somebody else's that is every option but the split and the expert, a word for its games among them: nobody here
    knows what they mean, and they reach the code of a module that the user has named and nothing else, as those of a
    dataset do (:func:`oreo_envs.catalog.require_from_file`).
    """
    entry = describe(env_id)
    left_out = {"split", "expert", *_ADDED}
    if not entry.foreign:
        options = entry.games.spell_options(options)
        left_out |= {*_PLACES, *set(options).difference(entry.from_files)}
    return {name: value for name, value in options.items() if name not in left_out and value is not None}


def is_same_id(one: Any, other: str) -> bool:
    """Whether two ids are the same environment's, one of them perhaps without its module, or with its package's name
    alone."""
    (module, name), (another, same) = (str(x).rpartition(":")[::2] for x in (one, other))
    short, long = sorted((module, another), key=len)
    return name == same and (not short or f"{long}.".startswith(f"{short}."))


def unite_ids(env_ids: Iterable[str]) -> list[str]:
    """Each environment once, by its shortest id that has a module, in the order of their names."""
    found: list[str] = []
    for env_id in sorted(env_ids, key=lambda one: (":" not in one, len(one))):
        if not any(is_same_id(one, env_id) for one in found):
            found.append(env_id)
    return sorted(found)


def source_options(
    env_id: str,
    split: str | None = None,
    games: Any = None,
    wording: str | None = None,
    known: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The options of ``env_id`` that ask for a split, for games of one place or kind and for how they are worded; None
    is left out. Those of ``known`` stand behind what is named and ``given``; which games they are of, behind other
    games not at all.

    Raises:
        ConfigurationError: it has no such split, its games do not come in that wording, or an option has the name of
            one that every environment has here.
    """
    entry = describe(env_id)
    if not entry.foreign:
        require_split(split, entry.splits, f"{env_id} has")
    if wording is not None and wording not in entry.wordings:
        remedy = f"choose {' or '.join(entry.wordings)}" if entry.wordings else "leave it out"
        raise ConfigurationError(f"{env_id} cannot show its games in a wording {wording!r}: {remedy}")
    named = {"split": split, entry.games_argument: games, "wording": wording}
    replaced = () if games is None else entry.games_options
    kept = {name: x for name, x in (known or {}).items() if name not in replaced}
    own = dict(given or {})
    _refuse_shared(env_id, own, {"split", entry.games_argument} | ({"wording"} if entry.wordings else set()))
    found = kept | {name: value for name, value in named.items() if value is not None} | own
    _refuse_shared(env_id, found, {*signature(environments).parameters} - {"options"})
    return found


def _refuse_shared(env_id: str, options: Mapping[str, Any], shared: Set[str]) -> None:
    """Raise ConfigurationError if an option would be taken for one that every environment has here."""
    for name in options:
        if name in shared:
            word = "games" if name == describe(env_id).games_argument else name.replace("_", "-")
            raise ConfigurationError(
                f"{name} is an option of every environment here (--{word}), and cannot be one of {env_id}'s own"
            )


def require_split(split: str | None, known: Sequence[str], who: str = "there is") -> None:
    """Refuse a split that is none of those that are known; None is no split.

    Args:
        split: its name.
        known: the names that there are.
        who: begins the error, such as ``OREO-MATH has``.

    Raises:
        ConfigurationError: the one that may be meant is named.
    """
    if split is not None and split not in known:
        meant = suggest_word(split, known) or f": choose one of {', '.join(known)}"
        raise ConfigurationError(f"{who} no split {split!r}{meant}")


def judging_options(
    env_id: str,
    split: str | None = None,
    games: Any = None,
    wording: str | None = None,
    known: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As :func:`source_options`, of games to be judged on: where no split is named, held-out ones.

    Raises:
        ConfigurationError: as for :func:`source_options`.
    """
    entry = describe(env_id)
    kind = (known or {}).get(entry.games_argument) if games is None else games
    return source_options(env_id, split or entry.games.judging_split(kind), games, wording, known, given)


def games_of(env: gym.Env[str, str]) -> Any:
    """The games of an environment, or of a wrapper around it; they have ``names``.

    Raises:
        ConfigurationError: it has no list of them.
    """
    games = env.get_wrapper_attr("games") if env.has_wrapper_attr("games") else None
    if games is None:
        name = env.spec.id if env.spec else type(env.unwrapped).__name__
        raise ConfigurationError(
            f"{name} has no list of games to choose from: make it with oreo_agents.environments.environments"
        )
    return games


def identify_play(env_id: str, options: Mapping[str, Any], sha256: str) -> list[Any]:
    """What play depends on, as JSON values: the environment, its options and its games, wherever they lie.

    Args:
        env_id: a Gymnasium id.
        options: as for ``gym.make(env_id)``.
        sha256: of the games; see :func:`oreo_envs.catalog.content_hash`.
    """
    left_out = () if describe(env_id).foreign else _PLACES
    return [env_id, {name: value for name, value in options.items() if name not in left_out}, sha256]


def names_foreign(env_spec: Mapping[str, Any] | None, named: Sequence[str] = ()) -> str:
    """The id of a dataset's environment, if only a module that the user has not named could make it; else empty."""
    env_id = (env_spec or {}).get("id")
    allowed = {*named, *(one.rpartition(":")[2] for one in named)}
    return env_id if isinstance(env_id, str) and is_unknown(env_id) and env_id not in allowed else ""


def replay_environment(
    env_spec: dict[str, Any] | None,
    split: str | None = None,
    games: Any = None,
    wording: str | None = None,
    named: Sequence[str] = (),
) -> gym.Env:
    """The environment that a dataset was recorded in, or the same with other games, or in another wording.

    Args:
        env_spec: what the dataset says of it; see :func:`oreo_envs.catalog.require_from_file` for what it may.
        split: of the games, if not the dataset's.
        games: where they are, or which, if not as the dataset says.
        wording: to show them in.
        named: ids that the user named, with their modules; these may be any.

    Raises:
        ConfigurationError: it has no such split, or its games do not come in that wording.
        DatasetError: the dataset does not say which one it was, or it cannot be made here.
        DataNotFoundError: its games are not here.
    """
    spec = env_spec or {"id": named[0].rpartition(":")[2] if named else DEFAULT_ID}
    env_id = spec.get("id")
    if env_spec is None and split is None and games is None and not named:
        raise DatasetError(
            "the episodes do not tell their environment; name the games they are of with --games or --split, or the "
            "environment with --env"
        )
    stored = spec.get("kwargs") or {}
    if not isinstance(env_id, str) or not isinstance(stored, dict):
        raise DatasetError(
            f"the episodes' environment {env_id!r} with {stored!r} is none; name one with --env"
        )
    entry = describe(env_id)
    chosen = source_options(env_id, split, games)
    dropped = {*_ADDED}
    if games is not None:
        dropped |= {"split", "games", entry.games_argument, *entry.games_options}
    elif split is not None:
        dropped |= {"split"} if entry.foreign else {"split", *_PLACES}
    kwargs = {name: x for name, x in entry.games.spell_options(stored).items() if name not in dropped}
    own = {one.rpartition(":")[2]: one for one in named}
    worded = source_options(env_id, wording=wording)
    try:
        require_from_file("the dataset", env_id, kwargs, named)
        kwargs |= {**chosen, **worded, **entry.replay_options}
        threshold = spec.get("reward_threshold")
        return environments(own.get(env_id, env_id), 100_000, success_return=threshold, **kwargs)()
    except (
        ConfigurationError,
        TypeError,
    ) as error:  # TypeError: an option of its own has the name of one of ours
        raise DatasetError(
            f"the episodes cannot be played again: {error}; `--files-only` checks the files alone, and where a "
            "program registers the environment, oreo_agents.rollout.verify.verify_episodes(dataset, env) plays them"
        ) from error


_ADDED = {
    "autoreset_mode",
    "max_episode_steps",
    "num_envs",
    "render_mode",
    "vector_kwargs",
    "vectorization_mode",
    "wrappers",
}
"""What says nothing of the games: how they were shown, and what ``gym.make_vec`` adds."""
