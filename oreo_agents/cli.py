"""The command line, ``oreo-agents COMMAND``: reads options and opens the room that does the work.

Each command is one ``add_*`` function (its options) and one ``run_*`` function (one call). Rooms are
imported when their command runs, so ``--help`` and mistyped options answer at once.

Exit status: 0 done, 1 the work ran and found a fault, 2 it could not be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oreo_envs.catalog import DEFAULT_ID, describe, list_demonstrated, list_splits

from oreo_agents.agents import SELECTS
from oreo_agents.errors import ConfigurationError, OreoError
from oreo_agents.printable import printable

GENERATED = "generated where no data is found"
"""Which split ALFWorld plays if none is named."""
METHODS = (
    "sft",
    "rejection",
    "oreo",
    "oreo-token",
    "oreo-step",
    "oreo-response",
    "pcl",
    "pcl-one-step",
    "dro",
    "iql",
    "dpo",
    "kto",
)

Options = argparse.ArgumentParser | argparse._ArgumentGroup
Commands = Any  # argparse's sub-parser registry has no public type


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every expected failure is one sentence on stderr."""
    _prepare_streams()
    try:
        try:
            return _run(build_parser().parse_args(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        return _fall_silent()
    except OSError as error:
        _fall_silent()
        return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):  # how rich says the same
            return _fall_silent()
        raise


def _run(args: argparse.Namespace) -> int:
    try:
        return args.run(args) or 0
    except OreoError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        again = "; run the same command again to resume" if args.resumes(args) else ""
        print(f"interrupted{again}", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``args.run`` is the chosen command's function."""
    parser = argparse.ArgumentParser(
        prog="oreo-agents",
        description="Offline reinforcement learning (OREO) for language agents in text environments.",
        epilog="Start with: oreo-agents demo",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        add_demo,
        add_data,
        add_play,
        add_replay,
        add_report,
        add_record,
        add_train,
        add_iterate,
        add_eval,
        add_bench,
        add_dataset,
        add_doctor,
    ):
        add(commands)
    return parser


def add_demo(commands: Commands) -> None:
    """Options of ``demo``."""
    parser = _command(commands, "demo", run_demo, "the whole path: record, train, evaluate, one table")
    _resumes(parser)
    _add_demonstrated(parser)
    parser.add_argument(
        "--games", metavar="PATH", help="real games: a folder or archive of them; in OREO-Reasoning a task"
    )
    parser.add_argument("--output", "-o", type=Path, help="default: runs/demo, or runs/demo-ID")
    parser.add_argument("--from-scratch", action="store_true", help="ignore the shipped starting checkpoint")
    parser.add_argument("--episodes", type=_positive, metavar="N", help="held-out games to evaluate on")
    _add_seed(parser)


def run_demo(args: argparse.Namespace) -> int | None:
    """Record, train and evaluate, end to end."""
    from oreo_agents import demo

    return demo.run(args)


def add_data(commands: Commands) -> None:
    """Options of ``data``."""
    parser = _command(commands, "data", run_data, "download, unpack or generate games")
    _resumes(parser)
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="a local folder or archive")
    parser.add_argument("--output", "-o", type=Path, help="default: $ALFWORLD_DATA, else alfworld's cache")
    verbs = parser.add_subparsers(metavar="VERB")
    new = _command(verbs, "generate", run_data_generate, "write new solvable games, as game files")
    new.add_argument("--count", type=_positive, required=True, metavar="N")
    new.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    new.add_argument("--split", choices=("generated", "generated_unseen"), default="generated")
    new.add_argument(
        "--task", action="append", metavar="TYPE", help="a task type; may be repeated; default: all"
    )
    new.add_argument(
        "--room", action="append", metavar="KIND", help="e.g. kitchen; may be repeated; default: all"
    )
    new.add_argument("--difficulty", choices=("easy", "normal", "hard"), default="normal")
    _add_seed(new)


def run_data(args: argparse.Namespace) -> int | None:
    """Put ALFWorld's games where the environments find them."""
    from oreo_envs.alfworld import install

    if args.source:
        folder = install.unpack_games(args.source, args.output)
    else:
        with _progress("downloading") as progress:
            folder = install.download_games(args.output, progress)
    print(f"ALFWorld's games are in {folder}")
    return None


def run_data_generate(args: argparse.Namespace) -> int | None:
    """Write new games."""
    from oreo_envs.alfworld.generator.write import write_games

    with _progress("generating") as progress:
        folder = write_games(
            args.output, args.count, args.split, args.seed, args.task, args.room, args.difficulty, progress
        )
    print(f"{args.count} games are in {folder}")
    return None


def add_play(commands: Commands) -> None:
    """Options of ``play``."""
    parser = _command(commands, "play", run_play, "play a game in the terminal, or watch an agent play")
    _add_game_options(parser, seed=None)
    parser.add_argument("--game", metavar="NAME", help="one game by name, path or index")
    parser.add_argument("--task-type", metavar="TYPE", help="a random game of this type")
    parser.add_argument(
        "--agent", metavar="NAME_OR_PATH", help="expert, random, small or a trained agent's folder"
    )
    _add_selection(parser, "greedy")
    parser.add_argument(
        "--pause", type=_nonnegative, default=1.0, metavar="S", help="seconds between its steps"
    )
    parser.add_argument("--record", type=Path, metavar="PATH", help="append the episode to this dataset")


def run_play(args: argparse.Namespace) -> int | None:
    """Play one episode."""
    from oreo_agents.terminal import play

    return play.run(args)


def add_replay(commands: Commands) -> None:
    """Options of ``replay``."""
    parser = _command(commands, "replay", run_replay, "step through recorded episodes")
    parser.add_argument("path", type=Path, help="a dataset of recorded episodes")
    parser.add_argument("--episode", type=_positive, metavar="N", help="open the N-th matching episode")
    parser.add_argument("--failed", action="store_true", help="only episodes that were not won")
    parser.add_argument("--task-type", metavar="TYPE", help="only episodes whose task type contains this")
    parser.add_argument("--min-steps", type=_positive, default=1, metavar="N", help="only episodes that long")
    parser.add_argument("--search", metavar="TEXT", help="only episodes whose text contains this")
    parser.add_argument("--compare", type=Path, metavar="PATH", help="show PATH's run of the game beside")
    parser.add_argument(
        "--speed", type=_nonnegative, metavar="STEPS_PER_S", help="play by itself at this speed"
    )
    parser.add_argument("--verify", action="store_true", help="execute the actions again and compare")


def run_replay(args: argparse.Namespace) -> int | None:
    """Show recorded episodes; without a terminal, print them."""
    from oreo_agents.terminal import replay

    return replay.run(args)


def add_report(commands: Commands) -> None:
    """Options of ``report``."""
    parser = _command(commands, "report", run_report, "write one self-contained HTML page about a dataset")
    parser.add_argument("path", type=Path, help="a dataset of recorded episodes")
    parser.add_argument(
        "--output", "-o", type=_file, default=Path("report.html"), help="default: %(default)s"
    )
    parser.add_argument(
        "--limit",
        type=_positive,
        default=500,
        metavar="N",
        help="episodes to look at, evenly spread; default: %(default)s",
    )


def run_report(args: argparse.Namespace) -> int | None:
    """Write the HTML report."""
    from oreo_agents.report import html

    return html.run(args)


def add_record(commands: Commands) -> None:
    """Options of ``record``."""
    parser = _command(commands, "record", run_record, "play many games and keep the episodes")
    _resumes(parser)
    parser.add_argument(
        "--agent",
        default="expert",
        metavar="NAME_OR_PATH",
        help="expert (default), shortest, random, small, or a trained agent's folder",
    )
    _add_selection(parser, "sample")
    _add_game_options(parser)
    parser.add_argument(
        "--episodes", "-n", type=_positive, metavar="N", help="at most this many; default: all"
    )
    _add_action_length(parser)
    parser.add_argument("--per-game", type=_positive, default=1, metavar="N", help="episodes of each game")
    parser.add_argument("--epsilon", type=float, default=0.0, help="share of commands replaced by others")
    parser.add_argument(
        "--patience",
        type=_positive,
        metavar="N",
        help="end an episode after so many useless commands in a row",
    )
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="every N-th game, from I")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the dataset to write or continue")


