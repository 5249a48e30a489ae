"""The command line, ``oreo-agents COMMAND``: reads options and opens the room that does the work.

Each command is one ``add_*`` function (its options) and one ``run_*`` function (one call). Rooms are
imported when their command runs, so ``--help`` and mistyped options answer at once.

Exit status: 0 done, 1 the work ran and found a fault, 2 it could not be done, 3 only a part of it could be done
(``dataset verify`` that replayed nothing), 130 interrupted.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from oreo_agents.cli.bench import add_bench
from oreo_agents.cli.config_file import ConfigurableParser
from oreo_agents.cli.data import add_data
from oreo_agents.cli.dataset import add_dataset
from oreo_agents.cli.demo import add_demo
from oreo_agents.cli.doctor import add_doctor
from oreo_agents.cli.eval import add_eval
from oreo_agents.cli.export import add_export
from oreo_agents.cli.inspect import add_inspect
from oreo_agents.cli.interrupted import tell_nothing
from oreo_agents.cli.iterate import add_iterate
from oreo_agents.cli.parser import HelpfulParser
from oreo_agents.cli.play import add_play
from oreo_agents.cli.record import add_record
from oreo_agents.cli.replay import add_replay
from oreo_agents.cli.report import add_report
from oreo_agents.cli.runs import add_runs
from oreo_agents.cli.serve import add_serve
from oreo_agents.cli.train import add_train
from oreo_agents.errors import OreoError
from oreo_agents.models.trust import trusting_code
from oreo_agents.printable import make_printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every expected failure is one sentence on stderr."""
    _prepare_streams()
    atexit.register(
        gc.freeze
    )  # else Python ends with seconds of collecting what torch and transformers imported
    try:
        try:
            return _run_command(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        return _fall_silent()
    except OSError as error:
        _fall_silent()
        return _report_error(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):  # how rich says the same
            return _fall_silent()
        raise


def _run_command(argv: Sequence[str] | None) -> int:
    args = argparse.Namespace(tell_kept=tell_nothing, words=list(sys.argv[1:] if argv is None else argv))
    try:
        build_parser().parse_args(argv, args)
        with trusting_code(getattr(args, "trust_remote_code", False)):
            args.check_paths(args)
            return args.run(args) or 0
    except OreoError as error:
        return _report_error(str(error))
    except KeyboardInterrupt:
        print(make_printable(f"interrupted{args.tell_kept(args)}"), file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``args.run`` is the chosen command's function."""
    parser = HelpfulParser(
        prog="oreo-agents",
        description="Offline reinforcement learning (OREO) for language agents in text environments.",
        epilog="Start with: oreo-agents play --agent small",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        metavar="SHELL",
        choices=("bash", "zsh", "tcsh"),
        help="show the script that completes commands and options in this shell, and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=ConfigurableParser)
    for add in (
        add_demo,
        add_data,
        add_play,
        add_inspect,
        add_replay,
        add_report,
        add_record,
        add_train,
        add_runs,
        add_iterate,
        add_eval,
        add_export,
        add_serve,
        add_bench,
        add_dataset,
        add_doctor,
    ):
        add(commands)
    return parser


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


class _Completion(argparse.Action):
    """The completion script of the whole parser, by shtab."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, shell: Any, *_: Any) -> None:
        try:
            from shtab import complete
        except ImportError:
            parser.error("completion scripts are made by shtab: pip install shtab")
        print(complete(parser, shell=shell))
        parser.exit()


def _report_error(message: str) -> int:
    print(f"error: {make_printable(message)}", file=sys.stderr)  # it may quote a file's or a game's text
    return 2
