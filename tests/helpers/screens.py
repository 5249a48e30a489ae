"""Full screens driven by Textual's pilot."""

import asyncio
from functools import wraps


def in_a_loop(test):
    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


def seen(app):
    """What is on the screen, line by line."""
    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in lines]


async def press(pilot, *keys):
    await pilot.press(*keys)
    await pilot.pause()
    return "\n".join(seen(pilot.app))