def run_record(args: argparse.Namespace) -> int | None:
    """Record episodes to disk."""
    from oreo_agents.collect import AGENTS, record, record_rollouts
    from oreo_agents.environments import source_options

    options = {
        "env_id": args.env,
        **source_options(args.env, args.split, args.games),
        "episodes_per_game": args.per_game,
        "seed": args.seed,
        "shard": args.shard,
        "limit": args.episodes,
        "max_steps": args.max_steps,
        "patience": args.patience,
    }
    if args.agent in AGENTS:
        if args.temperature != 1:
            raise ConfigurationError(
                f"--temperature is for agents that sample; {args.agent} does not: leave it out"
            )
        print(record(args.agent, args.output, epsilon=args.epsilon, **options))
    elif args.epsilon:
        raise ConfigurationError(
            f"--epsilon disturbs {', '.join(AGENTS)}; {args.agent} samples: leave it out"
        )
    else:
        from oreo_agents.agents.oreo import OreoAgent

        agent = OreoAgent.from_pretrained(
            args.agent,
            select=args.select,
            k=args.k,
            temperature=args.temperature,
            max_new_tokens=args.max_new_tokens or describe(args.env).max_new_tokens,
        )
        print(record_rollouts(agent, args.output, branches=args.select == "lookahead", **options))
    return None


