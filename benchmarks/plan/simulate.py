"""Workers, servers and the recorder of a large recording, as a simulation of discrete events.

    python benchmarks/plan/simulate.py [--set NAME=VALUE ...] [--output FILE]
    python benchmarks/plan/simulate.py --check [--games DIR]      # beside a real recording with the agent `small`

Workers play as RayPool's do: each takes a chunk of episodes, has so many in its slots, and all slots decide together;
the next turn begins when the last reply is there ("each for itself": no episode waits for another). A server says one
more token in each of its requests in every iteration, whose time grows with their number (budget.py's roofline), up to
as many as fit; the others queue. Ended episodes are recorded in the order of the schedule, and those that end too early
wait in memory. Lengths of episodes and replies are drawn from what real games had (``results/plan_probe.json``).
Workers and servers can be lost.

What it cannot know: what a card really does. The roofline is an assumption until benchmarks/speed/gpu.py has been run.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from budget import Plan, add_constants, count_places, draw_lines, read_plan, time_iteration, time_reading
from oreo_envs.files import write_json

ROUNDS = 4
"""RayPool's: a worker is given at most so many times the episodes that it plays at once."""
LOST_AFTER = 200.0
"""Seconds from the start."""
AWAY = 60.0
"""Seconds until a lost worker or server is replaced: a process, an agent, a model that is loaded."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What will happen in it: for each turn the tokens that are read (as work of the server) and said."""

    turns: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """Who takes part."""

    workers: int = 4
    slots: int = 64
    """Episodes at once in a worker."""
    servers: int = 1
    lockstep: bool = True
    """All of a worker's episodes decide together."""
    step_seconds: Callable[[random.Random], float] = lambda rng: 1e-3
    """Of a worker's processor for a turn of one episode."""
    iteration: Callable[[int], float] = lambda requests: 0.05
    """Seconds of a server's iteration, by how many requests it is at."""
    most: int = 256
    """Requests that a server is at; others queue."""
    chunk: int | None = None
    """Episodes given to a worker at a time; None: as RayPool does."""
    refill: bool = False
    """A slot that is free takes the next of all episodes, not of its worker's chunk."""
    lose: tuple[str, float] | None = None
    """``worker`` or ``server``, and when, in seconds."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    seconds: float = 0.0
    steps: int = 0
    said: float = 0.0
    requests: int = 0
    response_seconds: float = 0.0
    """Of all requests, queueing included."""
    present_seconds: float = 0.0
    """Requests at the servers, integrated over time."""
    busy_seconds: float = 0.0
    """Servers with something to do."""
    held: int = 0
    """Ended episodes that waited for earlier ones, at most."""
    held_steps: int = 0
    unsafe_steps: int = 0
    """Steps that a death of the command would have lost, at most: of running episodes and of held ones."""
    repeated_steps: int = 0
    """Played twice, because a worker was lost."""
    handed_out: tuple[float, int, float] = (0.0, 0, 0.0)
    """Seconds, steps and tokens when the last episode had been given to a worker: what follows is the end of a run."""


class Server:
    """Shares its iterations among its requests (processor sharing): each gets one token an iteration."""

    def __init__(self, world: World, setting: Setting) -> None:
        self.world, self.iteration, self.most = world, setting.iteration, setting.most
        self.running: list[tuple[float, int, float, float, Callable[[], None]]] = []
        self.queue: deque[tuple[float, float, Callable[[], None]]] = deque()
        self.said, self.since, self.version, self.back = 0.0, 0.0, 0, 0.0

    def __len__(self) -> int:
        return len(self.running) + len(self.queue)

    def ask(self, work: float, then: Callable[[], None]) -> None:
        """A request of so many tokens."""
        self._catch_up()
        self.queue.append((work, self.world.now, then))
        self._plan()

    def fail(self) -> None:
        """Forget what was said so far, and begin again later with all requests."""
        self._catch_up()
        self.queue.extendleft(
            (work, since, then) for _, _, work, since, then in sorted(self.running, reverse=True)
        )
        self.running, self.back = [], self.world.now + AWAY
        self.version += 1
        self.world.after(AWAY, self._plan)

    def _catch_up(self) -> None:
        passed, told = self.world.now - self.since, self.world.outcome
        if self.running:
            self.said += passed / self.iteration(len(self.running))
            told.busy_seconds += passed
        told.present_seconds += passed * len(self)
        self.since = self.world.now

    def _plan(self) -> None:
        self._catch_up()
        while self.queue and len(self.running) < self.most and self.world.now >= self.back:
            work, since, then = self.queue.popleft()
            heapq.heappush(self.running, (self.said + work, self.world.count(), work, since, then))
        self.version += 1
        if self.running:
            left = max(0.0, self.running[0][0] - self.said) * self.iteration(len(self.running))
            self.world.after(left, partial(self._finish, self.version))

    def _finish(self, version: int) -> None:
        if version != self.version:
            return  # something has changed since this was planned
        self._catch_up()
        _, _, work, since, then = heapq.heappop(self.running)
        told = self.world.outcome
        told.requests, told.said = told.requests + 1, told.said + work
        told.response_seconds += self.world.now - since
        then()
        self._plan()


class Worker:
    """Plays chunk after chunk."""

    def __init__(self, world: World, server: Server) -> None:
        self.world, self.server = world, server
        self.chunk: deque[int] = deque()
        self.playing: dict[int, int] = {}
        self.life = self.asked = 0

    def begin(self) -> None:
        """If it is idle, take the next chunk, if there is one."""
        if self.playing:
            return
        setting, waiting = self.world.setting, self.world.waiting
        if setting.refill:
            self._fill()
            return
        most = setting.chunk or min(ROUNDS * setting.slots, ceil(len(waiting) / (2 * setting.workers)))
        self.chunk = deque(waiting.popleft() for _ in range(min(most, len(waiting))))
        self._fill()

    def fail(self) -> None:
        """Lose what was played of the running episodes; another takes its place, and its episodes go to others."""
        self.world.outcome.repeated_steps += sum(self.playing.values())
        self.world.running_steps -= sum(self.playing.values())
        self.world.waiting.extendleft(sorted([*self.playing, *self.chunk], reverse=True))
        self.playing, self.chunk, self.life = {}, deque(), self.life + 1
        for other in self.world.workers:
            self.world.after(AWAY if other is self else 0.0, other.begin)

    def _fill(self) -> None:
        source = self.world.waiting if self.world.setting.refill else self.chunk
        new = [
            source.popleft() for _ in range(min(self.world.setting.slots - len(self.playing), len(source)))
        ]
        self.playing.update(dict.fromkeys(new, 0))
        self.world.notice_end()
        if not self.playing and self.world.waiting:
            self.begin()
        elif self.world.setting.lockstep:
            self.asked = len(self.playing)
            for number in [*self.playing]:
                self._ask(number)
        else:
            for number in new:
                self._ask(number)

    def _ask(self, number: int) -> None:
        read, said = self.world.episodes[number].turns[self.playing[number]]
        self.server.ask(read + said, partial(self._hear, number, self.life))

    def _hear(self, number: int, life: int) -> None:
        if life != self.life:
            return
        world = self.world
        if not world.setting.lockstep:
            world.after(world.setting.step_seconds(world.rng), partial(self._step, [number], life))
            return
        self.asked -= 1
        if not self.asked:
            taken = sum(world.setting.step_seconds(world.rng) for _ in self.playing)
            world.after(taken, partial(self._step, [*self.playing], life))

    def _step(self, numbers: Sequence[int], life: int) -> None:
        if life != self.life:
            return
        ended = False
        for number in numbers:
            self.playing[number] += 1
            self.world.outcome.steps += 1
            self.world.running_steps += 1
            if self.playing[number] == len(self.world.episodes[number].turns):
                self.world.running_steps -= self.playing.pop(number)
                self.world.record(number)
                ended = True
        self.world.notice()
        if self.world.setting.lockstep or ended:
            self._fill()
        for number in () if self.world.setting.lockstep else numbers:
            if number in self.playing:
                self._ask(number)


@dataclass(slots=True)
class World:
    """The clock, and what is shared."""

    setting: Setting
    episodes: Sequence[Episode]
    rng: random.Random
    now: float = 0.0
    outcome: Outcome = field(default_factory=Outcome)
    running_steps: int = 0
    waiting: deque[int] = field(default_factory=deque)
    workers: list[Worker] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: int = 0
    _ended: set[int] = field(default_factory=set)
    _recorded: int = 0
    _held_steps: int = 0

    def count(self) -> int:
        """The next of all numbers, for ties."""
        self._order += 1
        return self._order

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now + seconds, self.count(), then))

    def record(self, number: int) -> None:
        """An episode has ended; it and those after it are recorded as soon as all before it are."""
        told = self.outcome
        self._ended.add(number)
        self._held_steps += len(self.episodes[number].turns)
        while self._recorded in self._ended:
            self._ended.remove(self._recorded)
            self._held_steps -= len(self.episodes[self._recorded].turns)
            self._recorded += 1
        told.held = max(told.held, len(self._ended))
        told.held_steps = max(told.held_steps, self._held_steps)

    def notice_end(self) -> None:
        """When the last episode has been given away."""
        told = self.outcome
        if not self.waiting and not told.handed_out[0]:
            told.handed_out = (self.now, told.steps, told.said)

    def notice(self) -> None:
        """How much would be lost if the command died now."""
        self.outcome.unsafe_steps = max(self.outcome.unsafe_steps, self._held_steps + self.running_steps)

    def run(self) -> Outcome:
        """Until every episode is recorded."""
        self.waiting.extend(range(len(self.episodes)))
        servers = [Server(self, self.setting) for _ in range(self.setting.servers)]
        self.workers = [Worker(self, servers[i % len(servers)]) for i in range(self.setting.workers)]
        for worker in self.workers:
            worker.begin()
        if self.setting.lose:
            kind, when = self.setting.lose
            self.after(when, {"worker": self.workers[0], "server": servers[0]}[kind].fail)
        while self._recorded < len(self.episodes):
            self.now, _, then = heapq.heappop(self._events)
            then()
        self.outcome.seconds = self.now
        return self.outcome


def simulate(setting: Setting, episodes: Sequence[Episode], seed: int = 0) -> Outcome:
    """Play and record the episodes; the same seed gives the same outcome."""
    return World(setting, episodes, random.Random(seed)).run()


# --- the plan's episodes and servers ------------------------------------------------------------------------------


def draw_episodes(plan: Plan, count: int, seed: int = 0) -> list[Episode]:
    """Episodes with the lengths of real ones."""
    rng, quantiles, spoken = random.Random(seed), plan.measured["quantiles"], plan.spoken
    replies, lengths = quantiles[f"{plan['plan.kind']}_reply_tokens"], quantiles["steps"]
    places = count_places(plan)
    worth = (
        time_reading(plan) * places / time_iteration(plan, places)
    )  # a token read, in tokens said, where all is busy
    episodes = []
    for _ in range(count):
        turns = max(1, round(draw_quantile(rng, lengths)))
        read = [spoken["opening_tokens"], *[spoken["read_tokens_per_step"]] * (turns - 1)]
        episodes.append(Episode(tuple((worth * one, max(1.0, draw_quantile(rng, replies))) for one in read)))
    return episodes


def draw_quantile(rng: random.Random, quantiles: Sequence[float]) -> float:
    """A value of the distribution that has these quantiles, from the least to the most."""
    place = rng.random() * (len(quantiles) - 1)
    low = min(int(place), len(quantiles) - 2)
    return quantiles[low] + (place - low) * (quantiles[low + 1] - quantiles[low])


def describe_setting(plan: Plan, workers: int, slots: int, **changes: Any) -> Setting:
    """Workers on the native engine, one server of the plan's cards."""
    busy = next(one for one in plan.engine["scaling"] if one["environments"] == 64)
    mean = plan["engine.agent_seconds"] + 1 / busy["steps_per_second"]
    most, iteration = count_places(plan), partial(time_iteration, plan)
    return replace(
        Setting(workers, slots, 1, True, lambda rng: rng.expovariate(1 / mean), iteration, most), **changes
    )


