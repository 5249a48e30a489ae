"""TextWorld's games: made on demand, or from files; played in worker processes.

    challenges.py   what TextWorld can make: challenges, levels, seeds
    games.py        lists of games, and the workshop that makes those that are missing
    running.py      games in worker processes: deadlines, and what happens when one dies
    env.py          the environment
    space.py        its space of actions
    supply.py       what the catalogue needs to know of its games
    expert.py       plays cooking games and the coin collector from what can be read
    text.py         what of the interpreter's text is the game's
    making.py       in a worker: one game made by TextWorld's generators
    interpreter.py  in a worker: games in TextWorld and Frotz

Only the last two import TextWorld.
"""
