"""``oreo-agents train``: its options, most of them made from the table of training's, and the work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.catalog import DEFAULT_ID, describe

from oreo_agents.cli.options import (
    GENERATED,
    Commands,
    add_action_length,
    add_command,
    add_game_options,
    mark_resumable,
    parse_positive,
)
from oreo_agents.errors import ConfigurationError
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import GROUPS, OPTIONS, Option, unused_options

if TYPE_CHECKING:
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.terminal.training_progress import TrainingProgress
    from oreo_agents.training.callbacks import Judging
    from oreo_agents.trajectory import Trajectory


def add_train(commands: Commands) -> None:
    """Options of ``train``."""
    parser = add_command(commands, "train", run_train, "train a policy, with OREO also its critic")
    mark_resumable(parser, only_with="save_every")
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="episodes")
    parser.add_argument(
        "--model", default="small", metavar="PATH", help="a causal LM, or small, tiny, mini: a new one"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="the checkpoint folder")
    parser.add_argument(
        "--lora", type=parse_positive, metavar="RANK", help="train adapters of this rank only (PEFT)"
    )
    parser.add_argument(
        "--save-every",
        type=parse_positive,
        metavar="N",
        help="steps between checkpoints; the same command then goes on where it was interrupted",
    )
    add_training_options(parser)
    judging = parser.add_argument_group("judging the policy while it is trained")
    judging.add_argument(
        "--eval-every", type=parse_positive, metavar="N", help="steps between; default: not at all"
    )
    judging.add_argument(
        "--eval-episodes", type=parse_positive, default=50, metavar="N", help="default: %(default)s"
    )
    judging.add_argument(
        "--patience",
        type=parse_positive,
        metavar="N",
        help="stop after N of them without a better one; keep the best",
    )
    add_action_length(judging)
    add_game_options(judging, alfworld=describe(DEFAULT_ID).judging_split or GENERATED)


def run_train(args: argparse.Namespace) -> None:
    """Train on recorded episodes."""
    from oreo_agents.dataset import load_trajectories

    if args.patience and not args.eval_every:
        raise ConfigurationError("--patience counts evaluations: say how often with --eval-every")
    given = given_options(args)
    if idle := sorted(OPTIONS[name].flag for name in unused_options(args.method) & given.keys()):
        raise ConfigurationError(f"{args.method} makes no use of {', '.join(idle)}: leave it out")
    episodes = [episode for path in args.data for episode in load_trajectories(path)]

    from oreo_agents.terminal.training_progress import TrainingProgress
    from oreo_agents.training.train import train

    progress = TrainingProgress(args.method)
    judging = _make_judging(args, progress) if args.eval_every else None
    kept = {"lora": args.lora, "save_every": args.save_every, "seed": args.seed}
    train(
        args.method, episodes, args.model, args.output, callbacks=[progress], judging=judging, **kept, **given
    )


def _make_judging(args: argparse.Namespace, progress: TrainingProgress) -> Judging:
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.evaluation.statistics import wilson_interval
    from oreo_agents.training.callbacks import Judging

    agent_of = partial(OreoAgent, max_new_tokens=args.max_new_tokens or describe(args.env).max_new_tokens)
    return Judging(
        _make_player(args), agent_of, wilson_interval, args.eval_every, args.patience, progress.watch
    )


def _make_player(args: argparse.Namespace) -> Callable[[OreoAgent], Iterable[Trajectory]]:
    """Plays the games that the options name, the same ones every time."""
    from oreo_agents.environments import environments, source_options
    from oreo_agents.evaluation.evaluate import pick_games, play_games

    unseen = None if args.games else describe(args.env).judging_split
    options = source_options(args.env, args.split or unseen, args.games, args.wording)
    make_env = environments(args.env, args.max_steps, **options)
    games = pick_games(make_env, args.eval_episodes, args.seed)
    return lambda agent: play_games(make_env, agent, games, args.seed)


def add_training_options(parser: argparse.ArgumentParser, table: Mapping[str, Option] = OPTIONS) -> None:
    """An argument for every option that has a group; one that is not given is None."""
    places: dict[str, argparse._ArgumentGroup] = {name: parser.add_argument_group(name) for name in GROUPS}
    for option in table.values():
        if option.group is None:
            continue
        place = places[option.group]
        if option.either:
            if option.either not in places:
                places[option.either] = place.add_mutually_exclusive_group()
            place = places[option.either]
        place.add_argument(
            option.flag, help=_format_help(option).replace("%", "%%"), **_describe_argument(option)
        )


def given_options(args: argparse.Namespace, table: Mapping[str, Option] = OPTIONS) -> dict[str, Any]:
    """The values of the arguments that were given, under the names of OreoConfig's fields."""
    values = {
        name: getattr(args, _name_destination(option)) for name, option in table.items() if option.group
    }
    return {name: value for name, value in values.items() if value is not None}


def _name_destination(option: Option) -> str:
    return option.flag.removeprefix("--").replace("-", "_")


def _format_help(option: Option) -> str:
    usual = option.usual
    if not usual and option.kind is not bool and option.default not in (None, -1):
        usual = option.default if isinstance(option.default, str) else f"{option.default:g}"
    return f"{option.help}; default: {usual}" if usual else option.help


def _describe_argument(option: Option) -> dict[str, Any]:
    """What argparse must know to read it."""
    if option.kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if option.choices:
        return {"choices": option.choices}
    return {"type": _make_reader(option), "metavar": {int: "N", float: "X"}.get(option.kind, "TEXT")}


def _make_reader(option: Option) -> Callable[[str], Any]:
    """From text to a value that is allowed."""

    def read(text: str) -> Any:
        number = option.kind(text)
        if option.within and not option.within.fits(number):
            raise argparse.ArgumentTypeError(f"must be {option.within.words}, got {text}")
        return number

    read.__name__ = option.kind.__name__  # argparse names the type in "invalid int value: 'x'"
    return read