def add_train(commands: Commands) -> None:
    """Options of ``train``."""
    parser = _command(commands, "train", run_train, "train a policy, with OREO also its critic")
    _resumes(parser, only_with="save_every")
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="episodes")
    parser.add_argument(
        "--model", default="small", metavar="PATH", help="a causal LM, or small, tiny: a new one"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="the checkpoint folder")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=_positive, metavar="N", help="optimiser steps")
    length.add_argument("--epochs", type=float, metavar="N", help="passes over the data")
    parser.add_argument("--learning-rate", type=float, metavar="LR", help="of the policy")
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="episodes per step")
    parser.add_argument("--beta", type=float, help="strength of the KL regulariser in OREO's objective")
    parser.add_argument("--alpha", type=float, help="weight of the policy's KL to the reference")
    parser.add_argument(
        "--batch-tokens", type=_positive, metavar="N", help="padded tokens in one forward pass"
    )
    parser.add_argument(
        "--lora", type=_positive, metavar="RANK", help="train adapters of this rank only (PEFT)"
    )
    parser.add_argument(
        "--observation-weight",
        type=float,
        metavar="W",
        help="of predicting observations, too: by the policy in imitation, by a critic where there is one",
    )
    parser.add_argument(
        "--save-every",
        type=_positive,
        metavar="N",
        help="steps between checkpoints; the same command then goes on where it was interrupted",
    )
    critic = parser.add_argument_group("the critic, for methods that have one")
    critic.add_argument(
        "--critic",
        choices=("separate", "shared", "lora"),
        help="a network of its own (default for a new one), the policy's trunk, or with --lora adapters of its own",
    )
    critic.add_argument("--critic-learning-rate", type=float, metavar="LR", help="default: the policy's")
    critic.add_argument(
        "--critic-warmup", type=float, metavar="SHARE", help="of the steps that train the critic alone"
    )
    critic.add_argument(
        "--after-action",
        choices=("outcome", "answer"),
        help="what V after an action learns: the outcome (default), or V of the environment's answer",
    )
    judging = parser.add_argument_group("judging the policy while it is trained")
    judging.add_argument(
        "--eval-every", type=_positive, metavar="N", help="steps between; default: not at all"
    )
    judging.add_argument(
        "--eval-episodes", type=_positive, default=50, metavar="N", help="default: %(default)s"
    )
    judging.add_argument(
        "--patience",
        type=_positive,
        metavar="N",
        help="stop after N of them without a better one; keep the best",
    )
    _add_action_length(judging)
    _add_game_options(judging, alfworld=describe(DEFAULT_ID).judging_split or GENERATED)


