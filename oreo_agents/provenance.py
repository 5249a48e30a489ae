"""By which program, on which machine and with which command a result was made."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from oreo_envs.workers import count_cores

PACKAGES = ("oreo-agents", "torch", "transformers", "tokenizers", "gymnasium", "numpy")
CHECKOUT = Path(__file__).parents[1]
PROGRAM = (".", ":(exclude)benchmarks/results")
"""What a result is made by. One that is made again, as by ``make bench``, does not change the next."""


def collect_provenance() -> dict[str, Any]:
    """``command``, ``commit``, ``versions`` and ``machine``."""
    return {
        "command": format_command(),
        "commit": find_commit(),
        "versions": list_packages(),
        "machine": describe_machine(),
    }


def format_command() -> str:
    """What was typed, more or less; of URLs only whose they are."""
    name = Path(sys.argv[0]).name
    words = ["oreo-agents" if name == "__main__.py" else name, *map(shorten_urls, sys.argv[1:])]
    return shlex.join(words)


def shorten_urls(text: str) -> str:
    """Scheme, host and port of every URL in a text: what else one has may be a key."""
    return re.sub(r"(https?://)(?:[^/?#\s]*@)?([^/?#\s]*)\S*", r"\1\2", text, flags=re.IGNORECASE)


def find_commit(root: Path = CHECKOUT) -> str | None:
    """The checkout's commit, with a mark where files differ from it, results apart; None where this is no checkout."""
    if not (root / ".git").exists():
        return None
    try:
        head = _run_git(root, "rev-parse", "--verify", "--quiet", "HEAD").stdout.strip()
        same = _run_git(root, "diff", "--quiet", "HEAD", "--", *PROGRAM).returncode == 0
    except FileNotFoundError:
        return None
    return f"{head}{'' if same else '-dirty'}" if head else None


def _run_git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)


def list_packages() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_machine() -> dict[str, Any]:
    """Processor, cores, and the GPU if there is one."""
    return {
        "cpu": _name_processor(),
        "cores": count_cores(),
        "gpu": find_gpu(),
        "system": platform.platform(),
    }


def find_gpu() -> str | None:
    """The name of the GPU that models are put on, if there is one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _name_processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
