"""Episodes played by the processes of a Ray cluster: the one loop, in many places at once.

Imported only where it is asked for: Ray is an extra. Knows nothing about environments, about how an agent decides, or
about where trajectories go; who keeps them restores their order.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import gymnasium as gym

from oreo_agents.agents.agent import Agent, Assignment
from oreo_agents.environments import MakeEnv
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.models.trust import is_trusted, trusting_code
from oreo_agents.rollout.loop import Rollout, Spread
from oreo_agents.trajectory import Trajectory

PATIENCE = 20
"""Seconds that a cluster has to make room."""
DEATHS = 3
"""So many workers may die one after the other while no episode ends; then it is not the machines' fault."""
ROUNDS = 4
"""A worker is given at most so many times the episodes that it plays at once: few questions, little to play again."""


class RayPool:
    """Workers in a Ray cluster, reserved as long as the pool is open; each plays many episodes at once.

    >>> with RayPool("auto", workers=8) as pool:                                         # doctest: +SKIP
    ...     make_agent = partial(OreoAgent.from_pretrained, "runs/oreo", select="sample")
    ...     record(make_agent(), "runs/rollouts", spread=pool.spread(make_agent))

    What is played does not depend on the cluster: an episode's randomness comes from its assignment. Episodes of a
    worker that dies are played again by others, and a new worker takes its place when there is room.

    Args:
        address: ``HOST:PORT`` of a cluster that this machine belongs to; ``auto``: ``$RAY_ADDRESS``, else the one that
            runs here; ``local``: a new one of this machine alone.
        workers: processes, each with a CPU; None: as many as the cluster has room for.
        gpus: of each worker, such as 1 or 0.25.

    Raises:
        ConfigurationError: Ray is not installed, there is no cluster, or it has no room within 20 s.
    """

    def __init__(self, address: str, workers: int | None = None, gpus: float = 0.0) -> None:
        if (workers is not None and workers < 1) or gpus < 0:
            raise ConfigurationError(f"{workers} workers with {gpus:g} GPUs: ask for at least 1 and for 0")
        self._connects = _join_cluster(address)
        self._hands: list[_Hand] = []
        try:
            needs = {"CPU": 1.0, **({"GPU": float(gpus)} if gpus else {})}
            self.workers = workers or max(_count_places(needs), 1)
            self._places = _reserve_places(needs, self.workers)
        except BaseException:
            self._disconnect()
            raise
        self._hands = [_Hand(self._places, place, needs) for place in range(self.workers)]

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        from ray.util import remove_placement_group

        for hand in self._hands:
            hand.dismiss()
        remove_placement_group(self._places)
        self._disconnect()

    def _disconnect(self) -> None:
        import ray

        if self._connects:
            ray.shutdown()

    def spread(self, make_agent: Callable[[], Agent]) -> Spread:
        """What makes a rollout one by all workers, which yields each episode as it ends.

        Args:
            make_agent: makes a worker's agent there, from what its machine sees, too: a folder by its path, a server by
                its address. It is sent by pickle.
        """
        return lambda play: partial(self._play, play, make_agent)

    def _play(
        self,
        play: Rollout,
        make_agent: Callable[[], Agent],
        make_env: MakeEnv,
        episodes: Iterable[Assignment],
        agent: Agent,
        slots: int,
    ) -> Iterator[Trajectory]:
        """As :func:`oreo_agents.rollout.loop.rollout`, which ``play`` is or resembles.

        Raises:
            ConfigurationError: something cannot be sent, or is another thing there than here.
            EngineError: workers die and nothing else happens, or there is no room for any.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        waiting, deaths = deque(episodes), 0
        work = _pack_work(_Work(play, make_agent, make_env, _describe_agent(agent), is_trusted()))
        try:
            while waiting or any(hand.chunk for hand in self._hands):
                for hand in self._hands:
                    most = min(ROUNDS * slots, ceil(len(waiting) / (2 * self.workers)))
                    hand.engage(work, waiting, most, slots)
                speaking = {hand.news: hand for hand in self._hands if hand.news is not None}
                told, _ = ray.wait([*speaking], num_returns=1, timeout=PATIENCE)
                if not told:
                    self._require_place()
                    continue
                hand = speaking[told[0]]
                try:
                    trajectory = hand.listen()
                except RayTaskError as error:
                    raise error.cause from error
                except RayError as error:
                    deaths += 1
                    if deaths > DEATHS:
                        raise EngineError(_explain_deaths(deaths, error)) from error
                    waiting.extendleft(reversed(hand.chunk.values()))
                    hand.dismiss()
                    continue
                if trajectory is not None:
                    deaths = 0
                    yield trajectory
        finally:
            for hand in self._hands:
                if hand.chunk:
                    hand.dismiss()

    def _require_place(self) -> None:
        if all(hand.arriving for hand in self._hands) and not self._places.wait(1):
            raise EngineError(
                f"the cluster has lost its workers and no place for another: {_describe_cluster()}; add a machine and "
                "run the same command again, which plays what is lacking"
            )


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker needs to know before its first episode."""

    play: Rollout
    make_agent: Callable[[], Agent]
    make_env: MakeEnv
    agent: str
    """Who has to play, in words."""
    trusts_code: bool
    """Whether models may bring code."""


