"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from oreo_envs.catalog import DEFAULT_ID, describe, list_demonstrated, list_splits, list_wordings

from oreo_agents.agents.selection import LOGPROB_WEIGHT, SELECTS, TEMPERATURE
from oreo_agents.cli.interrupted import tell_nothing
from oreo_agents.cli.paths import check_nothing
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.server import HOSTED_CEILING, Protocol, Server
from oreo_agents.language.prompt import list_prompts
from oreo_agents.printable import make_printable, print_line

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent
    from oreo_agents.inference.endpoint import Endpoint
    from oreo_agents.rollout.loop import Spread
    from oreo_agents.rollout.ray_pool import RayPool

TO_LEARN_ON = "train; in ALFWorld generated where no data is found"
HELD_OUT = "held-out games: test; in ALFWorld valid_seen where its data is found, else generated_unseen; of --games all"
"""Which split is played if none is named."""


Options = argparse.ArgumentParser | argparse._ArgumentGroup


Commands = Any  # argparse's sub-parser registry has no public type


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int | None], summary: str
) -> argparse.ArgumentParser:
    """A command of its own: its parser, with the function that does the work."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run, tell_kept=tell_nothing, check_paths=check_nothing)
    return parser


def add_action_length(parser: Options) -> None:
    """``--max-new-tokens``; None stands for what the catalogue says of the environment."""
    usual = f"the environment's, {describe(DEFAULT_ID).max_new_tokens} in ALFWorld"
    parser.add_argument(
        "--max-new-tokens",
        type=parse_positive,
        metavar="N",
        help=f"of a reply; default: the prompt's, else {usual}",
    )


def add_precision(parser: Options, usual: str) -> None:
    """``--dtype`` of a model that plays."""
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help=f"of the passes; default: {usual}")


def add_trust(parser: Options) -> None:
    """``--trust-remote-code``; the program lets the command's models run their code where it is given."""
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that a model brings, and its adapter's base; default: such models are refused",
    )


def add_prompt(parser: Options) -> None:
    """``--prompt``."""
    parser.add_argument(
        "--prompt",
        metavar="NAME_OR_FILE",
        help=f"what the agent is told and how it answers: {', '.join(list_prompts())} or a TOML file; "
        "default: the model's own, else none",
    )


def add_engine(parser: Options) -> None:
    """``--engine``."""
    parser.add_argument(
        "--engine",
        choices=("vllm",),
        help="what plays the policy here, on a GPU (pip install vllm); default: this package's own",
    )


def add_endpoint(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """``--endpoint`` and what belongs to it; ``aliases`` are other names of ``--endpoint-model``."""
    group = parser.add_argument_group("a server that has the policy (vLLM, SGLang, llama.cpp, ...)")
    group.add_argument(
        "--endpoint", metavar="URL", help="of an OpenAI-compatible one, up to and including /v1"
    )
    group.add_argument(
        "--endpoint-model", *aliases, metavar="NAME", help="what it calls the policy; default: as here"
    )
    group.add_argument(
        "--endpoint-key",
        metavar="VARIABLE",
        help="of the environment, with the key; default: OPENAI_API_KEY, whose key is sent by https or to this machine "
        "alone",
    )
    group.add_argument(
        "--endpoint-protocol",
        choices=get_args(Protocol),
        help="default: completions, and chat completions (the server's own template) where it has no others",
    )
    group.add_argument(
        "--endpoint-max-tokens",
        type=parse_positive,
        metavar="N",
        help=f"that may be read and written in all; default: {HOSTED_CEILING:,} by https, else no limit",
    )


def add_ray(parser: argparse.ArgumentParser) -> None:
    """``--ray`` and what belongs to it."""
    group = parser.add_argument_group("many machines, by Ray (pip install ray)")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="play in this cluster: HOST:PORT; auto, the one that runs here; local, a new one of this machine alone",
    )
    group.add_argument(
        "--ray-workers",
        type=parse_positive,
        metavar="N",
        help="processes, each with a CPU and as many episodes at once as without Ray; default: all there is room for",
    )
    group.add_argument(
        "--ray-gpus",
        type=parse_nonnegative,
        metavar="X",
        help="GPUs of a worker, such as 1 or 0.25; default: none, models then run on its CPU",
    )


