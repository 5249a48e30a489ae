"""``oreo-agents export``: an agent's policy as a folder for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, add_prompt, add_trust, spell_command, tell_next
from oreo_agents.cli.paths import mark_paths
from oreo_agents.printable import print_line


def add_export(commands: Commands) -> None:
    """Options of ``export``."""
    parser = add_command(
        commands,
        "export",
        run_export,
        "a policy, its adapters and its prompt as one folder for transformers or vLLM",
    )
    mark_paths(parser, agents=["agent"])
    parser.add_argument(
        "agent", metavar="NAME_OR_PATH", help="small, a trained agent's folder or a causal LM"
    )
    add_prompt(parser)
    add_trust(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="a new folder")


def run_export(args: argparse.Namespace) -> None:
    """Write the folder."""
    from oreo_agents.models.export import export_policy

    prompt = export_policy(args.agent, args.output, args.prompt)
    left = {"admissible commands": prompt.commands, "a reminder": prompt.reminder}
    named = [name for name, text in left.items() if text] + (
        ["a short history"] if prompt.history is not None else []
    )
    rest = f"; left to whoever asks: {', '.join(named)}" if named else ""
    tell_next(f"{args.output}: a model for transformers, vLLM and the like{rest}")
    print_line(f"next: {spell_command('vllm', 'serve', args.output)}")
