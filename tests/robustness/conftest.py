"""What the suites of faults share."""

import pytest
from commands import Zygote


@pytest.fixture(scope="session")
def zygote():
    one = Zygote()
    yield one
    one.close()


@pytest.fixture(scope="session")
def material(zygote, tmp_path_factory):
    """A dataset, a second one, games and the shipped agent to do things with."""
    folder = tmp_path_factory.mktemp("material")
    record = ("record", "--agent", "expert", "--split", "generated", "--max-steps", "12")
    zygote.run(folder, *record, "-n", "8", "-o", "one").require_done()
    zygote.run(folder, *record, "-n", "8", "--epsilon", "0.6", "-o", "two").require_done()
    zygote.run(folder, "data", "generate", "--count", "3", "-o", "games").require_done()
    return folder
