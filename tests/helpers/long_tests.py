"""Whether tests run at the lengths that are promised: ``LONG=1``, as ``make test-long`` has it."""

import os

LONG = bool(os.environ.get("LONG"))
