"""``oreo-agents train``: its options, most of them made from the table of training's, and the work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from oreo_agents.cli.config_file import format_config
from oreo_agents.cli.interrupted import AGAIN, mark_resumable
from oreo_agents.cli.options import (
    HELD_OUT,
    Commands,
    add_action_length,
    add_command,
    add_game_options,
    add_trust,
    parse_positive,
    read_env_options,
    repeat_options,
    spell_command,
    tell_loading,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError
from oreo_agents.printable import print_line
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import GROUPS, OPTIONS, Option, refuse_unused

LAUNCHES = Path(__file__).parents[1] / "assets" / "accelerate"
"""Where accelerate's settings are, one file a name."""


def add_train(commands: Commands) -> None:
    """Options of ``train``."""
    parser = add_command(commands, "train", run_train, "train a policy, with OREO also its critic")
    mark_resumable(parser, _tell_kept)
    mark_paths(parser, "print_config", models=["model"], data=["data", "eval_data"], new_agents=["output"])
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="options in TOML or YAML; what is typed counts"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="show all options as such a file, and end"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what the training would take of memory and time, and end"
    )
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="episodes")
    parser.add_argument(
        "--model",
        required=True,
        metavar="PATH",
        help="an agent's folder or a causal LM; small, the shipped agent; or a new decoder of 3, 0.8 or 0.2 million "
        "parameters: new-small, new-tiny, new-mini",
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="the agent's folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an agent that is there")
    parser.add_argument(
        "--lora", type=parse_positive, metavar="RANK", help="train adapters of this rank only (PEFT)"
    )
    parser.add_argument(
        "--save-every",
        type=parse_positive,
        metavar="N",
        help="steps between checkpoints; the same command then goes on where it was interrupted",
    )
    add_trust(parser)
    add_training_options(parser)
    machine = parser.add_argument_group("the machine, transformers and the Hub")
    machine.add_argument(
        "--launch",
        choices=(*list_launches(), "none"),
        default="none",
        help="train in several processes, by accelerate with the settings of that name; default: %(default)s",
    )
    machine.add_argument(
        "--processes",
        type=parse_positive,
        metavar="N",
        help="so many on each machine; default: what those settings say, 8",
    )
    machine.add_argument(
        "--machines",
        type=parse_positive,
        default=1,
        metavar="N",
        help="on so many, each of which runs this command; default: %(default)s",
    )
    machine.add_argument(
        "--machine-rank", type=int, metavar="I", help="which of them this is, from 0; default: $NODE_RANK"
    )
    machine.add_argument(
        "--main-address",
        metavar="HOST:PORT",
        help="where the first of them is found by all; default: $MASTER_ADDR:$MASTER_PORT",
    )
    machine.add_argument(
        "--restarts",
        type=parse_positive,
        metavar="N",
        help="where a process dies, start all anew, so often, from the newest checkpoint (--save-every)",
    )
    machine.add_argument("--device", choices=("cpu", "gpu"), help="default: the GPU if there is one")
    machine.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the passes; default: bfloat16 where it is fast"
    )
    machine.add_argument(
        "--trainer",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any field of transformers' TrainingArguments, such as max_grad_norm=0.5; several times",
    )
    machine.add_argument(
        "--report-to",
        choices=("trackio", "tensorboard", "wandb"),
        help="where to log, too; log.jsonl is always there",
    )
    machine.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload the agent when it is trained")
    machine.add_argument("--license", metavar="ID", help="of the agent, for its card, such as apache-2.0")
    judging = parser.add_argument_group("judging the policy while it is trained")
    judging.add_argument(
        "--eval-every", type=parse_positive, metavar="N", help="steps between; default: not at all"
    )
    judging.add_argument(
        "--eval-episodes", type=parse_positive, default=50, metavar="N", help="default: %(default)s"
    )
    judging.add_argument(
        "--eval-data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="held-out episodes, for losses and the critic's errors",
    )
    judging.add_argument(
        "--patience",
        type=parse_positive,
        metavar="N",
        help="stop after N of them without a better one; keep the best",
    )
    add_action_length(judging)
    add_game_options(judging, usual=HELD_OUT)


