"""Collect, train, evaluate, repeat: each round plays with the newest policy and learns from what it saw.

The paper's multi-iteration framework (Sec. 4.3): "after each iteration, a new dataset is collected using the updated
policy". Here the reference of a round is the policy that collected its data, and policy and critic go on from the
round before. It is a suite with one iterated method, whose start is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from oreo_envs.catalog import describe
from oreo_envs.files import lock_folder, read_json, write_json

from oreo_agents.agents.load import choose_reply_length
from oreo_agents.environments import find_step_limit
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.comparison import Run
from oreo_agents.evaluation.results import Result
from oreo_agents.experiments.arenas import Arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.stages import Event, Report, Stage
from oreo_agents.experiments.steps import SILENT, Views
from oreo_agents.experiments.suite import Demonstrations, GameSet, Method, Rollouts, Search, Suite
from oreo_agents.experiments.suite_checks import check_suite
from oreo_agents.experiments.verdicts import read_runs
from oreo_agents.inference.server import Server
from oreo_agents.language.prompt import as_prompt
from oreo_agents.models.model_files import count_parameters
from oreo_agents.models.start import FROM_SCRATCH, SMALL
from oreo_agents.training.ingredients import list_changes
from oreo_agents.training.options import OPTIONS, known_as, refuse_unused

JUDGED, ROLLOUTS = 100, 500
"""Episodes that judge, and those of a round, in an environment that no suite knows."""

START, ITERATED = "start", "iterated"

NAMES = {
    "environment": "env",
    f"methods.{ITERATED}.of": "method",
    f"methods.{ITERATED}.keep_data": "keep_data",
    "rollouts.episodes": "rollouts",
    "rollouts.temperature": "temperature",
    "train.1.wording": "wording",
    "train.1.success_return": "success_return",
    "step_limits.0": "max_steps of an episode",
    "seeds.0": "seed",
}
"""What the settings of a run are called where they are options of ``oreo-agents iterate``."""


def iterate_suite(
    suite: Suite,
    model: str | Path,
    method: str = "oreo",
    iterations: int = 3,
    *,
    keep_data: bool = False,
    rollouts: int | None = None,
    temperature: float | None = None,
    max_steps: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Suite:
    """The games and amounts of a suite for rounds of one method from a policy that is there.

    Args:
        suite: games and rollouts; for a decoder of up to :data:`oreo_agents.models.start.SMALL` parameters also passes
            and rates. A larger model is trained as ``oreo-agents train`` does it.
        model: the policy to start from: an agent's folder, a Hugging Face causal LM, or ``small``, the shipped agent.
        method: what is repeated.
        iterations: how often.
        keep_data: train on the episodes of all rounds so far, not of the newest alone.
        rollouts: episodes a round; default: the suite's.
        temperature: at which the rounds are played; default: the suite's.
        max_steps: of an episode; default: the suite's.
        options: fields of :class:`oreo_agents.OreoConfig` for every round.

    Raises:
        CheckpointError: there is no causal LM at ``model``.
        ConfigurationError: the method cannot be repeated, or makes no use of an option.
    """
    given = known_as(dict(options or {}))
    OPTIONS["method"].check(method)
    refuse_unused(method, given, lambda option: option.flag)
    amount = suite.rollouts
    if rollouts:
        amount = replace(amount, episodes=rollouts)
    if temperature is not None:
        amount = replace(amount, temperature=temperature)
    prompt = given.pop("prompt", None)
    made = replace(
        _suit_model(suite, model, prompt),
        name="iterate",
        prompt=as_prompt(prompt).to_dict() if prompt else "",
        model=str(model),
        demonstrations=Demonstrations(episodes=0),
        methods={
            START: Method(START, "sft"),
            method: Method(method, method),
            ITERATED: Method(ITERATED, "iterate", of=method, rounds=iterations, keep_data=keep_data),
        },
        search=Search(
            ks=(1,), temperature=suite.search.temperature, logprob_weight=suite.search.logprob_weight
        ),
        step_limits=(max_steps,) if max_steps else suite.step_limits,
        rollouts=amount,
    )
    if given:
        made = replace(made, training=_lay_over(known_as(made.training), given))
    check_suite(made)
    return made


def _suit_model(suite: Suite, model: str | Path, prompt: Any) -> Suite:
    """What the suite says of training and replies is for decoders of its size; others have ``train``'s defaults."""
    from oreo_agents.models.agent_card import choose_prompt, require_model

    if str(model) in FROM_SCRATCH:
        raise ConfigurationError(
            f"rounds go on from a policy that is there, and {model} is a new one: make it with oreo-agents train "
            f"--method sft --model {model}"
        )
    require_model(model)
    told, parameters = choose_prompt(str(model), prompt), count_parameters(model)
    if parameters is not None and parameters <= SMALL:
        return replace(suite, max_new_tokens=told.reply_tokens or suite.max_new_tokens)
    return replace(suite, training={}, max_new_tokens=choose_reply_length(told, suite.environment))


