"""Where time, bytes and money go in a hundred million steps with a policy of 70 billion parameters: plain arithmetic.

    python benchmarks/plan/budget.py [--set NAME=VALUE ...] [--constants FILE] [--output FILE]

    python benchmarks/plan/budget.py --set plan.steps=1e6 decoding.cards=8 card.usd_per_hour=3.2

Measured numbers are those of ``results/plan_probe.json`` (tokens and bytes of a step), ``alfworld_speed.json`` and
``record_speed.json`` (CPU seconds of a step); assumed ones stand in ``constants.toml``, each with where it is from.
Operations and memory of training are those of :mod:`oreo_agents.training.estimate`. The tables are those of
docs/a-hundred-million-steps.md.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreo_envs.files import write_json

from oreo_agents.errors import ConfigurationError
from oreo_agents.training.estimate import Shape, Workload, count_flops, count_memory

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
CLUSTERS = (8, 64, 128, 256)
"""Cards."""
CRITICS = ("none", "shared", "separate", "lora")
SERVERS = ((4, "thoughts", True), (8, "thoughts", True), (4, "actions", True), (4, "thoughts", False))
"""Cards, what is said, whether prefixes are kept."""
HOUR, DAY = 3600.0, 86_400.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_constants(parser)
    parser.add_argument(
        "--output", type=Path, help="also write everything as JSON, such as results/plan.json"
    )
    args = parser.parse_args()
    plan = read_plan(args.constants, args.set)
    for title, draw in TABLES.items():
        print(f"## {title}\n\n{draw(plan)}")
    if args.output:
        write_json(args.output, tell_all(plan))


def add_constants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--constants", type=Path, default=HERE / "constants.toml", help="%(default)s")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="such as plan.steps=1e6")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before anything is computed."""

    given: dict[str, dict[str, Any]]
    """``constants.toml``."""
    measured: dict[str, Any]
    """``plan_probe.json``."""
    engine: dict[str, Any]
    """``alfworld_speed.json``."""
    recorder: dict[str, Any]
    """``record_speed.json``."""

    def __getitem__(self, name: str) -> Any:
        table, _, key = name.partition(".")
        return self.given[table][key]

    @property
    def spoken(self) -> dict[str, float]:
        """Tokens, by what the policy says."""
        return self.measured[self["plan.kind"]]

    @property
    def shape(self) -> Shape:
        """Of the policy."""
        return Shape(**self.given["policy"])


def read_plan(constants: Path = HERE / "constants.toml", changes: list[str] | tuple[str, ...] = ()) -> Plan:
    """The constants with changes such as ``plan.steps=1e6``, and what was measured.

    Raises:
        ConfigurationError: there is no such constant, or its value is of another kind.
    """
    given = tomllib.loads(constants.read_text(encoding="utf-8"))
    for change in changes:
        name, _, said = change.partition("=")
        table, _, key = name.partition(".")
        if key not in given.get(table, {}):
            raise ConfigurationError(f"{change!r} changes no constant: {constants} has them")
        known = given[table][key]
        try:
            value = said if isinstance(known, str) else json.loads(said)
        except ValueError:
            value = None
        if isinstance(known, bool) != isinstance(value, bool) or value is None:
            raise ConfigurationError(f"{change!r}: {name} is {known!r}, give another of its kind")
        given[table][key] = value
    files = ("plan_probe", "alfworld_speed", "record_speed")
    return Plan(given, *(json.loads((RESULTS / f"{file}.json").read_text()) for file in files))


# --- what there is ------------------------------------------------------------------------------------------------


def count_work(plan: Plan) -> dict[str, float]:
    """Episodes, tokens and bytes."""
    steps, spoken = plan["plan.steps"], plan.spoken
    episodes = steps * plan.measured["episodes"] / plan.measured["steps"]
    said = steps * spoken["reply_tokens_per_step"]
    read = episodes * spoken["opening_tokens"] + steps * spoken["read_tokens_per_step"]
    turns = steps / episodes
    # without a cache a turn reads the episode so far: half of it on average, and its opening
    again = steps * (spoken["opening_tokens"] + (spoken["tokens_per_episode"] - spoken["opening_tokens"]) / 2)
    tokens = said + read
    return {
        "episodes": episodes,
        "turns an episode": turns,
        "tokens said": said,
        "tokens read": read,
        "tokens read without a cache": again,
        "tokens": tokens,
        "bytes of parquet": steps * plan.measured["parquet_bytes_per_step"],
        "bytes of the journal, at most": 32 * 2**20,
        "shards": steps * plan.measured["journal_bytes_per_step"] / (32 * 2**20),
        "bytes of encoded columns": tokens * spoken["encoded_bytes_per_token"],
    }


