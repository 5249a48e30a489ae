"""An option is one field of one dataclass: OreoConfig, the command line, suites and the card are made from it."""

import argparse
import json
import pickle
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import pytest
from learning import EPISODES
from transformers import HfArgumentParser, TrainingArguments

from oreo_agents.cli.program import build_parser
from oreo_agents.cli.train import add_training_options, given_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.suite_checks import check_suite
from oreo_agents.experiments.suite_file import parse_suite
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.layouts import LAYOUTS
from oreo_agents.training.methods import METHODS
from oreo_agents.training.options import (
    OBJECTIVE,
    OPTIONS,
    SHARE,
    Option,
    OreoOptions,
    describe_field,
    describe_options,
    known_as,
    table_of,
    unused_options,
)
from oreo_agents.training.train import train
from oreo_agents.training.trainer import NEW_CRITICS

ON_THE_COMMAND_LINE = [option for option in OPTIONS.values() if option.group]
BOUNDED = [option for option in ON_THE_COMMAND_LINE if option.choices or option.within]
OWN = {one.name for one in fields(OreoConfig)} - {one.name for one in fields(TrainingArguments)}


def other_value(option):
    """A value of the option that is allowed and not its default."""
    if option.choices:
        return next(choice for choice in option.choices if choice != option.default)
    return {bool: True, int: 3, float: 0.25, str: "30%" if option.within else "alfworld"}[option.kind]


def as_words(option, value):
    return [option.flag] if value is True else [option.flag, str(value)]


def test_no_way_in_takes_what_a_method_makes_no_use_of():
    with pytest.raises(ConfigurationError, match="sft makes no use of beta: leave it out"):
        OreoConfig("x", method="sft", beta=0.1, use_cpu=True)
    made = OreoConfig("x", method="oreo", use_cpu=True)
    assert replace(made, output_dir="y").beta == made.beta
    defaults = {name: option.default for name, option in OPTIONS.items()}
    assert OreoConfig("x", **{**defaults, "method": "sft"}, use_cpu=True).method == "sft"


def test_seed_and_batches_have_one_default():
    config = OreoConfig("x", use_cpu=True)
    assert config.seed == parsed().seed == 0
    assert config.micro_batch_tokens == 2048
    assert "42" not in describe_field(OPTIONS["seed"])


@pytest.mark.parametrize("value", ["x", "3", True, [1]])
def test_what_is_no_number_is_told_to_be_one(value):
    with pytest.raises(ConfigurationError, match=r"max_steps is .*, it must be a number, above 0"):
        OPTIONS["max_steps"].check(value)


def parsed(*words, method="oreo"):
    return build_parser().parse_args(
        ["train", "--data", "d", "--model", "a", "-o", "m", "--method", method, *words]
    )


@describe_options
class More(OreoOptions):
    """What a new option takes."""

    dropout: Annotated[
        float, Option("share of the states that are dropped", OBJECTIVE, SHARE, needs="critic", card=True)
    ] = 0.1


@dataclass
class MoreConfig(More, OreoConfig):
    """As OreoConfig is made."""


def test_a_new_option_takes_one_field(tmp_path):
    table = table_of(More)
    config = MoreConfig(output_dir=str(tmp_path), dropout=0.5)
    assert (config.dropout, MoreConfig(output_dir=str(tmp_path)).dropout) == (0.5, 0.1)
    parser = argparse.ArgumentParser()
    add_training_options(parser, table)
    assert given_options(parser.parse_args(["--dropout", "0.2"]), table) == {"dropout": 0.2}
    assert "share of the states that are dropped; default: 0.1" in " ".join(parser.format_help().split())
    with pytest.raises(ConfigurationError, match=r"dropout is 2, it must be between 0 and 1"):
        table["dropout"].check(2)
    assert "dropout" in unused_options("sft", table) and "dropout" not in unused_options("oreo", table)
    assert table["dropout"].card


def test_every_option_of_oreo_is_on_the_command_line():
    assert {name for name in OWN if OPTIONS[name].group is None} == {"method"}


