"""What training starts from: a checkpoint, or a new decoder with a vocabulary learnt from the episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from oreo_envs.catalog import describe

from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FROM_SCRATCH = {"new-small": 256, "new-tiny": 128, "new-mini": 64, "tiny": 128}
"""Model names that stand for a new decoder of four layers, and its width: 3, 0.8 or 0.2 million parameters; ``tiny`` is
what ``new-tiny`` was called in 0.1.0."""

SMALL = 20_000_000
"""Parameters up to which a model is one of the decoders that the demo's suites are made for."""


def starting_model(
    model: str | Path, episodes: Sequence[Trajectory]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Policy and tokenizer of a checkpoint, or of a new decoder for the names in :data:`FROM_SCRATCH`.

    Raises:
        CheckpointError: there is no causal LM at ``model``.
        DatasetError: a new decoder has no episodes to learn its vocabulary from.
    """
    from oreo_agents.models.agent_folder import load_policy
    from oreo_agents.models.decoder import small_decoder

    require_start(model)
    if str(model) not in FROM_SCRATCH:
        return load_policy(model)
    if not episodes:
        raise DatasetError("a new decoder learns its vocabulary from episodes, and there are none")
    tokenizer = tokenizer_for(episodes)
    return small_decoder(tokenizer, FROM_SCRATCH[str(model)]), tokenizer


def require_start(model: str | Path) -> None:
    """Refuse a word that stands for nothing that training starts from.

    Raises:
        CheckpointError: with the name that may have been meant.
    """
    from oreo_agents.models.model_files import SHIPPED, require_name

    if str(model) not in FROM_SCRATCH:
        require_name(model, (*SHIPPED, *(name for name in FROM_SCRATCH if name.startswith("new-"))))


def with_lora(policy: PreTrainedModel, rank: int) -> PreTrainedModel:
    """The policy with LoRA adapters (arXiv 2106.09685) on every linear layer but the head, alpha twice the rank."""
    from oreo_agents.models.adapters import import_peft

    config = import_peft().LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return add_adapters(policy, config)


def add_adapters(policy: PreTrainedModel, config: PeftConfig) -> PreTrainedModel:
    """The policy with adapters as PEFT makes them."""
    from oreo_agents.models.adapters import import_peft

    return cast("PreTrainedModel", import_peft().get_peft_model(policy, config))


def tokenizer_for(episodes: Sequence[Trajectory]) -> PreTrainedTokenizerBase:
    """A vocabulary learnt from ``episodes``, of the kind that their environments suit; any text where they differ,
    where nobody says where they were played, or where a reply is none that shorthand can say."""
    from oreo_agents.language.learnt_tokenizer import learn_text_tokenizer, learn_tokenizer

    suited = {describe(episode.env_id).vocabulary if episode.env_id else "text" for episode in episodes}
    if suited == {"shorthand"}:
        tokenizer = learn_tokenizer(texts_of(episodes))
        replies = {turn.said or turn.action for episode in episodes for turn in episode.turns}
        if all(_can_say(tokenizer, reply) for reply in replies):
            return tokenizer
    return learn_text_tokenizer(texts_of(episodes))


def _can_say(tokenizer: PreTrainedTokenizerBase, reply: str) -> bool:
    return tokenizer.decode(tokenizer.encode(reply, add_special_tokens=False)) == reply.strip()


def texts_of(episodes: Iterable[Trajectory]) -> Iterable[str]:
    """Every observation and action, and the answer to a command that fails."""
    yield "Nothing happens."
    for episode in episodes:
        for turn in episode.turns:
            yield turn.observation
            yield turn.said or turn.action
