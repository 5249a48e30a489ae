"""The README of a trained agent: what it is, how it was made, from which data. Plain values in, Markdown out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from oreo_agents.language.chat import EncodedEpisode

HEADER = """---
library_name: oreo_agents
tags:
- text-environments
- offline-rl
- oreo
---

# {title}

A language agent trained with `{method}` by oreo_agents (OREO, arXiv 2412.16145). `policy/` is a Hugging Face causal LM
with its tokenizer{critic}.

```python
from oreo_agents import OreoAgent

agent = OreoAgent.from_pretrained("PATH")
```

| | |
|---|---|
"""


def model_card(title: str, has_critic: bool, card: Mapping[str, Any]) -> str:
    """Markdown with the Hub's header and one row per value of ``card``; nested values become rows of their own."""
    critic = ", `critic/` the value function that judges its actions" if has_critic else ""
    rows = "".join(f"| {name} | {value} |\n" for name, value in _flatten_card(card))
    return HEADER.format(title=title, method=card.get("method", "unknown"), critic=critic) + rows


def _flatten_card(card: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in card.items():
        if isinstance(value, Mapping):
            yield from _flatten_card(value)
        else:
            yield name, str(value).replace("|", "\\|").replace("\n", " ")


def data_hash(episodes: Iterable[EncodedEpisode]) -> str:
    """SHA-256 of what was trained on: ids, masks and returns of every episode, whatever their order."""
    digests = sorted(hashlib.sha256(repr(_list_columns(episode)).encode()).digest() for episode in episodes)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _list_columns(episode: EncodedEpisode) -> tuple[list, ...]:
    columns = episode.input_ids, episode.action_mask, episode.imitate_mask, episode.returns
    several = len(episode.starts) > 1
    return (
        *columns,
        *([episode.starts] if several else []),
        *([episode.thoughts] if episode.thoughts else []),
    )
