"""What an agent's folder says of itself, and where one may be; without torch, so that an error is said at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oreo_envs.files import in_use

from oreo_agents.environments import keep_options
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.formats import FIRST, require_format
from oreo_agents.language.prompt import Prompt, as_prompt
from oreo_agents.models.model_files import AGENT, local_folder, may_be_hub_name
from oreo_agents.models.recognition import require_language_model

FORMAT = 1
"""Of ``agent.json``, where it is ``format``."""

CHOICE = ("temperature", "logprob_weight")
"""What an agent's folder says of how its candidates are drawn and judged, under ``choice``."""


def read_choice(path: str | Path) -> dict[str, float]:
    """How whoever trained the agent at ``path`` judged it with several candidates; nothing where that is not said.

    Raises:
        CheckpointError: what is said there are no numbers in range.
    """
    file = Path(local_folder(path)) / AGENT
    choice = read_card(file).get("choice", {}) if file.is_file() else {}
    known = {name: choice[name] for name in CHOICE if name in choice} if isinstance(choice, dict) else None
    if known is None or not all(type(x) in (int, float) and 0 <= x < 1e6 for x in known.values()):
        raise CheckpointError(
            f"{file}: choice is {choice!r}, it must be a table with numbers for {' and '.join(CHOICE)}: "
            "mend it, or leave it out"
        )
    return known


def read_card(file: Path) -> dict[str, Any]:
    """What is in ``agent.json``.

    Raises:
        CheckpointError: it is damaged, or of a newer format.
    """
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}): copy the agent anew") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"{file} is no JSON object: copy the agent anew")
    require_format(str(file), card.get("format", FIRST), FORMAT, CheckpointError)
    return card


def require_model(path: str | Path) -> None:
    """Refuse what is neither an agent nor a causal LM, without loading it; a name on the Hub passes.

    Raises:
        CheckpointError: what is there instead is said.
    """
    policy_path(local_folder(path))


def policy_path(path: str | Path) -> str | Path:
    """Where the policy is of an agent's folder; a plain model's folder, or a name on the Hub, itself.

    Raises:
        CheckpointError: there is no causal LM, or an agent of a newer format.
    """
    folder = Path(path)
    if (folder / "policy").is_dir():
        if (folder / AGENT).is_file():
            read_card(folder / AGENT)
        folder = folder / "policy"
    elif not folder.exists() and may_be_hub_name(str(path)):
        return path
    require_language_model(folder)
    return folder


def read_prompt(path: str | Path) -> Prompt:
    """The prompt of the agent at ``path``; the default where it has none, or where there is a plain model.

    Raises:
        CheckpointError: its ``agent.json`` is damaged.
    """
    file = Path(local_folder(path)) / AGENT
    if not file.is_file():
        return Prompt()
    try:
        return Prompt.from_dict(read_card(file).get("prompt", {}))
    except (AttributeError, TypeError, ConfigurationError) as error:
        raise CheckpointError(f"{file}: its prompt is damaged ({error})") from error


def read_environments(path: str | Path) -> dict[str, dict[str, Any]]:
    """In which environments the agent at ``path`` was trained: by id, the options that say which kind of games; empty
    where nobody knows, as of ``small``, of a plain model, and of agents of earlier versions.

    Raises:
        CheckpointError: its ``agent.json`` is damaged.
    """
    file = Path(local_folder(path)) / AGENT
    told = read_card(file).get("environments", {}) if file.is_file() else {}
    if not isinstance(told, dict) or not all(isinstance(options, dict) for options in told.values()):
        raise CheckpointError(
            f"{file}: environments is {told!r}, it must be a table with options for each id: mend it, or leave it out"
        )
    return {env_id: keep_options(env_id, options) for env_id, options in told.items()}


def choose_prompt(model: Any, asked: Prompt | Mapping[str, Any] | str | Path | None = None) -> Prompt:
    """The prompt that was asked for, by value, name or file, else the one that the model at a path comes with.

    Raises:
        CheckpointError: the model's folder is damaged.
        ConfigurationError: there is no such prompt.
    """
    if asked is None and isinstance(model, str | os.PathLike):
        return read_prompt(Path(model))
    return as_prompt(asked)


def agent_folder(path: str | Path) -> Path:
    """Where an agent may be written: a new or empty folder, or another agent's, which is replaced.

    Raises:
        CheckpointError: something is there that would be lost, or the folder cannot be replaced.
    """
    folder = Path(path).resolve()
    if in_use(folder):
        raise CheckpointError(
            f"{path} is in use (the folder you are in, or a mounted one) and cannot be replaced: choose a folder in it"
        )
    if folder.exists() and not (folder / AGENT).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise CheckpointError(f"{path} holds something else than an agent: choose a new folder for the agent")
    return folder
