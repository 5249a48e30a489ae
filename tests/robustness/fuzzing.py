"""Mutated files of one kind, each given to what reads it: OreoError or success, in bounded time and memory.

    python tests/robustness/fuzzing.py KIND COUNT SEED

prints what came of it as JSON. The process has a limit of memory, each input one of time.
"""

import copy
import gzip
import io
import json
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

from oreo_agents.errors import OreoError

SECONDS = 30.0
"""For one input, on a machine with other work."""
MEMORY = 3 << 30
"""Above what the imports take."""

VALUES = (
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "\udcff",
    "\x1b[31m\x00",
    "../../etc/passwd",
    [],
    {},
    [[]] * 50,
    {"a": {"b": None}},
    10**9,
)


# ------------------------------------------------------------------------------- mutations


def mutate_bytes(content, chance):
    """A few bytes changed, cut, doubled or put in."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 64)]
        elif kind == 3:
            changed[at:at] = chance.randbytes(chance.randrange(1, 64))
        elif kind == 4:
            changed[at:at] = changed[at : at + chance.randrange(1, 4096)]
        else:
            changed[at : at + 8] = chance.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" * 8, b"[" * 8, b"9" * 8))
    return bytes(changed)


def mutate_value(value, chance):
    """A JSON value with one of its parts replaced, left out or doubled."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place, key = value, None
        while isinstance(place, dict | list) and place:
            parent = place
            key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
            place = place[key]
            if chance.random() < 0.25:
                break
        if key is None:
            return chance.choice(VALUES)
        if chance.random() < 0.2:
            del parent[key]
        else:
            parent[key] = chance.choice(VALUES)
    return value


def mutate_json(content, chance):
    if chance.random() < 0.3:
        return mutate_bytes(content, chance)
    if chance.random() < 0.02:
        return b"[" * 200_000
    try:
        text = json.dumps(mutate_value(json.loads(content), chance))
    except ValueError:  # a part was put into itself
        return mutate_bytes(content, chance)
    return text.encode("utf-8", "surrogatepass")


def mutate_lines(content, chance):
    lines = content.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = mutate_json(lines[at], chance)
    return b"\n".join(lines) + b"\n"


def mutate_text(content, chance):
    """Words of a text changed, or bytes of it."""
    if chance.random() < 0.5:
        return mutate_bytes(content, chance)
    words = content.split(b" ")
    for _ in range(chance.randrange(1, 5)):
        words[chance.randrange(len(words))] = chance.choice(
            (b"", b"(" * 300, b"9" * 400, b"-1", b"\\frac", b"^" * 50, b'"', b"= [", chance.choice(words))
        )
    return b" ".join(words)


# ------------------------------------------------------------------------------- kinds of file


