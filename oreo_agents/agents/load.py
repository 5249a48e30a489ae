"""An agent by its name: a scripted player, a trained one in a folder, or one behind a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oreo_envs.catalog import DEFAULT_ID

from oreo_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent


def load_agent(
    name: str,
    endpoint: str | None = None,
    model: str | None = None,
    *,
    env_id: str = DEFAULT_ID,
    epsilon: float = 0.0,
    **options: Any,
) -> Agent:
    """A scripted agent by name (``expert``, ``shortest``, ``demonstrator``, ``random``), or the trained one at a path.

    Args:
        name: which.
        endpoint: URL of the OpenAI-compatible server that has the policy; tokenizer and critic are at the path.
        model: what that server calls it; default: ``name``.
        env_id: where a scripted agent plays.
        epsilon: share of a scripted agent's commands that are replaced by others; see
            :class:`oreo_agents.agents.noise.NoisyAgent`.
        options: of :class:`oreo_agents.OreoAgent`.

    Raises:
        CheckpointError: there is no usable checkpoint at ``name``.
        ConfigurationError: ``epsilon`` or an option is out of range, or a model has ``epsilon``.
    """
    from oreo_agents.agents.noise import NoisyAgent
    from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent

    if name in SCRIPTED:
        player = ScriptedAgent(name, env_id)
        return NoisyAgent(player, epsilon) if epsilon else player
    if epsilon:
        raise ConfigurationError(f"--epsilon disturbs {', '.join(SCRIPTED)}; {name} samples: leave it out")
    from oreo_agents.agents.oreo import OreoAgent

    if endpoint is None:
        return OreoAgent.from_pretrained(name, **options)
    from oreo_agents.inference.endpoint import Endpoint

    options.pop("dtype", None)  # the critic of a remote policy is in float32
    return OreoAgent.from_endpoint(Endpoint(endpoint, model or name), name, **options)