def run_train(args: argparse.Namespace) -> None:
    """Train on recorded episodes."""
    from oreo_agents.experiments.train import EvalGames, train

    if args.launch != "none" and not args.print_config:
        launch_processes(args)
    alone = args.launch == "none" and "WORLD_SIZE" not in os.environ
    if alone and (args.processes or args.restarts or args.machines > 1):
        raise ConfigurationError(
            f"several processes are started by name: give --launch {', '.join(list_launches())}, too"
        )
    if args.patience and not args.eval_every:
        raise ConfigurationError("--patience counts evaluations: say how often with --eval-every")
    given = given_options(args)
    refuse_unused(args.method, given, lambda option: option.flag)
    given |= _trainer_options(args, given)
    if args.print_config:
        print(format_config(args, given), end="")
        return

    from oreo_agents.training.train import find_checkpoints, find_earlier

    given = {"seed": args.seed, **given}
    if not (args.overwrite or args.dry_run or (args.save_every and find_checkpoints(args.output))):
        beside = {"lora": args.lora, "patience": args.patience}
        find_earlier(args.output, args.method, args.model, {**given, **beside})  # before torch is loaded
    if args.dry_run:
        _print_forecast(args, given)
        return

    tell_loading(args.model)
    from oreo_agents.models.recipe import explain_doubt
    from oreo_agents.terminal.training_progress import TrainingProgress
    from oreo_agents.training.datasets import read_data

    data = read_data(args.data)
    for line in (*_list_seeds(args, data.environments), *_tell_start(args)):
        print_line(line)
    games = EvalGames(
        args.env,
        args.split,
        args.games,
        args.eval_episodes,
        args.max_steps,
        args.max_new_tokens,
        args.wording,
        args.seed,
        args.success_return,
        read_env_options(args),
    )
    with TrainingProgress(args.method) as progress:
        trainer = train(
            data,
            args.model,
            args.output,
            args.method,
            eval_data=args.eval_data,
            eval_games=games if _judges_in_games(args) else None,
            eval_every=args.eval_every,
            patience=args.patience,
            lora=args.lora,
            save_every=args.save_every,
            license=args.license,
            overwrite=args.overwrite,
            callbacks=[progress],
            watch=progress.watch,
            **given,
        )
    if trainer.is_world_process_zero():
        steps = trainer.state.global_step
        made = f"{steps} step{'s' * (steps != 1)} on {len(trainer.items)} episodes"
        made = f"already trained, {made}: nothing to do" if trainer.trained_before else made
        where = f"{args.output}: {args.method}, {made}"
        hub = f", and at https://huggingface.co/{args.push_to_hub}" if args.push_to_hub else ""
        search = ("--k", 5) if trainer.critic is not None else ()
        then = []
        if not trainer.environments and args.env is None:  # where it is to play is not for us to guess
            then.append(spell_command("inspect", args.output, "--data", args.data[0]))
            then.append(spell_command("eval", "--agent", args.output, "--env", "ID"))
        for named in _name_places(args, [*trainer.environments]) if not then else ():
            then.append(spell_command("eval", "--agent", args.output, *named, "-n", 100, *search))
            then.append(spell_command("play", "--agent", args.output, *named))
        tell_next(where + hub, *then)
        if trainer.critic is not None and (doubt := explain_doubt(args.output)):
            print_line(doubt)


