"""A process that has everything imported and has done nothing: commands are run in forks of it, which may be killed.

Reads one request a line on stdin (JSON), answers with a line on stdout. A command is killed by SIGKILL when it is about
to do its n-th operation on files (``kill_at``), which Python's audit hooks count, or after some seconds.
"""

import ctypes
import io
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from dataclasses import replace

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
    """In the child: the command, its words in files, its count in a third."""
    log = request["log"]
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), encoding="utf-8", write_through=True)
    os.chdir(request["cwd"])
    os.environ.update(request.get("environment", {}))
    if "import_from" in request:
        sys.path.insert(0, request["import_from"])
    for name, most in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if request.get("powerless"):
        drop_capabilities()
    from oreo_agents.cli.program import main

    count = count_operations(request.get("kill_at", 0), os.path.abspath(request["cwd"]))
    status = 70
    try:
        status = main(request["command"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
    except OSError:
        traceback.print_exc()
    os.write(request["counted"], str(count[0]).encode())
    os._exit(status)


def serve():
    """One request after the other."""
    from transformers import AutoModel, AutoTokenizer, LlamaForCausalLM, Qwen3ForCausalLM  # noqa: F401

    import oreo_agents.agents.oreo
    import oreo_agents.cli.program
    import oreo_agents.dataset
    import oreo_agents.evaluation.evaluate
    import oreo_agents.experiments.plan
    import oreo_agents.experiments.run
    import oreo_agents.rollout.record
    import oreo_agents.training.train
    import oreo_agents.training.trainer  # noqa: F401

    shrink_suites()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reading, request["counted"] = os.pipe()
        start = time.monotonic()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                run(request)
            finally:
                os._exit(71)
        os.close(request["counted"])
        ended, killed = 0, None
        while not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            passed = time.monotonic() - start
            for after, sent in (
                (request.get("kill_after"), signal.SIGKILL),
                (request.get("stop_after"), signal.SIGINT),
            ):
                if after is not None and passed > after and killed is None and not ended:
                    os.kill(child, sent)
                    killed = sent
            if passed > request.get("timeout", 300) and not ended:
                os.kill(child, signal.SIGKILL)
                killed = "timeout"
                _, status = os.waitpid(child, 0)
                break
            time.sleep(0.005)
        counted = os.read(reading, 20).decode() or "0"
        os.close(reading)
        answer = {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        print(json.dumps({**answer, "operations": int(counted), "late": killed == "timeout"}), flush=True)


if __name__ == "__main__":
    serve()
