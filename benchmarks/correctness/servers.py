"""A policy behind a server beside the same one in this process: what each says, turn by turn, to the same history.

    python benchmarks/correctness/servers.py --name llama.cpp --endpoint http://127.0.0.1:8000/v1 \\
        --endpoint-model NAME --agent FOLDER --prompt alfworld --data DIR

Some games are played by the expert (or by the policy itself, ``--player own``). For every turn of these episodes both
are asked for their greedy reply, the folder's policy here in float32, the server by completions and by chat
completions, with all that went before as it was played: one other reply would change whatever follows. Every turn that
differs is named by what it shows:

- other prompt: the server has counted another number of tokens in what it read;
- spaces: the replies differ only in spaces at their ends, which are read off;
- stops, goes on: the server's reply is the beginning of the one here, or has more after it;
- other token: they part at a token. How much likelier this process finds its own token than the server's, in nats, says
  whether that is a near tie, as other arithmetic decides it.

Beside the share of turns with the same reply, told is the share of those in which that is more than ``--margin``:
replies that other arithmetic does not explain. The turns are those of episodes, one after another, until there are
``--turns``.

``--output`` is a file of such comparisons by ``--name`` and protocol; the others in it are kept.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from oreo_envs.files import write_json
from transformers import PreTrainedModel

from oreo_agents.agents.load import load_agent
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.cli.options import add_endpoint, parse_positive, read_server
from oreo_agents.environments import environments, games_of
from oreo_agents.inference import Engine
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.inference.engines import make_policy_engine
from oreo_agents.inference.served_policy import OneAtATime, ServedPolicy
from oreo_agents.inference.server import Protocol
from oreo_agents.language.chat import Conversation
from oreo_agents.provenance import collect_provenance
from oreo_agents.rollout.loop import rollout
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.trajectory import Trajectory

RESULTS = Path(__file__).parents[1] / "results" / "servers.json"


@dataclass(frozen=True)
class Asked:
    """One turn."""

    game: str
    turn: int
    here: str
    """Said by the policy in this process."""
    there: str
    """Said by the server's."""
    action: bool
    """Both come to the same action."""
    end: bool
    """Both came to an end by themselves, or neither did."""
    more_read: int
    """Tokens that the server read beyond those it was to read, as far as it counts them."""
    gap: float | None
    """How much likelier the policy here finds its own token than the server's where they part, in nats."""

    @property
    def kind(self) -> str:
        """In what the replies differ."""
        if self.here == self.there:
            return "same"
        if self.more_read:
            return "other prompt"
        if self.here.strip() == self.there.strip():
            return "spaces"
        if self.here.startswith(self.there):
            return "stops"
        return "goes on" if self.there.startswith(self.here) else "other token"


def propose_turns(
    episode: Trajectory, conversation: Conversation, engine: Engine, limit: int
) -> Iterator[list[int]]:
    """The ids of the greedy reply in every turn of an episode, to what was played before.

    Args:
        episode: whoever played it.
        conversation: an empty one, which goes along; while a reply is looked at it ends where the reply begins.
        engine: of the policy, with one slot.
        limit: tokens of a reply.

    Raises:
        RuntimeError: there is no reply.
    """
    chat, status = conversation.chat, None
    for turn in episode.turns:
        kept = conversation.read(turn.observation, turn.admissible_commands, status)
        engine.cut([0], [kept])
        found = engine.propose([0], [conversation.tokens[kept:]], torch.full((1, limit, 1), torch.nan), 1.0)
        if found.errors or found.full:
            raise RuntimeError(next(iter({**found.errors, **found.full}.values())))
        yield list(found.listed()[0][0][0])
        engine.keep([0], found, torch.zeros(1, dtype=torch.long))
        engine.cut([0], [len(conversation.tokens)])
        played = list(turn.token_ids or chat.action_ids(turn.action, turn.said))
        conversation.say(played, turn.action)
        engine.extend([0], [played])
        status = turn.action_status


def decide_here(episode: Trajectory, agent: OreoAgent) -> list[list[int]]:
    """What the policy in this process says in every turn."""
    policy, limit = cast(PreTrainedModel, agent.policy), agent.selection.max_new_tokens
    engine = make_policy_engine(policy, 1, agent.max_length, agent.chat.end_id, limit)
    return list(propose_turns(episode, Conversation(agent.chat), engine, limit))


def ask_turns(
    episode: Trajectory, own: list[list[int]], agent: OreoAgent, endpoint: Endpoint
) -> Iterator[Asked]:
    """What a server says in every turn, beside what was said here.

    Args:
        episode: whoever played it.
        own: of :func:`decide_here`.
        agent: has the policy.
        endpoint: the server.
    """
    chat, limit, policy = agent.chat, agent.selection.max_new_tokens, cast(PreTrainedModel, agent.policy)
    conversation = Conversation(chat)
    turn_of_all, cpu = OneAtATime(), torch.device("cpu")
    engine = ServedPolicy(endpoint, chat, 1, limit, cpu, lambda slot: conversation.messages(), turn_of_all)
    replies = propose_turns(episode, conversation, engine, limit)
    for number, (turn, said) in enumerate(zip(episode.turns, own, strict=True)):
        requests, read = endpoint.use.requests, endpoint.use.read
        with turn_of_all:
            ids = next(replies)
        once = endpoint.use.requests == requests + 1
        here, there = (str(chat.tokenizer.decode(one, skip_special_tokens=True)) for one in (said, ids))
        yield Asked(
            game=str(episode.game),
            turn=number,
            here=here,
            there=there,
            action=len({chat.action_text(one, turn.admissible_commands) for one in (said, ids)}) == 1,
            end=(said[-1] == chat.end_id) == (ids[-1] == chat.end_id),
            more_read=endpoint.use.read - read - len(conversation.tokens) if once else 0,
            gap=None if here == there else measure_gap(policy, conversation.tokens, said, ids),
        )


