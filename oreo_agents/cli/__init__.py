"""The command line: one file a command, and the only place that parses arguments."""

import sys

try:
    from oreo_agents.cli.program import main as main
except KeyboardInterrupt:
    sys.exit("interrupted")
