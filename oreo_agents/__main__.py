"""``python -m oreo_agents``: the command line."""

import sys

from oreo_agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
