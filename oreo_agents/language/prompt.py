"""History <-> model input: the one place that knows prompts, templates, end-of-turn tokens and masks.

An episode becomes tokens piece by piece - opening, action, reply, action, ... - and pieces are only ever
appended. What a model sampled is kept as the ids it sampled; text is never tokenized a second time.

Three formats, chosen from the tokenizer: a chat template (instruction-tuned models), the ``<act>`` token of
a tokenizer learnt by :mod:`oreo_agents.language.learnt_tokenizer`, or plain ``> command`` lines (base models).
Knows nothing about models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from oreo_agents.errors import DatasetError
from oreo_agents.language.learnt_tokenizer import ACT
from oreo_agents.trajectory import Trajectory, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SLOT = "\u2402slot%d\u2403"
"""Stands for a message while a chat template is taken apart; no template treats it specially."""

_KNOWN_TEXTS = 100_000


@dataclass(frozen=True, slots=True)
class EncodedEpisode:
    """A trajectory as token ids with, per token, whose it is and what it may teach."""

    input_ids: list[int]
    action_mask: list[bool]
    """The token was chosen by the agent (end of turn included)."""
    imitate_mask: list[bool]
    """Of those, the ones worth imitating: not the noise a recorder put in on purpose."""
    end_mask: list[bool]
    """The last token of an action: here the critic is read after it."""
    returns: list[float]
    """Rewards still to come after this token."""
    success: bool

    def __len__(self) -> int:
        return len(self.input_ids)


class Chat:
    """Turns observations into prompt ids and sampled ids into commands, for one tokenizer.

    Args:
        tokenizer: any Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._spelt: dict[tuple[int, ...], str] = {}
        self._before, self._after, self._between, self.end_id = _take_apart(tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies tokenizer and template: ids recorded under one fingerprint mean nothing under another."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        parts = (vocabulary, self._before, self._after, self._between, self.end_id)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def opening(self, observation: str) -> list[int]:
        """Ids from the start of an episode up to where the first action begins."""
        return self._before + self._ids(observation) + self._after

    def reply(self, observation: str) -> list[int]:
        """Ids from the end of one action up to where the next begins."""
        return self._between + self._ids(observation) + self._after

    def action_ids(self, action: str) -> list[int]:
        """Ids of an action that was not sampled (an expert's), end of turn included."""
        return [*self._ids(action), self.end_id]

    def action_text(self, ids: Sequence[int]) -> str:
        """The command that sampled ``ids`` spell, on one line."""
        key = tuple(ids)
        text = self._spelt.get(key)
        if text is None:
            own = key[:-1] if key and key[-1] == self.end_id else key
            text = " ".join(cast(str, self.tokenizer.decode(list(own), skip_special_tokens=True)).split())
            if len(self._spelt) < _KNOWN_TEXTS:
                self._spelt[key] = text
        return text

    def encode(self, trajectory: Trajectory) -> EncodedEpisode:
        """Token ids, masks and returns of a recorded episode.

        Raises:
            DatasetError: the episode was sampled with another tokenizer.
        """
        if trajectory.tokenizer not in (None, self.fingerprint):
            raise DatasetError(
                f"the episode of game {trajectory.game!r} was sampled with tokenizer {trajectory.tokenizer}, "
                f"the model's is {self.fingerprint}: record rollouts with this model, or train the one they came from"
            )
        noise = set(trajectory.metadata.get("noise_turns", ()))
        episode = EncodedEpisode([], [], [], [], [], trajectory.success)
        for i, (turn, return_) in enumerate(zip(trajectory.turns, trajectory.returns_to_go(), strict=True)):
            prompt = self.opening(turn.observation) if i == 0 else self.reply(turn.observation)
            action = self._recorded_ids(trajectory, turn)
            n, m = len(prompt), len(action)
            episode.input_ids.extend(prompt + action)
            episode.action_mask.extend([False] * n + [True] * m)
            episode.imitate_mask.extend([False] * n + [i not in noise] * m)
            episode.end_mask.extend([False] * (n + m - 1) + [True])
            episode.returns.extend([return_] * (n + m))
        return episode

    def _recorded_ids(self, trajectory: Trajectory, turn: Turn) -> list[int]:
        """Ids of a recorded action: the sampled ones, which without a fingerprint must spell it."""
        if turn.token_ids is None:
            return self.action_ids(turn.action)
        if trajectory.tokenizer is None and self.action_text(turn.token_ids) != turn.action:
            raise DatasetError(
                f"the token ids of {turn.action!r} in the episode of game {trajectory.game!r} spell "
                f"{self.action_text(turn.token_ids)!r} with the model's tokenizer: train the model that they came "
                "from, and record with RecordTrajectories(..., tokenizer=agent.tokenizer_fingerprint)"
            )
        return list(turn.token_ids)

    def _ids(self, text: str) -> list[int]:
        """Tokenize one message; the same few thousand sentences make up most episodes, so they are kept.

        A message that spells a control token stays text: no environment can end a turn or begin one.
        """
        ids = self._known.get(text)
        if ids is None:
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            if len(self._known) < _KNOWN_TEXTS:
                self._known[text] = ids
        return ids


def _take_apart(tokenizer: Any) -> tuple[list[int], list[int], list[int], int]:
    """(before the first observation, after any observation, between action and observation, end of turn)."""
    if ACT in tokenizer.get_vocab():
        act = tokenizer.convert_tokens_to_ids(ACT)
        return [tokenizer.bos_token_id], [act], [], tokenizer.eos_token_id
    if tokenizer.chat_template:
        return _take_apart_template(tokenizer)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return begin, tokenizer("\n>", add_special_tokens=False)["input_ids"], [], newline[-1]


def _take_apart_template(tokenizer: Any) -> tuple[list[int], list[int], list[int], int]:
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": _SLOT % i} for i, role in enumerate(roles)]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before, rest = text.split(_SLOT % 0)
    after_first, rest = rest.split(_SLOT % 1)
    between, after = rest.split(_SLOT % 2)
    if after_first.strip() != after.strip():
        after = after_first
    between_ids = tokenizer(between, add_special_tokens=False)["input_ids"]
    ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)]
    eos = tokenizer.eos_token_id
    end = between_ids.index(eos) if eos in between_ids else 0  # Llama 2 writes a space before it
    return ids[0], ids[1], between_ids[end + 1 :], between_ids[end]
