"""The options of training, each once: a field here is in OreoConfig, on the command line, in suites and on the card.

Without torch or transformers, so that a mistyped option is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_args, get_type_hints

from oreo_agents.errors import ConfigurationError
from oreo_agents.good import RULES, is_rule
from oreo_agents.training.methods import METHODS

T = TypeVar("T")

LENGTH = "length and rates"
OBJECTIVE = "the objective"
CRITIC = "the critic, for methods that have one"
BATCHES = "batches, memory and logging"
GROUPS = (LENGTH, OBJECTIVE, CRITIC, BATCHES)
"""As ``oreo-agents train --help`` shows them."""

Need = Literal[
    "reference",
    "tempered",
    "regularised",
    "critic",
    "soft",
    "judges_actions",
    "implicit",
    "observes",
    "imitates",
    "measures",
    "prefers",
    "soft_mean",
]
"""Properties of :class:`oreo_agents.training.methods.Objective`."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that an option may be."""

    words: str
    fits: Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Spelling:
    """The texts that an option may be."""

    words: str
    fits: Callable[[str], bool]


def _fits_range(within: Range | Spelling, value: Any) -> bool:
    if isinstance(within, Spelling):
        return isinstance(value, str) and within.fits(value)
    return isinstance(value, int | float) and within.fits(value)


ABOVE_0 = Range("above 0", lambda x: x > 0)
NONNEGATIVE = Range("0 or more", lambda x: x >= 0)
SHARE = Range("between 0 and 1", lambda x: 0 <= x <= 1)


@dataclass(frozen=True, slots=True)
class Option:
    """What there is to know of an option beside its name, type and default."""

    help: str
    group: str | None = None
    """One of :data:`GROUPS`; None: the command line does not have it from here."""
    within: Range | Spelling | None = None
    choices: Collection[str] = ()
    needs: Need | None = None
    """What a method must have to make use of it."""
    unit: str = ""
    source: str = ""
    """The equation or paper that has it; of arXiv 2412.16145 (OREO) where no other is named."""
    usual: str = ""
    """What its default comes to, where the value does not say that."""
    alias: str = ""
    """What the command line calls it; suites know both names."""
    either: str = ""
    """Options with the same word here exclude each other on the command line."""
    card: bool = False
    """The model card tells it."""
    name: str = ""
    kind: type = str
    default: Any = None
    """These three are the field's; :func:`table_of` fills them in."""

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + (self.alias or self.name).replace("_", "-")

    def check(self, value: Any) -> None:
        """Refuse what it cannot be; None is as good as not given.

        Raises:
            ConfigurationError: with the name, the value and what there is to choose from.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise ConfigurationError(
                f"unknown {self.name} {value!r}; choose one of {', '.join(self.choices)}"
            )
        if self.within is None:
            return
        number = isinstance(self.within, Range)
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigurationError(f"{self.name} is {value!r}, it must be a number, {self.within.words}")
        if not _fits_range(self.within, value):
            raise ConfigurationError(
                f"{self.name} is {value if number else repr(value)}, it must be {self.within.words}"
            )


@dataclass_transform()
def describe_options(cls: type[T]) -> type[T]:
    """A dataclass whose fields are annotated with an :class:`Option`; from that they have their help."""
    hints = get_type_hints(cls, include_extras=True)
    for name in cls.__annotations__:
        (option,), default = hints[name].__metadata__, getattr(cls, name)
        text = f"{option.help[0].upper()}{option.help[1:]}."
        if default is None and option.usual:
            text = f"{text} None: {option.usual}."
        setattr(cls, name, field(default=default, metadata={"help": text}))
    return dataclass(cls)


def table_of(cls: type) -> dict[str, Option]:
    """The options of a class made by :func:`describe_options`, by name."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        one.name: replace(
            hints[one.name].__metadata__[0],
            name=one.name,
            kind=_find_kind(hints[one.name]),
            default=one.default,
        )
        for one in fields(cls)
    }