class Kinds:
    """For each kind: prepare() makes the file, read() reads a mutated one."""

    def __init__(self, folder):
        self.folder = folder

    def games(self):
        from oreo_envs.alfworld.install import write_games

        return write_games(self.folder / "games", 2)

    def game(self):
        from oreo_envs.alfworld.sources import find_games

        file = next(self.games().rglob("game.tw-pddl"))

        def read(content):
            file.write_bytes(content)
            games = find_games(games=file)
            import gymnasium as gym

            env = gym.make("OREO-ALFWorld", games=games)
            env.reset(options={"game": 0})
            env.step("look")

        return file.read_bytes(), mutate_json, read

    def archive(self):
        from oreo_envs.alfworld.archives import unpack_archive

        games, made = self.games(), {}
        for ending in (".zip", ".tar.gz", ".tar.xz"):
            path = self.folder / f"games{ending}"
            if ending == ".zip":
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in games.rglob("*.tw-pddl"):
                        archive.write(file, file.relative_to(games))
            else:
                with tarfile.open(path, f"w:{ending[5:]}") as archive:
                    archive.add(games, "games")
            made[ending] = path.read_bytes()
        chance = random.Random(0)

        def read(content):
            ending = read.ending
            (self.folder / f"odd{ending}").write_bytes(content)
            shutil.rmtree(unpack_archive(self.folder / f"odd{ending}"), ignore_errors=True)

        def mutate(_, chance_):
            read.ending = chance.choice(list(made))
            return mutate_bytes(made[read.ending], chance_)

        return b"", mutate, read

    def dataset(self):
        from oreo_agents.agents.load import load_agent
        from oreo_agents.rollout.record import record
        from oreo_agents.rollout.schedule import Schedule

        path = self.folder / "data"
        record(load_agent("expert"), path, schedule=Schedule(limit=3), max_steps=6, split="generated")
        return path

    def read_dataset(self, path):
        from oreo_agents.dataset import load_trajectories
        from oreo_agents.report.dataset_card import describe_dataset, render_card

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load_trajectories(path)
            json.dumps(describe_dataset(found).as_json(), allow_nan=False)
            render_card(found, "x")
            list(found)

    def meta(self):
        path = self.dataset()

        def read(content):
            (path / "meta.json").write_bytes(content)
            self.read_dataset(path)

        return (path / "meta.json").read_bytes(), mutate_json, read

    def parquet(self):
        path = self.dataset()
        shard, meta = path / "shard-00000.parquet", json.loads((path / "meta.json").read_bytes())

        def read(content):
            shard.write_bytes(content)
            meta["shards"][0]["bytes"] = len(content)
            (path / "meta.json").write_text(json.dumps(meta))
            self.read_dataset(path)

        return shard.read_bytes(), mutate_bytes, read

    def journal(self):
        from oreo_agents.dataset import load_trajectories
        from oreo_agents.dataset.journal import encode_row
        from oreo_agents.dataset.schema import to_row

        path = self.dataset()
        rows = [encode_row(to_row(one)) for one in load_trajectories(path)]

        def read(content):
            (path / "journal-00001.jsonl").write_bytes(content)
            self.read_dataset(path)

        return b"".join(rows), mutate_lines, read

    def suite(self):
        from oreo_agents.experiments.suite_file import FOLDERS, load_suite

        content = next(path for one in FOLDERS if (path := one / "smoke.toml").is_file()).read_bytes()

        def read(changed):
            (self.folder / "odd.toml").write_bytes(changed)
            load_suite(str(self.folder / "odd.toml"))

        return content, mutate_text, read

    def imported(self):
        from oreo_agents.dataset.importers import import_dataset

        says = ["Room.\nYour task is to: put x.", "think: a\naction: look", "You see a cup.", "take cup 1"]
        talk = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(says)]
        rows = [{"id": i, "game_file": "a/b/c", "conversations": talk, "reward": 1.0} for i in range(3)]

        def read(content):
            (self.folder / "odd.jsonl").write_bytes(content)
            refused = []
            for name in ("eto", "knowagent", "sharegpt", "tales"):
                shutil.rmtree(self.folder / "imported", ignore_errors=True)
                try:
                    import_dataset(self.folder / "odd.jsonl", self.folder / "imported", name)
                except OreoError as error:
                    refused.append(error)
            if len(refused) == 4:
                raise refused[0]

        return b"\n".join(json.dumps(row).encode() for row in rows), mutate_lines, read

    def problems(self):
        import gymnasium as gym

        rows = [
            {"question": f"Zoë has {i} times 4 eggs?", "answer": f"{i}*4=<<{i}*4={4 * i}>>\n#### {4 * i}"}
            for i in range(5)
        ]
        chance = random.Random(0)

        def read(content):
            packed = chance.random() < 0.3
            (self.folder / "train.jsonl").unlink(missing_ok=True)
            name = "train.jsonl.gz" if packed else "train.jsonl"
            (self.folder / name).write_bytes(
                mutate_bytes(gzip.compress(content), chance) if packed else content
            )
            env = gym.make("OREO-GSM8K", data=str(self.folder), expert=True)
            env.reset(seed=0)
            env.step("#### 4")

        return b"\n".join(json.dumps(row).encode() for row in rows), mutate_lines, read

    def answer(self):
        from oreo_envs.math import extract_answer, grade

        said = r"So \frac{3}{4} + 2^{10} = \sqrt{2} \cdot 10^{-3}: it is \boxed{\left( \frac{1}{2} , 3 \right)} #### 12"

        def read(content):
            text = content.decode("utf-8", "surrogateescape")
            extract_answer(text)
            grade(text[-200:], r"\frac{3}{4}")
            grade("12", text[-200:])

        return said.encode(), mutate_text, read

    def copy_agent(self):
        from oreo_agents.models.model_files import SHIPPED

        return Path(shutil.copytree(SHIPPED["small"], self.folder / "agent"))

    def config(self):
        return self._part("policy/config.json", mutate_json)

    def critic(self):
        return self._part("critic/config.json", mutate_json)

    def weights(self):
        return self._part("policy/model.safetensors", mutate_head)

    def _part(self, name, mutate):
        from oreo_agents.models.agent_folder import load_critic, load_policy

        agent = self.copy_agent()

        def read(content):
            (agent / name).write_bytes(content)
            if name.startswith("critic"):
                load_critic(agent)
            else:
                load_policy(agent)

        return (agent / name).read_bytes(), mutate, read

    def tokenizer(self):
        return self._tokenizer("policy/tokenizer.json")

    def tokenizer_config(self):
        return self._tokenizer("policy/tokenizer_config.json")

    def _tokenizer(self, name):
        from oreo_agents.language.chat import Chat
        from oreo_agents.models.agent_folder import load_tokenizer

        agent = self.copy_agent()

        def read(content):
            (agent / name).write_bytes(content)
            Chat(load_tokenizer(agent)).opening("You see a desk 1.")

        return (agent / name).read_bytes(), mutate_json, read

    def template(self):
        from oreo_agents.language import chat_template
        from oreo_agents.language.chat import Chat
        from oreo_agents.models.agent_folder import load_tokenizer

        chat_template.SECONDS = 2
        folder = self.copy_agent()
        tokenizer = load_tokenizer(folder)
        vocabulary = tokenizer.get_vocab
        tokenizer.get_vocab = lambda: {k: v for k, v in vocabulary().items() if k != "<act>"}
        text = (
            "{% for m in messages %}{% if m['role'] == 'user' %}U: {{ m['content'] | trim }}\n{% else %}A: "
            "{{ m.content }}<end>\n{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A: ' * 1 }}{% endif %}"
        )

        def read(content):
            tokenizer.chat_template = content.decode("utf-8", "replace")
            Chat(tokenizer)

        return text.encode(), mutate_text, read

    def result(self):
        from oreo_agents.experiments.verdicts import Judgement

        count = {"n": 1, "successes": 1}
        one = {"method": "a", "by_task_type": {"x": count}, "invalid_action_rate": 0.0, "mean_steps": 1.0}
        one |= {"mean_steps_success": 1.0, "ended_early": {}, "errors": {}, "games": ["g"], "won": [True]}
        written = {"results": [{**one, "max_steps": 5}], "calibration": [], "prompt": None}

        def read(content):
            (self.folder / "result.json").write_bytes(content)
            Judgement.read(self.folder)

        return json.dumps(written).encode(), mutate_json, read

    def adapters(self):
        from oreo_agents.models.adapters import _read_config

        given = {
            "peft_type": "LORA",
            "r": 4,
            "lora_alpha": 4,
            "target_modules": ["q_proj"],
            "rank_pattern": {},
        }
        given |= {
            "alpha_pattern": {},
            "megatron_config": None,
            "megatron_core": "megatron.core",
            "use_dora": False,
        }

        def read(content):
            (self.folder / "adapter_config.json").write_bytes(content)
            from oreo_agents.models.model_files import as_checkpoint_error

            with as_checkpoint_error(self.folder):
                _read_config(self.folder / "adapter_config.json")

        return json.dumps(given).encode(), mutate_json, read