@contextmanager
def open_pool(args: argparse.Namespace) -> Iterator[RayPool | None]:
    """The workers that were asked for, if any."""
    if args.ray is None:
        for name in ("workers", "gpus"):
            if getattr(args, f"ray_{name}") is not None:
                raise ConfigurationError(
                    f"--ray-{name} is of a Ray cluster: name one with --ray, or leave it out"
                )
        yield None
        return
    from oreo_agents.rollout.ray_pool import RayPool

    with RayPool(args.ray, args.ray_workers, args.ray_gpus or 0.0) as pool:
        yield pool


def choose_spread(pool: RayPool | None, load: Callable[..., Agent], server: Server | None) -> Spread:
    """Where is played: by the workers, each of which may use its share of the tokens that a server may be asked for."""
    from oreo_agents.rollout.loop import stay_here

    if pool is None:
        return stay_here
    if server is not None and server.ceiling is not None:
        server = replace(server, max_tokens=max(server.ceiling // pool.workers, 1))
    return pool.spread(partial(load, endpoint=server))


def read_server(args: argparse.Namespace, model: str) -> Server | None:
    """What :func:`add_endpoint` was given; ``model`` is what the policy is called here.

    Raises:
        ConfigurationError: no address, or one that cannot be, or no key in the variable.
    """
    if args.endpoint is None:
        for name in ("model", "key", "protocol", "max_tokens"):
            if getattr(args, f"endpoint_{name}") is not None:
                raise ConfigurationError(
                    "there is no server: name one with --endpoint, or leave its options out"
                )
        return None
    return Server(
        args.endpoint,
        args.endpoint_model or model,
        args.endpoint_key,
        args.endpoint_protocol,
        args.endpoint_max_tokens,
    )


@contextmanager
def open_endpoint(args: argparse.Namespace, model: str) -> Iterator[Endpoint | None]:
    """The server that was named, if any; what it has been asked for is told at the end."""
    server = read_server(args, model)
    if server is None:
        yield None
        return
    from oreo_agents.inference.endpoint import Endpoint

    endpoint = Endpoint.from_server(server)
    try:
        yield endpoint
    finally:
        if endpoint.use.requests:
            print(endpoint.describe_use(), file=sys.stderr)


def add_demonstrated(parser: Options) -> None:
    """``--env``, one of those that have a demo."""
    this, *others = list_demonstrated()
    parser.add_argument("--env", default=this, metavar="ID", help=f"this or {', '.join(others)}")


def add_selection(parser: Options, default: str) -> None:
    """``--select``, ``--k`` and what :func:`add_choice` adds."""
    parser.add_argument(
        "--select", choices=SELECTS, default=default, help="how it chooses; default: %(default)s"
    )
    parser.add_argument(
        "--k", type=parse_positive, default=5, metavar="K", help="its candidates; default: %(default)s"
    )
    add_choice(parser)


def add_choice(parser: Options) -> None:
    """``--temperature``, ``--top-p``, ``--top-k``, ``--min-p``, ``--logprob-weight`` and ``--no-repeat``."""
    own = "what the agent's folder says of its candidates (choice in agent.json), else"
    parser.add_argument(
        "--temperature",
        type=parse_temperature,
        metavar="T",
        help=f"of what is sampled; default: {own} {TEMPERATURE:g}; with --select sample {TEMPERATURE:g}, whatever the "
        "folder says",
    )
    model = "default: what the model's generation_config says, else all"
    parser.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help=f"draw only from the likeliest tokens that have probability P together; {model}",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="draw only from the N likeliest tokens; 0: all; default: likewise",
    )
    parser.add_argument(
        "--min-p",
        type=float,
        metavar="P",
        help="draw only tokens with P times the likeliest one's probability; default: likewise",
    )
    parser.add_argument(
        "--logprob-weight",
        type=parse_nonnegative,
        metavar="W",
        help=f"candidates are judged by V + W x log-probability; default: {own} {LOGPROB_WEIGHT:g}; 0: by V alone",
    )
    parser.add_argument(
        "--no-repeat",
        action="store_true",
        help="do not choose again what has failed since a command last worked; greedy then takes the likeliest of K",
    )


def read_choice(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_choice` was given, as options of :class:`oreo_agents.OreoAgent`."""
    names = ("temperature", "top_p", "top_k", "min_p", "logprob_weight", "no_repeat")
    return {name: getattr(args, name) for name in names}


def refuse_choice(args: argparse.Namespace, *others: str) -> None:
    """Raise ConfigurationError if a player without a model is to choose in some way, or to use one of ``others``."""
    given = {**read_choice(args), **{name: getattr(args, name) or None for name in others}}
    for name, value in given.items():
        if value not in (None, False):
            option = "--" + name.replace("_", "-")
            raise ConfigurationError(f"{args.agent} has no model and makes no use of {option}: leave it out")


def add_game_options(parser: Options, seed: int | None = 0, usual: str = TO_LEARN_ON) -> None:
    """``--env``, where its games come from, ``--max-steps`` and ``--seed``."""
    add_environment(parser)
    add_game_source(parser, usual)
    parser.add_argument(
        "--max-steps",
        type=parse_positive,
        metavar="N",
        help="default: what the environment is registered with",
    )
    add_success_return(parser)
    add_seed(parser, seed)


def add_environment(parser: Options) -> None:
    """``--env``, for which None stands for what :func:`settle_environment` finds, and ``--env-options``."""
    parser.add_argument(
        "--env",
        type=parse_environment,
        metavar="ID",
        help="or module:Id, any text environment that a module registers with Gymnasium; default: where the agent (for "
        f"train: the data) is from, if that is one of ours, else {DEFAULT_ID}",
    )
    parser.add_argument(
        "--env-options",
        nargs="+",
        metavar="NAME=VALUE",
        help="what else the environment takes, such as rewards=score in OREO-TextWorld; values are JSON, else text",
    )


def read_env_options(args: argparse.Namespace) -> dict[str, Any]:
    """What ``--env-options`` was given; a value is what JSON makes of it, otherwise text.

    Raises:
        ConfigurationError: a word is no NAME=VALUE.
    """
    found: dict[str, Any] = {}
    for pair in args.env_options or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{pair!r} is no option of an environment: write NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def read_source(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the environment that its games are asked for with, after :func:`settle_environment`.

    Raises:
        ConfigurationError: as of :func:`oreo_agents.environments.source_options`.
    """
    from oreo_agents.environments import source_options

    given = read_env_options(args)
    return source_options(args.env, args.split, args.games, args.wording, args.known, given)


def settle_environment(args: argparse.Namespace, agent: str | None) -> None:
    """Put into ``args.env`` where is played, and into ``args.known`` which kind of games an agent was trained on there.

    Raises:
        CheckpointError: there is no such agent.
        ConfigurationError: the user has to name the environment, or it has no such split or option.
    """
    from oreo_agents.agents.load import find_environment
    from oreo_agents.environments import source_options

    args.env, args.known = find_environment(agent, args.env)
    source_options(
        args.env, getattr(args, "split", None), given=read_env_options(args)
    )  # before a model is loaded


def add_success_return(parser: Options) -> None:
    """``--success-return``."""
    parser.add_argument(
        "--success-return",
        type=float,
        metavar="X",
        help="an episode is won from this return on, where the environment does not say what winning is; "
        "default: its reward_threshold, else returns are reported instead",
    )


def parse_environment(text: str) -> str:
    """An id; the module of ``module:Id`` is imported, since the user has named it."""
    from oreo_agents.environments import import_module_of

    try:
        import_module_of(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_named_environment(parser: Options) -> None:
    """``--env``, where a file names the environment and only the user can allow what it is."""
    parser.add_argument(
        "--env",
        type=parse_environment,
        action="append",
        default=[],
        metavar="ID",
        help="an environment of your own, module:Id, that the file may name; a file never makes code run by itself",
    )


def add_game_source(parser: Options, usual: str = TO_LEARN_ON) -> None:
    """``--split``, ``--games`` and ``--wording``."""
    parser.add_argument(
        "--split",
        metavar="NAME",
        help=f"{', '.join(list_splits())}, or a word that an environment of your own has; default: {usual}",
    )
    parser.add_argument(
        "--games",
        metavar="PATH_OR_NAME",
        help="a folder, archive or file of games or problems; in OREO-TextWorld also CHALLENGE/LEVEL, such as "
        "cooking/recipe1+take1; in OREO-Reasoning and OREO-Puzzles a task; else what the environment takes as games",
    )
    add_wording(parser)


def add_wording(parser: Options) -> None:
    """``--wording``."""
    parser.add_argument(
        "--wording",
        choices=list_wordings(),
        help="show ALFWorld's games as its older files (put X in/on Y) or its newer ones do; default: as they are",
    )


def tell_loading(agent: str) -> None:
    """Torch alone takes seconds."""
    print(make_printable(f"loading {agent} ..."), file=sys.stderr, flush=True)


def tell_next(made: object, *then: str) -> None:
    """The end of a command: what was made and where, and which commands go on from there (:func:`spell_command`)."""
    print_line(made)
    for command in then:
        print_line(f"next: oreo-agents {command}")


def spell_command(*words: object) -> str:
    """The words of a command as they are typed into a shell."""
    return shlex.join(map(str, words))


def repeat_options(args: argparse.Namespace, *names: str) -> list[str]:
    """Of this command's options those that were given, for the next one, which would else play something else."""
    given = {f"--{name.replace('_', '-')}": getattr(args, name) for name in names}
    words = {flag: x if isinstance(x, list) else [x] for flag, x in given.items() if x is not None}
    return [str(word) for flag, values in words.items() for word in (flag, *values)]


@contextmanager
def show_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; call it with the amount done and the total."""
    from oreo_agents.terminal.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def add_looks(parser: Options) -> None:
    """Whether there is to be a full screen, and in which colours."""
    parser.add_argument(
        "--plain", action="store_true", help="print, as into a pipe, instead of a full screen"
    )
    parser.add_argument(
        "--theme",
        choices=("dark", "light"),
        help="colours for a terminal with such a background; default: as COLORFGBG says, else dark",
    )


def fills_screen(args: argparse.Namespace) -> bool:
    """Whether a full screen is wanted, and all three streams are a terminal's that can move its cursor and knows more
    than ASCII.
    """
    streams = sys.stdin, sys.stdout, sys.stderr  # Textual draws on the third
    terminal = all(stream.isatty() for stream in streams) and os.environ.get("TERM", "dumb") != "dumb"
    return not args.plain and terminal and sys.stdout.encoding.lower().startswith("utf")


def add_seed(parser: Options, default: int | None = 0) -> None:
    """``--seed``."""
    usual = "another one each time" if default is None else default
    parser.add_argument("--seed", type=parse_seed, default=default, help=f"default: {usual}")


def add_jobs(parser: Options) -> None:
    """``--jobs``."""
    parser.add_argument(
        "--jobs",
        type=parse_positive,
        metavar="N",
        help="stages at once, each in a process with its share of the cores; default: one a core, four a seed at "
        "most, where a small model learns on a CPU, else 1",
    )


def parse_shard(text: str) -> tuple[int, int]:
    """``I/N``."""
    index, _, count = text.partition("/")
    return int(index), int(count)


parse_shard.__name__ = "I/N"


def parse_file(text: str) -> Path:
    """A path that is no folder."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: give a file")
    return path


def parse_positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


parse_positive.__name__ = "int"  # argparse names the type in "invalid int value: 'x'"


def parse_seed(text: str) -> int:
    """A whole number that every random generator takes."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**32 - 1}, got {number}")
    return number


parse_seed.__name__ = "int"


def parse_nonnegative(text: str) -> float:
    """A number from 0."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


parse_nonnegative.__name__ = "float"


def parse_temperature(text: str) -> float:
    """A number above 0."""
    number = parse_nonnegative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be more than 0; the likeliest action is --select greedy")
    return number


parse_temperature.__name__ = "float"
