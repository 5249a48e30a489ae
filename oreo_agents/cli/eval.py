"""``oreo-agents eval``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_agents.agents.selection import SELECTS, Selection
from oreo_agents.cli.interrupted import mark_resumable, tell_episodes
from oreo_agents.cli.options import (
    HELD_OUT,
    Commands,
    add_action_length,
    add_choice,
    add_command,
    add_endpoint,
    add_engine,
    add_game_options,
    add_precision,
    add_prompt,
    add_ray,
    add_trust,
    choose_spread,
    open_endpoint,
    open_pool,
    parse_file,
    parse_positive,
    read_choice,
    read_env_options,
    read_server,
    refuse_choice,
    settle_environment,
    spell_command,
    tell_loading,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError
from oreo_agents.printable import print_line

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.dataset.writer import TrajectoryWriter
    from oreo_agents.evaluation.results import Evaluation
    from oreo_agents.inference.endpoint import Endpoint
    from oreo_agents.rollout.ray_pool import RayPool


def add_eval(commands: Commands) -> None:
    """Options of ``eval``."""
    parser = add_command(commands, "eval", run_eval, "success rate of an agent, with its interval")
    mark_resumable(parser, _tell_kept)
    mark_paths(parser, agents=["agent", "critic"])
    parser.add_argument(
        "--agent",
        required=True,
        metavar="NAME_OR_PATH",
        help="expert, shortest, demonstrator, random, small or a path",
    )
    add_game_options(parser, usual=HELD_OUT)
    parser.add_argument(
        "--select",
        choices=SELECTS,
        nargs="+",
        help="how it chooses; several are compared; lookahead uses the simulator, constrained ones choose among the "
        "admissible commands, beam to value_vote are for mathematics; default: best_of_k with --k, else greedy",
    )
    parser.add_argument(
        "--k",
        type=parse_positive,
        nargs="+",
        metavar="K",
        help="candidates a step, or beams; several make a curve; default: 5",
    )
    add_choice(parser)
    parser.add_argument(
        "--critic",
        metavar="NAME_OR_PATH",
        help="another agent, whose critic judges; default: the agent's own",
    )
    add_prompt(parser)
    add_action_length(parser)
    add_trust(parser)
    add_precision(parser, "float32, in which a game does not depend on those played beside it")
    parser.add_argument("--episodes", "-n", type=parse_positive, metavar="N", help="default: every game once")
    parser.add_argument("--num-envs", type=parse_positive, default=64, metavar="N", help="games at once")
    parser.add_argument(
        "--output",
        "-o",
        type=parse_file,
        metavar="FILE",
        help="write the results as JSON, the episodes beside it; goes on with those, also with more games",
    )
    add_engine(parser)
    add_endpoint(parser, "--model")
    add_ray(parser)


def run_eval(args: argparse.Namespace) -> int:
    """Evaluate an agent; 1 where games could not be played.

    The result file holds nothing that depends on the clock, and models compute in float32 unless asked otherwise, so
    that a run that was killed and resumed ends with the file of one that was not; seconds are in the file and the
    episodes beside it.
    """
    from rich.console import Console

    from oreo_agents.printable import make_printable
    from oreo_agents.report.plots import draw_budget
    from oreo_agents.report.tables import SuccessTable

    _refuse_idle_options(args)
    settle_environment(args, args.agent)
    with open_endpoint(args, args.agent) as endpoint, open_pool(args) as pool:
        evaluations = list(_judge_agent(args, endpoint, pool))
    if args.output and len(evaluations) > 1:
        draw_budget(evaluations, args.output.with_suffix(".png"))
    results = [one.result for one in evaluations]
    rules = {one.result.method: one.selection.rule for one in evaluations if one.selection}
    Console().print(SuccessTable(results, rules=rules))
    for result in results:
        if result.errors:
            print(make_printable(f"{result.method}: {result.describe_errors()}"), file=sys.stderr)
        if cuts := result.describe_cuts():
            print(make_printable(f"{result.method}: {cuts}"), file=sys.stderr)
    if args.output:
        episodes = args.output.with_suffix(".episodes")
        made = f"{args.output}: {len(results)} results; their episodes: {episodes}"
        tell_next(made, spell_command("replay", episodes))
    return int(any(result.errors for result in results))


def _tell_kept(args: argparse.Namespace) -> str:
    if args.output is None:
        return "nothing is kept of this evaluation; with --output FILE it keeps its episodes, and goes on with them"
    return tell_episodes(args.output.with_suffix(".episodes"))


def _refuse_idle_options(args: argparse.Namespace) -> None:
    """Raise ConfigurationError if a player without a model is to choose in some way."""
    from oreo_agents.agents.scripted import SCRIPTED

    if args.agent in SCRIPTED:
        others = ("select", "k", "critic", "endpoint", "endpoint_model", "prompt", "dtype", "engine")
        refuse_choice(args, *others)


def _judge_agent(
    args: argparse.Namespace, endpoint: Endpoint | None, pool: RayPool | None
) -> Iterator[Evaluation]:
    """One evaluation for each way to choose, written as soon as it is there."""
    from oreo_envs.files import write_json
    from oreo_envs.foreign import describe_split

    from oreo_agents.agents.agent import options_for
    from oreo_agents.agents.load import find_prompt, load_agent
    from oreo_agents.agents.scripted import SCRIPTED
    from oreo_agents.environments import environments, find_step_limit, games_of, judging_options
    from oreo_agents.evaluation.evaluate import evaluate, pick_games
    from oreo_agents.evaluation.results import Evaluation
    from oreo_agents.models.model_files import identify_model
    from oreo_agents.terminal.live import watch_episodes

    prompt = find_prompt(args.agent, args.prompt).in_environment(args.env)
    if args.agent not in SCRIPTED:
        from oreo_agents.models.agent_card import require_model

        require_model(args.agent)  # before games are looked for
        tell_loading(args.agent)
    options = judging_options(
        args.env, args.split, args.games, args.wording, args.known, read_env_options(args)
    )
    split = options.get("split")
    max_steps = args.max_steps or find_step_limit(args.env)
    make_env = environments(args.env, max_steps, **options)
    if told := describe_split(games_of(make_env())):
        print_line(f"judged on {told}")
    games = pick_games(make_env, args.episodes, args.seed)
    known = {
        "agent": identify_model(args.agent),
        "endpoint": args.endpoint,
        "model": args.endpoint_model,
        "env": args.env,
    }
    known |= {"protocol": args.endpoint_protocol} if args.endpoint_protocol else {}
    if prompt.digest:
        known["prompt"] = prompt.digest
    lent = {"critic": args.critic} if args.critic else {}
    known |= {"critic": identify_model(args.critic)} if args.critic else {}
    known |= {"seed": args.seed, "max_steps": max_steps}
    known |= {} if args.success_return is None else {"success_return": args.success_return}
    dtype = args.dtype or "float32"
    known |= {"dtype": dtype} if dtype != "float32" else {}
    done: list[Evaluation] = []
    played: dict[str, Any] = {"engine": args.engine} if args.engine else {}
    known |= played
    of_model = {"env_id": args.env, "prompt": args.prompt, "dtype": dtype, **played}
    for asked in _list_selections(args):
        load = partial(load_agent, args.agent, **asked, **lent, **of_model)
        agent, spread = load(endpoint=endpoint), choose_spread(pool, load, read_server(args, args.agent))
        selection = None if args.agent in SCRIPTED else cast("OreoAgent", agent).selection
        chooses = selection.to_dict() if selection else {}
        needed = options_for(agent)
        asked = {**options, **needed}
        make_env = environments(args.env, max_steps, success_return=args.success_return, **asked)
        needed.pop("branches", None)  # ``select`` says it
        label = f"{agent.name} {(selection or Selection()).title}"
        label += (
            f", critic of {Path(args.critic).name}"
            if selection and args.critic and selection.needs_critic
            else ""
        )
        settings = {**known, **chooses, **options, **needed}
        with _open_journal(args.output, label, settings, games, agent) as journal:
            result, _ = evaluate(
                make_env,
                agent,
                games,
                label,
                args.seed,
                args.num_envs,
                watch_episodes,
                journal,
                partly=True,
                spread=spread,
            )
        precision = dtype if selection else None
        done.append(Evaluation(result, selection, split, max_steps, args.wording, precision))
        if args.output:
            write_json(args.output, [_pick_figures(one, clock=False) for one in done])
            write_json(
                args.output.with_suffix(".seconds.json"), [_pick_figures(one, clock=True) for one in done]
            )
        yield done[-1]


def _list_selections(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every ``--select`` with every ``--k`` that makes a difference to it, as options of the agent."""
    for select in args.select or ["best_of_k" if args.k and not args.no_repeat else "greedy"]:
        one = Selection(select, no_repeat=args.no_repeat)
        for k in args.k or [5] if one.searches or one.resamples else [1]:
            yield {"select": select, "k": k, "max_new_tokens": args.max_new_tokens, **read_choice(args)}