def run_train(args: argparse.Namespace) -> int | None:
    """Train on recorded episodes."""
    from oreo_agents import train

    return train.run(args)


def add_iterate(commands: Commands) -> None:
    """Options of ``iterate``."""
    parser = _command(commands, "iterate", run_iterate, "collect, train, evaluate, repeat; resumable")
    _resumes(parser)
    parser.add_argument(
        "--model", required=True, metavar="PATH", help="an agent or a causal LM to start from"
    )
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument("--iterations", type=_positive, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--rollouts", type=_positive, metavar="N", help="episodes a round")
    parser.add_argument("--keep-data", action="store_true", help="train on the episodes of all rounds so far")
    _add_demonstrated(parser)
    parser.add_argument("--games", metavar="PATH", help="as for demo")
    parser.add_argument("--episodes", type=_positive, metavar="N", help="held-out games to evaluate on")
    parser.add_argument("--max-steps", type=_positive, metavar="N", help="step limit of an episode")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder of the run")
    _add_seed(parser)


def run_iterate(args: argparse.Namespace) -> int | None:
    """Iterate."""
    from oreo_agents import iterate

    return iterate.run(args)


def add_eval(commands: Commands) -> None:
    """Options of ``eval``."""
    parser = _command(commands, "eval", run_eval, "success rate of an agent, with its interval")
    _resumes(parser, only_with="output")
    parser.add_argument(
        "--agent", required=True, metavar="NAME_OR_PATH", help="expert, random, small or a path"
    )
    _add_game_options(parser)
    parser.add_argument("--endpoint", metavar="URL", help="an OpenAI-compatible server that has the policy")
    parser.add_argument("--model", metavar="NAME", help="what it calls the policy; default: --agent")
    parser.add_argument(
        "--select",
        choices=SELECTS,
        nargs="+",
        help="how it chooses; several are compared; lookahead uses the simulator, constrained ones choose among the "
        "admissible commands, beam to value_vote are for mathematics; default: best_of_k with --k, else greedy",
    )
    parser.add_argument(
        "--k",
        type=_positive,
        nargs="+",
        metavar="K",
        help="candidates a step, or beams; several make a curve; default: 5",
    )
    _add_temperature(parser)
    parser.add_argument(
        "--logprob-weight",
        type=_nonnegative,
        default=0.0,
        metavar="W",
        help="choose by V + W x log-probability; default: %(default)s, by V alone",
    )
    _add_action_length(parser)
    parser.add_argument("--episodes", "-n", type=_positive, metavar="N", help="default: every game once")
    parser.add_argument("--num-envs", type=_positive, default=64, metavar="N", help="games at once")
    parser.add_argument(
        "--output",
        "-o",
        type=_file,
        metavar="FILE",
        help="write the results as JSON, the episodes beside it; resumes",
    )


def run_eval(args: argparse.Namespace) -> int | None:
    """Evaluate an agent."""
    from oreo_agents import evaluation

    return evaluation.run(args)


def add_bench(commands: Commands) -> None:
    """Options of ``bench``."""
    parser = _command(
        commands, "bench", run_bench, "run a benchmark suite, or go on with it; one result file"
    )
    _resumes(parser)
    parser.add_argument(
        "--suite", default="smoke", metavar="NAME", help="or a TOML file; default: %(default)s"
    )
    parser.add_argument(
        "--seeds", type=_seed, nargs="+", metavar="N", help="of training; default: the suite's"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the suite's")
    parser.add_argument("--model", metavar="PATH", help="to start from; default: the suite's")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="games or problems; default: $ALFWORLD_DATA, else alfworld's cache",
    )
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="stages at once; default: 1")
    parser.add_argument("--output", "-o", type=Path, metavar="DIR", help="default: runs/bench/SUITE")
    parser.add_argument("--results", type=_file, metavar="FILE", help="default: results/SUITE.json")


