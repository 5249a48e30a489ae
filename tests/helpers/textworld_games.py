"""Games for tests of OREO-TextWorld: a few that TextWorld makes at once, and z-machine programs of a few bytes."""

from pathlib import Path

READ = bytes([0xE4, 0x0F, 0x01, 0x00, 0x02, 0x00, 0x00])
"""``aread`` into a text buffer at 0x100 and a parse buffer at 0x200: wait for a command."""
JUMP_HERE = bytes([0x8C, 0xFF, 0xFF])
"""``jump`` to itself: hangs."""
ILLEGAL = bytes([0x00, 0x00, 0x00])
"""No instruction of the z-machine."""
START = 0x400


def write_program(path: Path, code: bytes) -> Path:
    """A z-machine game of version 5 that runs ``code``."""
    memory = bytearray(0x1000)
    memory[0] = 5
    for at, value in (
        (0x04, START),
        (0x06, START),
        (0x08, 0x380),
        (0x0A, 0x280),
        (0x0C, 0x2C0),
        (0x0E, 0x390),
    ):
        memory[at : at + 2] = value.to_bytes(
            2, "big"
        )  # high memory, start, dictionary, objects, globals, static
    memory[0x1A:0x1C] = (len(memory) // 4).to_bytes(2, "big")
    memory[0x100], memory[0x200] = 200, 10
    memory[0x380:0x384] = bytes([0, 6, 0, 0])  # a dictionary without words
    memory[START : START + len(code)] = code
    memory[0x1C:0x1E] = (sum(memory[0x40:]) & 0xFFFF).to_bytes(2, "big")
    path.write_bytes(memory)
    return path


def make_apple_game(path: Path) -> Path:
    """One kitchen with an apple to take, compiled."""
    import textworld

    maker = textworld.GameMaker()
    kitchen = maker.new_room("Kitchen")
    maker.set_player(kitchen)
    kitchen.add(maker.new(type="f", name="apple"), maker.new(type="f", name="carrot"))
    maker.set_quest_from_commands(["take apple"])
    return Path(maker.compile(str(path)))
