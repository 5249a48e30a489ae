"""Compares what the tests of this folder find with what is kept in golden/.

`BORDERS=write pytest tests/borders` keeps anew what is found. `BORDERS=exact pytest tests/borders` compares every
bit: for before and after a change, on one machine. Without it, numbers may differ a little from CPU to CPU.
"""

import contextlib
import hashlib
import io
import json
import math
import os
from pathlib import Path

import pyarrow.parquet

GOLDEN = Path(__file__).parents[1] / "borders" / "golden"
MODE = os.environ.get("BORDERS", "")
ELSEWHERE = {"versions", "content_hash", "shards", "entry_point", "vector_entry_point", "date", "commit"}
"""What meta.json says of the day, of the installation, of modules, and of the files' bytes."""


class Exact(str):
    """A text, say a hash of weights, that is the same on one machine only."""


def check(name, found):
    """`found`, made of dicts, lists, texts and numbers, is what golden/NAME.json holds."""
    path = GOLDEN / f"{name}.json"
    if MODE == "write":
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    unlike = list(differences(json.loads(path.read_text()), found, name))
    assert not unlike, "\n".join(unlike[:20])


def check_text(name, found):
    """`found` is what golden/NAME.txt holds; line breaks count in the exact mode only."""
    path = GOLDEN / f"{name}.txt"
    if MODE == "write":
        path.write_text(found)
    kept = path.read_text()
    assert found.split() == kept.split()
    assert MODE != "exact" or found == kept


def differences(kept, found, where):
    if isinstance(kept, dict) and isinstance(found, dict):
        for key in kept.keys() | found.keys():
            if key in kept and key in found:
                yield from differences(kept[key], found[key], f"{where}/{key}")
            else:
                yield f"{where}/{key}: is {'missing' if key in kept else 'new'}"
    elif isinstance(kept, list) and isinstance(found, list | tuple):
        if len(kept) != len(found):
            yield f"{where}: has {len(found)} items, had {len(kept)}"
        for i, (old, new) in enumerate(zip(kept, found, strict=False)):
            yield from differences(old, new, f"{where}/{i}")
    elif type(kept) is float and type(found) is float and MODE != "exact":
        if not math.isclose(kept, found, rel_tol=1e-4, abs_tol=1e-5):
            yield f"{where}: is {found}, was {kept}"
    elif isinstance(found, Exact) and MODE != "exact":
        return
    elif kept != found or isinstance(kept, bool) != isinstance(found, bool):
        yield f"{where}: is {found!r}, was {kept!r}"


def run(*words):
    """Exit status, standard output and standard error of `oreo-agents WORDS`."""
    from oreo_agents.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    return status, out.getvalue(), err.getvalue()


def do(line):
    """Run `oreo-agents LINE`, which must succeed."""
    status, out, err = run(*line.split())
    assert status == 0, err
    return out


def dataset(folder):
    """All columns of all rows, and meta.json; of admissible commands their number and hash."""
    folder = Path(folder)
    rows = [
        row
        for part in sorted(folder.glob("*.parquet"))
        for row in pyarrow.parquet.read_table(part).to_pylist()
    ]
    for row in rows:
        offered = row["admissible_commands"]
        row["admissible_commands"] = [commands and digest(commands) for commands in offered]
        row["metadata"] = without(json.loads(row["metadata"]), {"seconds"})
    return {"meta": without(json.loads((folder / "meta.json").read_text()), ELSEWHERE), "rows": rows}


def without(value, names):
    """`value` with all `names` left out, at any depth."""
    if isinstance(value, dict):
        return {key: without(x, names) for key, x in value.items() if key not in names}
    return [without(x, names) for x in value] if isinstance(value, list) else value


def digest(commands):
    return f"{len(commands)} commands, {hashlib.sha256(repr(commands).encode()).hexdigest()[:16]}"


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
