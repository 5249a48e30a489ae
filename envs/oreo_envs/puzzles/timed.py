r"""Puzzles whose moves run out, and nobody sees when: what makes a wasted move cost something, and not everything.

There are as many moves as the fewest that solve the puzzle, and some to spare, as luck has it: at least w of them with
probability :data:`KEPT` to the power of w. Whoever wastes none always wins; w wasted moves leave KEPT^w of the chance.

**Imitating successes does not change the mode.** Let a habit lead there and back, two wasted moves, with share p at
some position, and let k = KEPT^2 = 0.8. Whoever always moves wisely on has chance W, so the demonstrator has
V = p k V + (1 - p) W, and among the turns of won episodes at this position the habit's share is
p k V / V = p k: at p = 0.85 it is 0.68, still the mode. Imitation of wins, played greedily, goes there and back for
ever.

**Without luck it would.** With a known number of moves, a wasted one costs nothing until it costs everything, so won
episodes show no habit where it matters: a table that imitates wins solves every such puzzle, whatever the share.
"""

from __future__ import annotations

import math
from abc import ABC
from random import Random
from typing import Any

from oreo_envs.puzzles.puzzle import P, Puzzle

KEPT = math.sqrt(0.8)
"""What a wasted move leaves of the chance to win."""
ENDLESS = 10_000


class TimedPuzzle(Puzzle[P], ABC):
    """A puzzle whose positions, named tuples, know how many moves are ``left``; :meth:`Puzzle.show` does not."""

    def plan(self, position: Any) -> tuple[str, ...] | None:
        """The fewest commands that solve a position; None where they are more than the moves that are left."""
        way = self.find_way(position)
        return None if way is None or len(way) > position.left else way

    def find_way(self, position: Any) -> tuple[str, ...] | None:
        """The fewest commands, were there moves enough."""
        return super().find_way(position._replace(left=ENDLESS))

    def _strip(self, position: Any) -> Any:
        return position._replace(left=0)


def draw_spare(name: str) -> int:
    """Moves beyond the fewest; the same name has always the same luck."""
    return int(math.log(1 - Random(name).random()) / math.log(KEPT))
