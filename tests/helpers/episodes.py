"""Episodes to look at, and what they look like."""

import io

from rich.console import Console

from oreo_agents.trajectory import Candidate, Trajectory, Turn

HOSTILE = "[bold]x[/bold] \x1b[2J\x1b]0;owned\x07 \x9b31m \u202eevil <script>alert(1)</script>"


def printed(renderable, width=80, encoding="utf-8"):
    """What a renderable looks like without colour."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, color_system=None).print(renderable)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def episode(steps=3, text="You see a door.", game="game-1", won=True, values=True):
    turns = [
        Turn(
            observation=f"{text} ({number})",
            action=f"go to room {number}",
            reward=float(won and number == steps - 1),
            action_status="ok",
            value=0.1 * (number % 10) if values else None,
            candidates=(
                Candidate(f"go to room {number}", -0.5, 0.1 * (number % 10)),
                Candidate("wait", -2.0, -0.3),
            )
            if values
            else (),
        )
        for number in range(steps)
    ]
    return Trajectory(
        tuple(turns),
        game=game,
        task="open it",
        task_type="pick",
        agent="me",
        terminated=won,
        truncated=not won,
    )