def _find_kind(hint: Any) -> type:
    """``float`` of ``Annotated[float | None, ...]``."""
    (inner, *_) = get_args(hint)
    return next((kind for kind in get_args(inner) if kind is not NoneType), inner)


@describe_options
class OreoOptions:
    """Options of :class:`oreo_agents.OreoTrainer` that are not, or not so, transformers' own."""

    method: Annotated[str, Option(f"one of {', '.join(METHODS)}", choices=METHODS)] = "oreo"
    prompt: Annotated[
        str,
        Option(
            "name or TOML file of what the agent is told and how it answers",
            LENGTH,
            usual="the model's own",
        ),
    ] = None  # type: ignore[assignment]
    good: Annotated[
        str | None,
        Option(
            "which episodes are good: won ones (success), those of a return from X on (X), or the best share by return "
            "(25%); rejection keeps these, dpo and kto prefer them, topr imitates them and unlearns all others, and "
            "sft then imitates them alone",
            OBJECTIVE,
            Spelling(RULES, is_rule),
            needs="prefers",
            usual="success where it is defined, else 25%; sft imitates all",
        ),
    ] = None
    return_low: Annotated[
        float | None,
        Option(
            "the return that V reads as 0",
            CRITIC,
            needs="measures",
            unit="reward",
            usual="0 beside return_high; else that of the critic it starts from, else the lowest return to go of the "
            "episodes where some lie outside 0 to 1",
        ),
    ] = None
    return_high: Annotated[
        float | None,
        Option(
            "the return that V reads as 1",
            CRITIC,
            needs="measures",
            unit="reward",
            usual="1 beside return_low, else likewise the highest",
        ),
    ] = None
    discount: Annotated[
        float | None,
        Option(
            "what a reward counts for each turn before it; it is the rewards' alone, not the log-ratios'",
            CRITIC,
            SHARE,
            needs="measures",
            unit="a turn",
            usual="that of the critic it starts from, else 1",
        ),
    ] = None
    thought_weight: Annotated[
        float,
        Option(
            "what a token of a thought counts in imitation, beside 1 for those that name the action",
            OBJECTIVE,
            NONNEGATIVE,
            needs="imitates",
        ),
    ] = 1.0
    beta: Annotated[
        float,
        Option(
            "weight of the log-ratio in the soft return (Eq. 3)",
            OBJECTIVE,
            ABOVE_0,
            needs="tempered",
            usual="the method's",
            card=True,
            unit="reward per nat",
        ),
    ] = None  # type: ignore[assignment]
    value_beta: Annotated[
        float,
        Option(
            "OAPL: temperature of V, the soft mean of the returns of a game; near 0 their maximum, large their mean",
            OBJECTIVE,
            ABOVE_0,
            needs="soft_mean",
            card=True,
            unit="reward",
            source="arXiv 2602.19362, beta_1",
        ),
    ] = 1.0
    alpha: Annotated[
        float,
        Option(
            "weight of the KL to the start (L_reg)",
            OBJECTIVE,
            NONNEGATIVE,
            needs="regularised",
            usual="the method's",
            card=True,
            unit="per nat",
            source="Eq. 9",
        ),
    ] = None  # type: ignore[assignment]
    regularizer: Annotated[
        str,
        Option(
            "L_reg: full-vocabulary reverse or forward KL, or sampled at the data's tokens",
            OBJECTIVE,
            choices=("reverse", "forward", "sampled"),
            needs="regularised",
            card=True,
            source="Eq. 9",
        ),
    ] = "reverse"
    kl_target: Annotated[
        float | None,
        Option(
            "adapt alpha until the KL of a token is this many nats",
            OBJECTIVE,
            ABOVE_0,
            needs="regularised",
            unit="nats a token",
            source="arXiv 1909.08593, Sec. 2.2",
        ),
    ] = None
    critic: Annotated[
        str | None,
        Option(
            "a network of its own (separate), a value head on the policy's trunk (shared), or a second LoRA adapter "
            "beside the policy's (lora)",
            CRITIC,
            choices=("separate", "shared", "lora"),
            needs="critic",
            usual="as the given critic is, a new one separate",
            card=True,
        ),
    ] = None
    after_action: Annotated[
        str,
        Option(
            "what V after an action learns: the soft outcome, or V of the environment's answer",
            CRITIC,
            choices=("outcome", "answer"),
            needs="judges_actions",
            card=True,
            source="Eq. 8",
        ),
    ] = "outcome"
    observation_weight: Annotated[
        float,
        Option(
            "weight of predicting observations, too: by the policy in imitation, by the critic's trunk in methods "
            "with a value function",
            OBJECTIVE,
            NONNEGATIVE,
            needs="observes",
            card=True,
            unit="share of an action token",
        ),
    ] = 0.0
    importance_weights: Annotated[
        bool,
        Option(
            "weigh an episode by exp(min(1, its log-ratio))",
            OBJECTIVE,
            needs="soft",
        ),
    ] = False
    log_ratio_clip: Annotated[
        float | None,
        Option(
            "bound on the summed log-ratio in the critic's target",
            CRITIC,
            needs="soft",
            unit="nats",
            source="Eq. 8",
        ),
    ] = None
    expectile: Annotated[
        float,
        Option(
            "IQL: of Q that V regresses on", CRITIC, SHARE, needs="implicit", source="arXiv 2110.06169, Eq. 5"
        ),
    ] = 0.7
    value_weight: Annotated[
        float,
        Option(
            "weight of the value loss; it matters where the trunk is shared",
            CRITIC,
            NONNEGATIVE,
            needs="critic",
            source="Eq. 8",
        ),
    ] = 1.0
    target_decay: Annotated[
        float | None,
        Option(
            "policy losses and targets read an average of past critics (EMA)",
            CRITIC,
            SHARE,
            needs="critic",
            unit="share kept a step",
        ),
    ] = None
    max_steps: Annotated[int, Option("optimizer steps", LENGTH, ABOVE_0, alias="steps", either="length")] = -1
    num_train_epochs: Annotated[
        float, Option("passes over the episodes", LENGTH, ABOVE_0, alias="epochs", either="length")
    ] = 1.0
    per_device_train_batch_size: Annotated[
        int, Option("episodes per step and device", LENGTH, ABOVE_0, alias="batch_size")
    ] = 32
    learning_rate: Annotated[
        float,
        Option(
            "peak rate of the policy",
            LENGTH,
            NONNEGATIVE,
            usual="5e-06, for a new decoder by the method",
            card=True,
        ),
    ] = 5e-6
    critic_learning_rate: Annotated[
        float | None,
        Option(
            "peak rate of the critic",
            CRITIC,
            NONNEGATIVE,
            needs="critic",
            usual="the policy's",
            card=True,
        ),
    ] = None
    critic_warmup: Annotated[
        float,
        Option(
            "share of the steps that train the critic alone",
            CRITIC,
            SHARE,
            needs="critic",
            unit="share of the steps",
        ),
    ] = 0.0
    warmup_steps: Annotated[
        float, Option("steps, or share of the steps below 1, in which the rate rises", LENGTH, NONNEGATIVE)
    ] = 0.03
    lr_scheduler_type: Annotated[str, Option("schedule after the warm-up")] = "cosine"
    adam_beta2: Annotated[float, Option("the paper's")] = 0.95
    muon: Annotated[
        bool,
        Option(
            "Muon for the weight matrices, AdamW for the rest: for training from scratch",
            LENGTH,
            usual="for a new decoder",
        ),
    ] = False
    seed: Annotated[int, Option("of everything random", card=True)] = 0
    layout: Annotated[
        str,
        Option(
            "episodes padded right or left, or packed without padding",
            BATCHES,
            choices=("right", "left", "packed"),
        ),
    ] = "right"
    micro_batch_tokens: Annotated[
        int,
        Option(
            "padded tokens in one forward pass",
            BATCHES,
            ABOVE_0,
            usual="16384, without a GPU 2048",
            alias="batch_tokens",
            unit="tokens",
        ),
    ] = None  # type: ignore[assignment]
    head_chunk: Annotated[
        int, Option("action positions projected to logits at once", BATCHES, ABOVE_0, unit="tokens")
    ] = 1024
    cache_reference: Annotated[
        bool,
        Option(
            "keep the reference's states in memory for later passes over the data",
            BATCHES,
            needs="reference",
        ),
    ] = False
    max_return: Annotated[
        float,
        Option(
            "rewards to go beyond this are an error where the method learns from returns, in the unit of the values, "
            "0 to 1 for what lies between return_low and return_high: beta is made for the size of 1",
            BATCHES,
            ABOVE_0,
            unit="reward",
        ),
    ] = 10.0
    max_length: Annotated[
        int, Option("longer episodes are an error, never cut", BATCHES, ABOVE_0, unit="tokens")
    ] = 4096
    save_dtype: Annotated[
        str,
        Option(
            "precision of the agent that is written; bfloat16 takes half the space and drops updates smaller than a "
            "256th of a weight, most of them at rates for pretrained models",
            BATCHES,
            choices=("float32", "bfloat16"),
            card=True,
        ),
    ] = "float32"
    logging_steps: Annotated[float, Option("steps between log lines", BATCHES, ABOVE_0)] = 10
    save_strategy: Annotated[str, Option("when to write resumable checkpoints")] = "no"
    report_to: Annotated[
        str, Option("where to log, too: trackio, tensorboard, wandb or another that transformers knows")
    ] = "none"
    remove_unused_columns: Annotated[bool, Option("episodes are not columns")] = False


