"""``oreo-agents record``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from oreo_envs.catalog import describe

from oreo_agents.cli.interrupted import mark_resumable, tell_episodes
from oreo_agents.cli.options import (
    Commands,
    add_action_length,
    add_command,
    add_endpoint,
    add_engine,
    add_game_options,
    add_precision,
    add_prompt,
    add_ray,
    add_selection,
    add_trust,
    choose_spread,
    open_endpoint,
    open_pool,
    parse_positive,
    parse_shard,
    read_choice,
    read_server,
    read_source,
    refuse_choice,
    settle_environment,
    spell_command,
    tell_loading,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.printable import print_line
from oreo_agents.training.methods import IMITATE_MORE

if TYPE_CHECKING:
    from oreo_agents.rollout.record import Recording


def add_record(commands: Commands) -> None:
    """Options of ``record``."""
    parser = add_command(commands, "record", run_record, "play many games and keep the episodes")
    mark_resumable(parser, _tell_kept)
    mark_paths(parser, agents=["agent"])
    parser.add_argument(
        "--agent",
        default="expert",
        metavar="NAME_OR_PATH",
        help="expert (default), shortest, demonstrator, random, small, or a trained agent's folder",
    )
    add_selection(parser, "sample")
    add_game_options(parser)
    parser.add_argument(
        "--episodes",
        "-n",
        type=parse_positive,
        metavar="N",
        help="at most this many, of each shard where there are several; default: all",
    )
    add_prompt(parser)
    add_action_length(parser)
    add_trust(parser)
    parser.add_argument(
        "--per-game", type=parse_positive, default=1, metavar="N", help="episodes of each game"
    )
    parser.add_argument("--epsilon", type=float, default=0.0, help="share of commands replaced by others")
    parser.add_argument(
        "--thoughts",
        action="store_true",
        help="the expert says why before each command, for a model with a prompt such as alfworld-react to imitate",
    )
    parser.add_argument(
        "--patience",
        type=parse_positive,
        metavar="N",
        help="end an episode after so many useless commands in a row",
    )
    parser.add_argument(
        "--shard", type=parse_shard, default=(0, 1), metavar="I/N", help="every N-th game, from I"
    )
    parser.add_argument(
        "--num-envs",
        type=parse_positive,
        metavar="N",
        help="games at once; default: 64 where a model plays, else 1",
    )
    add_precision(
        parser, "bfloat16 on a GPU, else float32, in which a game does not depend on those beside it"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="the dataset to write or continue")
    add_engine(parser)
    add_endpoint(parser)
    add_ray(parser)


def run_record(args: argparse.Namespace) -> int:
    """Record episodes to disk; 1 where games could not be played."""
    from oreo_agents.agents.load import load_agent
    from oreo_agents.agents.scripted import SCRIPTED
    from oreo_agents.rollout.record import record
    from oreo_agents.rollout.schedule import Schedule
    from oreo_agents.terminal.live import watch_episodes

    if args.agent in SCRIPTED:
        refuse_choice(args, "engine", "dtype")
    settle_environment(args, args.agent)
    if args.agent not in SCRIPTED:
        tell_loading(args.agent)
    sampling = {"select": args.select, "k": args.k, **read_choice(args)}
    replies = {"prompt": args.prompt, "max_new_tokens": args.max_new_tokens}
    sampling |= {name: x for name in ("engine", "dtype") if (x := getattr(args, name))}
    player = {"env_id": args.env, "epsilon": args.epsilon, "thoughts": args.thoughts}
    load = partial(load_agent, args.agent, **player, **replies, **sampling)
    with open_endpoint(args, args.agent) as endpoint, open_pool(args) as pool:
        agent = load(endpoint=endpoint)
        recording = record(
            agent,
            args.output,
            args.env,
            schedule=Schedule(args.per_game, args.seed, args.shard, args.episodes),
            max_steps=args.max_steps,
            patience=args.patience,
            slots=args.num_envs,
            watch=watch_episodes,
            spread=choose_spread(pool, load, read_server(args, args.agent)),
            success_return=args.success_return,
            **read_source(args),
        )
    if not (recording.episodes or recording.already_there or recording.of_others):
        tell_next(recording)
        return 1
    scripted = args.agent in SCRIPTED
    lack = "" if scripted else _find_lack(recording)
    advice = [] if lack else [_advise_training(args, recording.path, scripted)]
    tell_next(recording, spell_command("replay", recording.path), *advice)
    if lack:
        print_line(lack)
    return int(bool(recording.failed))


def _tell_kept(args: argparse.Namespace) -> str:
    from oreo_agents.rollout.destination import place_shard

    return tell_episodes(place_shard(args.output, args.shard))


def _find_lack(recording: Recording) -> str:
    """What these episodes lack for learning from wins and failures."""
    if not recording.episodes or recording.of_others or recording.already_there:
        return ""
    told = recording.defines_success
    if told and 0 < recording.successes < recording.episodes:
        return ""
    from oreo_agents.dataset import load_trajectories

    returns = load_trajectories(recording.path).returns
    if (returns != returns[0]).any():
        return ""
    if told and recording.successes:
        return "nothing was lost, and oreo learns from the difference: record more, at a higher --temperature"
    if told:
        return f"nothing was won, and oreo learns from the difference: first {IMITATE_MORE}"
    return (
        f"all episodes return {returns[0]:g}, and oreo learns from the difference: record more, or first "
        f"{IMITATE_MORE}"
    )


def _advise_training(args: argparse.Namespace, path: Path, scripted: bool) -> str:
    """How to train on what was recorded, with rates that suit a small decoder where it is one."""
    named, player = ("--env", args.env) if describe(args.env).foreign else (), args.agent
    if scripted:
        chat = ("HuggingFaceTB/SmolLM2-135M-Instruct", "--prompt", "alfworld-react", "--lora", "16")
        model = ("--model", *(chat if args.thoughts else ("new-small",)), "-o", "runs/sft")
        return spell_command("train", *named, "--method", "sft", "--data", path, *model)
    from oreo_agents.models.model_files import count_parameters
    from oreo_agents.models.start import SMALL

    small = (count_parameters(player) or SMALL + 1) <= SMALL
    rates = ["--learning-rate", "1e-4", "--critic-learning-rate", "1e-3"]
    rates += ["--critic-warmup", "0.25", "--batch-size", "16"]
    output = Path("runs/oreo")
    output = output.with_name(f"{Path(player).name}-2") if output.exists() else output
    model = ("--model", player, "-o", str(output))
    return spell_command(
        "train", *named, "--method", "oreo", "--data", path, *model, *(rates if small else ())
    )
