"""The command line: one file a command, and the only place that parses arguments."""

from oreo_agents.cli.program import main as main
