"""The episode loop: many episodes at once, one agent, trajectories out.

Knows nothing about how an agent decides or where trajectories go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, NoReturn

import gymnasium as gym
from oreo_envs.errors import EpisodeError

from oreo_agents.agents.agent import Agent, Assignment, Decision
from oreo_agents.rollout.deciding import make_deciding
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return
from oreo_agents.trajectory import Trajectory

Rollout = Callable[[Callable[[], gym.Env[str, str]], Iterable[Assignment], Agent, int], Iterator[Trajectory]]
"""Plays episodes and yields each as it ends: :func:`rollout`, or what does the same with more or elsewhere."""

Spread = Callable[[Rollout], Rollout]
"""Lets a rollout happen elsewhere, such as :meth:`oreo_agents.rollout.ray_pool.RayPool.spread`."""

Watch = Callable[[Iterable[Trajectory], int, str], Iterable[Trajectory]]
"""Passes episodes on as they end, of which there will be so many, and shows how it goes under some name."""


def look_away(played: Iterable[Trajectory], total: int, name: str) -> Iterable[Trajectory]:
    """Show nothing."""
    return played


def stay_here(play: Rollout) -> Rollout:
    """Let a rollout happen in this process."""
    return play


MOMENT = 0.005
"""Seconds that are waited for one environment before others are looked after."""

ALIKE = 8
"""An environment is not tried again after so many failures that are all the same."""


def stop_alike(played: Iterator[Trajectory], plan: Sequence[Assignment]) -> Iterator[Trajectory]:
    """Pass episodes on, and stop where an environment fails in the same way in the first of a plan, all of them.

    Raises:
        EpisodeError: it does.
    """
    first = {episode.seed for episode in plan[:ALIKE]} if len(plan) >= ALIKE else set()
    causes = set[str]()
    try:
        for trajectory in played:
            if trajectory.seed in first:
                first.remove(trajectory.seed)
                causes.add(trajectory.metadata.get("cause", ""))
                if not first and len(causes) == 1 and "" not in causes:
                    raise_alike(trajectory.metadata["ended"])
            yield trajectory
    finally:
        getattr(played, "close", list)()  # a rollout ends its environments and what decides beside it


def raise_alike(reason: str) -> NoReturn:
    """Raise EpisodeError: so many episodes have failed in the same way, the last of them for this reason."""
    raise EpisodeError(f"the first {ALIKE} episodes have all failed alike: {reason}")


class _Running:
    """One slot's episode while it lasts. Environments that can work beside others are let work as soon as they can."""

    def __init__(self, env: gym.Env[str, str], assignment: Assignment) -> None:
        self.env, self.assignment = env, assignment
        self.terminated = self.truncated = False
        self._decision: Decision | None = None
        self._poll: Callable[[float], bool] | None = None
        self._begin("begin_reset", assignment.seed, _reset_options(assignment))

    def begin_step(self, decision: Decision) -> None:
        """Let the environment work on the decision."""
        self._decision, self._poll = decision, None
        if not decision.end:
            self._begin("begin_step", decision.action)

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether :meth:`finish` need not wait for others' work; waits for that up to ``timeout`` seconds."""
        return self._poll is None or self._poll(timeout)

    def finish(self) -> bool:
        """Open the episode, or play what was decided; True when it is over."""
        if self._decision is None:
            self._open()
        else:
            self._step(self._decision)
        return self.terminated or self.truncated

    def _begin(self, method: str, *args: Any) -> None:
        begin = getattr(self.env.unwrapped, method, None)
        if begin is not None:
            self._poll = getattr(self.env.unwrapped, "poll_answer", None)
            with suppress(EpisodeError):  # finish() meets it again
                begin(*args)

    def _open(self) -> None:
        spec = self.env.unwrapped.spec
        env_id, assignment = spec.id if spec else "", self.assignment
        try:
            options = _reset_options(assignment)
            observation, self.info = self.env.reset(seed=assignment.seed, options=options)
        except EpisodeError as error:
            self.info = {"game": _name_game(self.env, assignment.game)}
            self.episode = EpisodeBuilder("", {**self.info, "won": False}, env_id, assignment.seed)
            self._fail(error)
        else:
            threshold = find_success_return(spec)
            self.episode = EpisodeBuilder(observation, self.info, env_id, assignment.seed, threshold)

    def _step(self, decision: Decision) -> None:
        self._count(decision)
        if decision.end:
            return self._give_up(decision.end, decision.failed)
        try:
            observation, reward, terminated, truncated, self.info = self.env.step(decision.action)
            self.episode.add(decision.action, observation, reward, self.info)
        except EpisodeError as error:  # such as a game that hangs, or has ended its interpreter
            return self._fail(error)
        self.terminated, self.truncated = terminated, truncated

    def _fail(self, error: EpisodeError) -> None:
        self._give_up(str(error), failed=True)
        if error.cause:
            self.episode.metadata["cause"] = error.cause

    def _give_up(self, reason: str, failed: bool) -> None:
        self.episode.metadata["ended"] = reason
        if failed:
            self.episode.metadata["failed"] = True
        self.truncated = True

    def _count(self, decision: Decision) -> None:
        """Add what a decision cost; nothing is noted of players who read no tokens."""
        metadata = self.episode.metadata
        used = (decision.prompt_tokens, decision.generated_tokens, decision.critic_tokens)
        if any(used):
            tokens = metadata.setdefault("tokens", dict.fromkeys(("prompt", "generated", "critic"), 0))
            for kind, count in zip(tokens, used, strict=True):
                tokens[kind] += count
        if decision.simulated_steps:
            metadata["simulated_steps"] = metadata.get("simulated_steps", 0) + decision.simulated_steps

    def trajectory(self, agent: Agent) -> Trajectory:
        return self.episode.end(self.terminated, self.truncated, agent.name, agent.tokenizer_fingerprint)