def _lay_over(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given counts, and takes the place of what it excludes (steps and epochs)."""
    excluded = {OPTIONS[name].either for name in given if name in OPTIONS} - {""}
    kept = {
        name: x for name, x in usual.items() if name not in OPTIONS or OPTIONS[name].either not in excluded
    }
    return {**kept, **given}


def adapt_suite(suite: Suite, env_id: str, source: str | None = None) -> Suite:
    """The rates of a suite for another environment, whose ``train`` episodes are learnt from and whose ``test`` judge.

    Args:
        suite: of whatever environment.
        env_id: an environment without a demo, such as one of somebody else's, ``module:Id``.
        source: where its games are, or which.

    Raises:
        ConfigurationError: there is no such environment.
    """
    entry = describe(env_id)
    options = {} if source is None else {entry.games_argument: source}
    return replace(
        suite,
        environment=env_id,
        train=GameSet("train", options=options),
        dev=None,
        tests={"test": GameSet("test", limit=JUDGED, options=options)},
        step_limits=(find_step_limit(env_id),),
        max_new_tokens=entry.max_new_tokens,
        rollouts=Rollouts(episodes=ROLLOUTS),
    )


def plan_rounds(suite: Suite, arenas: Arenas, views: Views = SILENT, server: Server | None = None) -> Plan:
    """The plan of such a suite: the start and every round are judged; a server that has the start plays it."""
    return Plan(suite, arenas, (START, ITERATED), views, server)


def number_runs(plan: Plan, output: Path) -> list[Run]:
    """A run for the start and for every round that has been judged, named after them."""
    iterated = plan.suite.methods[ITERATED]
    runs = []
    for run in read_runs(plan.verdicts, output):
        of = run.setting
        i = 0 if of.policy == START else of.round or iterated.rounds
        result = replace(run.result, method=f"{iterated.of} {i}" if i else START)
        runs.append(replace(run, setting=replace(of, round=i), result=result))
    return runs


def explain_sameness(runs: Sequence[Run]) -> str | None:
    """That no round tells itself from the start, where the score of each and of the start lie in both intervals."""
    start, *rounds = (run.result for run in runs)
    if not rounds or not all(_lies_within(one, start) and _lies_within(start, one) for one in rounds):
        return None
    return (
        f"no iteration differs from the start by more than chance in {start.n} games: more --rollouts and --steps "
        "change more, more --episodes tell smaller differences"
    )


def _lies_within(one: Result, other: Result) -> bool:
    low, high = other.interval95
    return low <= one.score <= high


def write_rounds(plan: Plan, output: Path, report: Report) -> Report:
    """The report, and ``results.json`` is written anew as soon as a round has been judged."""
    judged = {verdict.stage.name for verdict in plan.verdicts}

    def write(stage: Stage, event: Event, seconds: float) -> None:
        report(stage, event, seconds)
        if stage.name in judged and event in ("done", "reused"):
            runs = number_runs(plan, output)
            write_json(
                output / "results.json", [{**run.to_json(), "arena": run.setting.test} for run in runs]
            )

    return write


def claim_folder(output: Path, plan: Plan) -> None:
    """Rounds build on each other, so a folder belongs to one loop; only the number of rounds may grow.

    Raises:
        ConfigurationError: ``output`` holds a run with other settings, or another run is at work there.
    """
    suite, arenas = plan.suite, plan.arenas
    methods = {**suite.methods, ITERATED: replace(suite.methods[ITERATED], rounds=0)}
    plain = replace(suite, summary="", model=plan.identity, methods=methods, train=GameSet(), tests={})
    tests = {name: arena.made_from for name, arena in arenas.tests.items()}
    settings = {**asdict(plain), "train": arenas.train.made_from, "tests": tests}
    settings = _spell_training(json.loads(json.dumps(settings, default=str)))
    path = output / "settings.json"
    with lock_folder(output):
        if path.is_file() and (before := _read_settings(path)) != settings:
            raise ConfigurationError(
                f"{output} holds a run with other settings ({'; '.join(_name_changes(before, settings))}): go on with "
                "what it had, or choose another --output"
            )
        write_json(path, settings)


def _spell_training(settings: Any) -> Any:
    """Options of training have two names each; here the one of OreoConfig."""
    if not isinstance(settings, dict) or not isinstance(settings.get("training"), dict):
        return settings
    return {**settings, "training": known_as(settings["training"])}


def _name_changes(before: Any, now: Mapping[str, Any]) -> list[str]:
    """In which options two loops differ, each in words; in which settings, if in no option."""
    if not isinstance(before, dict) or before.keys() != now.keys():
        return ["they are of another version"]
    one, other = (dict(_list_leaves(settings)) for settings in (before, now))
    changes = list_changes(_name_options(one), _name_options(other), whole=True)
    if changes and changes[0].startswith("env "):  # which brings other settings along
        return changes[:1]
    if not changes and _list_hashes(one) != _list_hashes(other):
        return ["the games are others"]
    return changes or list_changes(one, other, whole=True)


def _list_leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value below, with where it is: ``rollouts.episodes``."""
    if not isinstance(value, dict | list):
        yield place, value
        return
    for name, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _list_leaves(one, f"{place}.{name}" if place else str(name))


def _name_options(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`oreo_agents.training.ingredients.list_changes` takes them."""
    named = {name: leaves[place] for place, name in NAMES.items() if place in leaves}
    named |= {
        place.removeprefix("training."): x for place, x in leaves.items() if place.startswith("training.")
    }
    for place, x in leaves.items():
        if place.startswith("tests.") and place.endswith(".3"):
            named["episodes"] = x
    named["model"] = {"name": "the model", "weights": leaves.get("model")}
    return named


def _list_hashes(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Of the games of all sets."""
    return {place: x for place, x in leaves.items() if place.startswith(("train.", "tests."))}


def _read_settings(path: Path) -> Any:
    try:
        return _spell_training(read_json(path))
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is damaged ({error}), so nobody knows of which run {path.parent} is: delete it if it is of this "
            "one, or choose another --output"
        ) from error
