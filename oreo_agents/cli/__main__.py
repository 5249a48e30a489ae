"""``python -m oreo_agents.cli`` is ``oreo-agents``."""

import sys

from oreo_agents.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
