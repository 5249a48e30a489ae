"""``oreo-agents iterate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_envs.catalog import describe

from oreo_agents.cli.interrupted import mark_resumable, tell_stages
from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_endpoint,
    add_environment,
    add_seed,
    add_success_return,
    add_trust,
    add_wording,
    parse_positive,
    parse_temperature,
    read_env_options,
    read_server,
    repeat_options,
    settle_environment,
    spell_command,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.cli.train import add_training_options, given_options
from oreo_agents.models.start import FROM_SCRATCH
from oreo_agents.printable import print_line
from oreo_agents.training.methods import METHODS


def add_iterate(commands: Commands) -> None:
    """Options of ``iterate``."""
    parser = add_command(commands, "iterate", run_iterate, "collect, train, evaluate, repeat; resumable")
    mark_resumable(parser, lambda args: tell_stages(args.output))
    mark_paths(parser, models=["model"])
    parser.add_argument(
        "--model",
        required=True,
        metavar="PATH",
        help="an agent or a causal LM to start from, or small, the shipped agent",
    )
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument(
        "--iterations", type=parse_positive, default=3, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--rollouts", type=parse_positive, metavar="N", help="episodes a round")
    parser.add_argument("--keep-data", action="store_true", help="train on the episodes of all rounds so far")
    parser.add_argument(
        "--temperature",
        type=parse_temperature,
        metavar="T",
        help="at which rounds are played; default: as for demo",
    )
    add_environment(parser)
    parser.add_argument("--games", metavar="PATH_OR_NAME", help="as for record")
    add_wording(parser)
    add_success_return(parser)
    parser.add_argument("--episodes", type=parse_positive, metavar="N", help="held-out games to evaluate on")
    parser.add_argument("--max-steps", type=parse_positive, metavar="N", help="step limit of an episode")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder of the run")
    add_seed(parser)
    add_training_options(parser)
    add_endpoint(parser)
    add_trust(parser)


def run_iterate(args: argparse.Namespace) -> None:
    """Run the rounds, or go on with them."""
    from rich.console import Console

    from oreo_agents.environments import source_options
    from oreo_agents.evaluation.statistics import qualify_intervals
    from oreo_agents.experiments import demo, iterate
    from oreo_agents.experiments.arenas import find_arenas
    from oreo_agents.experiments.run import require_done, run_plan
    from oreo_agents.experiments.suite_file import load_suite
    from oreo_agents.models.recipe import explain_doubt
    from oreo_agents.report.tables import SuccessTable
    from oreo_agents.terminal.suite_progress import SHOWN, print_stages

    console = Console(stderr=True)
    server = read_server(args, args.model)
    settle_environment(args, None if args.model in FROM_SCRATCH else args.model)  # a new one is refused below
    known = source_options(args.env, None, args.games, args.wording, args.known, read_env_options(args))
    games = known.pop(describe(args.env).games_argument, None)
    if describe(args.env).demo:
        suite, data = demo.choose_suite(args.env, games)
    else:
        suite, data = iterate.adapt_suite(load_suite("whole-path"), args.env, games), None
    suite = demo.shape_suite(
        suite, seed=args.seed, games=args.episodes, success_return=args.success_return, known=known
    )
    suite = iterate.iterate_suite(
        suite,
        args.model,
        args.method,
        args.iterations,
        keep_data=args.keep_data,
        rollouts=args.rollouts,
        temperature=args.temperature,
        max_steps=args.max_steps,
        options=given_options(args),
    )
    plan = iterate.plan_rounds(suite, find_arenas(suite, data), views=SHOWN, server=server)
    iterate.claim_folder(args.output, plan)
    report = iterate.write_rounds(plan, args.output, print_stages(console, args.output))
    require_done(run_plan(plan, args.output, report=report))
    runs = iterate.number_runs(plan, args.output)
    title = f"{runs[0].setting.test}, {runs[0].result.n} games, seed {args.seed}: {qualify_intervals(1)}"
    Console().print(SuccessTable([run.result for run in runs], title))
    newest = plan.agent(iterate.ITERATED, args.seed).name
    named = repeat_options(args, "env") if describe(args.env).foreign else []
    named += repeat_options(args, "env_options", "wording", "max_steps", "success_return")
    tell_next(
        f"The newest policy: {args.output / newest}; all rounds: {args.output / 'results.json'}",
        spell_command("eval", "--agent", args.output / newest, *named, "-n", 100),
    )
    for line in (iterate.explain_sameness(runs), explain_doubt(args.output / newest)):
        if line:
            print_line(line)