def run_bench(args: argparse.Namespace) -> int | None:
    """Run a suite."""
    from oreo_agents.bench import run

    return run.run(args)


def add_dataset(commands: Commands) -> None:
    """Options of ``dataset`` and its own commands."""
    parser = commands.add_parser(
        "dataset", help="inspect, verify, merge, import and export recorded episodes"
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    info = _command(verbs, "info", run_dataset_info, "count episodes, steps and successes")
    info.add_argument("path", type=Path)
    info.add_argument("--card", type=_file, metavar="FILE", help="also write the summary to this file")
    info.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    verify = _command(verbs, "verify", run_dataset_verify, "check the files, and that each episode recurs")
    verify.add_argument("path", type=Path)
    verify.add_argument("--files-only", action="store_true", help="do not execute the actions again")
    _add_game_source(verify)
    merge = _command(verbs, "merge", run_dataset_merge, "one dataset out of several")
    merge.add_argument("paths", type=Path, nargs="+", metavar="path")
    merge.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    bring = _command(verbs, "import", run_dataset_import, "read the episodes of another tool")
    bring.add_argument("path", type=Path)
    bring.add_argument("--format", required=True, help="eto, knowagent, sharegpt or tales")
    bring.add_argument(
        "--move", action="store_true", help="reword put X in/on Y to ALFWorld 0.4's move X to Y"
    )
    bring.add_argument("--licence", help="of the imported episodes, kept with them")
    bring.add_argument("--output", "-o", type=Path, required=True, help="the dataset to make or continue")
    export = _command(verbs, "export", run_dataset_export, "write the episodes in another format")
    export.add_argument("path", type=Path)
    export.add_argument("--format", default="messages", help="default: %(default)s")
    export.add_argument("--output", "-o", type=Path, required=True)


def run_dataset_info(args: argparse.Namespace) -> int | None:
    """Summarise a dataset."""
    from oreo_agents.dataset import commands

    return commands.info(args.path, args.card, args.json)


def run_dataset_verify(args: argparse.Namespace) -> int | None:
    """Check a dataset."""
    from oreo_agents.dataset import commands

    return commands.verify(args.path, not args.files_only, args.split, args.games)


def run_dataset_merge(args: argparse.Namespace) -> int | None:
    """Merge datasets."""
    from oreo_agents.dataset import commands

    return commands.merge(args.paths, args.output)


def run_dataset_import(args: argparse.Namespace) -> int | None:
    """Import another tool's episodes."""
    from oreo_agents.dataset import commands

    return commands.import_(args.path, args.output, args.format, args.move, args.licence)


def run_dataset_export(args: argparse.Namespace) -> int | None:
    """Export a dataset."""
    from oreo_agents.dataset import commands

    return commands.export(args.path, args.output, args.format)


def add_doctor(commands: Commands) -> None:
    """Options of ``doctor``."""
    _command(commands, "doctor", run_doctor, "check the installation and the game data")


def run_doctor(args: argparse.Namespace) -> int | None:
    """Check installation and data."""
    from oreo_agents.doctor import check_installation

    checks = check_installation()
    for check in checks:
        remedy = f"\n{'':>22}mend: {check.remedy}" if check.remedy else ""
        print(f"{check.status:>6}  {check.name:<13} {check.finding}{remedy}")
    return int(any(check.status == "wrong" for check in checks))


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int | None], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run, resumes=lambda args: False)
    return parser


