"""An agent's policy as a folder for other tools: transformers, vLLM, SGLang. Knows nothing about search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oreo_envs.files import replace_folder

from oreo_agents.errors import CheckpointError
from oreo_agents.language.chat import Chat
from oreo_agents.language.portable_template import write_template
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_card import choose_prompt
from oreo_agents.models.agent_folder import ending_turns, load_policy
from oreo_agents.models.card import model_card
from oreo_agents.models.model_files import as_writing_error, local_folder, without_bars
from oreo_agents.models.recipe import read_recipe


def export_policy(model: str | Path, output: str | Path, prompt: Any = None) -> Prompt:
    """Write one folder with weights, adapters merged, and a tokenizer whose chat template has the prompt in it.

    What renders the template and generates greedily up to the end of a turn plays as ``OreoAgent`` does with
    ``select="greedy"``. The critic stays behind: choices by value are made by ``oreo-agents serve``.

    Args:
        model: an agent's folder, an adapter's, a causal LM, or ``small``.
        output: a new folder, or an empty one.
        prompt: by value, name or file; None: the agent's own.

    Returns:
        The prompt. What it says of admissible commands, history and reminder is left to whoever asks.

    Raises:
        CheckpointError: there is no causal LM at ``model``, or something at ``output``.
        ConfigurationError: no chat template can say what the agent reads.
    """
    output = Path(output).resolve()
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise CheckpointError(f"{output} is there already: export into a new folder")
    told = choose_prompt(model, prompt)
    policy, tokenizer = load_policy(model)
    end_id = Chat(tokenizer, told).end_id
    tokenizer.chat_template = write_template(tokenizer, told)
    recipe = read_recipe(local_folder(model))
    card = {"method": recipe.method if recipe else "none", "exported_from": Path(model).name}

    def write(folder: Path) -> None:
        with without_bars(), ending_turns(policy, end_id):
            policy.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(model_card(output.name, False, card, recipe), encoding="utf-8")

    with as_writing_error(output):
        replace_folder(output, write)
    return told
