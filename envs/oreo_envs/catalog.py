"""What is special about each environment: one entry for each id, and the only place that says so.

Whoever plays, records, trains or judges asks ``describe(env_id)`` and never compares ids. The entry describes, the
environment does: what can be asked of an environment that is there is asked of it. An id that is not in the
catalogue, such as a module's own ``module:Id``, has the defaults of :class:`Entry` and is played as
:mod:`oreo_envs.foreign` says.

A new environment is one more entry in :data:`CATALOG`, which also registers its id with Gymnasium:

    Entry(id="OREO-Sums", entry_point="oreo_envs.sums:SumsEnv"),

Importing this module is light: what is heavy is named as ``module:name`` and imported when it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym

from oreo_envs.errors import ConfigurationError

DEFAULT_ID = "OREO-ALFWorld"
"""The environment that is meant where none is named."""

HASHED = 50
"""Of games that are made on demand, so many stand for all in the hash."""

FOREIGN_SPLITS = ("train", "dev", "test", "all")
"""Of an environment that is not in the catalogue; see :data:`oreo_envs.foreign.SEEDS`."""

Vocabulary = Literal["text", "shorthand"]


class Division(NamedTuple):
    """Games to learn on and games to be judged on, which have none in common, as a suite's tables say it."""

    name: str
    """Of the games that are judged on."""
    train: Mapping[str, Any]
    """Of ``[train]``: ``split``, ``rooms``, ``options``."""
    test: Mapping[str, Any]
    """Of ``[test.NAME]``."""
    data: Path | None = None
    """Where the splits lie, if not where the environment looks by itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An environment as the rest of the house has to know it. The defaults fit any text environment."""

    id: str
    entry_point: str = ""
    """As for ``gym.register``."""
    vector_entry_point: str | None = None
    max_episode_steps: int = 50
    games_argument: str = "games"
    """What the environment calls the place or kind of its games."""
    games_options: tuple[str, ...] = ()
    """What else says which games they are; it belongs to those that it was given with, and means nothing beside
    others."""
    supply: str = "oreo_envs.catalog:Supply"
    """The class behind :attr:`games`."""
    splits: tuple[str, ...] = ("train", "test")
    endless: tuple[str, ...] = ()
    """Of these splits, those that have games without end: two drawings from one share none."""
    judging_split: str | None = None
    """Judges where no split is named, so that nobody is judged on what was trained on; :attr:`games` knows better where
    it depends on the data found. None: the environment's own default."""
    foreign: bool = False
    """It is somebody else's: :class:`oreo_envs.foreign.ForeignEnv` is put around it, whose splits it then has."""
    folder: str | None = None
    """What the place of its games is called below a data folder; None: it is not looked for there."""
    expert: str | None = None
    """A player that solves games from what can be read; None: the expert follows the environment's own plan."""
    explains: bool = False
    """Whether that player says in ``thought`` why it chose its last action."""
    plans: bool = False
    """Whether ``expert=True`` adds ``info["expert_plan"]``, actions that win from here."""
    demonstrates: bool = False
    """Whether it adds ``info["demonstrator"]``, too: how likely someone with a costly habit gives each command."""
    branches: bool = True
    """Whether actions can be tried on a copy: ``clone_state()`` and ``restore_state()``."""
    wordings: tuple[str, ...] = ()
    """What ``wording=`` can show games in, where there are several; ``env.unwrapped.wording`` tells the present one."""
    replay_options: Mapping[str, Any] = field(default_factory=dict)
    """Options with which it takes the actions of any recording of its games."""
    vocabulary: Vocabulary = "text"
    """What a decoder built from scratch learns to read: any text, or ALFWorld's sentences in shorthand."""
    max_new_tokens: int = 32
    """Tokens after which an action is cut, where nothing else is asked for."""
    from_files: tuple[str, ...] = ("split",)
    """The options that a file may give it, such as a dataset's ``meta.json`` or a suite: nothing that runs or is read
    by more than this package's own Python. Others the user has to name."""
    demo: str = ""
    """The suite that ``oreo-agents demo`` runs on it; empty: there is none."""

    @property
    def games(self) -> Supply:
        """Where its games come from."""
        return _import_attribute(self.supply)(self)

    @property
    def suffix(self) -> str:
        """What is appended to the names of its runs: nothing for the default environment, else ``-ID``."""
        return "" if self.id == DEFAULT_ID else f"-{self.id}"

    def make_expert(self, seed: int = 0) -> Any:
        """A new expert that needs no plan, in the style that ``seed`` stands for.

        Raises:
            ConfigurationError: there is none.
        """
        if self.expert is None:
            raise ConfigurationError(f"{self.id} has no expert but its own plan: make it with expert=True")
        return _import_attribute(self.expert)(seed=seed)


