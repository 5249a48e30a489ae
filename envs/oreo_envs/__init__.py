"""Text environments for language agents: ALFWorld on a native engine.

Importing this package registers the Gymnasium ids and loads neither torch nor textworld.
"""

from oreo_envs.catalog import CATALOG, add_environment

for _entry in CATALOG:
    add_environment(_entry)
