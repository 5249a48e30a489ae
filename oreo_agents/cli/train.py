"""``oreo-agents train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import (
    Commands,
    add_action_length,
    add_command,
    add_game_options,
    mark_resumable,
    parse_positive,
)

METHODS = (
    "sft",
    "rejection",
    "oreo",
    "oreo-token",
    "oreo-step",
    "oreo-response",
    "pcl",
    "pcl-one-step",
    "dro",
    "iql",
    "dpo",
    "kto",
)


def add_train(commands: Commands) -> None:
    """Options of ``train``."""
    parser = add_command(commands, "train", run_train, "train a policy, with OREO also its critic")
    mark_resumable(parser, only_with="save_every")
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="episodes")
    parser.add_argument(
        "--model", default="small", metavar="PATH", help="a causal LM, or small, tiny: a new one"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="the checkpoint folder")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=parse_positive, metavar="N", help="optimiser steps")
    length.add_argument("--epochs", type=float, metavar="N", help="passes over the data")
    parser.add_argument("--learning-rate", type=float, metavar="LR", help="of the policy")
    parser.add_argument("--batch-size", type=parse_positive, metavar="N", help="episodes per step")
    parser.add_argument("--beta", type=float, help="strength of the KL regulariser in OREO's objective")
    parser.add_argument("--alpha", type=float, help="weight of the policy's KL to the reference")
    parser.add_argument(
        "--batch-tokens", type=parse_positive, metavar="N", help="padded tokens in one forward pass"
    )
    parser.add_argument(
        "--lora", type=parse_positive, metavar="RANK", help="train adapters of this rank only (PEFT)"
    )
    parser.add_argument(
        "--observation-weight",
        type=float,
        metavar="W",
        help="of predicting observations, too: by the policy in imitation, by a critic where there is one",
    )
    parser.add_argument(
        "--save-every",
        type=parse_positive,
        metavar="N",
        help="steps between checkpoints; the same command then goes on where it was interrupted",
    )
    critic = parser.add_argument_group("the critic, for methods that have one")
    critic.add_argument(
        "--critic",
        choices=("separate", "shared", "lora"),
        help="a network of its own (default for a new one), the policy's trunk, or with --lora adapters of its own",
    )
    critic.add_argument("--critic-learning-rate", type=float, metavar="LR", help="default: the policy's")
    critic.add_argument(
        "--critic-warmup", type=float, metavar="SHARE", help="of the steps that train the critic alone"
    )
    critic.add_argument(
        "--after-action",
        choices=("outcome", "answer"),
        help="what V after an action learns: the outcome (default), or V of the environment's answer",
    )
    judging = parser.add_argument_group("judging the policy while it is trained")
    judging.add_argument(
        "--eval-every", type=parse_positive, metavar="N", help="steps between; default: not at all"
    )
    judging.add_argument(
        "--eval-episodes", type=parse_positive, default=50, metavar="N", help="default: %(default)s"
    )
    judging.add_argument(
        "--patience",
        type=parse_positive,
        metavar="N",
        help="stop after N of them without a better one; keep the best",
    )
    add_action_length(judging)
    add_game_options(judging, alfworld="generated_unseen")


def run_train(args: argparse.Namespace) -> int | None:
    """Train on recorded episodes."""
    from oreo_agents import train

    return train.run(args)