class Supply:
    """Where the games of an environment come from; the more there is to say, the more a subclass overrides."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def default_split(self) -> str | None:
        """The split that is played where neither split nor games are named, if that depends on the data found."""
        return None

    def judging_split(self, named: Any = None) -> str | None:
        """The split that judges where none is named.

        Args:
            named: the place or kind of the games, where the user has named one.
        """
        return self.entry.judging_split

    def options(
        self,
        split: str,
        data: Path | None = None,
        rooms: Sequence[str] = (),
        left_out: Sequence[str] = (),
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The options that make the environment play a split.

        Args:
            split: one of the entry's.
            data: folder in which the data of several environments lie; None: where the environment looks by itself.
            rooms: only games in these rooms.
            left_out: no games in these.
            given: other options; a place of the games among them counts.

        Raises:
            ConfigurationError: a room is unknown.
            DataNotFoundError: there are no such games.
        """
        if rooms:
            raise ConfigurationError(f"{self.entry.id} has no rooms to choose games by: leave them out")
        place = {self.entry.games_argument: data / self.entry.folder} if data and self.entry.folder else {}
        return {**place, **(given or {}), "split": split}

    def spell_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The same games by the options that a file may give, where there are such; see :attr:`Entry.from_files`."""
        return dict(options)

    def divide(self, source: str | Path) -> Division:
        """Games of one place or kind, divided into those to learn on and those to be judged on.

        Args:
            source: what the user said of the games, as for the environment's games argument.

        Raises:
            ConfigurationError: the games cannot be divided.
            DataNotFoundError: there are none.
        """
        raise ConfigurationError(f"{self.entry.id} does not say how to divide its games")

    def rooms_outside(self, split: str) -> frozenset[str]:
        """The rooms in which no game of a split plays; empty where games have no rooms."""
        return frozenset()


CATALOG = (
    Entry(
        id="OREO-ALFWorld",
        entry_point="oreo_envs.alfworld.env:ALFWorldEnv",
        vector_entry_point="oreo_envs.alfworld.vector:ALFWorldVectorEnv",
        supply="oreo_envs.alfworld.supply:ALFWorldSupply",
        splits=("train", "valid_train", "valid_seen", "valid_unseen", "generated", "generated_unseen"),
        endless=("generated", "generated_unseen"),
        judging_split="generated_unseen",
        expert="oreo_envs.alfworld.experts.searching_expert:SearchingExpert",
        explains=True,
        plans=True,
        wordings=("move", "put"),
        replay_options={"dialect": "both"},
        vocabulary="shorthand",
        from_files=("split", "games", "expert", "dialect", "wording", "state_hash"),
        demo="whole-path",
    ),
    Entry(
        id="OREO-TextWorld",
        entry_point="oreo_envs.textworld.env:TextWorldEnv",
        vector_entry_point="oreo_envs.textworld.vector:TextWorldVectorEnv",
        max_episode_steps=100,
        games_options=("challenge", "level"),
        supply="oreo_envs.textworld.supply:TextWorldSupply",
        splits=("train", "test", "unseen"),
        endless=("train", "test", "unseen"),
        judging_split="test",
        expert="oreo_envs.textworld.expert:TextWorldExpert",
        plans=True,
        from_files=("challenge", "level", "split", "rewards", "expert"),
    ),
    Entry(
        id="OREO-GSM8K",
        entry_point="oreo_envs.math.env:GSM8KEnv",
        games_argument="data",
        judging_split="test",
        folder="gsm8k",
        plans=True,
        from_files=("data", "split", "granularity", "expert"),
        max_new_tokens=128,
    ),
    Entry(
        id="OREO-MATH",
        entry_point="oreo_envs.math.env:MATHEnv",
        games_argument="data",
        judging_split="test",
        folder="math",
        plans=True,
        from_files=("data", "split", "granularity", "expert"),
        max_new_tokens=256,
    ),
    Entry(
        id="OREO-Reasoning",
        entry_point="oreo_envs.math.env:ReasoningEnv",
        games_argument="task",
        games_options=("seed", "size", "config"),
        supply="oreo_envs.math.problems.supply:ReasoningSupply",
        splits=("train", "dev", "test"),
        judging_split="test",
        plans=True,
        max_new_tokens=128,
        from_files=("task", "split", "seed", "size", "config", "granularity", "expert"),
        demo="whole-path-math",
    ),
    Entry(
        id="OREO-Habits",
        entry_point="oreo_envs.puzzles.env:HabitsEnv",
        splits=("train", "dev", "test"),
        judging_split="test",
        games_argument="seed",
        plans=True,
        demonstrates=True,
        from_files=("split", "seed", "size", "expert", "state_hash"),
        max_new_tokens=8,
    ),
    Entry(
        id="OREO-Puzzles",
        entry_point="oreo_envs.puzzles.env:PuzzlesEnv",
        splits=("train", "dev", "test"),
        judging_split="test",
        games_argument="task",
        games_options=("seed", "size", "config"),
        plans=True,
        demonstrates=True,
        from_files=("task", "split", "seed", "size", "config", "expert", "state_hash"),
        max_new_tokens=16,
    ),
)
"""The environments of this package."""

_known: dict[str, Entry] = {}


def add_environment(entry: Entry) -> None:
    """Register an id with Gymnasium, and remember what is special about it.

    It is for environments that keep the contract of this package's own: ``games`` with names, ``info["game"]``,
    snapshots. Unless its entry says ``foreign``, nothing is put around it any more; somebody else's environment needs
    no entry, ``gym.register`` is enough.
    """
    gym.register(
        entry.id,
        entry.entry_point,
        max_episode_steps=entry.max_episode_steps,
        vector_entry_point=entry.vector_entry_point,
    )
    _known[entry.id] = entry


def describe(env_id: str) -> Entry:
    """What is special about an environment; of one that is not in the catalogue, the defaults.

    Args:
        env_id: a Gymnasium id, with or without the module that registers it; "" stands for :data:`DEFAULT_ID`.
    """
    name = env_id.rpartition(":")[2] or DEFAULT_ID
    return _known.get(name) or Entry(env_id, splits=FOREIGN_SPLITS, judging_split="test", foreign=True)


def require_from_file(
    file: object, env_id: str, options: Mapping[str, Any], named: Sequence[str] = ()
) -> None:
    """Refuse an environment or an option that a file must not ask for, because it would run or read what nobody chose.

    A file chooses among the ids that are registered, those that come with Gymnasium left out, and for an id of the
    catalogue among its :attr:`Entry.from_files`. It never makes a module be imported.

    Args:
        file: which, for the error.
        env_id: as it stands there.
        options: the environment's, as they stand there.
        named: ids that the user named; those may be any, with any options.

    Raises:
        ConfigurationError: it is not to be done because of a file alone.
    """
    if not isinstance(env_id, str) or not isinstance(options, Mapping):
        raise ConfigurationError(f"{file}: {env_id!r} with {options!r} is no environment with options")
    if env_id in (plain := {one.rpartition(":")[2]: one for one in named}) or env_id in plain.values():
        return
    entry = _known.get(env_id)
    if entry is None and is_unknown(env_id):
        raise ConfigurationError(
            f"{file} is of the environment {env_id!r}, which is none of {', '.join(_known)}: a file never makes "
            "code run; if it is yours, name it with --env module:Id"
        )
    if refused := sorted(set(options) - set(entry.from_files if entry else options)):
        raise ConfigurationError(
            f"{file} gives {env_id} the option {refused[0]!r}, which a file must not: name its games yourself with "
            f"--games, or name the environment with --env {env_id}"
        )


def list_ids() -> tuple[str, ...]:
    """The ids of this package's environments."""
    return tuple(_known)