def list_scenarios(plan: Plan, cycles: float = 2) -> list[dict[str, Any]]:
    """How many episodes in flight keep a server busy, in which manner; and what losses cost.

    A long recording: workers get whole chunks, so many each.
    """
    setting = partial(describe_setting, plan)
    base = setting(4, 64)
    scenarios = {
        "together, 1 x 64": setting(1, 64),
        "together, 4 x 64": base,
        "together, 16 x 16": setting(16, 16),
        "together, 4 x 64, slots refilled at once": setting(4, 64, refill=True),
        "each for itself, 4 x 64, slots refilled at once": setting(4, 64, lockstep=False, refill=True),
        "together, 4 x 64, a worker is lost": replace(base, lose=("worker", LOST_AFTER)),
        "together, 4 x 64, the server is lost": replace(base, lose=("server", LOST_AFTER)),
    }
    rows = []
    for name, one in scenarios.items():
        drawn = draw_episodes(plan, max(1, round(cycles * one.workers * ROUNDS * one.slots)))
        whole = one if one.refill else replace(one, chunk=ROUNDS * one.slots)
        rows.append({"manner": name, **describe_run(plan, whole, drawn)})
    return rows


def describe_run(plan: Plan, setting: Setting, drawn: Sequence[Episode]) -> dict[str, Any]:
    """A simulated run; its speed while there was enough to do."""
    told, most = simulate(setting, drawn), count_places(plan)
    whole = told.seconds, told.steps, told.said  # where all were given away at once
    seconds, steps, said = told.handed_out if told.handed_out[0] else whole
    return {
        "in_flight": setting.workers * setting.slots,
        "seconds": told.seconds,
        "steps_per_second": steps / seconds,
        "of_the_most": said / seconds / (most / time_iteration(plan, most)),
        "held": told.held,
        "held_bytes": told.held_steps * plan.measured["journal_bytes_per_step"],
        "unsafe_steps": told.unsafe_steps,
        "repeated_steps": told.repeated_steps,
    }


