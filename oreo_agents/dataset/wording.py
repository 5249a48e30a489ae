"""ALFWorld episodes in the words of another generation of its games."""

from __future__ import annotations

import re
from dataclasses import replace

from oreo_envs.alfworld.text import confirm_put, describe_opening, reword_command, split_command

from oreo_agents.trajectory import Trajectory, Turn


def reword_to_move(trajectory: Trajectory) -> Trajectory:
    """The same ALFWorld episode as the ``move`` games of ALFWorld 0.4 word it.

    ``put X in/on Y`` becomes ``move X to Y`` in commands and answers; what old collections cut away, the
    welcome line and "You arrive at X.", comes back. ``metadata["rewritten"]`` lists the turns whose command
    or observation changed. Token ids of a changed command are dropped, because they spell the old one.
    """
    old = [*(turn.observation for turn in trajectory.turns), trajectory.final_observation]
    actions = [turn.action for turn in trajectory.turns]
    new = [_reword_opening(old[0]), *map(_reword_reply, actions, old[1:])] if actions else old
    turns = tuple(_reword_turn(turn, seen) for turn, seen in zip(trajectory.turns, new, strict=False))
    changed = {
        "commands": [i for i, action in enumerate(actions) if turns[i].action != action],
        "observations": [i for i, seen in enumerate(new) if seen != old[i]],
    }
    if not any(changed.values()):
        return trajectory
    metadata = {**trajectory.metadata, "rewritten": changed}
    return replace(trajectory, turns=turns, final_observation=new[-1], metadata=metadata)


_SCENE = re.compile(r"(?:-= Welcome to TextWorld, ALFRED! =-\s*)?(.*?)\s*Your task is to: (.*)", re.DOTALL)
_ARRIVAL = re.compile(r"You arrive at loc \d+\. ")


def _reword_opening(observation: str) -> str:
    found = _SCENE.fullmatch(observation)
    return describe_opening(found[1], found[2]) if found else observation


def _reword_reply(action: str, observation: str) -> str:
    """What a ``move`` game says where an older one said ``observation``."""
    command = split_command(action)
    if command is None:
        return observation
    if command.verb == "put" and observation == confirm_put(command.first, command.second, "put"):
        return confirm_put(command.first, command.second, "move")
    view = _ARRIVAL.sub("", observation, count=1)
    if command.verb == "go to" and view.startswith((f"On the {command.first},", f"The {command.first} is ")):
        return f"You arrive at {command.first}. {view}"
    return observation


def _reword_turn(turn: Turn, observation: str) -> Turn:
    action = reword_command(turn.action, "move")
    commands = turn.admissible_commands
    if commands is not None:
        commands = tuple(sorted(reword_command(command, "move") for command in commands))
    turn = replace(turn, observation=observation, admissible_commands=commands)
    if action == turn.action:
        return turn
    return replace(turn, action=action, token_ids=None, logprobs=None, drawn_logprobs=None)
