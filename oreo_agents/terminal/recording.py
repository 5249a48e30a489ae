"""The dataset that a played session becomes an episode of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.rollout.destination import dialect_of, spec_for
from oreo_agents.terminal.agent_player import AgentPlayer
from oreo_agents.terminal.session import Session
from oreo_agents.terminal.views import make_text


@contextmanager
def open_recording(path: Path | None, session: Session) -> Iterator[TrajectoryWriter | None]:
    """The dataset at ``path``, held from before the first step; a new one stays only if it gets an episode.

    Raises:
        DatasetError: it cannot be recorded into, or holds episodes of another environment.
    """
    if path is None:
        yield None
        return
    dialect = dialect_of(session.env.unwrapped)
    with TrajectoryWriter(path, env_spec=spec_for(path, session.env), dialect=dialect) as writer:
        try:
            yield writer
        finally:
            writer.drop_empty()


def keep_episode(
    session: Session, writer: TrajectoryWriter | None, player: AgentPlayer | None, console: Console
) -> None:
    """Append the episode to the dataset, if there is one and anything was done."""
    if writer is None or not session.steps:
        return
    writer.append(session.trajectory(player.agent.tokenizer_fingerprint if player else None))
    console.print(make_text(f"Recorded in {writer.path}.", "dim"))