class _Hand:
    """A worker's place in the cluster, the process that has it now, and what that is at."""

    def __init__(self, places: Any, place: int, needs: dict[str, float]) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(places, placement_group_bundle_index=place)
        self._hire = ray.remote(_RayActor).options(
            num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), scheduling_strategy=strategy
        )
        self._arrive()

    def _arrive(self) -> None:
        self._actor = self._hire.remote()
        self.news: Any = self._actor.arrive.remote()
        """What will be heard of it next; None: it waits."""
        self.arriving = True
        """There is no process yet."""
        self.chunk: dict[int, Assignment] = {}
        """By seed: what it has been given and not yet played."""
        self._streams, self._knows = False, b""

    def engage(self, work: bytes, waiting: deque[Assignment], most: int, slots: int) -> None:
        """If it waits, let it prepare for this work or, when it has done so, play the next episodes."""
        if self._actor is None and waiting:
            self._arrive()
        elif self.news is None and waiting:
            self._streams = self._knows is work
            if self._streams:
                self.chunk = _take_chunk(waiting, most)
                stream = self._actor.play.options(num_returns="streaming")
                self.news = stream.remote(list(self.chunk.values()), slots)
            else:
                self.news, self._knows = self._actor.prepare.remote(work, os.getcwd()), work

    def listen(self) -> Trajectory | None:
        """Take in its news: an episode, or that it waits.

        Raises:
            ray.exceptions.RayTaskError: the error that was raised there.
            ray.exceptions.RayError: it is dead, or what it has said is lost.
        """
        import ray

        if not self._streams:
            news, self.news = self.news, None
            ray.get(news)
            self.arriving = False
            return None
        try:
            trajectory = ray.get(next(self.news))
        except StopIteration:
            self.news = None
            return None
        del self.chunk[trajectory.seed]
        return trajectory

    def dismiss(self) -> None:
        """End the process, if there is one; what it was given is no longer its."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
        self._actor = self.news = None
        self.arriving, self.chunk = False, {}


class _RayActor:
    """The process in the cluster that plays: an actor of Ray."""

    def arrive(self) -> None:
        """Be there."""

    def prepare(self, work: bytes, folder: str) -> None:
        """Load the agent and find the games, as they are seen from the same folder as at home."""
        try:
            os.chdir(folder)
            given: _Work = pickle.loads(work)
        except (OSError, ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"{socket.gethostname()} is not set up as this machine is ({error}): every machine has to have the "
                "same packages, and to see the same folders"
            ) from None
        self._play, self._make_env = given.play, given.make_env
        with trusting_code(given.trusts_code):
            self._agent = given.make_agent()
        if (agent := _describe_agent(self._agent)) != given.agent:
            raise ConfigurationError(
                f"{socket.gethostname()} has another agent ({agent}; here: {given.agent}): every machine has to see "
                "the same folders"
            )
        self._spare: list[gym.Env[str, str]] = []

    def play(self, episodes: Sequence[Assignment], slots: int) -> Iterator[Trajectory]:
        """Play some episodes; each is sent as it ends."""
        yield from self._play(self._lend_env, episodes, self._agent, slots)

    def _lend_env(self) -> gym.Env[str, str]:
        """An environment that comes back when it is closed, as making one may take long."""
        return self._spare.pop() if self._spare else _Lent(self._make_env(), self._spare)


class _Lent(gym.Wrapper):
    """Goes back to where it was taken from, instead of being closed."""

    def __init__(self, env: gym.Env[str, str], shelf: list[gym.Env[str, str]]) -> None:
        super().__init__(env)
        self._shelf = shelf

    def close(self) -> None:
        """Be free for the next one."""
        self._shelf.append(self)


def _take_chunk(waiting: deque[Assignment], most: int) -> dict[int, Assignment]:
    """The next episodes by their seeds, none of which it has twice."""
    chunk: dict[int, Assignment] = {}
    while waiting and len(chunk) < most and waiting[0].seed not in chunk:
        episode = waiting.popleft()
        chunk[episode.seed] = episode
    return chunk


def _describe_agent(agent: Agent) -> str:
    """Who it is, a model by its weights and how it chooses."""
    describe = getattr(agent, "describe", None)
    return f"{agent.name}, {describe()}" if describe else agent.name


def _pack_work(work: _Work) -> bytes:
    from ray import cloudpickle

    try:
        return cloudpickle.dumps(work)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ConfigurationError(
            f"this cannot be sent to other machines ({error}): give the pool a function that makes the agent there, "
            "such as functools.partial(OreoAgent.from_pretrained, PATH), and environments made by environments(ID, ...)"
        ) from error


def _join_cluster(address: str) -> bool:
    """Join the cluster, if that has not been done; whether it was done here.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        import ray
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError as error:
        raise ConfigurationError("playing on many machines needs Ray: pip install ray") from error
    if ray.is_initialized():
        return False
    if "://" in address or (address not in ("auto", "local") and ":" not in address):
        raise ConfigurationError(
            f"{address!r} is no address of a Ray cluster: name HOST:PORT on one of its machines, auto or local"
        )
    try:
        if found := canonicalize_bootstrap_address(address):
            _require_answer(found)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(found or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"there is no Ray cluster at {address}: {_first_line(error)}; begin one with `ray start`, or name local"
        ) from error
    return True