@pytest.mark.parametrize("option", ON_THE_COMMAND_LINE, ids=lambda option: option.name)
def test_the_command_line_gives_what_the_config_takes(option, tmp_path):
    value = other_value(option)
    given = given_options(parsed(*as_words(option, value)))
    assert given == {option.name: value}
    method = next(name for name in METHODS if option.name not in unused_options(name))
    config = OreoConfig(output_dir=str(tmp_path), method=method, use_cpu=True, **given)
    assert getattr(config, option.name) == value
    assert given_options(parsed()) == {}


@pytest.mark.parametrize("option", BOUNDED, ids=lambda option: option.name)
def test_what_cannot_be_is_refused_everywhere(option, tmp_path, capsys):
    wrong = "nonsense" if option.choices or option.kind is str else -3
    with pytest.raises(SystemExit):
        parsed(*as_words(option, wrong))
    assert option.flag in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match=rf"{option.name}.*{wrong}"):
        OreoConfig(output_dir=str(tmp_path), use_cpu=True, **{option.name: wrong})
    with pytest.raises(ConfigurationError, match=rf"\[training\]: .*{option.name}.*{wrong}"):
        suite(training={option.name: wrong})


def suite(**tables):
    return parse_suite(
        {"train": {"split": "generated"}, "test": {"t": {"split": "generated_unseen"}}, **tables}, "s"
    )


def test_suites_know_every_option_by_both_names():
    training = {name: other_value(option) for name, option in OPTIONS.items() if option.kind is not str}
    check_suite(suite(training=training))
    for option in OPTIONS.values():
        if option.name == "prompt":
            continue  # of the whole suite
        name = option.alias or option.name
        named = option.kind is str and not (option.choices or option.within)
        value = "linear" if named else other_value(option)
        assert suite(training={name: value}).training == {name: value}
        assert known_as({name: value}) == {option.name: value}


def test_the_card_tells_the_options_that_are_marked(tmp_path, policy, tokenizer):
    save_agent(tmp_path / "start", policy, tokenizer)
    options = {"max_steps": 1, "bf16": False, "use_cpu": True}
    train("oreo", EPISODES, tmp_path / "start", tmp_path / "agent", **options)
    card = json.loads((tmp_path / "agent" / "agent.json").read_text())
    marked = [name for name, option in OPTIONS.items() if option.card]
    assert list(card["options"]) == marked and {"beta", "learning_rate", "seed"} <= set(marked)


def test_transformers_parser_takes_the_config(tmp_path):
    (config,) = HfArgumentParser(OreoConfig).parse_args_into_dataclasses(
        ["--output_dir", str(tmp_path), "--use_cpu", "--beta", "0.5", "--critic", "shared", "--muon"]
    )
    assert (config.beta, config.alpha, config.critic, config.muon) == (0.5, 0.01, "shared", True)
    text = {one.name: one.metadata["help"] for one in fields(OreoConfig) if "help" in one.metadata}
    assert text["beta"] == "Weight of the log-ratio in the soft return (Eq. 3). None: the method's."
    assert all(text[name].endswith(".") for name in OPTIONS)
    again = pickle.loads(pickle.dumps(config))
    assert again.to_dict() == config.to_dict()


def test_what_can_be_chosen_exists():
    assert tuple(LAYOUTS) == OPTIONS["layout"].choices
    assert tuple(NEW_CRITICS) == OPTIONS["critic"].choices


def test_the_methods_defaults_stand_in_for_none(tmp_path):
    for name, objective in METHODS.items():
        config = OreoConfig(output_dir=str(tmp_path), use_cpu=True, method=name)
        assert (config.beta, config.alpha) == (objective.beta, objective.alpha)


def test_options_and_methods_are_read_without_torch():
    script = "import sys, oreo_agents.training.options; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"torch", "transformers"}.isdisjoint(done.stdout.split())


def test_the_documents_describe_every_option_as_it_is():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    missing = [
        name for name, option in OPTIONS.items() if f"- **{name}**: {describe_field(option)}\n" not in text
    ]
    assert missing == [], "docs/training.md: write them as describe_field has them"
