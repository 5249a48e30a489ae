"""Agents on disk. Knows nothing about training or search.

A policy is any Hugging Face causal LM; the critic is a value network beside it. On disk an agent is a folder::

    policy/   save_pretrained of model and tokenizer; generation_config.json ends where the agent's turns end, and a
              chat template with a date in it tells the day that the agent was told
    critic/   value_head.safetensors, and beside it save_pretrained of the backbone, or adapters for the policy's
              trunk in PEFT's files, or nothing where the trunk is the policy's

and beside them ``agent.json``, a model card, and, where it was trained here, its recipe and log (recipe.py).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date as Date
from pathlib import Path
from typing import Any, cast

from oreo_envs.files import replace_folder, write_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from oreo_agents.errors import CheckpointError
from oreo_agents.language.chat import Chat
from oreo_agents.language.portable_template import pin_day
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.adapters import (
    base_of,
    lay_over,
    load_base,
    low_rank,
    merge_adapters,
    merge_folder,
    subtract_updates,
)
from oreo_agents.models.agent_card import FORMAT, agent_folder, policy_path, read_card, read_choice
from oreo_agents.models.card import model_card
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import trunk_of
from oreo_agents.models.model_files import (
    ADAPTER,
    AGENT,
    as_writing_error,
    load_model,
    load_pretrained_tokenizer,
    local_folder,
    weights_below,
    without_bars,
)
from oreo_agents.models.recipe import TrainingRecipe, read_recipe
from oreo_agents.models.return_scale import ReturnScale


def load_policy(path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Policy and tokenizer from an agent's folder, a plain Hugging Face folder, or a Hub name.

    An adapter's folder (PEFT) is a policy, too: its base model, with the adapters as part of the weights.

    Raises:
        CheckpointError: there is no causal LM at ``path``; what is there instead is said.
    """
    path = policy_path(local_folder(path))
    if (Path(path) / ADAPTER).is_file():
        base, tokenizer = load_base(Path(path)), _load_adapter_tokenizer(Path(path))
        return merge_folder(base, Path(path), len(tokenizer)), tokenizer
    return load_model(AutoModelForCausalLM, path), load_pretrained_tokenizer(path)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of an agent's folder, a plain Hugging Face folder, or a Hub name.

    Raises:
        CheckpointError: there is none at ``path``.
    """
    path = policy_path(local_folder(path))
    return (
        _load_adapter_tokenizer(Path(path))
        if (Path(path) / ADAPTER).is_file()
        else load_pretrained_tokenizer(path)
    )


def _load_adapter_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The adapter's own, where it has one, else its base model's."""
    own = any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    )
    return load_pretrained_tokenizer(folder if own else base_of(folder))


def load_critic(path: str | Path, policy: PreTrainedModel | None = None) -> Critic | None:
    """The critic of the agent at ``path``, or None where it has none; a shared one is put on ``policy``'s trunk."""
    folder = Path(local_folder(path)) / "critic"
    if not folder.is_dir():
        return None
    critic = Critic.from_pretrained(folder, policy)
    file = folder.parent / AGENT
    if file.is_file():
        try:
            critic.scale = ReturnScale.from_json(read_card(file).get("returns"))
        except ValueError as error:
            raise CheckpointError(f"{file}: {error}: copy the agent anew") from error
    return critic


