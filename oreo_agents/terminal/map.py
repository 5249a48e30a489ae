"""What has been seen where, worked out from the texts of an ALFWorld episode alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from oreo_agents.terminal.views import make_text

Contents = Mapping[str, "list[str] | None"]
"""For each place its things as last seen, None where nobody has looked yet."""

ROOM = re.compile(r"Looking quickly around you, you see (.+?)\.(?:\n|$)")
LISTING = re.compile(
    r"(?:On the (?P<on>[a-z]+ \d+)|The (?P<in>[a-z]+ \d+) is open\. In it), you see ([^.]+)\."
)
OPENED = re.compile(r"You open the (?P<place>[a-z]+ \d+)\. .*?In it, you see ([^.]+)\.")
TAKEN = re.compile(r"You pick up the (.+? \d+) from the (.+? \d+)\.")
PUT = re.compile(r"You (?:move|put) the (.+? \d+) (?:to|in/on) the (.+? \d+)\.")
THING = re.compile(r"\ban? ([a-z]+ \d+)")
STANDING = re.compile(
    r"You arrive at (?:loc \d+\. (?:On the|The) )?(?P<at>[a-z]+ \d+)"
    r"|You are facing the (?P<facing>.+?)\. Next to it"
    r"|(?P<middle>You are in the middle of a room)"
)
CARRYING = re.compile(r"You are carrying: an? (.+ \d+)\.|You are not carrying anything\.")


def read_map(observations: Iterable[str]) -> Contents:
    """Read the observations of an episode, in order."""
    places: dict[str, list[str] | None] = {}
    for text in observations:
        for room in ROOM.findall(text):
            places |= dict.fromkeys(THING.findall(room), None)
        for listing in LISTING.finditer(text):
            places[listing["on"] or listing["in"]] = THING.findall(listing[3])
        for opened in OPENED.finditer(text):
            places[opened["place"]] = THING.findall(opened[2])
        for thing, place in TAKEN.findall(text):
            places[place] = [other for other in places.get(place) or [] if other != thing]
        for thing, place in PUT.findall(text):
            places[place] = [*(places.get(place) or []), thing]
    return places


def read_place(observations: Iterable[str]) -> str:
    """Where the player stands; empty where nothing says it.

    >>> read_place(["You arrive at desk 1. On the desk 1, you see nothing.", "Nothing happens."])
    'desk 1'
    """
    place = ""
    for text in observations:
        for found in STANDING.finditer(text):
            place = found["at"] or found["facing"] or "middle of the room"
    return place


def read_carried(observations: Iterable[str]) -> list[str]:
    """What the player has picked up and not put down."""
    carried: list[str] = []
    for text in observations:
        for said in CARRYING.finditer(text):
            carried = [said[1]] if said[1] else []
        carried += [thing for thing, _ in TAKEN.findall(text)]
        put = {thing for thing, _ in PUT.findall(text)}
        carried = [thing for thing in carried if thing not in put]
    return carried


def render_place(place: str, carried: Sequence[str], known: bool) -> list[Text]:
    """Where the player is and, where the texts are ALFWorld's, what it carries."""
    lines = [make_text(f"at: {place}")] if place else []
    return [*lines, make_text(f"carrying: {', '.join(carried) or 'nothing'}")] if known else lines


def map_table(places: Contents) -> Table:
    """Places with things first, then the empty ones, and in one row those that nobody has looked at."""
    table = Table("place", "things seen", box=None, pad_edge=False)
    for place, things in sorted(places.items(), key=lambda item: (not item[1], _split_number(item[0]))):
        if things is not None:
            table.add_row(
                make_text(place), make_text(", ".join(things) or "nothing", "" if things else "dim")
            )
    unseen = sorted((place for place, things in places.items() if things is None), key=_split_number)
    if unseen:
        table.add_row(make_text("not yet", "dim"), make_text(", ".join(unseen), "dim"))
    return table


def _split_number(place: str) -> tuple[str, int]:
    name, _, number = place.rpartition(" ")
    return name, int(number)
