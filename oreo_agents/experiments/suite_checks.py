"""That a suite makes sense: every refusal names the place and the remedy."""

from __future__ import annotations

from oreo_envs.catalog import describe

from oreo_agents.agents.scripted import has_thoughts
from oreo_agents.agents.selection import RULES, SEARCHES
from oreo_agents.environments import source_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.suite import (
    PAGE,
    SCRIPTED,
    Demonstrations,
    Options,
    Suite,
    find_unused_options,
    has_critic,
    is_trained,
    require_known,
)
from oreo_agents.language.prompt import as_prompt
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import OPTIONS, known_as

LEARNING = frozenset(
    [
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "bf16",
        "data_seed",
        "dataloader_num_workers",
        "fp16",
        "full_determinism",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "learning_rate",
        "logging_steps",
        "lr_scheduler_type",
        "max_grad_norm",
        "max_steps",
        "num_train_epochs",
        "optim",
        "per_device_train_batch_size",
        "seed",
        "tf32",
        "use_cpu",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    ]
)
"""Of transformers' options, those that a suite may set: they say how is learnt. Those that send, load, compile or write
something are for who starts the run."""


def check_suite(suite: Suite) -> None:
    """Raise ConfigurationError for anything that cannot be, or would be no honest test."""
    _check_games(suite)
    _check_amounts(suite)
    _check_methods(suite)
    _check_search(suite)
    _check_sweep(suite)


def _check_games(suite: Suite) -> None:
    entry = describe(suite.environment)
    if not suite.tests:
        raise ConfigurationError(
            f"suite {suite.name} judges nowhere: add a table [test.NAME]; {PAGE} has a whole suite"
        )
    judged = {f"[test.{name}]": games for name, games in suite.tests.items()}
    if suite.dev:
        judged["[dev]"] = suite.dev
    for where, games in {"[train]": suite.train, **judged}.items():
        if games.split == "valid_train":
            raise ConfigurationError(
                f"{where}: valid_train is a part of the training games, and winning them says nothing: "
                "use valid_seen, valid_unseen, or rooms left out of train"
            )
        if not entry.foreign:
            require_known(games.split, entry.splits, f"{where}: there is no split")
        try:
            source_options(suite.environment, wording=games.options.get("wording"))
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
    for where, games in judged.items():
        if games.split == suite.train.split and not games.rooms:
            raise ConfigurationError(
                f"{where}: the games of {games.split} are trained on; use another split, or name the rooms "
                "that are to be left out of training"
            )
    if suite.dev and (suite.dev.split not in entry.endless or suite.dev.first):
        for name, games in suite.tests.items():
            if games.split == suite.dev.split and not (games.rooms and suite.dev.rooms):
                raise ConfigurationError(
                    f"[dev] and [test.{name}] are both of {games.split}: settings would be chosen on games that "
                    "judge them; use another split, or name rooms in both"
                )
    named = [(where, games.split, room) for where, games in judged.items() for room in games.rooms]
    both = {
        room for where, split, room in named for w, s, r in named if (s, r) == (split, room) and w != where
    }
    if suite.dev and both & set(suite.dev.rooms):
        raise ConfigurationError(
            f"rooms {', '.join(sorted(both))} are in [dev] and in a test: settings chosen there"
        )


def _check_amounts(suite: Suite) -> None:
    numbers = [*suite.step_limits, *suite.search.ks, suite.slots]
    numbers += [] if suite.max_new_tokens is None else [suite.max_new_tokens]
    if not (suite.seeds and suite.step_limits and suite.search.ks) or min(numbers) < 1:
        raise ConfigurationError(
            f"suite {suite.name}: seeds, step_limits and ks must not be empty, and ks, limits, slots and "
            "max_new_tokens are at least 1"
        )
    if suite.prompt:
        as_prompt(suite.prompt)
    if suite.dtype:
        require_known(suite.dtype, ("float32", "bfloat16"), f"suite {suite.name}: there is no dtype")
    for name in ("seeds", "step_limits"):
        if len(set(given := getattr(suite, name))) < len(given):
            raise ConfigurationError(
                f"suite {suite.name}: {name} {list(given)} would count the same runs twice"
            )
    if suite.train.first and describe(suite.environment).games_argument != "games":
        raise ConfigurationError(
            "[train] first: some of the games can be chosen in ALFWorld only; give episodes instead"
        )
    if (shown := suite.demonstrations).data and shown != Demonstrations(data=shown.data):
        raise ConfigurationError(
            "[demonstrations] data: all of these episodes are imitated, and nobody plays others: leave the other keys "
            "out"
        )
    try:
        require_known(shown.agent, SCRIPTED, "[demonstrations] agent: there is nobody called")
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}; to imitate others, record their episodes and give data = PATH"
        ) from error
    if shown.agent == "demonstrator" and not describe(suite.environment).demonstrates:
        raise ConfigurationError(
            f"[demonstrations] agent: {suite.environment} has no demonstrator; take expert"
        )
    if shown.thoughts and not has_thoughts(shown.agent, suite.environment):
        raise ConfigurationError(
            f"[demonstrations] thoughts: {shown.agent} in {suite.environment} has none; leave it out"
        )
    if shown.generated:
        _check_generated(suite)
    _check_options("[sft]", suite.sft, "sft")
    _check_options("[training]", suite.training)