def _resumes(parser: argparse.ArgumentParser, only_with: str | None = None) -> None:
    """The command goes on where it was interrupted; where an option says what is left, only with that."""
    parser.set_defaults(resumes=lambda args: only_with is None or getattr(args, only_with) is not None)


def _add_action_length(parser: Options) -> None:
    usual = f"the environment's, {describe(DEFAULT_ID).max_new_tokens} in ALFWorld"
    parser.add_argument(
        "--max-new-tokens", type=_positive, metavar="N", help=f"of an action; default: {usual}"
    )


def _add_demonstrated(parser: Options) -> None:
    this, *others = list_demonstrated()
    parser.add_argument("--env", default=this, metavar="ID", help=f"this or {', '.join(others)}")


def _add_selection(parser: Options, default: str) -> None:
    parser.add_argument(
        "--select", choices=SELECTS, default=default, help="how it chooses; default: %(default)s"
    )
    parser.add_argument(
        "--k", type=_positive, default=5, metavar="K", help="its candidates; default: %(default)s"
    )
    _add_temperature(parser)


def _add_temperature(parser: Options) -> None:
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=1.0,
        metavar="T",
        help="of what is sampled; default: %(default)s",
    )


def _add_game_options(parser: Options, seed: int | None = 0, alfworld: str = GENERATED) -> None:
    parser.add_argument("--env", default=DEFAULT_ID, metavar="ID", help="default: %(default)s")
    _add_game_source(parser, alfworld)
    parser.add_argument("--max-steps", type=_positive, default=50, metavar="N", help="default: %(default)s")
    _add_seed(parser, seed)


def _add_game_source(parser: Options, alfworld: str = GENERATED) -> None:
    parser.add_argument("--split", choices=list_splits(), help=f"default: train; in ALFWorld {alfworld}")
    parser.add_argument(
        "--games",
        metavar="PATH",
        help="a folder, archive or file of games or problems; in OREO-Reasoning a task",
    )


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; call it with the amount done and the total."""
    from oreo_agents.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _add_seed(parser: Options, default: int | None = 0) -> None:
    usual = "another one each time" if default is None else default
    parser.add_argument("--seed", type=_seed, default=default, help=f"default: {usual}")


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    return int(index), int(count)


_shard.__name__ = "I/N"


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: give a file")
    return path


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


_positive.__name__ = "int"  # argparse names the type in "invalid int value: 'x'"


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**32 - 1}, got {number}")
    return number


_seed.__name__ = "int"


def _nonnegative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


_nonnegative.__name__ = "float"


def _temperature(text: str) -> float:
    number = _nonnegative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be more than 0; the likeliest action is --select greedy")
    return number


_temperature.__name__ = "float"


def _prepare_streams() -> None:
    """Streams that are there and take any text: none is closed, none fails over a character.

    Where the user's locale is C, they write plain ASCII; Python would write UTF-8 there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller, as `<&-` does
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (it is closed with Python)
    asked = any(map(os.environ.get, ("PYTHONUTF8", "PYTHONIOENCODING")))
    plain = os.environ.get("LC_ALL") in ("C", "POSIX") and not asked
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and plain:
            stream.reconfigure(encoding="ascii", errors="backslashreplace")
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
        sys.stdin.reconfigure(errors="surrogateescape")


def _fall_silent() -> int:
    """Send to nowhere what a stream still holds and cannot write; else Python complains at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 0


class _Version(argparse.Action):
    """Looks the version up only when asked: reading package metadata costs more than all the parsing."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help, default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('oreo-agents')}")
        parser.exit()


def _fail(message: str) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)  # it may quote a file's or a game's text
    return 2


if __name__ == "__main__":
    sys.exit(main())