@torch.inference_mode()
def measure_gap(policy: PreTrainedModel, read: list[int], here: list[int], there: list[int]) -> float | None:
    """Log-probability of the first token that differs, less that of the other one (nats); None: none differs."""
    pairs = enumerate(zip(here, there, strict=False))
    part = next((i for i, (one, other) in pairs if one != other), None)
    if part is None:
        return None
    logits = policy(input_ids=torch.tensor([[*read, *here[:part]]])).logits[0, -1].float()
    return float(logits[here[part]] - logits[there[part]])


def summarize_turns(turns: list[Asked], margin: float) -> dict[str, Any]:
    """How often both agree, in what they do not, and how often by more than ``margin`` (nats)."""
    kinds = Counter(turn.kind for turn in turns)
    differing = [turn for turn in turns if turn.kind != "same"]
    gaps = {kind: [t.gap for t in differing if t.kind == kind and t.gap is not None] for kind in kinds}
    n = len(turns)
    return {
        "turns": n,
        "same_reply": kinds["same"] / n,
        "same_action": sum(turn.action for turn in turns) / n,
        "same_end": sum(turn.end for turn in turns) / n,
        "other_prompts": sum(turn.more_read != 0 for turn in turns) / n,
        "kinds": dict(sorted(kinds.items())),
        "margin": margin,
        "above_margin": sum(turn.gap is not None and turn.gap > margin for turn in turns) / n,
        "largest_gap": {kind: round(max(found), 4) for kind, found in gaps.items() if found},
        "differing": [{"kind": turn.kind, **asdict(turn)} for turn in differing],
    }


def play_games(agent: OreoAgent, args: argparse.Namespace) -> list[Trajectory]:
    """Episodes until they have ``args.turns``, the last one cut there; fewer where there are no more games."""
    place = {"data": args.data} if args.data else {}
    make_env = environments(max_steps=args.max_steps, split=args.split, **place)
    plan = Schedule(limit=args.turns).assign(games_of(make_env()).names)
    player = agent if args.player == "own" else load_agent(args.player)
    episodes, left = list[Trajectory](), args.turns
    for episode in rollout(make_env, plan, player, slots=1):
        episodes.append(replace(episode, turns=episode.turns[:left]))
        left -= len(episodes[-1])
        if not left:
            break
    return episodes


def main() -> None:
    """Compare one server, and write down or print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", help="of the server in the result file; default: print what is found alone")
    parser.add_argument("--agent", required=True, help="folder of the policy that the server has")
    parser.add_argument("--prompt", help="name or file; default: the agent's own")
    parser.add_argument(
        "--player", default="expert", help="whose turns they are; own: the policy's; default: %(default)s"
    )
    parser.add_argument("--split", default="valid_seen", help="default: %(default)s")
    parser.add_argument("--data", help="where the games are; default: ALFWORLD_DATA")
    parser.add_argument("--turns", type=parse_positive, default=200, help="default: %(default)s")
    parser.add_argument(
        "--margin", type=float, default=0.1, help="nats above which no near tie is seen; default: %(default)s"
    )
    parser.add_argument("--max-steps", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--max-new-tokens", type=int, default=24, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    add_endpoint(parser)
    args = parser.parse_args()
    server = read_server(args, args.agent)
    if server is None:
        parser.error("name the server with --endpoint")
    agent = OreoAgent.from_pretrained(
        args.agent, prompt=args.prompt, max_new_tokens=args.max_new_tokens, device="cpu", dtype="float32"
    )
    episodes = play_games(agent, args)
    own = [decide_here(episode, agent) for episode in episodes]
    for protocol in (server.protocol,) if server.protocol else get_args(Protocol):
        endpoint = Endpoint.from_server(replace(server, protocol=protocol))
        turns = [
            turn
            for episode, said in zip(episodes, own, strict=True)
            for turn in ask_turns(episode, said, agent, endpoint)
        ]
        found = {**summarize_turns(turns, args.margin), "server": endpoint.describe_use()}
        print(protocol, json.dumps(found, indent=1, ensure_ascii=False))
        if args.name:
            known, name = read_known(args.output), f"{args.name}, {protocol}"
            write_json(args.output, {**known, name: {"method": name, **found, **collect_provenance()}})


def read_known(path: Path) -> dict[str, Any]:
    """The comparisons that a file has."""
    return json.loads(path.read_text()) if path.is_file() else {}


if __name__ == "__main__":
    main()
