"""TextWorld without its repeated work, for comparisons over thousands of games.

TextWorld's answers stay its own: its grammar, its logic and its planner work everything out at every step. What is
left out is work whose result cannot differ:

- a text that was parsed before is not parsed again (a walk derives the same few sentences and queries always);
- reset() uses load()'s translations of the same PDDL problem;
- values that are only read are shared instead of copied.

A step then costs a tenth. ``tests/envs/test_textworld.py`` holds that walks are the same with and without.
"""

import copy
from functools import lru_cache
from typing import Any


def remember_parses() -> None:
    """Change the TextWorld of this process, once and for good."""
    import fast_downward
    import textworld.logic
    from textworld.envs.pddl import logic, textgen
    from textworld.generator.game import EntityInfo

    rule: Any = textworld.logic.Rule
    rule.parse_conjunctive_query = lru_cache(None)(rule.parse_conjunctive_query)
    logic._parse_and_convert = lru_cache(64)(logic._parse_and_convert)
    parse_symbols = lru_cache(None)(textgen._parse_and_convert)
    textgen._parse_and_convert = lambda *args, **options: [
        copy.copy(symbol) for symbol in parse_symbols(*args, **options)
    ]
    translate = lru_cache(2)(fast_downward.pddl2sas)  # a game has one for play and one for its planner
    fast_downward.pddl2sas = lambda domain, problem, verbose=False, optimize=False: translate(
        domain, problem, optimize=optimize
    )
    for kind in (textworld.logic.Variable, textworld.logic.Placeholder, EntityInfo):
        kind.__deepcopy__ = lambda self, memo: self
    textgen.copy_context = _copy_context


def _copy_context(context: dict[str, Any]) -> dict[str, Any]:
    return context | {"variables": dict(context["variables"]), "mapping": dict(context["mapping"])}
