"""Does a recorded episode happen again? Every action is carried out once more and compared.

Knows nothing about files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import gymnasium as gym
from oreo_envs.errors import EpisodeError, OreoError
from oreo_envs.foreign import SeedGames, names_seed

from oreo_agents.dataset.wording import reword_to_move
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return
from oreo_agents.trajectory import Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that came out otherwise.

    Where an episode tells no action status (imported ones), an inadmissible action shows in the observation.
    """

    episode: int
    game: str
    step: int
    """Number of the action, from 1; 0 is the opening."""
    what: str
    """``game``, ``observation``, ``reward``, ``admissibility``, ``admissible_commands`` or ``outcome``."""
    recorded: str
    replayed: str

    def __str__(self) -> str:
        return (
            f"episode {self.episode} ({self.game}), step {self.step}: {self.what} differs\n"
            f"  recorded: {self.recorded}\n  replayed: {self.replayed}"
        )


@dataclass(slots=True)
class Report:
    """What a replay of many episodes found."""

    episodes: int = 0
    turns: int = 0
    agreeing: int = 0
    """Episodes without any difference."""
    outcomes_agreeing: int = 0
    """Episodes won and terminated in the replay as recorded."""
    differences: Counter[str] = field(default_factory=Counter)
    """How many steps differ, by what differs."""
    first: list[Deviation] = field(default_factory=list)
    """The first difference of each episode that has one."""

    @property
    def ok(self) -> bool:
        """Whether everything happened again."""
        return not self.first

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        first = [asdict(difference) for difference in self.first]
        return {**{name: getattr(self, name) for name in self.__slots__}, "first": first}

    def __str__(self) -> str:
        head = f"{self.agreeing} of {self.episodes} episodes ({self.turns} turns) happened again exactly"
        return "\n".join([head, *map(str, self.first[:1])])


def verify_episodes(trajectories: Iterable[Trajectory], env: gym.Env) -> Report:
    """Play every episode again in ``env`` and compare opening, answers, rewards, admissibility and outcome.

    Imported episodes (``metadata["source"]``) are compared in the wording of the ``move`` games; see
    :func:`~oreo_agents.dataset.wording.reword_to_move`. What an episode does not tell is not compared.

    Args:
        trajectories: what to check, such as a dataset.
        env: has the games; its step limit must not be below the longest episode.
    """
    report = Report()
    for number, trajectory in enumerate(trajectories):
        found = list(replay(env, trajectory, number))
        report.episodes += 1
        report.turns += len(trajectory)
        report.agreeing += not found
        report.outcomes_agreeing += not any(difference.what in ("game", "outcome") for difference in found)
        report.differences.update(difference.what for difference in found)
        report.first += found[:1]
    return report


def replay(env: gym.Env, trajectory: Trajectory, number: int = 0) -> Iterator[Deviation]:
    """Play one episode again; the differences, in order. ``number`` is repeated in each of them."""
    for step, what, recorded, replayed in _find_deviations(env, trajectory):
        yield Deviation(number, trajectory.game, step, what, str(recorded), str(replayed))


def _find_deviations(env: gym.Env, trajectory: Trajectory) -> Iterator[tuple[int, str, Any, Any]]:
    """(step, what, recorded, replayed)"""
    if "source" in trajectory.metadata:
        trajectory = reword_to_move(trajectory)
    try:
        observation, info = env.reset(seed=trajectory.seed, options=_reset_options(trajectory, env))
        threshold = find_success_return(env.unwrapped.spec)
        again = EpisodeBuilder(observation, info, trajectory.env_id, trajectory.seed, threshold)
    except OreoError as error:
        yield 0, "game", trajectory.game, error
        return
    terminated, ended = False, False
    for step, turn in enumerate(trajectory.turns, start=1):
        if turn.observation != observation:
            yield step - 1, "observation", turn.observation, observation
        if ended:
            yield step, "outcome", f"goes on with {turn.action!r}", "has ended"
            return
        offered, state = again.admissible, again.state_hash
        try:
            observation, reward, terminated, truncated, info = env.step(turn.action)
            again.add(turn.action, observation, reward, info)
        except EpisodeError as error:
            yield step, "game", trajectory.game, error
            return
        facts = _pair_facts(turn, offered, state, float(reward), info.get("action_status"))
        for what, recorded, replayed in facts:
            if recorded is not None and recorded != replayed:
                yield step, what, recorded, replayed
        ended = terminated or truncated
    if trajectory.final_observation not in ("", observation):
        yield len(trajectory), "observation", trajectory.final_observation, observation
    won = again.end(terminated, False, "", None).success
    said = trajectory.success if won is not None else None  # of one that only has a return, nobody knows
    recorded, replayed = (said, trajectory.terminated), (won if said is not None else None, bool(terminated))
    if recorded != replayed:
        yield len(trajectory), "outcome", _format_outcome(*recorded), _format_outcome(*replayed)


def _pair_facts(
    turn: Turn, offered: tuple[str, ...] | None, state: str | None, reward: float, status: str | None
) -> Iterator[tuple[str, Any, Any]]:
    """(what, recorded, replayed); recorded is None where the episode does not tell."""
    yield "admissible_commands", turn.admissible_commands, offered
    yield "state", None if state is None else turn.state_hash, state
    yield "admissibility", turn.action_status, status
    yield "reward", turn.reward, reward


def _reset_options(trajectory: Trajectory, env: gym.Env) -> dict[str, Any] | None:
    games = env.get_wrapper_attr("games") if env.has_wrapper_attr("games") else None
    by_seed = isinstance(games, SeedGames) and not names_seed(
        trajectory.game
    )  # its environment's name for it
    return (
        {"game": trajectory.game} if trajectory.game and not by_seed else trajectory.metadata.get("options")
    )


def _format_outcome(won: bool | None, terminated: bool) -> str:
    words = {True: "won, ", False: "not won, ", None: ""}
    return f"{words[won]}{'terminated' if terminated else 'not terminated'}"
