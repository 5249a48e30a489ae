"""A command under faults, run by commands.py in a fork: ``python faulty.py REQUEST``, which is JSON.

It is killed by SIGKILL when it is about to do its n-th operation on files (``kill_at``), which Python's audit hooks
count; or has no power over files, or limits.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from dataclasses import replace

from oreo_agents.cli.program import main

COUNTED = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "shutil.rmtree",
    "os.listdir",
}


def shrink_suites():
    """Demo and iterate on a few episodes: what is tried here is what they leave, not what they learn."""
    from oreo_agents.experiments import demo
    from oreo_agents.experiments.suite import Demonstrations, Rollouts, Search
    from oreo_agents.models.model_files import SHIPPED

    load = demo.load_suite

    def load_small(name):
        suite = load(name)
        kept = {key: method for key, method in suite.methods.items() if method.method in ("sft", "oreo")}
        return replace(
            suite,
            methods=kept,
            model=str(SHIPPED["small"]),  # it wins, and sampled wildly it also loses
            step_limits=(20,),
            demonstrations=Demonstrations(4),
            rollouts=Rollouts(12, games=4, patience=4, temperature=1.9),
            sft={"learning_rate": 1e-5},
            search=Search(ks=(1, 2), methods=("oreo",)),
        )

    demo.load_suite = load_small


def count_operations(kill_at, folder):
    """Counts what is done to files below ``folder``, and ends the process before the n-th."""
    count = [0]

    def hook(event, arguments):
        if event not in COUNTED or not arguments or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(arguments[0])).startswith(folder):
            return
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def drop_capabilities():
    """Permissions of files count for root, too (capset(2), version 3: all of its sets empty)."""
    if ctypes.CDLL(None, use_errno=True).capset(struct.pack("Ii", 0x20080522, 0), bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")


def run(request):
    """The command under its faults; how many operations it did stands in a file in the end."""
    if "import_from" in request:
        sys.path.insert(0, request["import_from"])
    for name, most in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if request.get("powerless"):
        drop_capabilities()
    counted = os.open(request["counted"], os.O_WRONLY | os.O_CREAT, 0o600)  # says that it begins, too
    count = count_operations(request.get("kill_at", 0), os.getcwd())
    try:
        return main(request["command"])
    finally:
        os.write(counted, str(count[0]).encode())


if __name__ == "__main__":
    shrink_suites()
    sys.exit(run(json.loads(sys.argv[1])))