OPTIONS = table_of(OreoOptions)
ALIASES = {option.alias: name for name, option in OPTIONS.items() if option.alias}


def known_as(names: Mapping[str, T]) -> dict[str, T]:
    """The same with every option under the name of its field."""
    return {ALIASES.get(name, name): value for name, value in names.items()}


def describe_fields() -> str:
    """Every option as a docstring has it: type, unit, range, default by method, equation."""
    return "\n".join(f"    {name}: {describe_field(option)}" for name, option in OPTIONS.items())


def describe_field(option: Option) -> str:
    """One sentence on an option: what it is, in which unit and range, its default, and which methods use it."""
    what = f"{option.help}{f' ({option.source})' if option.source else ''}"
    kind = " | ".join(option.choices) if option.choices and option.name != "method" else option.kind.__name__
    parts = [f"``{kind}``", option.unit, option.within.words if option.within else ""]
    default = option.usual or str(option.default)
    if option.name in ("alpha", "beta"):
        used = [name for name in METHODS if option.name not in unused_options(name)]
        default = _group_defaults({name: getattr(METHODS[name], option.name) for name in used})
    unused = [name for name in METHODS if option.name in unused_options(name)]
    without = f" Not for {', '.join(unused)}." if unused else ""
    return f"{', '.join(filter(None, parts))}: {what}. Default: {default}.{without}"


def _group_defaults(values: Mapping[str, float]) -> str:
    groups: dict[float, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return ", ".join(f"{value:g} for {', '.join(names)}" for value, names in groups.items())


def refuse_unused(method: str, given: Mapping[str, Any], call: Callable[[Option], str] | None = None) -> None:
    """Raise ConfigurationError if an option was given that changes nothing in a method, and not as it is anyhow.

    Args:
        method: a key of :data:`oreo_agents.training.methods.METHODS`.
        given: values by the names of fields.
        call: what an option is called; None: by its field.
    """
    usual = {"beta": METHODS[method].beta, "alpha": METHODS[method].alpha}
    idle = sorted(
        call(OPTIONS[name]) if call else name
        for name in unused_options(method) & given.keys()
        if given[name] not in (None, OPTIONS[name].default, usual.get(name))
    )
    if idle:
        raise ConfigurationError(f"{method} makes no use of {', '.join(idle)}: leave it out")


def unused_options(method: str, table: Mapping[str, Option] = OPTIONS) -> frozenset[str]:
    """Options that change nothing in a method."""
    objective = METHODS[method]
    return frozenset(
        name for name, option in table.items() if option.needs and not getattr(objective, option.needs)
    )
