"""Programs written for alfworld, unchanged, on the native engine.

    from oreo_envs.alfworld import drop_in

    drop_in.install()  # before or after the program imports alfworld or TextWorld
    ...
    drop_in.uninstall()

or ``python -m oreo_envs.alfworld.drop_in PROGRAM.py ARGUMENTS...``. Where alfworld and TextWorld are installed,
``AlfredTWEnv``, copies of it, ``textworld.start`` and ``textworld.gym`` play game files of ALFWorld natively and give
what they always gave. Where they are not, alfworld's own names for it resolve all the same.
"""

from __future__ import annotations

from oreo_envs.alfworld.drop_in.installation import install, installed, uninstall

__all__ = ["install", "installed", "uninstall"]
