"""``oreo-agents play``: a person or an agent plays one episode in the terminal.

:class:`Session` is the episode with undo; :func:`play` is the conversation around it. A line that is not
one of the player's own words (``hint``, ``undo``, ...) goes to the game as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.text import Text

from oreo_agents.environments import environments, source_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.recorder import Episode
from oreo_agents.terminal.map import map_table, seen
from oreo_agents.terminal.views import plain
from oreo_agents.trajectory import Trajectory

WORDS = {
    "hint": "the expert's next command",
    "undo": "take the last command back",
    "goal": "the task again, and how far it is",
    "map": "what has been seen where",
    "commands": "everything that can be done now",
    "quit": "stop here",
    "?": "this list",
}
ENDLESS = 1_000_000_000
"""Gymnasium's step limit cannot be undone, so the session counts its own."""

HINTING = ("OREO-ALFWorld", "OREO-GSM8K", "OREO-MATH", "OREO-Reasoning")
"""Environments that can tell what would win from here."""

SEARCHED = 10_000
"""Games looked at for a task type; there may be a million."""


class Session:
    """One episode that can be stepped back.

    Args:
        env: a text environment without a step limit of its own.
        max_steps: the episode is truncated after this many.
        seed: of the reset.
        options: of the reset, e.g. ``{"game": name}``.
    """

    def __init__(
        self, env: gym.Env, max_steps: int, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> None:
        self.env, self.max_steps, self.seed = env, max_steps, seed
        self.opening = env.reset(seed=seed, options=options)
        self.steps: list[tuple[str, str, float, bool, dict[str, Any]]] = []
        """(action, observation, reward, terminated, info) of each step that was not taken back."""
        self._snapshots: list[Any] = []

    @property
    def observation(self) -> str:
        """What was said last."""
        return self.steps[-1][1] if self.steps else self.opening[0]

    @property
    def info(self) -> dict[str, Any]:
        """The newest info."""
        return self.steps[-1][4] if self.steps else self.opening[1]

    @property
    def observations(self) -> list[str]:
        """Everything that was said."""
        return [self.opening[0], *(step[1] for step in self.steps)]

    @property
    def terminated(self) -> bool:
        """Whether the game is over."""
        return bool(self.steps) and self.steps[-1][3]

    @property
    def over(self) -> bool:
        """Whether no further step is possible."""
        return self.terminated or len(self.steps) >= self.max_steps

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back, in an environment that has snapshots."""
        return bool(self._snapshots)

    def step(self, action: str) -> str:
        """Carry out a command and return what it led to."""
        clone = getattr(self.env.unwrapped, "clone_state", None)
        snapshot = clone() if clone else None
        observation, reward, terminated, _, info = self.env.step(action)
        self.steps.append((action, observation, float(reward), terminated, info))
        if snapshot is not None:
            self._snapshots.append(snapshot)
        return observation

    def undo(self) -> str:
        """Take the last step back and return what had been said before it."""
        self.env.unwrapped.restore_state(self._snapshots.pop())  # type: ignore[attr-defined]
        self.steps.pop()
        return self.observation

    def trajectory(self, agent: str) -> Trajectory:
        """The steps that were not taken back."""
        episode = Episode(*self.opening, self.seed)
        for action, observation, reward, _, info in self.steps:
            episode.add(action, observation, reward, info)
        env_id = self.env.spec.id if self.env.spec else ""
        truncated = self.over and not self.terminated
        return episode.end(self.terminated, truncated, env_id, agent, None)


def run(args: argparse.Namespace) -> int:
    """``oreo-agents play``."""
    env = make_env(args)
    try:
        session = Session(env, args.max_steps, args.seed, choose_game(env, args))
        console = Console(highlight=False)
        player = args.agent or "human"
        try:
            if args.agent:
                watch(session, console, args)
            play(session, console, reader(session))
        finally:
            keep(session, args.record, player, console)
    finally:
        env.close()
    return 0


def make_env(args: argparse.Namespace) -> gym.Env:
    """The environment that the options name, with hints where it can give them."""
    hints = {"expert": True} if args.env in HINTING else {}
    options = source_options(args.env, args.split, args.games)
    return environments(args.env, ENDLESS, **options, **hints)()


def choose_game(env: gym.Env, args: argparse.Namespace) -> dict[str, Any] | None:
    """Options of the reset; None leaves the choice to the seed.

    Raises:
        ConfigurationError: no game has that task type.
    """
    if args.game is not None:
        return {"game": int(args.game) if args.game.isdecimal() else args.game}
    if args.task_type is None:
        return None
    task_types = getattr(getattr(env.unwrapped, "games", None), "task_types", ())
    positions = range(args.seed, args.seed + min(len(task_types), SEARCHED))
    for position in (position % len(task_types) for position in positions):
        if task_types[position].startswith(args.task_type):
            return {"game": position}
    raise ConfigurationError(f"no game here has the task type {args.task_type!r}; leave out --task-type")


def play(session: Session, console: Console, read: Callable[[], str]) -> None:
    """Ask for commands until the episode is over or the player stops (``quit``, end of input, Ctrl-C)."""
    if not session.steps:
        console.print(shown(session.observation, console))
        console.print(Text("Type a command; Tab completes, ? lists more.", "dim"))
    while not session.over:
        try:
            line = " ".join(read().split())
        except (EOFError, KeyboardInterrupt):
            break
        if line == "quit":
            break
        if line:
            console.print(answer(session, line, console))
    console.print(verdict(session))


def answer(session: Session, line: str, console: Console) -> Any:
    """What a line typed by the player leads to, as a renderable."""
    own: dict[str, Callable[[], Any]] = {
        "hint": lambda: hint(session),
        "undo": lambda: undone(session, console),
        "goal": lambda: goal(session),
        "map": lambda: map_table(seen(session.observations)),
        "commands": lambda: plain("\n".join(session.info.get("admissible_commands", ()))),
        "?": lambda: plain("\n".join(f"{word:<9} {meaning}" for word, meaning in WORDS.items())),
    }
    if line in own:
        return own[line]()
    text = shown(session.step(line), console)
    suggestions = session.info.get("suggestions")
    if suggestions:
        text.append_text(plain(f"\nDid you mean: {', '.join(suggestions)}?", "yellow"))
    return text


def hint(session: Session) -> Text:
    """The expert's next command."""
    plan = session.info.get("expert_plan")
    return plain(f"The expert would: {plan[0]}", "magenta") if plan else Text("No hint here.", "dim")


def undone(session: Session, console: Console) -> Text:
    """Take a step back, and say where that leads."""
    if not session.can_undo:
        return Text("Nothing to undo.", "dim")
    return Text.assemble(("Taken back.\n", "dim"), shown(session.undo(), console))


def goal(session: Session) -> Text:
    """The task, the steps left, and the length of the shortest way."""
    lines = [session.info.get("task") or session.opening[0]]
    plan = session.info.get("expert_plan")
    if plan is not None:
        lines.append(f"{len(plan)} commands would do it from here.")
    lines.append(f"{session.max_steps - len(session.steps)} steps left.")
    return plain("\n".join(lines))


def shown(observation: str, console: Console) -> Text:
    """An observation, ready to print."""
    return plain(observation.strip(), ascii_only=console.options.ascii_only)


def verdict(session: Session) -> Text:
    """How it ended."""
    if session.info.get("won", session.terminated and session.steps[-1][2] > 0):
        return Text(f"Won in {len(session.steps)} steps.", "bold green")
    if session.over:
        return Text(f"Over after {len(session.steps)} steps, not won.", "bold red")
    return Text(f"Stopped after {len(session.steps)} steps.", "dim")


def watch(session: Session, console: Console, args: argparse.Namespace) -> None:
    """Let an agent play, with a pause after each step. Ctrl-C hands over to the person."""
    from oreo_agents.evaluation import load_agent

    agent = load_agent(args.agent)
    agent.prepare(1)
    agent.begin([0], [args.seed])
    console.print(shown(session.observation, console))
    console.print(Text("Press Ctrl-C to take over.", "dim"))
    try:
        while not session.over:
            action = agent.act_many([0], [session.observation], [session.info])[0].action
            console.print(Text("> ", "bold cyan") + plain(action, "bold cyan"))
            session.step(action)
            console.print(shown(session.observation, console))
            time.sleep(args.pause)
    except KeyboardInterrupt:
        console.print(Text("\nYou play now.", "bold"))


def keep(session: Session, path: Path | None, player: str, console: Console) -> None:
    """Append the episode to the dataset at ``path``, if there is one and anything was done."""
    if path is None or not session.steps:
        return
    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(path, env_spec=session.env.spec) as writer:
        writer.append(session.trajectory(player))
    console.print(plain(f"Recorded in {path}.", "dim"))


def reader(session: Session) -> Callable[[], str]:
    """Asks for one line: with completion and history on a terminal, plainly from a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return lambda: input("> ")
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    completer = WordCompleter(lambda: completions(session), sentence=True)
    prompt: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
    return lambda: prompt.prompt("> ")


def completions(session: Session) -> Sequence[str]:
    """What Tab offers: the admissible commands, and the player's own words."""
    return [*map(str, session.info.get("admissible_commands", ())), *WORDS]