def rollout(
    make_env: Callable[[], gym.Env[str, str]], episodes: Iterable[Assignment], agent: Agent, slots: int = 64
) -> Iterator[Trajectory]:
    """Play ``episodes``, up to ``slots`` at once, and yield each as it ends (so not in order).

    A slot whose episode ends takes the next one at once; the model never waits for the longest episode. Episodes of an
    agent that decides apart, such as one behind a server, do not wait for each other's decisions either. An agent that
    cannot go on ends its episode, not the others: ``metadata["ended"]`` then has the reason, and
    ``metadata["failed"]`` is there if the policy is not to blame; ``metadata["text_only"]`` says that a server gave
    replies as text, without the ids that were sampled. So does a game whose file is damaged, or whose
    interpreter hangs or dies, and an environment that raises EpisodeError: somebody else's does where its code fails
    (``metadata["cause"]`` is what that raised), and is reset for the next episode as ever.

    Environments that can work beside others, such as those whose games run in other processes, have
    ``begin_reset(seed, options)`` and ``begin_step(action)``, which begin what ``reset`` and ``step`` then give, and
    ``poll_answer(timeout)``: whether these need not wait, or will not after so many seconds. Nobody waits for a slow
    one but its own episode.

    Args:
        make_env: builds one environment; called at most ``slots`` times.
        episodes: what to play.
        agent: who plays.
        slots: episodes at once.
    """
    waiting = list(episodes)[::-1]
    slots = min(slots, len(waiting))
    if slots == 0:
        return
    with ExitStack() as stack:
        envs = [stack.enter_context(closing(make_env())) for _ in range(slots)]
        agent.prepare(slots)
        deciding = stack.enter_context(closing(make_deciding(agent, slots)))
        _announce_games(envs[0], reversed(waiting))
        running: dict[int, _Running] = {}
        working = list[int]()
        while waiting or running:
            if free := [slot for slot in range(slots) if slot not in running][: len(waiting)]:
                running.update((slot, _Running(envs[slot], waiting.pop())) for slot in free)
                agent.begin(free, [running[slot].assignment for slot in free])
            working += free
            ready = _find_ready(running, working)
            working = [slot for slot in working if slot not in ready]
            for slot in [slot for slot in ready if running[slot].finish()]:
                yield running.pop(slot).trajectory(agent)
            asking = [slot for slot in ready if slot in running]
            observations = [running[slot].episode.observation for slot in asking]
            deciding.ask(asking, observations, [running[slot].info for slot in asking])
            if waiting and len(running) < slots:
                continue  # the next episode is to be decided with the others
            for slot, decision in (deciding.answer(working) if running else {}).items():
                running[slot].begin_step(decision)
                working.append(slot)


def _find_ready(running: Mapping[int, _Running], working: Sequence[int]) -> list[int]:
    """Those of ``working`` whose environments need not be waited for, after a moment for the one begun last: most are
    there when it is, and to look after each of them apart takes longer."""
    for slot in working[-1:]:
        running[slot].poll(MOMENT)
    return [slot for slot in working if running[slot].poll()]


def _announce_games(env: gym.Env[str, str], episodes: Iterable[Assignment]) -> None:
    """Tell games that have to be made which ones will be played, so that they are made beside the playing."""
    prepare = getattr(getattr(env.unwrapped, "games", None), "prepare", None)
    if prepare is not None:
        prepare([episode.game for episode in episodes if episode.game is not None])


def _reset_options(assignment: Assignment) -> dict[str, Any] | None:
    return None if assignment.game is None else {"game": assignment.game}


def _name_game(env: gym.Env[str, str], game: Any) -> str:
    """Of a game that was asked for by name or position."""
    games = env.get_wrapper_attr("games") if env.has_wrapper_attr("games") else None
    names = getattr(games, "names", None)
    return names[game] if names and isinstance(game, int) else str(game)
