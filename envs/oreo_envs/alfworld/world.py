"""One game being played: the rules of the ALFRED domain on a compact state.

What can be done is enumerated (the methods ``_applicable...``), and a command works if and only if it is in
that enumeration, as in TextWorld. An enumeration depends only on where the agent is, what it holds and what
is there, so it is kept in the game's memo and found again by that local key.

Sets of objects are bit masks over ``game.objects``, sets of receptacles over ``game.receptacles``.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from oreo_envs.alfworld import text
from oreo_envs.alfworld.game import EMPTY_HANDS, NOWHERE, Game, State

ActionStatus = Literal["ok", "not_applicable", "unparsable"]
Effect = tuple[Callable[["World", int, int], str], int, int]
"""A method of World that changes the state and returns the observation, with its two arguments."""


def list_bits(mask: int) -> Iterator[int]:
    """The indices of the bits that are set, in ascending order."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class World:
    """The state of one play of a game. Cheap to make, to copy and to restore; not shared between threads.

    Attributes:
        game: what is played.
        action_status: how the last command fared.
        won: whether the goal holds now; it can become false again.
        location, held, opened, hot, cool, clean, sliced, toggled, inside, nearby, taken: as in
            :class:`~oreo_envs.alfworld.game.State`.
    """

    __slots__ = (
        "_commands",
        "action_status",
        "clean",
        "cool",
        "game",
        "held",
        "hot",
        "inside",
        "location",
        "nearby",
        "opened",
        "sliced",
        "taken",
        "toggled",
        "won",
    )

    action_status: ActionStatus

    def __init__(self, game: Game):
        self.game = game
        self.restore_state(game.start)

    @property
    def task(self) -> str:
        """What is to be done, in words."""
        return self.game.task

    @property
    def task_type(self) -> str:
        """One of ALFWorld's six task types."""
        return self.game.goal.task_type

    @property
    def wording(self) -> text.Wording:
        """Which generation of sentences this game is shown in."""
        return self.game.wording

    # ------------------------------------------------------------ playing

    def reset(self) -> str:
        """Start over and return the opening observation."""
        self.restore_state(self.game.start)
        return self.opening()

    def step(self, command: str) -> str:
        """Carry out a command and return the observation; see ``action_status`` and ``won`` for the rest."""
        command = command.strip()
        if command not in self._commands:
            self.action_status = "not_applicable" if self._is_command(command) else "unparsable"
            return text.NOTHING_HAPPENS
        act, first, second = self.game.effects[command]
        observation = act(self, first, second)
        self.action_status = "ok"
        self._refresh()
        return observation

    def find_effect(self, command: str) -> Effect | None:
        """What a command would do now; None if nothing."""
        return self.game.effects[command] if command in self._commands else None

    def admissible_commands(self) -> list[str]:
        """The commands that would do something now, sorted."""
        return list(self._commands)

    def clone_state(self) -> State:
        """An immutable snapshot."""
        return State(
            self.location,
            self.held,
            self.opened,
            self.hot,
            self.cool,
            self.clean,
            self.sliced,
            self.toggled,
            tuple(self.inside),
            tuple(self.nearby),
            tuple(self.taken),
        )

    def restore_state(self, state: State) -> None:
        """Return to a snapshot taken from any world of the same game."""
        (
            self.location,
            self.held,
            self.opened,
            self.hot,
            self.cool,
            self.clean,
            self.sliced,
            self.toggled,
            inside,
            nearby,
            taken,
        ) = state
        self.inside = list(inside)
        self.nearby = list(nearby)
        self.taken = list(taken)
        self.action_status = "ok"
        self._refresh()

    def opening(self) -> str:
        """The first observation of an episode, for the present state."""
        here = self.game.receptacles_at[self.location]
        placed = [receptacle.name for receptacle in self.game.receptacles if receptacle.location != NOWHERE]
        return text.describe_opening(
            self.look(0, 0) if here else text.describe_middle(placed), self.game.task
        )

    # ------------------------------------------------------------ what holds

    def is_closed(self, receptacle: int) -> bool:
        """Whether a receptacle can be opened and is not open."""
        return self.game.receptacles[receptacle].openable and not self.opened >> receptacle & 1

    def _goal_holds(self) -> bool:
        goal = self.game.goal
        if goal.task_type == "look_at_obj_in_light":
            return self._held_in_light()
        qualified = goal.objects
        if goal.quality:
            qualified &= getattr(self, goal.quality)
        if not qualified:
            return False
        inside = self.inside
        for target in goal.receptacles:
            together = inside[target] & qualified
            if together and together.bit_count() >= goal.count:
                return True
        return False

    def _held_in_light(self) -> bool:
        goal = self.game.goal
        lit = goal.lamps & self.toggled
        if not lit or self.held == EMPTY_HANDS or not goal.objects >> self.held & 1:
            return False
        return any(self.inside[receptacle] & lit for receptacle in self.game.receptacles_at[self.location])

    def _is_command(self, command: str) -> bool:
        objects, receptacles = self.game.names
        return text.is_command(command, objects, receptacles, self.game.wording)

    # ------------------------------------------------------------ what can be done

    def _refresh(self) -> None:
        """Work out, or recall, what can be done and whether the goal holds."""
        self.won = self._goal_holds()
        game, location, inside = self.game, self.location, self.inside
        key: Any = (
            location,
            self.held,
            self.opened & game.openable_at[location],
            self.nearby[location] if self.held >= 0 and game.knives >> self.held & 1 else 0,
            *[inside[receptacle] for receptacle in game.receptacles_at[location]],
        )
        commands = game.memo.get(key)
        if commands is None:
            here = dict(self._applicable_here())
            game.effects.update(here)
            # two sorted runs, which sorted() merges in linear time
            commands = game.remember(key, tuple(sorted([*self._always_applicable(), *sorted(here)])))
        self._commands: tuple[str, ...] = commands

    def _always_applicable(self) -> list[str]:
        """The sorted commands that apply at this location whatever else holds."""
        everywhere: dict[str, int] | None = self.game.memo.get("everywhere")
        if everywhere is None:
            everywhere = self.game.remember("everywhere", dict(sorted(self._applicable_everywhere())))
        return [command for command, location in everywhere.items() if location != self.location]

    def _applicable_everywhere(self) -> Iterator[tuple[str, int]]:
        """Commands that apply wherever the agent is, except at the location beside them."""
        game = self.game
        effects: dict[str, Effect] = {"look": (World.look, 0, 0), "inventory": (World.inventory, 0, 0)}
        if game.rules.has_help:
            effects["help"] = (World.help, 0, 0)
        yield from ((command, NOWHERE) for command in effects)
        for receptacle in game.receptacles:
            if receptacle.location != NOWHERE:
                effects[f"go to {receptacle.name}"] = (World.go_to, receptacle.index, 0)
                yield f"go to {receptacle.name}", receptacle.location
        game.effects.update(effects)

    def _applicable_here(self) -> Iterator[tuple[str, Effect]]:
        """The other commands that apply now."""
        for here in self.game.receptacles_at[self.location]:
            yield from self._applicable_to_receptacle(here)
        if self.held != EMPTY_HANDS:
            yield from self._applicable_to_held()

    def _applicable_to_receptacle(self, here: int) -> Iterator[tuple[str, Effect]]:
        game, receptacle = self.game, self.game.receptacles[here]
        yield f"examine {receptacle.name}", (World.examine_receptacle, here, 0)
        closed = self.is_closed(here)
        if closed:
            yield f"open {receptacle.name}", (World.open, here, 0)
        elif receptacle.openable:
            yield f"close {receptacle.name}", (World.close, here, 0)
        for lamp in list_bits(self.inside[here] & game.abilities["toggleable"]):
            yield f"use {game.objects[lamp].name}", (World.use, lamp, 0)
        if not closed and self.held == EMPTY_HANDS:
            for found in list_bits(self.inside[here] & game.abilities["pickupable"]):
                yield f"take {game.objects[found].name} from {receptacle.name}", (World.take, found, here)

    def _applicable_to_held(self) -> Iterator[tuple[str, Effect]]:
        game, held = self.game, self.held
        name, bit = game.objects[held].name, 1 << held
        yield f"examine {name}", (World.examine_object, held, 0)
        for here in game.receptacles_at[self.location]:
            receptacle = game.receptacles[here]
            if receptacle.accepts & bit and not self.is_closed(here):
                yield text.format_put(name, receptacle.name, game.wording), (World.place, held, here)
            if bit & game.abilities["cleanable"] and receptacle.type in game.rules.clean_at:
                yield f"clean {name} with {receptacle.name}", (World.clean_with, held, here)
            if bit & game.abilities["heatable"] and receptacle.type == "microwavetype":
                yield f"heat {name} with {receptacle.name}", (World.heat_with, held, here)
            if bit & game.abilities["coolable"] and receptacle.type == "fridgetype":
                yield f"cool {name} with {receptacle.name}", (World.cool_with, held, here)
        if bit & game.knives:
            for target in list_bits(self.nearby[self.location] & game.abilities["sliceable"]):
                yield f"slice {game.objects[target].name} with {name}", (World.slice_with, target, held)

    # ------------------------------------------------------------ the actions

    def look(self, _: int, __: int) -> str:
        """Look around at the current location."""
        game = self.game
        here = game.receptacles_at[self.location]
        if not here:
            return text.describe_middle([])
        near = self.nearby[self.location]
        loose = sorted(found for receptacle in here for found in list_bits(near & self.taken[receptacle]))
        return text.describe_nearby(
            [game.receptacles[receptacle].name for receptacle in here], self._names(loose)
        )

    def inventory(self, _: int, __: int) -> str:
        """Say what is held."""
        if self.held == EMPTY_HANDS:
            return text.NOT_CARRYING
        return f"You are carrying: a {self.game.objects[self.held].name}."

    def help(self, _: int, __: int) -> str:
        """List the commands."""
        return text.HELP

    def go_to(self, receptacle: int, _: int) -> str:
        """Walk to a receptacle."""
        game = self.game
        self.location = game.receptacles[receptacle].location
        arrival = (
            game.receptacles[receptacle].name
            if game.wording == "move"
            else game.location_names[self.location]
        )
        return f"You arrive at {arrival}. {self.examine_receptacle(receptacle, 0)}"

    def examine_receptacle(self, receptacle: int, _: int) -> str:
        """Say what can be seen of a receptacle."""
        game = self.game
        key: Any = ("view", receptacle, self.inside[receptacle], self.opened >> receptacle & 1)
        view = game.memo.get(key)
        if view is None:
            name, openable = game.receptacles[receptacle].name, game.receptacles[receptacle].openable
            found = self._names(list_bits(self.inside[receptacle]))
            view = game.memo[key] = text.describe_receptacle(
                name, openable, not self.is_closed(receptacle), found
            )
        return view

    def examine_object(self, held: int, _: int) -> str:
        """Say what is special about the held object."""
        thing, abilities = self.game.objects[held], self.game.abilities
        if thing.is_container:
            return text.describe_container(thing.name, self._names(self.game.contents.get(held, ())))
        return text.describe_object(
            thing.name,
            hot=bool(self.hot >> held & 1),
            cool=bool(self.cool >> held & 1),
            clean=bool(self.clean >> held & 1),
            sliced=bool(self.sliced >> held & 1),
            sliceable=bool(abilities["sliceable"] >> held & 1),
            switched_on=bool(self.toggled & abilities["toggleable"] & 1 << held),
        )

    def open(self, receptacle: int, _: int) -> str:
        """Open a receptacle."""
        self.opened |= 1 << receptacle
        return (
            f"You open the {self.game.receptacles[receptacle].name}. {self.examine_receptacle(receptacle, 0)}"
        )

    def close(self, receptacle: int, _: int) -> str:
        """Close a receptacle."""
        self.opened &= ~(1 << receptacle)
        return f"You close the {self.game.receptacles[receptacle].name}."

    def take(self, found: int, receptacle: int) -> str:
        """Pick an object up; it stays where else it is listed, and near any other location."""
        bit = 1 << found
        self.held = found
        self.inside[receptacle] &= ~bit
        self.taken[receptacle] |= bit
        self.nearby[self.location] &= ~bit
        game = self.game
        return f"You pick up the {game.objects[found].name} from the {game.receptacles[receptacle].name}."

    def place(self, held: int, receptacle: int) -> str:
        """Put the held object down."""
        bit = 1 << held
        self.held = EMPTY_HANDS
        self.inside[receptacle] |= bit
        self.taken[receptacle] &= ~bit
        self.nearby[self.location] |= bit
        game = self.game
        return text.confirm_put(game.objects[held].name, game.receptacles[receptacle].name, game.wording)

    def clean_with(self, held: int, receptacle: int) -> str:
        """Clean the held object."""
        self.clean |= 1 << held
        return self._describe_use("clean", held, receptacle)

    def heat_with(self, held: int, receptacle: int) -> str:
        """Heat the held object; it is no longer cool."""
        self.hot |= 1 << held
        self.cool &= ~(1 << held)
        return self._describe_use("heat", held, receptacle)

    def cool_with(self, held: int, receptacle: int) -> str:
        """Cool the held object; it is no longer hot."""
        self.cool |= 1 << held
        self.hot &= ~(1 << held)
        return self._describe_use("cool", held, receptacle)

    def use(self, lamp: int, _: int) -> str:
        """Switch a lamp; ALFWorld only ever says that it turns on."""
        self.toggled |= 1 << lamp
        return f"You turn on the {self.game.objects[lamp].name}."

    def slice_with(self, target: int, knife: int) -> str:
        """Slice an object with the held knife."""
        self.sliced |= 1 << target
        return f"You sliced the {self.game.objects[target].name} with the {self.game.objects[knife].name}."

    def _describe_use(self, verb: str, held: int, receptacle: int) -> str:
        game = self.game
        return f"You {verb} the {game.objects[held].name} using the {game.receptacles[receptacle].name}."

    def _names(self, found: Any) -> list[str]:
        objects = self.game.objects
        return [objects[index].name for index in found]
