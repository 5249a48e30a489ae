"""An agent by its name: a scripted player, a trained one in a folder, or one behind a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent


def load_agent(name: str, endpoint: str | None = None, model: str | None = None, **options: Any) -> Agent:
    """A scripted agent by name (``expert``, ``random``), or the trained one at a path, with its ``options``.

    Args:
        name: which.
        endpoint: URL of the OpenAI-compatible server that has the policy; tokenizer and critic are at the path.
        model: what that server calls it; default: ``name``.
        options: of :class:`oreo_agents.OreoAgent`.
    """
    from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent

    if name in SCRIPTED:
        return ScriptedAgent(name)
    from oreo_agents.agents.oreo import OreoAgent

    if endpoint is None:
        return OreoAgent.from_pretrained(name, **options)
    from oreo_agents.inference.endpoint import Endpoint

    options.pop("dtype", None)  # the critic of a remote policy is in float32
    return OreoAgent.from_endpoint(Endpoint(endpoint, model or name), name, **options)
