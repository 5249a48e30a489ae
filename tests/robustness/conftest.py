"""What the suites of faults share."""

import pytest
from commands import Commands


@pytest.fixture(scope="session")
def commands(forks):
    return Commands(forks)


@pytest.fixture(scope="session")
def material(commands, tmp_path_factory):
    """A dataset, a second one, games and the shipped agent to do things with."""
    folder = tmp_path_factory.mktemp("material")
    record = ("record", "--agent", "expert", "--split", "generated", "--max-steps", "12")
    commands.run(folder, *record, "-n", "8", "-o", "one").require_done()
    commands.run(folder, *record, "-n", "8", "--epsilon", "0.6", "-o", "two").require_done()
    commands.run(folder, "data", "generate", "--count", "3", "-o", "games").require_done()
    return folder
