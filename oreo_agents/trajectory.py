"""Episodes as values: the only thing that passes between environments and learning.

Knows nothing about files, models or environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Candidate:
    """One action an agent considered in a turn, with what it thought of it."""

    action: str
    """What it would do."""
    logprob: float | None = None
    """Sum of the log-probabilities of the action's tokens (nats, temperature 1, no filter)."""
    value: float | None = None
    """The critic's value after the action, where it was read; with ``lookahead``, the outcome seen on the simulator."""
    said: str | None = None
    """The whole reply, where it is more than the action."""


class Action(str):
    """An action as the environment sees it, a plain string, that remembers how it was sampled.

    Environments, wrappers and vector environments pass it along as the ``str`` it is;
    a recorder at the end of the chain finds the sampled token ids still attached.

    >>> action = Action("look", token_ids=(5, 2), logprobs=(-0.1, -0.2))
    >>> action == "look", action.token_ids
    (True, (5, 2))
    """

    __slots__ = (
        "candidates",
        "cut",
        "drawn_logprobs",
        "logprobs",
        "noise",
        "said",
        "text_only",
        "token_ids",
        "value",
    )

    token_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    value: float | None
    candidates: tuple[Candidate, ...]
    said: str | None
    drawn_logprobs: tuple[float, ...] | None
    cut: bool
    """The reply came to the limit on its tokens before its end of turn, or its thought to what the command leaves."""
    text_only: bool
    """A server said the reply as text, without the ids that were sampled."""
    noise: bool
    """It is not what the agent wanted (see :class:`oreo_agents.agents.noise.NoisyAgent`)."""

    def __new__(
        cls,
        text: str,
        token_ids: tuple[int, ...] | None = None,
        logprobs: tuple[float, ...] | None = None,
        value: float | None = None,
        candidates: tuple[Candidate, ...] = (),
        said: str | None = None,
        drawn_logprobs: tuple[float, ...] | None = None,
        cut: bool = False,
        text_only: bool = False,
        noise: bool = False,
    ) -> Action:
        """Attach how ``text`` was sampled; ``token_ids`` include the end-of-turn token."""
        self = super().__new__(cls, text)
        self.token_ids, self.logprobs, self.value, self.candidates = token_ids, logprobs, value, candidates
        self.said, self.drawn_logprobs = said, drawn_logprobs
        self.cut, self.text_only, self.noise = cut, text_only, noise
        return self

    def amend(self, **changed: Any) -> Action:
        """The same action, sampled otherwise."""
        return Action(str(self), **{**{name: getattr(self, name) for name in self.__slots__}, **changed})


@dataclass(frozen=True, slots=True)
class Turn:
    """What the agent saw, what it did, and what came of it."""

    observation: str
    action: str
    """What was done."""
    reward: float = 0.0
    action_status: str | None = None
    """``ok`` | ``not_applicable`` | ``unparsable``, where the environment says so."""
    token_ids: tuple[int, ...] | None = None
    """The whole reply's tokens as sampled, end of turn included. Training uses these, never the text again."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each of ``token_ids`` when it was sampled (nats), under all that the policy could say: at
    temperature 1, without filters. What search, belief and surprise are about."""
    value: float | None = None
    """The critic's value after the action, when a critic chose."""
    candidates: tuple[Candidate, ...] = ()
    admissible_commands: tuple[str, ...] | None = None
    said: str | None = None
    """The whole reply, with its thought, where it is more than the action."""
    drawn_logprobs: tuple[float, ...] | None = None
    """The same under the distribution that was drawn from, where that was another one: with its temperature and its
    filters (top_p, top_k, min_p). Empty where it was another one and nobody knows it: a server's."""
    state_hash: str | None = None
    """The same in two turns of a game that were taken in the same state of the environment, where it says so."""

    @property
    def behaviour_logprobs(self) -> tuple[float, ...] | None:
        """log mu of each of ``token_ids``, mu being who played: what TOPR, OAPL and GiGPO need."""
        return self.logprobs if self.drawn_logprobs is None else self.drawn_logprobs


Outcome = Literal["", "won", "lost", "undefined"]

_SUCCESS: Mapping[str, bool | None] = {"won": True, "lost": False, "undefined": None}


def name_outcome(success: bool | None, return_: float) -> Outcome:
    """The outcome of an episode: empty where success is a return above 0, as in most of this project's environments.

    >>> name_outcome(True, 1.0), name_outcome(False, 0.5), name_outcome(None, -3.0)
    ('', 'lost', 'undefined')
    """
    if success is (return_ > 0):
        return ""
    return "undefined" if success is None else "won" if success else "lost"