def is_unknown(env_id: str) -> bool:
    """Whether nobody has registered an id here but Gymnasium itself: only its module, which a file must not have
    imported, could say what it is."""
    made_by = getattr(gym.registry.get(env_id), "entry_point", None)
    home = str(getattr(made_by, "__module__", made_by))
    return made_by is None or home.startswith(("gymnasium.", "shimmy."))


def list_splits() -> tuple[str, ...]:
    """The splits that some environment knows."""
    splits = [split for entry in _known.values() for split in entry.splits]
    return tuple(dict.fromkeys([*splits, *FOREIGN_SPLITS]))


def list_wordings() -> tuple[str, ...]:
    """The wordings that games of some environment can be shown in."""
    return tuple(dict.fromkeys(wording for entry in _known.values() for wording in entry.wordings))


def list_demonstrated() -> tuple[str, ...]:
    """The ids of which there is a demo."""
    return tuple(entry.id for entry in _known.values() if entry.demo)


def content_hash(games: Any, indices: Sequence[int]) -> str:
    """SHA-256 of names and contents; of games made on demand, the first ones stand for all, as one recipe makes them.

    Args:
        games: the games of an environment; those that are read from files say so: ``made_on_demand = False``.
        indices: which of them.
    """
    if getattr(games, "made_on_demand", True):
        indices = indices[:HASHED]
    digest = hashlib.sha256()
    for index in indices:
        content = games.text(index) if hasattr(games, "text") else repr(games[index])
        digest.update(hashlib.sha256(content if isinstance(content, bytes) else content.encode()).digest())
        digest.update(games.names[index].encode())
    return digest.hexdigest()


def _import_attribute(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
