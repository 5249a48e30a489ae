"""What a suite can say: an experiment as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oreo_envs.catalog import DEFAULT_ID
from oreo_envs.suggestions import suggest_word

from oreo_agents.agents.selection import LOGPROB_WEIGHT, TEMPERATURE
from oreo_agents.errors import ConfigurationError
from oreo_agents.training import options as training_options
from oreo_agents.training.methods import METHODS

Options = Mapping[str, Any]
PAGE = "docs/your-suite.md"
"""Where what a suite can say is written down for those who write one."""
SCRIPTED = ("expert", "demonstrator", "random")
STARTING_CHECKPOINT = Path(__file__).parents[1] / "assets" / "start"
MODELS = {"start": str(STARTING_CHECKPOINT), "scratch": "new-small"}
"""Names of models that a suite has, and what ``oreo-agents train --model`` calls them."""


@dataclass(frozen=True, slots=True)
class GameSet:
    """Games of one environment."""

    split: str = "train"
    rooms: tuple[str, ...] = ()
    """Only games in these of ALFWorld's rooms. Rooms to judge on are left out of training."""
    limit: int | None = None
    """At most so many, drawn at random, the same ones every time."""
    first: int | None = None
    """Only the first so many: of games that are made on demand these are as good as any."""
    options: Options = field(default_factory=dict)
    """Of the environment, as for ``gym.make``; in ALFWorld ``games``, a folder or an archive, stands for the split."""


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Episodes to imitate."""

    episodes: int | None = None
    """In all; 0: nothing is imitated and the model itself is the start. None: ``per_game`` of every game."""
    per_game: int = 1
    epsilon: float = 0.0
    """Share of its turns that are replaced by slips."""
    thoughts: bool = False
    """The expert says why before each command, for a model whose prompt has a place for it."""
    generated: int = 0
    """So many more, in generated rooms. They may have the floor plans of [dev], but not those of rooms in [test.*]."""
    agent: str = "expert"
    """Who shows how to play: ``expert``, ``random``, or ``demonstrator`` in environments that have somebody with a
    costly habit."""
    data: str = ""
    """A dataset of the suite's environment, all of whose episodes are imitated instead: nobody plays then."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The imitating policy's episodes: what every offline method learns from."""

    episodes: int | None = None
    """In all; None: ``per_game`` of every game."""
    per_game: int = 1
    games: int | None = None
    """On so many of the training games, so that each comes several times; None: on all."""
    patience: int | None = None
    """An episode ends after so many useless commands in a row."""
    temperature: float = 1.0
    """Of the sampling; above 1 the policy explores."""


@dataclass(frozen=True, slots=True)
class Search:
    """How candidates are sampled and chosen."""

    ks: tuple[int, ...] = (1, 3, 5, 8)
    """Candidates a decision; 1 is the policy alone."""
    selects: tuple[str, ...] = ("best_of_k",)
    """Ways to choose among them, as :class:`oreo_agents.OreoAgent` has them."""
    temperature: float = TEMPERATURE
    logprob_weight: float = LOGPROB_WEIGHT
    methods: tuple[str, ...] | None = None
    """None: all that have a critic of their own or are lent one."""
    critic_from: str | None = None
    """The method whose critic chooses for policies that have none."""
    constrained: bool = False
    """Also judge every policy by the likeliest of the admissible commands, nothing generated; what
    ``constrained_best_of_k`` is compared with."""
    sample: bool = False
    """Also judge every policy by one sample a turn, at temperature 1."""
    no_repeat: tuple[str, ...] = ()
    """Ways to choose that are also judged without repeating what has failed: ``greedy``, which is a control without a
    critic (the likeliest of k candidates that has not failed), ``sample`` or some of ``selects``."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table."""

    name: str
    method: str
    """``expert``, ``demonstrator``, ``random``, ``sft`` (the start), ``sft-continued``, ``iterate`` or one of
    ``oreo-agents train``."""
    options: Options = field(default_factory=dict)
    """Of :class:`oreo_agents.OreoConfig`, beyond ``[training]``."""
    of: str = ""
    """What ``iterate`` repeats: a method of this suite."""
    rounds: int = 3
    """Of ``iterate``; the first is the method itself."""
    keep_data: bool = False
    """Of ``iterate``: a round learns from the rollouts of all rounds so far, not from the newest alone."""
    temperature: float | None = None
    """Of ``iterate``: at which its later rounds are played; None: that of the rollouts, from which the first learns."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Trials of options, trained with one seed and judged on the dev games; the best is used for all seeds."""

    trials: Mapping[str, tuple[Options, ...]] = field(default_factory=dict)
    """As many for every method."""
    rollouts: int | None = None
    """A trial is trained on so many episodes; None: on all."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """An experiment: games, a starting model, amounts, methods, and how they are judged."""

    name: str
    methods: Mapping[str, Method]
    tests: Mapping[str, GameSet]
    train: GameSet = field(default_factory=GameSet)
    dev: GameSet | None = None
    """For choosing settings, never for a result."""
    summary: str = ""
    environment: str = DEFAULT_ID
    model: str = "start"
    """``start`` (the shipped language model), ``scratch``, ``new-tiny``, ``new-mini`` (new decoders), ``small`` (the
    shipped agent), a path or a Hub name."""
    prompt: str | Options = ""
    """What every policy is told and how it answers: a name, a file or a table; empty: the model's own, else none."""
    seeds: tuple[int, ...] = (0, 1, 2)
    step_limits: tuple[int, ...] = (50, 40)
    """Of an episode; it is played to the largest, and what was won later than a smaller one is not won there."""
    max_new_tokens: int | None = None
    """A reply is cut after so many; None: after as many as the prompt says, else the environment."""
    slots: int = 100
    """Episodes at once."""
    dtype: str = ""
    """In which a policy plays and is judged, ``float32`` or ``bfloat16``. Empty: judged in float32, in which a game
    does not depend on those beside it, and rollouts on a GPU in bfloat16."""
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    sft: Options = field(default_factory=dict)
    """Options of the imitation."""
    rollouts: Rollouts = field(default_factory=Rollouts)
    training: Options = field(default_factory=dict)
    """Options of every method after it."""
    search: Search = field(default_factory=Search)
    sweep: Sweep = field(default_factory=Sweep)

    @property
    def max_steps(self) -> int:
        """The largest step limit; recording and rollouts keep it, too."""
        return max(self.step_limits)

    def left_out(self) -> tuple[str, ...]:
        """The rooms of the training split that nobody learns in."""
        judged = [*self.tests.values(), *([self.dev] if self.dev else [])]
        return tuple(sorted({room for one in judged if one.split == self.train.split for room in one.rooms}))

    def options_of(self, method: Method) -> Options:
        """What a method is trained with; those of ``[training]`` that it makes no use of are left out."""
        unused = find_unused_options(method.method)
        shared = {key: value for key, value in self.training.items() if key not in unused}
        return {**shared, **method.options}


def has_critic(method: Method) -> bool:
    """Whether training it makes a critic."""
    return method.method in METHODS and METHODS[method.method].critic


def find_unused_options(method: str) -> frozenset[str]:
    """Options that change nothing where a method of that kind is trained."""
    trained = "sft" if method == "sft-continued" else method
    return training_options.unused_options(trained) if trained in METHODS else frozenset()


def is_trained(method: Method) -> bool:
    """Whether it has options to be trained with."""
    return method.method not in (*SCRIPTED, "sft", "iterate")


def require_known(name: str, known: Any, complaint: str) -> None:
    """Complain about a name that is not among the known ones.

    Raises:
        ConfigurationError: with the complaint, the name, what it may have meant and what there is.
    """
    if name not in known:
        meant = suggest_word(name, known)
        raise ConfigurationError(f"{complaint} {name!r}{meant}; choose one of {', '.join(sorted(known))}")