UNDEFINED = "winning is not defined in these episodes: choose by return"
"""What to say to whoever asks for won or lost ones where none says which it is."""


def settle_success(env_ids: Sequence[str], said: Sequence[bool | None]) -> list[bool | None]:
    """Whether each of some episodes was won. An environment that has said it of one of them says it where an episode
    ends, and those of which it said nothing came to no such end, so they were not won. None stays where it never
    says.

    Args:
        env_ids: in which each was played; one that nobody knows, empty, counts as one.
        said: what :attr:`Trajectory.success` is.

    >>> settle_success(["Safe", "Safe", "Lift"], [True, None, None])
    [True, False, None]
    """
    telling = {env_id for env_id, one in zip(env_ids, said, strict=True) if one is not None}
    return [
        False if one is None and env_id in telling else one for env_id, one in zip(env_ids, said, strict=True)
    ]


@dataclass(frozen=True, slots=True, repr=False)
class Trajectory:
    """One episode, from reset to its end."""

    turns: tuple[Turn, ...]
    env_id: str = ""
    game: str = ""
    task: str = ""
    task_type: str = ""
    seed: int | None = None
    agent: str = ""
    """Who played, e.g. ``expert`` or a checkpoint's name."""
    tokenizer: str | None = None
    """Fingerprint of the tokenizer and chat template behind ``token_ids``."""
    terminated: bool = False
    truncated: bool = False
    final_observation: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values about the episode that have no field of their own."""
    outcome: Outcome = ""
    """Whether it was won, where that is another thing than whether its return is above 0; see :func:`name_outcome`."""

    def __len__(self) -> int:
        return len(self.turns)

    def __repr__(self) -> str:
        where = self.game or self.env_id
        return f"Trajectory({where!r}, {describe_outcome(self)}, return {self.return_:g}, by {self.agent!r})"

    @property
    def rewards(self) -> tuple[float, ...]:
        """The reward of each turn."""
        return tuple(turn.reward for turn in self.turns)

    @property
    def return_(self) -> float:
        """The undiscounted sum of rewards."""
        return sum(self.rewards)

    @property
    def success(self) -> bool | None:
        """Whether it was won; None where nobody says what winning is, and only the return counts."""
        return _SUCCESS[self.outcome] if self.outcome else self.return_ > 0

    @property
    def surprise(self) -> float | None:
        """How unlikely the replies' tokens were when they were sampled: the mean of -log p (nats); None: unknown."""
        logprobs = [logprob for turn in self.turns for logprob in turn.logprobs or ()]
        return -sum(logprobs) / len(logprobs) if logprobs else None

    def returns_to_go(self, discount: float = 1.0) -> tuple[float, ...]:
        """R_t, the sum of rewards from each turn to the end (OREO Eq. 7).

        Args:
            discount: a reward of turn t counts this to the power of t, from the beginning of the episode.
        """
        total, out = 0.0, []
        for t, reward in reversed([*enumerate(self.rewards)]):
            total += reward * discount**t
            out.append(total)
        return tuple(reversed(out))


CUT_TURNS = "cut_turns"
"""In an episode's metadata: the turns whose reply came to the limit on its tokens before its end of turn."""
NOISE_TURNS = "noise_turns"
"""Likewise: those whose action the recorder put in on purpose, which is not to be imitated."""
TEXT_ONLY = "text_only"
"""Likewise: that a server gave replies as text, without the ids that were sampled."""


def count_cut(trajectory: Trajectory) -> int:
    """Turns in which the reply was cut."""
    return len(trajectory.metadata.get(CUT_TURNS, ()))


def describe_cuts(cut: int, turns: int) -> str:
    """What to say where replies were cut; empty where none was."""
    if not cut:
        return ""
    return f"{cut} of {turns} replies ({cut / turns:.1%}) were cut at the limit on their tokens: raise --max-new-tokens"


def describe_outcome(trajectory: Trajectory) -> str:
    """How the episode ended, in words."""
    if trajectory.success is None:
        return f"return {trajectory.return_:g} in {format_steps(len(trajectory))}"
    if trajectory.success:
        return f"won in {format_steps(len(trajectory))}"
    if trajectory.truncated:
        return f"not won: step limit after {format_steps(len(trajectory))}"
    return "lost" if trajectory.terminated else f"abandoned after {format_steps(len(trajectory))}"


def format_steps(count: int) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count} step{'' if count == 1 else 's'}"