def count_cores(plan: Plan) -> dict[str, float]:
    """Core-hours of what needs no card."""
    work, steps = count_work(plan), plan["plan.steps"]
    native, textworld = plan.engine["native"], plan.engine["textworld"]
    busy = next(one for one in plan.engine["scaling"] if one["environments"] == 64)
    loads = work["episodes"] * native["load_and_reset"]
    return {
        "native engine": (steps / busy["steps_per_second"] + loads) / HOUR,
        "TextWorld in its place": (steps * textworld["step"] + work["episodes"] * textworld["load_and_reset"])
        / HOUR,
        "recorder": steps * plan.recorder["overhead"]["microseconds_per_step"] * 1e-6 / HOUR,
        "agent beside the engine": steps * plan["engine.agent_seconds"] / HOUR,
    }


# --- decoding -----------------------------------------------------------------------------------------------------


def weigh_policy(plan: Plan) -> float:
    """Bytes of its weights in bfloat16."""
    return 2.0 * plan.shape.parameters


def weigh_token(plan: Plan) -> float:
    """Bytes of keys and values of a token in bfloat16."""
    shape = plan.shape
    return 2.0 * 2 * shape.layers * shape.key_heads * shape.head_size


def count_places(plan: Plan) -> int:
    """Episodes at once that a server's cards have room for, each as long as the mean of all tokens sees it."""
    room = plan["decoding.cards"] * plan["card.memory"] * plan["decoding.memory_share"] - weigh_policy(plan)
    held = weigh_token(plan) * plan.spoken["length_weighted_by_tokens"]
    return max(0, min(int(room / held), plan["decoding.most"]))


def time_iteration(plan: Plan, episodes: float) -> float:
    """Seconds in which a server says one more token in each of so many episodes: memory or arithmetic, and overhead."""
    cards = plan["decoding.cards"]
    held = weigh_token(plan) * plan.spoken["length_weighted_by_tokens"] / 2
    memory = (weigh_policy(plan) + episodes * held) / (
        cards * plan["card.bandwidth"] * plan["decoding.bandwidth_share"]
    )
    arithmetic = 2 * plan.shape.parameters * episodes / (cards * plan["card.peak"])
    return max(memory, arithmetic) + plan["decoding.overhead"]


def time_reading(plan: Plan) -> float:
    """Seconds in which a server reads a token that is not cached."""
    peak = plan["decoding.cards"] * plan["card.peak"] * plan["decoding.prefill_share"]
    return 2 * plan.shape.parameters / peak


def count_decoding(plan: Plan) -> dict[str, float]:
    """Of one server, and card-hours of all that is said and read.

    Raises:
        ConfigurationError: the policy does not fit the cards of a server.
    """
    work, places = count_work(plan), count_places(plan)
    if not places:
        raise ConfigurationError(
            f"{weigh_policy(plan) / 1e9:.0f} GB of weights do not fit {plan['decoding.cards']} cards of "
            f"{plan['card.memory'] / 1e9:g} GB: raise decoding.cards"
        )
    iteration = time_iteration(plan, places)
    read = work["tokens read" if plan["decoding.cached"] else "tokens read without a cache"]
    saying = work["tokens said"] / places * iteration
    reading = read * time_reading(plan)
    cards = plan["decoding.cards"]
    return {
        "episodes at once": places,
        "bytes of keys and values": places * weigh_token(plan) * plan.spoken["length_weighted_by_tokens"],
        "tokens a second and card": places / iteration / cards,
        "card-hours of saying": saying * cards / HOUR,
        "card-hours of reading": reading * cards / HOUR,
        "card-hours": (saying + reading) * cards / HOUR,
        "steps a second and card": plan["plan.steps"] / (saying + reading) / cards,
    }


# --- training -----------------------------------------------------------------------------------------------------


def describe_load(plan: Plan, critic: str | None = None) -> Workload:
    """What is trained on, and how; ``none`` is imitation."""
    spoken, critic = plan.spoken, critic or plan["plan.critic"]
    said = spoken["reply_tokens_per_step"] * plan["plan.steps"] / count_work(plan)["tokens"]
    return Workload(
        critic,
        reference=critic != "none",
        micro_batch_tokens=plan["training.micro_batch_tokens"],
        length=spoken["length_weighted_by_tokens"],
        action_share=said,
        checkpointing=True,
    )