def mutate_head(content, chance):
    """safetensors begin with the length of their description, and the description."""
    size = int.from_bytes(content[:8], "little")
    if chance.random() < 0.3:
        return mutate_bytes(content[: 8 + size], chance) + content[8 + size :]
    if chance.random() < 0.5:
        head = json.dumps(mutate_value(json.loads(content[8 : 8 + size]), chance)).encode(
            "utf-8", "surrogatepass"
        )
        return len(head).to_bytes(8, "little") + head + content[8 + size :]
    return content[: chance.randrange(len(content))]


KINDS = [name for name in vars(Kinds) if not name.startswith(("_", "copy", "read", "games", "dataset"))]


class TooSlow(BaseException):
    """An input took longer than it may."""


def fuzz(kind, count, seed):
    """What came of ``count`` inputs."""
    chance = random.Random(f"{kind} {seed}")
    done = {"kind": kind, "inputs": 0, "read": 0, "refused": 0, "faults": [], "slowest": 0.0}

    def ring(*_):
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    with tempfile.TemporaryDirectory() as folder:
        content, mutate, read = getattr(Kinds(Path(folder)), kind)()
        with suppress(Exception):
            read(content)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY,) * 2)
        for number in range(count):
            changed = mutate(content, chance)
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                read(changed)
                done["read"] += 1
            except OreoError:
                done["refused"] += 1
            except BaseException as error:
                where = traceback.format_exc().splitlines()[-6:]
                done["faults"].append([number, type(error).__name__, str(error)[:200], where])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            done["inputs"] += 1
            done["slowest"] = max(done["slowest"], time.monotonic() - start)
    done["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return done


if __name__ == "__main__":
    said, sys.stdout = sys.stdout, io.StringIO()
    found = fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout = said
    print(json.dumps(found))