@contextmanager
def _open_journal(
    output: Path | None, label: str, settings: Mapping[str, Any], games: Sequence[int], agent: Agent
) -> Iterator[TrajectoryWriter | None]:
    """The episodes beside the result file: ``results.episodes/LABEL`` for ``results.json``.

    Raises:
        ConfigurationError: those there are of another evaluation.
    """
    from oreo_envs.files import hash_json

    from oreo_agents.dataset.meta import read_meta
    from oreo_agents.dataset.writer import TrajectoryWriter
    from oreo_agents.rollout.destination import introduce_player

    if output is None:
        yield None
        return
    path = output.with_suffix(".episodes") / label.replace(" ", "-").replace("/", "-")
    # Of each setting a digest: an endpoint's URL may have a key in it.
    asked = {name: hash_json(value, sort_keys=True)[:16] for name, value in settings.items()}
    games = [*games]
    if (path / "meta.json").is_file():
        known = read_meta(path).metadata
        if changed := _list_changed(known, asked, games):
            raise ConfigurationError(
                f"{path} holds the episodes of another evaluation ({', '.join(changed)} differ): "
                "choose another --output, or remove that folder"
            )
        games = max(games, known["judged_games"], key=len)
    split = {"split": settings["split"]} if settings.get("split") else {}
    about = {"evaluation": asked, "judged_games": games, **split, **introduce_player(agent, path)}
    with TrajectoryWriter(path, metadata=about, dialect=settings.get("wording")) as writer:
        yield writer


def _list_changed(known: Mapping[str, Any], asked: Mapping[str, str], games: Sequence[int]) -> list[str]:
    """Which settings differ from those of kept episodes. More games than before, or fewer, are no difference where
    those that both have come first."""
    told, judged = known.get("evaluation"), known.get("judged_games")
    if not isinstance(told, Mapping) or not isinstance(judged, list):
        return ["the version that made them, or the agent, games or options"]
    changed = [name for name in {**told, **asked} if told.get(name) != asked.get(name)]
    both = min(len(games), len(judged))
    alike = list(games[:both]) == judged[:both]
    return changed if alike else [*changed, "the games that are drawn"]


def _pick_figures(one: Evaluation, clock: bool) -> dict[str, Any]:
    """What depends on the clock, with the method's name, or the rest."""
    from oreo_agents.evaluation.results import CLOCKS

    return {key: x for key, x in one.to_json().items() if key == "method" or (key in CLOCKS) == clock}
