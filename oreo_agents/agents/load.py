"""An agent by its name: a scripted player, a trained one in a folder, or one behind a server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.catalog import DEFAULT_ID, describe

from oreo_agents.environments import Home, choose_environment, is_same_id, join_words
from oreo_agents.errors import ConfigurationError
from oreo_agents.inference.server import Server
from oreo_agents.language.prompt import Prompt

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent
    from oreo_agents.inference.endpoint import Endpoint


def find_prompt(name: str, prompt: str | Path | Prompt | None = None) -> Prompt:
    """The prompt that was asked for, else that of the agent of this name; scripted players have none.

    Raises:
        CheckpointError: the agent's folder is damaged.
        ConfigurationError: there is no such prompt, or a scripted player was given one.
    """
    from oreo_agents.agents.scripted import SCRIPTED

    if name in SCRIPTED:
        if prompt is not None:
            raise ConfigurationError(f"{name} has no model and reads no prompt: leave --prompt out")
        return Prompt()
    from oreo_agents.models.agent_card import choose_prompt

    return choose_prompt(name, prompt)


def find_environment(name: str | None, asked: str | None = None) -> Home:
    """Where the agent of this name plays: where ``asked``, else where it was trained, else in the default environment.

    A warning says it where it plays elsewhere than it was trained.

    Args:
        name: as for :func:`load_agent`; None: nobody plays but the user.
        asked: the id that the user named.

    Raises:
        CheckpointError: there is no such agent, or its folder is damaged.
        ConfigurationError: nothing was asked for, and it was trained in several environments, or in one that only a
            module's code can make, which runs where the user names it.
    """
    from oreo_agents.agents.scripted import SCRIPTED

    if name is None or name in SCRIPTED:
        return choose_environment("", {}, asked)
    from oreo_agents.models.model_files import SHIPPED, require_name

    require_name(name, (*SCRIPTED, *SHIPPED))
    from oreo_agents.models.agent_card import read_environments

    learnt = read_environments(name)
    place = choose_environment(f"{name} was trained in", learnt, asked)
    if learnt and not any(is_same_id(env_id, place.env_id) for env_id in learnt):
        where = join_words(learnt)
        logging.getLogger(__name__).warning(f"{name} was trained in {where} and plays {place.env_id} here")
    return place


def choose_reply_length(prompt: Prompt, env_id: str) -> int:
    """Tokens that a reply may have where nobody has said so."""
    return prompt.reply_tokens or describe(env_id).max_new_tokens


def load_agent(
    name: str,
    endpoint: Endpoint | Server | None = None,
    *,
    env_id: str = DEFAULT_ID,
    epsilon: float = 0.0,
    thoughts: bool = False,
    prompt: str | Path | Prompt | None = None,
    max_new_tokens: int | None = None,
    **options: Any,
) -> Agent:
    """A scripted agent by name (``expert``, ``shortest``, ``demonstrator``, ``random``), or the trained one at a path.

    Args:
        name: which.
        endpoint: the server that has the policy; tokenizer and critic are at the path.
        env_id: where it plays: a scripted agent has rules for it, a prompt may have words for it.
        epsilon: share of a scripted agent's commands that are replaced by others; see
            :class:`oreo_agents.agents.noise.NoisyAgent`.
        thoughts: whether the expert says why; see :class:`oreo_agents.agents.scripted.ScriptedAgent`.
        prompt: what it is told and how it answers, by value, name or file; default: its own.
        max_new_tokens: of a reply; default: the prompt's, else the environment's.
        options: of :class:`oreo_agents.OreoAgent`.

    Raises:
        CheckpointError: there is no usable checkpoint at ``name``.
        ConfigurationError: ``epsilon`` or an option is out of range, or a model has ``epsilon`` or ``thoughts``.
    """
    from oreo_agents.agents.noise import NoisyAgent
    from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent

    if name in SCRIPTED:
        if endpoint is not None:
            raise ConfigurationError(f"{name} has no model and makes no use of --endpoint: leave it out")
        find_prompt(name, prompt)
        player = ScriptedAgent(name, env_id, thoughts)
        return NoisyAgent(player, epsilon) if epsilon else player
    if thoughts:
        raise ConfigurationError(
            f"--thoughts is of the expert; {name} says what its prompt asks for: leave it out, and choose a prompt "
            "with thoughts (alfworld-react)"
        )
    if epsilon:
        raise ConfigurationError(f"--epsilon disturbs {', '.join(SCRIPTED)}; {name} samples: leave it out")
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.inference.endpoint import Endpoint
    from oreo_agents.models.model_files import SHIPPED, require_name

    require_name(name, (*SCRIPTED, *SHIPPED))
    own = find_prompt(name, prompt).in_environment(env_id)
    options |= {"prompt": own, "max_new_tokens": max_new_tokens or choose_reply_length(own, env_id)}
    if endpoint is None:
        return OreoAgent.from_pretrained(name, **options)
    if options.get("engine"):
        raise ConfigurationError("a server has the policy, or vLLM here: leave --engine or --endpoint out")
    if isinstance(endpoint, Server):
        endpoint = Endpoint.from_server(endpoint)
    options.pop("dtype", None)  # the critic of a remote policy is in float32
    return OreoAgent.from_endpoint(endpoint, name, **options)