def _name_places(args: argparse.Namespace, learnt: Sequence[str]) -> list[list[str]]:
    """For each environment where the agent is to play, the options without which it would play something else."""
    from oreo_envs.catalog import list_ids

    from oreo_agents.environments import name_with_module

    own = len(learnt) == 1 and learnt[0] in list_ids() and args.env in (None, learnt[0])
    places = [] if own else [args.env] if args.env else learnt
    rest = repeat_options(args, "env_options", "games", "wording", "max_steps", "success_return")
    return [["--env", name_with_module(env_id), *rest] for env_id in places] or [rest]


def _tell_start(args: argparse.Namespace) -> Iterator[str]:
    """That an earlier training into the same folder is not gone on with, where there is a trace of one."""
    from oreo_agents.models.model_files import checkpoint_folder
    from oreo_agents.training.train import find_checkpoints, has_begun

    folder, kept = checkpoint_folder(args.output), find_checkpoints(args.output)
    if kept and not args.save_every:
        yield f"starting anew: step {kept[-1]} of an interrupted one is in {folder}; --save-every N goes on from it"
    elif has_begun(args.output) and not kept:
        yield f"starting anew: nothing was kept of the training before, no checkpoint is in {folder}"


def _tell_kept(args: argparse.Namespace) -> str:
    from oreo_agents.models.model_files import checkpoint_folder
    from oreo_agents.training.train import find_checkpoints

    if not args.save_every:
        return "nothing is kept of this training; with --save-every N it keeps a checkpoint every N steps"
    kept = find_checkpoints(args.output)
    if not kept:
        return f"no checkpoint had been kept yet; the first would be that of step {args.save_every}"
    return f"step {kept[-1]} is kept in {checkpoint_folder(args.output)}; {AGAIN}"


def list_launches() -> list[str]:
    """Names of the settings that ``--launch`` knows."""
    return sorted(path.stem for path in LAUNCHES.glob("*.yaml"))


def launch_processes(args: argparse.Namespace) -> NoReturn:
    """Become accelerate's launcher, which runs the same command in every process.

    Raises:
        ConfigurationError: it is not said which of several machines this is, or where they meet.
    """
    words = ["-m", "oreo_agents", *args.words, "--launch", "none"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *list_launcher_options(args), *words]
    if args.restarts:  # else the second attempt may wait for processes of the first
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.execv(sys.executable, command)


def list_launcher_options(args: argparse.Namespace) -> list[str]:
    """What accelerate's launcher is told; see :func:`launch_processes`."""
    options = ["--config_file", str(LAUNCHES / f"{args.launch}.yaml")]
    if args.processes or args.machines > 1:
        each = args.processes or _count_processes(args.launch)
        options += ["--num_processes", str(each * args.machines)]
    if args.restarts:
        options += ["--max_restarts", str(args.restarts), "--rdzv_backend", "c10d"]
    if args.machines == 1:
        return options
    rank = _read_rank(args)
    host, port = _read_address(args)
    options += ["--num_machines", str(args.machines), "--machine_rank", str(rank)]
    return [*options, "--main_process_ip", host, "--main_process_port", port]


def _count_processes(name: str) -> int:
    """Of one machine, by those settings."""
    import yaml

    return int(yaml.safe_load((LAUNCHES / f"{name}.yaml").read_text())["num_processes"])


def _read_rank(args: argparse.Namespace) -> int:
    said = os.environ.get("NODE_RANK", "") if args.machine_rank is None else str(args.machine_rank)
    if not said.isdigit() or int(said) >= args.machines:
        raise ConfigurationError(
            f"{said or 'nothing'!r} does not say which of {args.machines} machines this is: give --machine-rank or "
            f"$NODE_RANK, from 0 to {args.machines - 1}"
        )
    return int(said)


def _read_address(args: argparse.Namespace) -> tuple[str, str]:
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "29500")
    said = f"{host}:{port}" if args.main_address is None else args.main_address
    host, _, port = said.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigurationError(
            f"{said!r} is no place where {args.machines} machines find each other: give --main-address HOST:PORT, or "
            "$MASTER_ADDR and $MASTER_PORT"
        )
    return host, port