def draw_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, as docs/a-hundred-million-steps.md has it."""
    lines = [
        [
            row["manner"],
            f"{row['steps_per_second']:.1f}",
            f"{row['of_the_most']:.0%}",
            f"{row['seconds'] / 60:.1f}",
            f"{row['held']:,}",
            f"{row['held_bytes'] / 1e6:.1f} MB",
            f"{row['unsafe_steps']:,}",
            f"{row['repeated_steps']:,}",
        ]
        for row in rows
    ]
    head = "workers x slots | steps/s | of the server's most | minutes | episodes held | of memory | unsafe steps"
    return draw_lines(f"{head} | played twice", lines)


# --- beside a real recording --------------------------------------------------------------------------------------


def check_recording(
    games: str | None, episodes: int = 64, slots: Sequence[int] = (1, 4, 16, 64), max_steps: int = 30
) -> dict[str, Any]:
    """CPU seconds of the agent ``small`` by its slots, and what the simulation says of the same episodes.

    Two numbers, the time of an iteration and what each request adds to it, are fitted to the fewest and the most slots;
    the others are predictions.
    """
    from oreo_agents.agents.agent import Assignment
    from oreo_agents.agents.load import load_agent
    from oreo_agents.environments import environments
    from oreo_agents.rollout.loop import rollout

    agent = load_agent("small")
    make_env = environments(
        "OREO-ALFWorld", max_steps, **({"games": games} if games else {"split": "generated"})
    )
    plan = [Assignment(number, seed=number) for number in range(episodes)]
    measured, played = {}, []
    list(rollout(make_env, plan[:4], agent, 4))  # what the first pass costs once
    for count in slots:
        start = time.process_time()
        played = list(rollout(make_env, plan, agent, count))
        measured[count] = time.process_time() - start
    by_seed = sorted(played, key=lambda one: one.seed)
    shape = [
        Episode(tuple((0.0, float(len(turn.token_ids or "1"))) for turn in one.turns)) for one in by_seed
    ]

    def run(count: int, iteration: Callable[[int], float]) -> float:
        setting = Setting(1, count, 1, True, lambda rng: 0.0, iteration, count, chunk=episodes)
        return simulate(setting, shape).seconds

    few, most = min(slots), max(slots)
    base = {count: (run(count, lambda b: 1.0), run(count, lambda b: float(b))) for count in slots}
    (a, b), (c, d) = base[few], base[most]
    fixed = (measured[few] * d - measured[most] * b) / (a * d - b * c)
    each = (measured[most] * a - measured[few] * c) / (a * d - b * c)
    told = {
        count: {
            "cpu_seconds": measured[count],
            "times_one_slot": measured[few] / measured[count],
            "simulated": measured[few] / (fixed * base[count][0] + each * base[count][1]),
        }
        for count in slots
    }
    return {"episodes": episodes, "steps": sum(map(len, played)), "slots": told}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_constants(parser)
    parser.add_argument(
        "--cycles", type=float, default=2, help="chunks for each worker; default: %(default)s"
    )
    parser.add_argument("--check", action="store_true", help="measure a real recording beside the simulation")
    parser.add_argument("--games", help="for that; default: generated ones")
    parser.add_argument(
        "--output", type=Path, help="also write it as JSON, such as results/plan_simulation.json"
    )
    args = parser.parse_args()
    if args.check:
        found: Any = {"check": check_recording(args.games)}
        print(json.dumps(found, indent=1))
    else:
        found = {"rows": list_scenarios(read_plan(args.constants, args.set), args.cycles)}
        print(draw_table(found["rows"]))
    if args.output:
        known = json.loads(args.output.read_text()) if args.output.exists() else {}
        write_json(args.output, {**known, **found})


if __name__ == "__main__":
    main()
