"""``oreo-agents demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_envs.catalog import describe

from oreo_agents.cli.interrupted import mark_resumable, tell_stages
from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_demonstrated,
    add_jobs,
    add_seed,
    add_wording,
    parse_positive,
    spell_command,
    tell_next,
)


def add_demo(commands: Commands) -> None:
    """Options of ``demo``."""
    parser = add_command(commands, "demo", run_demo, "the whole path: record, train, evaluate, one table")
    mark_resumable(parser, lambda args: tell_stages(_choose_output(args)))
    add_demonstrated(parser)
    parser.add_argument(
        "--games", metavar="PATH", help="real games: a folder or archive of them; in OREO-Reasoning a task"
    )
    add_wording(parser)
    parser.add_argument("--output", "-o", type=Path, help="default: runs/demo, or runs/demo-ID")
    parser.add_argument("--from-scratch", action="store_true", help="ignore the shipped starting checkpoint")
    parser.add_argument("--episodes", type=parse_positive, metavar="N", help="held-out games to evaluate on")
    add_seed(parser)
    add_jobs(parser)


def run_demo(args: argparse.Namespace) -> None:
    """Run the demo, or go on with it: record, imitate, roll out, train OREO, compare, one table."""
    import time

    from rich.console import Console

    from oreo_agents.evaluation.statistics import qualify_intervals
    from oreo_agents.experiments import demo
    from oreo_agents.experiments.arenas import find_arenas
    from oreo_agents.experiments.plan import Plan
    from oreo_agents.experiments.run import choose_jobs, require_done, run_plan
    from oreo_agents.experiments.telling import TOLD
    from oreo_agents.report.plots import draw_success
    from oreo_agents.report.tables import SuccessTable
    from oreo_agents.terminal.suite_progress import SHOWN, StageBars, print_stages

    start = time.monotonic()
    suite, data = demo.choose_suite(args.env, args.games)
    suite = demo.shape_suite(
        suite, seed=args.seed, games=args.episodes, from_scratch=args.from_scratch, wording=args.wording
    )
    output = _choose_output(args)
    jobs = args.jobs or choose_jobs(suite)
    plan = Plan(suite, find_arenas(suite, data), views=SHOWN if jobs == 1 else TOLD)
    if jobs == 1:
        found = run_plan(plan, output, report=print_stages(Console(stderr=True), output))
    else:
        with StageBars(output) as bars:
            found = run_plan(plan, output, jobs, bars.report, bars.hear)
    require_done(found)
    runs = demo.title_runs(found.runs)
    demo.write_results(suite, runs, output / "results.json")
    demo.keep_episodes(plan, output)
    results = [run.result for run in runs]
    draw_success(results, output / "results.png")
    title = f"{runs[0].setting.test}, {results[0].n} games, seed {args.seed}: {qualify_intervals(1)}"
    Console().print(SuccessTable(results, title, demo.list_rules(found.runs)))
    tell_next(
        f"{time.monotonic() - start:.0f} s. Results: {output}/results.json and results.png. "
        f"The agents: {output}/seed-{args.seed}.",
        spell_command("replay", output / "episodes"),
        spell_command("play", "--agent", output / f"seed-{args.seed}" / "oreo"),
    )


def _choose_output(args: argparse.Namespace) -> Path:
    return Path(args.output or f"runs/demo{describe(args.env).suffix}")