def save_agent(
    path: str | Path,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    critic: Critic | None = None,
    weights: dict[str, Tensor] | None = None,
    prompt: Prompt | None = None,
    recipe: TrainingRecipe | None = None,
    **card,
) -> None:
    """Write an agent's folder, whole or not at all; an older one at ``path`` is replaced at the end.

    Args:
        path: the folder; see :func:`agent_folder`.
        policy: the causal LM.
        tokenizer: its tokenizer.
        critic: optional value network.
        weights: written instead of the modules' own, where those are sharded; names begin ``policy.``, ``critic.``.
        prompt: what the agent is told, and how it answers.
        recipe: how it was trained.
        card: JSON values for ``agent.json`` and the model card (method, data hash, ...).

    Raises:
        CheckpointError: ``path`` holds something else, or cannot be written.
    """
    path = agent_folder(path)

    def write(folder: Path) -> None:
        with without_bars():
            own = weights and weights_below(weights, "policy.")
            chat = Chat(tokenizer, prompt)
            with ending_turns(policy, chat.end_id):
                policy.save_pretrained(folder / "policy", state_dict=own)
            with telling_day(tokenizer, Date.fromisoformat(chat.prompt.date)):
                tokenizer.save_pretrained(folder / "policy")
            if critic is not None:
                own = weights and weights_below(weights, "critic.")
                critic.save_pretrained(folder / "critic", policy, own)
        told: dict[str, Any] = {"prompt": prompt.to_dict()} if prompt and prompt.digest else {}
        if critic is not None and not critic.scale.is_plain:
            told["returns"] = critic.scale.to_json()
        agent = json.dumps({"format": FORMAT, **card, **told}, indent=2, ensure_ascii=False)
        (folder / AGENT).write_text(agent + "\n", encoding="utf-8")
        readme = model_card(path.name, critic is not None, card, recipe)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        if recipe is not None:
            recipe.write(folder)

    with as_writing_error(path):
        replace_folder(path, write)


def note_choice(path: Path, choice: Mapping[str, float]) -> None:
    """Write into an agent's folder how its candidates are to be drawn and judged; nothing if that is there already."""
    if read_choice(path) == choice:
        return
    card = {"format": FORMAT, **read_card(path / AGENT), "choice": dict(choice)}
    write_file(path / AGENT, json.dumps(card, indent=2) + "\n")
    readme = model_card(path.name, (path / "critic").is_dir(), card, read_recipe(path))
    write_file(path / "README.md", readme)


@contextmanager
def ending_turns(policy: Any, end_id: int) -> Iterator[None]:
    """The policy with generation settings that end where its turns end: a base model's end of text is not what a chat
    template closes a turn with, and other servers read where to stop from here alone."""
    before = getattr(policy, "generation_config", None)
    settings = copy.deepcopy(before) or GenerationConfig()
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    settings.eos_token_id = list(dict.fromkeys([end_id, *(x for x in ends if x is not None)]))
    if not settings.do_sample:  # beside greedy decoding these contradict it, and nothing would be saved
        settings.temperature = settings.top_p = settings.top_k = settings.min_p = settings.typical_p = None
    policy.generation_config = settings
    try:
        yield
    finally:
        policy.generation_config = before


@contextmanager
def telling_day(tokenizer: Any, day: Date) -> Iterator[None]:
    """The tokenizer with a chat template that tells other servers the day that its model was told in training."""
    before = tokenizer.chat_template
    if isinstance(before, str):
        tokenizer.chat_template = pin_day(before, day)
    try:
        yield
    finally:
        tokenizer.chat_template = before


def copy_without_adapters(
    policy: PreTrainedModel, critic: Critic | None
) -> tuple[PreTrainedModel, Critic | None]:
    """Copies of a policy with adapters and its critic that need no PEFT model: adapters become part of the weights.

    A critic of kind ``lora`` remains one, over the new policy: its adapters then also take the policy's back.
    """
    adapted = critic is not None and critic.kind(policy) == "lora"
    plain, other = copy.deepcopy((policy, None if adapted else critic))
    for model in filter(None, (plain, other)):
        merge_adapters(model)
    plain = cast(Any, plain).get_base_model()
    if critic is not None and adapted:
        updates = subtract_updates(low_rank(critic.backbone), low_rank(trunk_of(policy)))
        other = Critic(lay_over(trunk_of(plain), updates))
        other.scale = critic.scale
        other.value_head.load_state_dict(critic.value_head.state_dict())
    return plain, other