def _require_answer(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes, also where a cluster has ended."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _reserve_places(needs: dict[str, float], workers: int) -> Any:
    """Room for all workers, at once or not at all.

    Raises:
        ConfigurationError: there is none, or others have it.
    """
    from ray.util import placement_group, remove_placement_group

    wanted = f"{workers} workers want {' and '.join(f'{n:g} {kind}' for kind, n in needs.items())} each"
    if (room := _count_places(needs)) < workers:
        raise ConfigurationError(
            f"{wanted}, and there is room for {room}: {_describe_cluster()}; ask for fewer, or add machines"
        )
    places = placement_group([needs] * workers, strategy="SPREAD")
    try:
        placed = places.wait(PATIENCE)
    except BaseException:
        remove_placement_group(places)
        raise
    if not placed:
        remove_placement_group(places)
        raise ConfigurationError(
            f"{wanted}, and others hold what the cluster has: {_describe_cluster()}; ask for fewer, or wait"
        )
    return places


def _list_machines() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _count_places(needs: dict[str, float]) -> int:
    """Workers for which the machines of the cluster have room while nobody else uses them."""
    fits = (min(int(machine.get(kind, 0) / n) for kind, n in needs.items()) for machine in _list_machines())
    return sum(fits)


def _describe_cluster() -> str:
    machines = _list_machines()
    cpus, gpus = (sum(machine.get(kind, 0) for machine in machines) for kind in ("CPU", "GPU"))
    return f"the cluster's {len(machines)} machines have {cpus:g} CPUs and {gpus:g} GPUs"


def _explain_deaths(deaths: int, error: Exception) -> str:
    return (
        f"{deaths} workers died one after the other, and no episode ended in between ({_first_line(error)}): see the "
        "logs of Ray, /tmp/ray/session_latest/logs on the machines; the same command plays what is lacking"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
