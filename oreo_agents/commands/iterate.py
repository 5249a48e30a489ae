"""``oreo-agents iterate``: collect, train, evaluate, repeat."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from oreo_agents.evaluation import write_json
from oreo_agents.experiments import demo, iterate
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.run import require_done, run_plan
from oreo_agents.experiments.stages import Event, Report, Stage
from oreo_agents.report.tables import success_table
from oreo_agents.terminal.suite_progress import print_stages


def run(args: argparse.Namespace) -> int:
    """Run the rounds, or go on with them."""
    console = Console(stderr=True)
    suite, data = demo.choose_suite(args.env, args.games)
    suite = demo.shape_suite(suite, seed=args.seed, games=args.episodes)
    suite = iterate.iterate_suite(
        suite,
        args.model,
        args.method,
        args.iterations,
        keep_data=args.keep_data,
        rollouts=args.rollouts,
        max_steps=args.max_steps,
    )
    plan = iterate.plan_rounds(suite, find_arenas(suite, data), progress=True)
    iterate.claim_folder(args.output, plan)
    report = _write_rounds(plan, args.output, print_stages(console, args.output))
    require_done(run_plan(plan, args.output, report=report))
    results = iterate.number_results(plan, args.output)
    title = f"{results[0]['arena']}, {results[0]['n']} games, seed {args.seed}"
    Console().print(success_table(results, title=title))
    newest = plan.agent(iterate.ITERATED, args.seed).name
    console.print(f"The newest policy: {args.output / newest}", highlight=False, markup=False)
    return 0


def _write_rounds(plan: Plan, output: Path, report: Report) -> Report:
    """The report, and ``results.json`` is written anew as soon as a round has been judged."""
    judged = {verdict.stage.name for verdict in plan.verdicts}

    def write(stage: Stage, event: Event, seconds: float) -> None:
        report(stage, event, seconds)
        if stage.name in judged and event in ("done", "reused"):
            write_json(output / "results.json", iterate.number_results(plan, output))

    return write
