"""What a model really reads of an episode, and what it is taught: token by token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oreo_agents.language.prompt import Prompt
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.language.encoded import EncodedEpisode
    from oreo_agents.models.critic import Critic

Kind = Literal["read", "thought", "action"]


@dataclass(frozen=True, slots=True)
class InspectedToken:
    """One token of what a model reads and says."""

    id: int
    text: str
    kind: Kind
    """``read``: the environment's or the prompt's; ``thought``: said before what names the action; ``action``."""
    learnt: bool
    """Whether imitation learns it; noise that a recorder put in on purpose is said, and not learnt."""
    return_: float
    """Rewards still to come after it."""
    value: float | None = None
    """V after it, where there is a critic."""
    begins: bool = False
    """A sequence begins with it."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """An episode as a model reads it."""

    tokens: tuple[InspectedToken, ...]
    fingerprint: str
    """Of tokenizer, template and prompt."""
    end: str
    """How a turn ends, as text."""
    sequences: int
    longest: int
    """Tokens of the longest sequence."""

    def count(self, kind: Kind) -> int:
        """Tokens of a kind."""
        return sum(token.kind == kind for token in self.tokens)


def inspect_episode(model: str | Path, trajectory: Trajectory, prompt: Prompt) -> Inspection:
    """An episode as the model at ``model`` reads it under a prompt.

    Args:
        model: an agent's folder, or a Hugging Face causal LM; its weights are read only where it has a critic.
        trajectory: recorded by anybody, or by this model.
        prompt: what the model is told and how it answers.

    Raises:
        CheckpointError: there is no usable model.
        DatasetError: the episode was sampled with another tokenizer or prompt, or lacks what the prompt shows.
    """
    from oreo_agents.language.chat import Chat
    from oreo_agents.models.agent_folder import load_critic, load_policy, load_tokenizer
    from oreo_agents.models.model_files import local_folder

    tokenizer = load_tokenizer(model)
    chat = Chat(tokenizer, prompt)
    episode = chat.encode(trajectory)
    has_critic = (Path(local_folder(model)) / "critic").is_dir()
    critic = load_critic(model, load_policy(model)[0]) if has_critic else None
    values = [None] * len(episode) if critic is None else _read_values(critic, episode)
    thoughts, starts = set(episode.thoughts), set(episode.starts)
    tokens = [
        InspectedToken(
            token,
            _decode_token(tokenizer, episode.input_ids[i - 1] if i not in starts else None, token),
            "thought" if i in thoughts else "action" if episode.action_mask[i] else "read",
            episode.imitate_mask[i],
            episode.returns[i],
            values[i],
            i in starts,
        )
        for i, token in enumerate(episode.input_ids)
    ]
    end = str(tokenizer.decode([chat.end_id]))
    return Inspection(tuple(tokens), chat.fingerprint, end, len(episode.starts), episode.longest)


def _decode_token(tokenizer: Any, before: int | None, token: int) -> str:
    """A token as it reads after another: some tokenizers put spaces between words, not into them."""
    alone = str(tokenizer.decode([token]))
    if before is None:
        return alone
    first, both = str(tokenizer.decode([before])), str(tokenizer.decode([before, token]))
    return both[len(first) :] if both.startswith(first) else alone


def _read_values(critic: Critic, episode: EncodedEpisode) -> list[float | None]:
    """V after every token, each sequence by itself."""
    import torch

    critic = critic.eval().float()
    ends = [*episode.starts[1:], len(episode)]
    values: list[float | None] = []
    with torch.inference_mode():
        for start, end in zip(episode.starts, ends, strict=True):
            read = critic(torch.tensor([episode.input_ids[start:end]]))[0].tolist()
            values += map(critic.scale.restore, read)
    return values
