"""``oreo-agents serve``: an agent behind the OpenAI protocol."""

from __future__ import annotations

import argparse

from oreo_envs.catalog import DEFAULT_ID

from oreo_agents.cli.options import (
    Commands,
    add_action_length,
    add_command,
    add_prompt,
    add_selection,
    add_trust,
    parse_positive,
    read_choice,
    tell_loading,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError


def add_serve(commands: Commands) -> None:
    """Options of ``serve``."""
    parser = add_command(
        commands, "serve", run_serve, "an agent's choices, by value too, behind the OpenAI protocol"
    )
    mark_paths(parser, agents=["agent"])
    parser.add_argument(
        "agent", metavar="NAME_OR_PATH", help="small, a trained agent's folder or a causal LM"
    )
    add_selection(parser, "greedy")
    add_prompt(parser)
    add_action_length(parser)
    add_trust(parser)
    parser.add_argument("--name", help="of the model, for those who ask; default: the agent's")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: %(default)s, this machine alone; nobody is asked who they are",
    )
    parser.add_argument("--port", type=parse_positive, default=8000, metavar="N", help="default: %(default)s")


def run_serve(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    try:
        import starlette as starlette
        import uvicorn
    except ImportError as error:
        raise ConfigurationError("serve needs a web server: pip install starlette uvicorn") from error

    from oreo_agents.agents.load import load_agent
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.agents.server import AgentServer
    from oreo_agents.models.agent_card import read_environments

    choosing = {
        "select": args.select,
        "k": args.k,
        "max_new_tokens": args.max_new_tokens,
        **read_choice(args),
    }
    tell_loading(args.agent)
    learnt = [*read_environments(args.agent)]  # nothing of it runs here
    home = learnt[0] if len(learnt) == 1 else DEFAULT_ID
    agent = load_agent(args.agent, prompt=args.prompt, env_id=home, **choosing)
    if not isinstance(agent, OreoAgent):
        raise ConfigurationError(f"{args.agent} has no model to serve: name an agent's folder or a causal LM")
    server = AgentServer(agent, args.name or agent.name)
    url = f"http://{args.host}:{args.port}/v1"
    tell_next(f"{server.name} at {url}, {agent.selection.title}; Ctrl-C ends it", f"doctor --endpoint {url}")
    uvicorn.run(server.make_app(), host=args.host, port=args.port, log_level="warning")
