"""ALFWorld's sentences and commands, in the two wordings its game files use.

Everything here is a pure function of names; what is true is decided in :mod:`oreo_envs.alfworld.world`.
Sources: the ``grammar`` text embedded in every ``game.tw-pddl`` (alfworld's ``alfred.twl2``).
"""

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

Wording = Literal["move", "put"]

NOTHING_HAPPENS = "Nothing happens."
NOT_CARRYING = "You are not carrying anything."
HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def enumerate_names(names: Iterable[str]) -> str:
    """``"a mug 2, a mug 1, and a pan 1"``; the last separator is ", and " even for two names."""
    listed = ["a " + name for name in names]
    if not listed:
        return "nothing"
    return ", and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def describe_opening(scene: str, task: str) -> str:
    """The first observation of an episode."""
    return f"-= Welcome to TextWorld, ALFRED! =-\n\n{scene}\n\nYour task is to: {task}"


def describe_middle(receptacles: Iterable[str]) -> str:
    """What ``look`` says where there is no receptacle."""
    listed = enumerate_names(receptacles)
    return f"You are in the middle of a room. Looking quickly around you, you see {listed}."


def describe_nearby(receptacles: list[str], loose: Iterable[str]) -> str:
    """What ``look`` says in front of receptacles; `loose` objects are near but in none of them."""
    faced = ", and ".join(
        [", ".join(receptacles[:-1]), receptacles[-1]] if len(receptacles) > 1 else receptacles
    )
    return f"You are facing the {faced}. Next to it, you see {enumerate_names(loose)}."


def describe_receptacle(name: str, openable: bool, opened: bool, contents: Iterable[str]) -> str:
    """What can be seen of a receptacle and in it."""
    if not openable:
        return f"On the {name}, you see {enumerate_names(contents)}."
    if not opened:
        return f"The {name} is closed."
    return f"The {name} is open. In it, you see {enumerate_names(contents)}."


def describe_object(
    name: str, hot: bool, cool: bool, clean: bool, sliced: bool, sliceable: bool, switched_on: bool
) -> str:
    """What ``examine`` says of a held object that is not itself a container.

    Sliced and nothing else, it is only called so if it can be sliced.
    """
    qualities = [
        word for word, holds in (("hot", hot), ("cool", cool and not hot), ("clean", clean)) if holds
    ]
    if qualities == ["cool"] and not sliced:
        return f"This is a cold {name}."
    if qualities:
        return f"This is a {' and '.join(qualities)} {'sliced ' if sliced else ''}{name}."
    if switched_on:
        return f"This {name} is on."
    if sliced and sliceable:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."


def describe_container(name: str, contents: Iterable[str]) -> str:
    """What ``examine`` says of a held object that can hold others, such as a bowl."""
    return f"This is a normal {name}. In it, you see {enumerate_names(contents)}."


class ParsedCommand(NamedTuple):
    """A command split into its verb and the names it mentions."""

    verb: str
    first: str = ""
    second: str = ""


_LONE = {"look", "inventory", "help"}
_ONE_NAME = ("go to ", "open ", "close ", "examine ", "use ")
_TWO_NAMES = (
    ("take ", " from "),
    ("move ", " to "),
    ("put ", " in/on "),
    ("heat ", " with "),
    ("clean ", " with "),
    ("cool ", " with "),
    ("slice ", " with "),
)


def split_command(command: str) -> ParsedCommand | None:
    """Split a command by the grammar of either wording; None if it has the form of no command."""
    if command in _LONE:
        return ParsedCommand(command)
    for verb in _ONE_NAME:
        if command.startswith(verb):
            return ParsedCommand(verb.strip(), command[len(verb) :])
    for verb, link in _TWO_NAMES:
        if command.startswith(verb):
            first, found, second = command[len(verb) :].partition(link)
            return ParsedCommand(verb.strip(), first, second) if found else None
    return None


def is_command(
    command: str, objects: Collection[str], receptacles: Collection[str], wording: Wording
) -> bool:
    """Whether `command` is one of the grammar's commands about things that this game has."""
    parsed = split_command(command)
    if parsed is None:
        return False
    verb, first, second = parsed
    if verb in _LONE:
        return verb != "help" or wording == "move"
    if verb in ("move", "put"):
        return verb == wording and first in objects and second in receptacles
    if verb in ("go to", "open", "close"):
        return first in receptacles
    if verb == "examine":
        return first in receptacles or first in objects
    if verb == "use":
        return first in objects
    return first in objects and second in (objects if verb == "slice" else receptacles)


def reword_command(command: str, wording: Wording) -> str:
    """Say ``move X to Y`` as ``put X in/on Y`` or the reverse; any other command is returned unchanged."""
    parsed = split_command(command)
    if parsed is None or parsed.verb not in ("move", "put"):
        return command
    return format_put(parsed.first, parsed.second, wording)


def format_put(object_name: str, receptacle_name: str, wording: Wording) -> str:
    """The command that puts a held object down."""
    if wording == "move":
        return f"move {object_name} to {receptacle_name}"
    return f"put {object_name} in/on {receptacle_name}"


def confirm_put(object_name: str, receptacle_name: str, wording: Wording) -> str:
    """The sentence that follows :func:`format_put`."""
    if wording == "move":
        return f"You move the {object_name} to the {receptacle_name}."
    return f"You put the {object_name} in/on the {receptacle_name}."
