"""``oreo-agents bench``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from oreo_agents.cli.interrupted import mark_resumable, tell_stages
from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_endpoint,
    add_jobs,
    add_named_environment,
    add_prompt,
    add_trust,
    parse_file,
    parse_seed,
    read_server,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.printable import make_printable


def add_bench(commands: Commands) -> None:
    """Options of ``bench``."""
    parser = add_command(
        commands, "bench", run_bench, "run a benchmark suite, or go on with it; one result file"
    )
    mark_resumable(parser, lambda args: tell_stages(_choose_output(args, Path(args.suite).stem)))
    mark_paths(parser, models=["model"])
    parser.add_argument(
        "--suite",
        default="smoke",
        metavar="NAME",
        help="or a TOML file of your own, as docs/your-suite.md shows; default: %(default)s",
    )
    parser.add_argument(
        "--seeds", type=parse_seed, nargs="+", metavar="N", help="of training; default: the suite's"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the suite's")
    parser.add_argument("--model", metavar="PATH", help="to start from; default: the suite's")
    add_prompt(parser)
    add_trust(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="games or problems; default: $ALFWORLD_DATA, else alfworld's cache",
    )
    add_named_environment(parser)
    add_jobs(parser)
    parser.add_argument("--output", "-o", type=Path, metavar="DIR", help="default: runs/bench/SUITE")
    parser.add_argument("--results", type=parse_file, metavar="FILE", help="default: results/SUITE.json")
    add_endpoint(parser)


def run_bench(args: argparse.Namespace) -> int:
    """Run a suite, or go on with it; 1 if a part of it could not be done."""
    from oreo_envs.files import write_json
    from rich.console import Console

    from oreo_agents.experiments.arenas import find_arenas
    from oreo_agents.experiments.plan import Plan
    from oreo_agents.experiments.run import choose_jobs, run_plan
    from oreo_agents.experiments.stages import order_stages
    from oreo_agents.experiments.suite import require_known
    from oreo_agents.experiments.suite_checks import check_suite
    from oreo_agents.experiments.suite_file import load_suite
    from oreo_agents.experiments.telling import TOLD
    from oreo_agents.report.suites import draw_plots, show_tables
    from oreo_agents.terminal.suite_progress import SuiteScreen

    console = Console(stderr=True)
    suite = load_suite(args.suite, args.env)
    for name in args.methods or ():
        require_known(name, suite.methods, f"--methods: suite {suite.name} has no method")
    given = {"seeds": args.seeds and tuple(args.seeds), "model": args.model, "prompt": args.prompt}
    suite = replace(suite, **{key: value for key, value in given.items() if value})
    check_suite(suite)
    server = read_server(args, suite.model)
    plan = Plan(suite, find_arenas(suite, args.data), args.methods or (), TOLD, server)
    for name, reason in plan.arenas.skipped.items():
        console.print(make_printable(f"test set {name} is skipped: {reason}"), highlight=False, markup=False)
    output = _choose_output(args, suite.name)
    stages, judged = len(order_stages([one.stage for one in plan.verdicts])), len(plan.verdicts)
    for line in (
        f"suite {suite.name}: {suite.summary}".removesuffix(": "),
        f"stages in {output}: {stages}, of which {judged} judge",
    ):
        console.print(make_printable(line), highlight=False, markup=False, soft_wrap=True)
    with SuiteScreen(plan.verdicts, output, console) as screen:
        found = run_plan(plan, output, args.jobs or choose_jobs(suite), screen.report, screen.hear)
    path = args.results or Path("results") / f"{suite.name}.json"
    write_json(path, found.to_json())
    show_tables(found, Console())
    draw_plots(found, path)
    tell_next(f"{path}: the results; plots in {path.with_suffix('')}, agents and episodes in {output}")
    return int(bool(found.failed))


def _choose_output(args: argparse.Namespace, suite: str) -> Path:
    return args.output or Path("runs/bench") / suite