def _list_seeds(args: argparse.Namespace, learnt: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Which seeds are learnt from and which judge, where episodes are known by their seeds.

    Raises:
        ConfigurationError: games are to judge, and the user has to name their environment.
    """
    from oreo_envs.catalog import describe
    from oreo_envs.foreign import describe_split, read_seed

    from oreo_agents.dataset import load_trajectories
    from oreo_agents.environments import choose_environment, environments, games_of, judging_options
    from oreo_agents.experiments.train import PLAYED_IN

    judged = _judges_in_games(args)
    place = choose_environment(PLAYED_IN, learnt, args.env) if judged else None
    places = [place.env_id] if place else [args.env] if args.env else [*learnt]
    if not places or not all(describe(env_id).foreign for env_id in places):
        return
    names = [str(game) for path in args.data for game in load_trajectories(path).games]
    if seeds := [read_seed(name) for name in names if name.startswith("seed ")]:
        yield f"learns from seeds {min(seeds):,} to {max(seeds):,}"
    if place:
        given = read_env_options(args)
        options = judging_options(place.env_id, args.split, args.games, known=place.options, given=given)
        env = environments(place.env_id, **options)()
        if told := describe_split(games_of(env)):
            yield f"judged on {told}"
        env.close()


def _print_forecast(args: argparse.Namespace, given: Mapping[str, Any]) -> None:
    from oreo_agents.experiments.train import forecast_training
    from oreo_agents.models.decoder import best_device
    from oreo_agents.training.estimate import UTILISATION

    found = forecast_training(args.data, args.model, args.method, args.lora, **given)
    print(f"{found.parameters / 1e6:,.1f} M parameters, {found.episodes} episodes, {found.tokens} tokens,")
    print(f"the longest {found.longest}; {found.epochs:g} times each")
    for name, size in found.memory.items():
        print(f"{name:12} {size / 1e9:8.2f} GB")
    print(f"{found.operations:.3g} floating-point operations; at {UTILISATION:.0%} of a card's peak:")
    for card, seconds in found.seconds.items():
        print(f"{card:12} {seconds / 60:8.1f} min")
    if best_device().type == "cpu":
        print(
            f"this machine has no GPU: it would read {found.tokens * found.epochs:,.0f} tokens; "
            "the progress of a few --steps tells how many a second it does"
        )


def _judges_in_games(args: argparse.Namespace) -> bool:
    """Held-out episodes stand in for games, unless games are named."""
    return bool(args.eval_every and (not args.eval_data or args.split or args.games))


TAKEN = {"output_dir": "--output", "seed": "--seed", "method": "--method"}
"""Fields that have an option of their own, which is not made from the table."""


def _trainer_options(args: argparse.Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of TrainingArguments, from ``--trainer`` and the options of the machine."""
    found: dict[str, Any] = {}
    if args.trainer:
        from oreo_agents.training.config import parse_fields

        found = parse_fields(args.trainer)
        own = {**TAKEN, **{name: OPTIONS[name].flag for name in given if name in OPTIONS}}
        if twice := sorted(own.keys() & found.keys()):
            raise ConfigurationError(f"--trainer {twice[0]}: give it as {own[twice[0]]} alone")
    if args.device:
        found["use_cpu"] = args.device == "cpu"
    if args.device == "gpu":
        from oreo_agents.models.decoder import best_device

        if best_device().type == "cpu":
            raise ConfigurationError(
                "--device gpu, and torch finds none: leave it out, or see oreo-agents doctor"
            )
    if args.dtype:
        found["bf16"] = args.dtype == "bfloat16"
    if args.report_to:
        if find_spec(args.report_to) is None:
            raise ConfigurationError(f"--report-to {args.report_to} needs it: pip install {args.report_to}")
        found["report_to"] = args.report_to
    if args.push_to_hub:
        found |= {"push_to_hub": True, "hub_model_id": args.push_to_hub}
    return found


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