def _check_generated(suite: Suite) -> None:
    entry = describe(suite.environment)
    if "generated" not in entry.splits or suite.demonstrations.episodes == 0:
        raise ConfigurationError(
            "[demonstrations] generated: these come besides the expert's episodes in ALFWorld's training games; "
            "leave it out, or let episodes be above 0"
        )
    apart = entry.games.rooms_outside("generated")
    for name, games in suite.tests.items():
        if shared := set(games.rooms) - apart:
            raise ConfigurationError(
                f"[test.{name}]: games are generated in the floor plans of rooms {', '.join(sorted(shared))}, too: "
                f"choose among {', '.join(sorted(apart, key=int))}, or leave [demonstrations] generated out"
            )


def _check_options(where: str, options: Options, method: str = "") -> None:
    """That they exist and can be so, and that the method they are given to makes use of them."""
    for name, value in known_as(options).items():
        if name == "lora":
            if type(value) is not int or value < 1:
                raise ConfigurationError(
                    f"{where}: lora = {value!r} must be a rank, a whole number from 1 on"
                )
            continue
        if name == "prompt":
            raise ConfigurationError(
                f"{where}: every policy of a suite has the same prompt, from the start on: give prompt at the "
                "top of the file"
            )
        if name not in OPTIONS:
            require_known(name, LEARNING, f"{where}: OreoConfig has no option")
            continue
        try:
            OPTIONS[name].check(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
    if idle := sorted(find_unused_options(method) & options.keys()):
        raise ConfigurationError(f"{where}: {method} makes no use of {', '.join(idle)}; leave it out")


def _check_methods(suite: Suite) -> None:
    for name, method in suite.methods.items():
        where = f"[methods.{name}]"
        require_known(
            method.method, {*METHODS, *SCRIPTED, "sft-continued", "iterate"}, f"{where}: there is no method"
        )
        _check_options(where, method.options, method.method)
        if method.method == "sft-continued" and suite.demonstrations.episodes == 0:
            raise ConfigurationError(f"{where}: there are no demonstrations to continue on; leave it out")
        if not is_trained(method) and method.options:
            raise ConfigurationError(
                f"{where}: {method.method} takes no options, but {', '.join(method.options)}"
            )
        if method.method == "iterate":
            require_known(method.of, suite.methods, f"{where}: of names no method of the suite:")
            if not is_trained(suite.methods[method.of]) or suite.methods[method.of].method == "sft-continued":
                raise ConfigurationError(
                    f"{where}: {method.of} cannot be repeated; name a method that is trained"
                )
            if method.temperature is not None and not method.temperature > 0:
                raise ConfigurationError(f"{where}: temperature is {method.temperature}, it must be above 0")
        elif method.of or method.keep_data or method.temperature is not None:
            raise ConfigurationError(f'{where}: of, keep_data and temperature belong to method = "iterate"')


def _check_search(suite: Suite) -> None:
    search = suite.search
    for name in search.methods or ():
        require_known(name, suite.methods, "[search] methods: the suite has no method")
    for select in search.selects:
        require_known(select, SEARCHES, "[search] selects: there is no search")
    for select in search.no_repeat:
        require_known(
            select,
            {"greedy", "sample", *search.selects} - {*RULES},
            "[search] no_repeat: the suite does not choose by",
        )
    if search.no_repeat and max(search.ks) == 1:
        raise ConfigurationError(
            "[search] no_repeat: with ks = [1] there is no other command to take; add a number above 1"
        )
    if search.critic_from is not None:
        require_known(search.critic_from, suite.methods, "[search] critic_from: the suite has no method")
        lender = suite.methods[search.critic_from]
        if not has_critic(lender) or suite.options_of(lender).get("critic") == "shared":
            raise ConfigurationError(f"[search] critic_from: {lender.name} has no critic of its own to lend")


def _check_sweep(suite: Suite) -> None:
    trials = suite.sweep.trials
    for name, given in trials.items():
        require_known(name, suite.methods, "[sweep.trials]: the suite has no method")
        if not is_trained(suite.methods[name]):
            raise ConfigurationError(f"[sweep.trials]: {name} is not trained")
        for trial in given:
            _check_options(f"[sweep.trials] {name}", trial, suite.methods[name].method)
    if trials and len({len(given) for given in trials.values()}) > 1:
        counts = ", ".join(f"{name} {len(given)}" for name, given in trials.items())
        raise ConfigurationError(f"[sweep.trials]: every method gets as many trials ({counts})")
    if trials and not suite.dev:
        raise ConfigurationError("[sweep] needs [dev]: games that are neither trained nor judged on")