def count_training(plan: Plan, critic: str | None = None) -> dict[str, float]:
    """Operations and card-hours of all passes; bytes of a card, of the network and of a checkpoint.

    Sharded over all cards (FSDP2, or ZeRO-3) are weights, gradients and optimizer state. A layer is whole while it
    runs, and the next beside it; its weights are gathered in bfloat16 for the way there and for the way back, and
    gradients are scattered in float32, in every micro-batch.
    """
    shape, work, cards = plan.shape, describe_load(plan, critic), plan["training.cards"]
    memory, lora = count_memory(shape, work), work.critic == "lora"
    trained, frozen = memory["optimizer"] / 8, shape.parameters if lora else 0
    copied = (
        shape.parameters if work.reference and not lora else 0
    )  # with adapters the trunk is its own reference
    state = 16.0 * trained + 4 * frozen
    own = state / cards + 2 * 2 * shape.layer + 2 * shape.head + memory["activations"]
    sharded = plan["training.sharded_reference"]
    passes = (2 if work.critic in ("separate", "lora") else 1) * 2 + (
        1 if lora or (copied and sharded) else 0
    )
    moved = 2 * shape.parameters * passes + 4 * trained
    operations, speed = count_flops(shape, work), plan["card.peak"] * plan["training.utilisation"]
    tokens = count_work(plan)["tokens"] * plan["plan.passes"]
    checkpoint = 12.0 * trained + 4 * frozen
    return {
        "operations": tokens * operations,
        "card-hours": tokens * operations / speed / HOUR,
        "bytes of state": state,
        "bytes of the reference": 4 * copied,
        "bytes of a card, reference sharded": own + 4 * copied / cards,
        "bytes of a card, reference whole": own + 4 * copied,
        "bytes over the network": moved,
        "seconds of the network": moved / plan["training.network"],
        "seconds of a micro-batch": work.micro_batch_tokens * operations / speed,
        "bytes of a checkpoint": checkpoint,
        "seconds of a checkpoint": checkpoint / plan["storage.write"],
        "optimizer steps": tokens / plan["training.tokens_per_step"],
    }


# --- time and money -----------------------------------------------------------------------------------------------


def count_costs(plan: Plan) -> dict[str, dict[str, float]]:
    """Hours and US dollars of each part."""
    cores, decoding, training = count_cores(plan), count_decoding(plan), count_training(plan)
    parts = {
        name: {"core-hours": cores[name], "usd": cores[name] * plan["card.usd_per_core_hour"]}
        for name in ("native engine", "recorder", "agent beside the engine")
    }
    for name, hours in (("decoding", decoding["card-hours"]), ("training", training["card-hours"])):
        parts[name] = {"card-hours": hours, "usd": hours * plan["card.usd_per_hour"]}
    total = sum(part["usd"] for part in parts.values())
    return {name: {**part, "share": part["usd"] / total} for name, part in parts.items()}


def count_walls(plan: Plan, cards: int) -> dict[str, float]:
    """Days of decoding, then training, on so many cards without a stop."""
    days = {
        "decoding": count_decoding(plan)["card-hours"] / cards / 24,
        "training": count_training(plan)["card-hours"] / cards / 24,
    }
    training = count_training(change_plan(plan, "training.cards", cards))
    kind = "sharded" if plan["training.sharded_reference"] else "whole"
    return {
        **days,
        "bytes of a card": training[f"bytes of a card, reference {kind}"],
        "steps a second": plan["plan.steps"] / (days["decoding"] * DAY),
        "recorded bytes a second": count_work(plan)["bytes of parquet"] / (days["decoding"] * DAY),
    }


def tell_all(plan: Plan) -> dict[str, Any]:
    """Everything that the tables show, as values."""
    return {
        "given": plan.given,
        "work": count_work(plan),
        "cores": count_cores(plan),
        "decoding": count_decoding(plan),
        "training": {critic: count_training(plan, critic) for critic in CRITICS},
        "costs": count_costs(plan),
        "walls": {cards: count_walls(plan, cards) for cards in CLUSTERS},
    }


# --- tables -------------------------------------------------------------------------------------------------------


