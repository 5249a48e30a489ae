"""The episode loop: many episodes at once, one agent, trajectories out.

Knows nothing about how an agent decides or where trajectories go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any, NoReturn

import gymnasium as gym
from oreo_envs.errors import EpisodeError

from oreo_agents.agents.agent import Agent, Assignment, Decision
from oreo_agents.rollout.deciding import make_deciding
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return
from oreo_agents.trajectory import CUT_TURNS, Trajectory

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
    """One slot's episode while it lasts."""

    def __init__(self, env: gym.Env[str, str], assignment: Assignment) -> None:
        self.env, self.assignment = env, assignment
        self.terminated = self.truncated = False
        spec = env.unwrapped.spec
        env_id = spec.id if spec else ""
        try:
            observation, self.info = env.reset(seed=assignment.seed, options=_reset_options(assignment))
        except EpisodeError as error:
            self.info = {"game": _name_game(env, assignment.game)}
            self.episode = EpisodeBuilder("", {**self.info, "won": False}, env_id, assignment.seed)
            self._fail(error)
        else:
            threshold = find_success_return(spec)
            self.episode = EpisodeBuilder(observation, self.info, env_id, assignment.seed, threshold)

    def begin_step(self, decision: Decision) -> None:
        """Let the environment work on the decision already, if it can do so beside others."""
        begin = getattr(self.env.unwrapped, "begin_step", None)
        if begin is not None and not decision.end:
            begin(decision.action)

    def step(self, decision: Decision) -> bool:
        """Play the decision; True when the episode is over."""
        self._count(decision)
        if decision.end:
            self._give_up(decision.end, decision.failed)
            return True
        if decision.cut:
            self.episode.metadata.setdefault(CUT_TURNS, []).append(len(self.episode))
        if decision.spelt:
            self.episode.metadata["text_only"] = True
        if decision.noise:
            self.episode.metadata.setdefault("noise_turns", []).append(len(self.episode))
        try:
            observation, reward, terminated, truncated, self.info = self.env.step(decision.action)
            self.episode.add(decision.action, observation, reward, self.info)
        except EpisodeError as error:  # such as a game that hangs, or has ended its interpreter
            self._fail(error)
            return True
        self.terminated, self.truncated = terminated, truncated
        return terminated or truncated

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
        ended = self.episode.end(self.terminated, self.truncated, agent.name, agent.tokenizer_fingerprint)
        spelt = "text_only" in ended.metadata and all(turn.token_ids is None for turn in ended.turns)
        return replace(ended, tokenizer=None) if spelt else ended


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
    (``metadata["cause"]`` is what that raised), and is reset for the next episode as ever. Environments with
    ``begin_step(action)`` and ``begin_reset(seed, options)``, whose games run in other processes, work side by side.

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
        asking = list[int]()
        while waiting or running:
            free = [slot for slot in range(slots) if slot not in running][: len(waiting)]
            _begin_episodes([envs[slot] for slot in free], reversed(waiting))
            running.update((slot, _Running(envs[slot], waiting.pop())) for slot in free)
            agent.begin(free, [running[slot].assignment for slot in free])
            for slot in [slot for slot in free if running[slot].truncated]:  # its game does not open
                yield running.pop(slot).trajectory(agent)
            asking = sorted(slot for slot in {*asking, *free} if slot in running)
            observations = [running[slot].episode.observation for slot in asking]
            deciding.ask(asking, observations, [running[slot].info for slot in asking])
            decisions = deciding.answer() if running else {}
            for slot, decision in decisions.items():
                running[slot].begin_step(decision)
            ended = [slot for slot, decision in decisions.items() if running[slot].step(decision)]
            asking = [slot for slot in decisions if slot not in ended]
            for slot in ended:
                yield running.pop(slot).trajectory(agent)


def _announce_games(env: gym.Env[str, str], episodes: Iterable[Assignment]) -> None:
    """Tell games that have to be made which ones will be played, so that they are made beside the playing."""
    prepare = getattr(getattr(env.unwrapped, "games", None), "prepare", None)
    if prepare is not None:
        prepare([episode.game for episode in episodes if episode.game is not None])


def _begin_episodes(envs: Sequence[gym.Env[str, str]], episodes: Iterable[Assignment]) -> None:
    """Let environments that can work beside each other begin their resets."""
    for env, episode in zip(envs, episodes, strict=False):
        begin = getattr(env.unwrapped, "begin_reset", None)
        if begin is not None:
            with suppress(EpisodeError):  # reset() meets it again
                begin(episode.seed, _reset_options(episode))


def _reset_options(assignment: Assignment) -> dict[str, Any] | None:
    return None if assignment.game is None else {"game": assignment.game}


def _name_game(env: gym.Env[str, str], game: Any) -> str:
    """Of a game that was asked for by name or position."""
    games = env.get_wrapper_attr("games") if env.has_wrapper_attr("games") else None
    names = getattr(games, "names", None)
    return names[game] if names and isinstance(game, int) else str(game)
