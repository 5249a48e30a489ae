"""Work in stages that a second run reuses and an interrupted one continues. Knows nothing about what is done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console


class Stages:
    """Runs the parts of a recipe once each, in order, and remembers them in the output folder."""

    def __init__(self, output: Path, console: Console) -> None:
        self.output, self.console = output, console
        self.digest = ""

    def run(self, name: str, inputs: Any, work: Callable[[Path], None]) -> Path:
        """Do ``work`` on ``output/name`` unless that was done before with the same inputs and predecessors."""
        self.digest = hashlib.sha256(
            f"{self.digest}{name}{json.dumps(inputs, default=str)}".encode()
        ).hexdigest()
        path, mark = self.output / name, self.output / f".{name}.done"
        if mark.is_file() and mark.read_text() == self.digest and path.exists():
            self.console.print(f"[dim]{name}: reusing {path}[/dim]", highlight=False)
            return path
        mark.unlink(missing_ok=True)
        start = time.monotonic()
        work(path)
        mark.write_text(self.digest)
        self.console.print(f"{name}: {time.monotonic() - start:.0f} s", highlight=False)
        return path


def identity(model: str | Path) -> str:
    """A local policy by its weights, one on the Hub by its name."""
    for weights in (Path(model) / "policy" / "model.safetensors", Path(model) / "model.safetensors"):
        if weights.is_file():
            return hashlib.sha256(weights.read_bytes()).hexdigest()
    return str(model)