def write_number(value: float, unit: str = "") -> str:
    """Three digits, with a prefix of the unit where that is bytes."""
    if unit == "B":
        for prefix, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {prefix}"
    if value >= 1e6:
        return f"{value:.3g}".replace("e+", "e").replace("e0", "e")
    return f"{round(value):,}" if value >= 100 else f"{value:.3g}"


def draw_lines(head: str, lines: list[list[str]]) -> str:
    """A table of Markdown; numbers to the right."""
    names = head.split(" | ")
    rule = "|---|" + "--:|" * (len(names) - 1)
    return "\n".join([f"| {head} |", rule, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def draw_work(plan: Plan) -> str:
    """What there is, with thoughts and without."""
    both = [count_work(change_plan(plan, "plan.kind", kind)) for kind in ("thoughts", "actions")]
    lines = [
        [name, *(write_number(work[name], "B" if name.startswith("bytes") else "") for work in both)]
        for name in both[0]
        if not (name.startswith("bytes of the journal"))
    ]
    for line in lines:
        if line[0] in ("bytes of parquet", "shards"):
            line[2] = ""  # what was recorded has thoughts
    return draw_lines("of so many steps | with thoughts | commands alone", lines)


def draw_costs(plan: Plan) -> str:
    """Hours, money and share of each part."""
    lines = [
        [
            name,
            write_number(part["core-hours"]) if "core-hours" in part else "",
            write_number(part["card-hours"]) if "card-hours" in part else "",
            f"{part['usd']:,.0f}" if part["usd"] >= 1 else f"{part['usd']:.2f}",
            f"{part['share']:.2%}",
        ]
        for name, part in count_costs(plan).items()
    ]
    return draw_lines("part | core-hours | card-hours | USD | of all", lines)


def draw_decoding(plan: Plan) -> str:
    """A server by its number of cards, by what is said and by whether prefixes are kept."""
    lines = []
    for cards, kind, cached in SERVERS:
        one = plan
        for name, value in (("decoding.cards", cards), ("plan.kind", kind), ("decoding.cached", cached)):
            one = change_plan(one, name, value)
        found = count_decoding(one)
        lines.append(
            [
                f"{cards} cards, {kind}{'' if cached else ', prefixes not kept'}",
                write_number(found["episodes at once"]),
                write_number(found["bytes of keys and values"], "B"),
                write_number(found["tokens a second and card"]),
                write_number(found["card-hours of saying"]),
                write_number(found["card-hours of reading"]),
            ]
        )
    head = (
        "server | episodes at once | keys and values | tokens/s and card | hours of saying | hours of reading"
    )
    return draw_lines(head, lines)


def draw_training(plan: Plan) -> str:
    """By the critic."""
    lines = []
    for critic in CRITICS:
        found = count_training(plan, critic)
        sizes = ("bytes of state", "bytes of a card, reference sharded", "bytes of a card, reference whole")
        traffic, computing = found["seconds of the network"], found["seconds of a micro-batch"]
        lines.append(
            [
                critic,
                f"{found['operations']:.2e}",
                write_number(found["card-hours"]),
                *(write_number(found[name], "B") for name in sizes),
                f"{traffic:.0f} s of {computing:.0f} s",
                write_number(found["bytes of a checkpoint"], "B"),
            ]
        )
    head = (
        "critic | operations | card-hours | state | of a card | with the reference whole | network beside computing | "
        "checkpoint"
    )
    return draw_lines(head, lines)


def draw_walls(plan: Plan) -> str:
    """Days by cluster."""
    lines = []
    for cards in CLUSTERS:
        found = count_walls(plan, cards)
        lines.append(
            [
                f"{cards} cards",
                f"{found['decoding']:.1f}",
                f"{found['training']:.1f}",
                write_number(found["bytes of a card"], "B"),
                "yes" if found["bytes of a card"] < plan["card.memory"] else "no",
                write_number(found["steps a second"]),
                write_number(found["recorded bytes a second"], "B"),
            ]
        )
    return draw_lines(
        "cluster | days of playing | days of training | of a card | fits | steps/s | recorded, a second",
        lines,
    )


def change_plan(plan: Plan, name: str, value: Any) -> Plan:
    """The same with one constant changed."""
    table, _, key = name.partition(".")
    given = {**plan.given, table: {**plan.given[table], key: value}}
    return Plan(given, plan.measured, plan.engine, plan.recorder)


TABLES = {
    "Work": draw_work,
    "Where the time goes": draw_costs,
    "Decoding": draw_decoding,
    "Training": draw_training,
    "Days": draw_walls,
}

if __name__ == "__main__":
    main()
