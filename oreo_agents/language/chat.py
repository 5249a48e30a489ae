"""History <-> model input: the one place that knows what of an episode a model reads, and which tokens it may learn.

An episode is a list of what was read and what was said in answer. Where each reading begins with all that was read and
said before it, the episode is one sequence; where not (a template that strips earlier thoughts, a short history), a
turn begins a sequence of its own. What a model sampled is kept as the ids it sampled; text is never tokenized a second
time. Knows nothing about models.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oreo_envs.infos import hash_state

from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.encoded import EncodedEpisode, EncodedEpisodes, EpisodeCollector
from oreo_agents.language.frames import find_frames, list_options
from oreo_agents.language.prompt import LEFT_OUT, Prompt, as_prompt
from oreo_agents.language.reply import FORMS, Reply, read_reply
from oreo_agents.language.spelling import Context, Speller
from oreo_agents.trajectory import CUT_TURNS, NOISE_TURNS, TEXT_ONLY, Trajectory, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KNOWN_TEXTS = 100_000


@dataclass(slots=True)
class _Exchange:
    """A turn of a conversation."""

    message: str
    """As it is read while it is the newest."""
    observation: str
    commands: Sequence[str] | None
    missed: bool
    """The reply before named no command."""
    said: list[int] = field(default_factory=list)
    action: str = ""


class Conversation:
    """One episode as its model reads it, turn by turn, for play and training alike.

    Args:
        chat: of the model's tokenizer and prompt.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.tokens: list[int] = []
        """Read and said so far."""
        self._turns: list[_Exchange] = []

    def read(self, observation: str, commands: Sequence[str] | None = None, status: str | None = None) -> int:
        """Read an observation, up to where the reply begins.

        Args:
            observation: what the environment says.
            commands: the admissible ones, where it lists them.
            status: ``action_status`` of what was done before, where it says so.

        Returns:
            How many of the tokens before are still what stands there; the others are replaced.
        """
        chat, turns, before = self.chat, self._turns, len(self.tokens)
        missed = bool(turns) and is_missed(turns[-1].action, turns[-1].commands, status)
        message = chat.prompt.message(observation, commands, missed)
        turns.append(_Exchange(message, observation, commands, missed))
        if chat.appends:
            self.tokens += chat.reply(message, len(turns) - 1) if len(turns) > 1 else chat.opening(message)
            return before
        earlier = turns[:-1]
        reading = chat.read_turns(self._show(earlier), [turn.said for turn in earlier], message)
        kept = _count_common(self.tokens, reading)
        self.tokens = reading
        return kept

    def messages(self) -> list[dict[str, str]]:
        """What has been read and said as messages of a chat, for a server that writes them with its own template."""
        *earlier, newest = self._turns
        shown = [*self._show(earlier), newest.message]
        return self.chat.list_messages(shown, [turn.said for turn in earlier])

    def _show(self, earlier: Sequence[_Exchange]) -> list[str]:
        """What was read, once there is a newer message."""
        prompt = self.chat.prompt
        if prompt.commands_shown == "every":
            return [turn.message for turn in earlier]
        return [prompt.message(turn.observation, None, turn.missed) for turn in earlier]

    def say(self, ids: Sequence[int], action: str) -> None:
        """Add the reply to what was read: its ids, and what it came to."""
        self.tokens += ids
        self._turns[-1].said, self._turns[-1].action = list(ids), action


class Chat:
    """Turns observations into prompt ids and sampled ids into commands, for one tokenizer.

    Args:
        tokenizer: any Hugging Face tokenizer.
        prompt: what the agent is told, by value, name or file; None: nothing beside what the environment says. Words
            for single environments are left out: :meth:`oreo_agents.language.prompt.Prompt.in_environment` has them.

    Raises:
        ConfigurationError: the tokenizer's chat template cannot carry the prompt.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Prompt | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        self.tokenizer, self.prompt = tokenizer, as_prompt(prompt).in_environment(None)
        self._known: dict[tuple[str, Context | None], list[int]] = {}
        self._spelt: dict[tuple[int, ...], str] = {}
        self._shown: dict[tuple[int, ...], list[int]] = {}
        self._readings: dict[tuple[str, int], list[int]] = {}
        self._replies: dict[tuple[str, str | None], list[int]] = {}
        self._frames = find_frames(tokenizer, self.prompt)
        self._speller = Speller(tokenizer)
        self._first, self._later, self._said = self._frames.contexts
        self.end_id = self._frames.end_id
        short = self.prompt.history is not None
        changing = bool(self.prompt.commands) and self.prompt.commands_shown == "last"
        self.appends = self._frames.grows and not (self._frames.rewrites or short or changing)
        """Whether a reading always begins with all that was read and said before it."""

    @cached_property
    def template_options(self) -> dict[str, Any]:
        """What the chat template asks for beside the messages: the day, and whether to think."""
        template = str(self.tokenizer.chat_template or "")
        return {name: value for name, value in list_options(self.prompt).items() if name in template}

    @cached_property
    def fingerprint(self) -> str:
        """Identifies tokenizer, template and what is read of the prompt: ids of one mean nothing under another."""
        return self._identify(self._read_prompt.read_digest)

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """:attr:`fingerprint`, and what it was while a reply's length and a switch that the template lacks counted:
        episodes of any of them are this model's."""
        earlier = (self._identify(one.digest) for one in (self.prompt, self._read_prompt))
        return frozenset({self.fingerprint, *earlier})

    @property
    def _read_prompt(self) -> Prompt:
        """The prompt without ``thinking`` where the template has no such switch."""
        heard = "enable_thinking" in self.template_options
        return self.prompt if heard else replace(self.prompt, thinking=None)

    def _identify(self, prompt: str) -> str:
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        before, after, between, last = self._frames.pieces(2)
        parts: tuple[Any, ...] = (vocabulary, before, after, between, self.end_id)
        if prompt or not self._frames.grows or self._frames.rewrites:
            parts += (last, prompt)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def opening(self, message: str) -> list[int]:
        """Ids from the start of an episode up to where the first action begins."""
        return self.read_turns([], [], message)

    def reply(self, message: str, turn: int = 1) -> list[int]:
        """Ids from the end of one action up to where the next begins, in a conversation that only grows.

        Args:
            message: what is read in between.
            turn: its number in the episode; the first is 0.
        """
        key = message, min(turn + len(self.prompt.examples), 3)
        ids = self._readings.get(key)
        if ids is None:
            between, after = self._frames.pieces(key[1] + 1)[-2:]
            ids = between + self._ids(self._frames.spelt(message), self._later) + after
            if len(self._readings) < _KNOWN_TEXTS:
                self._readings[key] = ids
        return ids

    def read_turns(
        self, messages: Sequence[str], replies: Sequence[Sequence[int]], message: str
    ) -> list[int]:
        """Ids of a whole conversation up to where the next reply begins.

        Args:
            messages: the earlier ones.
            replies: ids of the replies to them.
            message: the newest.
        """
        texts, begin = self._list_shown([*messages, message], self._frames.preamble)
        examples = ([*self._ids(reply, self._said), self.end_id] for _, reply in self.prompt.examples)
        said = [*examples, *(self._show_reply(ids) for ids in replies[begin:])]
        pieces, ids = self._frames.pieces(len(texts)), list[int]()
        for i, text in enumerate(texts):
            ids += pieces[2 * i]
            ids += self._ids(self._frames.spelt(text), self._later) if i else self._ids(text, self._first)
            ids += pieces[2 * i + 1]
            ids += said[i] if i < len(said) else ()
        return ids

    def list_messages(
        self, messages: Sequence[str], replies: Sequence[Sequence[int]]
    ) -> list[dict[str, str]]:
        """A conversation, up to where the next reply begins, as the messages of a chat.

        Args:
            messages: what is read, the newest last.
            replies: ids of the replies to all but that.

        Raises:
            ConfigurationError: the prompt's form is the template's own.
        """
        if self.prompt.form == "tool":
            raise ConfigurationError(
                "the form tool is written with the model's own chat template, and a server's chat completions have "
                "theirs: ask for completions, or choose another form"
            )
        texts, begin = self._list_shown(messages, "")
        said = [*(reply for _, reply in self.prompt.examples), *map(self._decode, replies[begin:])]
        system = self.prompt.system
        listed = [] if system is None else [{"role": "system", "content": system}]
        for i, text in enumerate(texts):
            listed.append({"role": "user", "content": text})
            if i < len(said):
                listed.append({"role": "assistant", "content": said[i]})
        return listed

    def _list_shown(self, messages: Sequence[str], preamble: str) -> tuple[list[str], int]:
        """What is read of a conversation, examples first, and how many of its replies are not shown."""
        texts, opening, begin = [*messages], "", 0
        history, earlier = self.prompt.history, len(messages) - 1
        if history is not None and earlier > history:
            opening, begin = texts[0] + LEFT_OUT, earlier - history
            texts = texts[begin:]
        texts = [*(text for text, _ in self.prompt.examples), opening + texts[0], *texts[1:]]
        texts[0] = "\n\n".join(filter(None, (preamble, self.prompt.instructions, texts[0])))
        return texts, begin

    def action_ids(self, action: str, said: str | None = None) -> list[int]:
        """Ids of a reply that was not sampled (an expert's, an import's), end of turn included.

        Args:
            action: what it comes to.
            said: the whole reply, where it was more; a prompt with a form of its own puts it into that.

        Raises:
            ConfigurationError: it is not known how the prompt's form is written.
        """
        if self._frames.call:
            before, after = self._frames.call
            return [*before, *self._ids(json.dumps(action, ensure_ascii=False)[1:-1]), *after, self.end_id]
        return [*self._ids(self._write_reply(action, said), self._said), self.end_id]

    def _write_reply(self, action: str, said: str | None) -> str:
        form = self.prompt.form
        if said is None or said == action:
            return self.prompt.write_reply(action)
        if form == "any" or (form not in FORMS and _names_action(said, action, form)):
            return said
        return self.prompt.write_reply(action, read_reply(said).thought)

    def thoughtful_ids(self, thought: str, actions: Sequence[str]) -> list[list[int]]:
        """Ids of replies, one for each action, that all begin with the same thought."""
        replies = (self.prompt.write_reply(action, thought) for action in actions)
        return [[*self._speller.spell(reply, self._said), self.end_id] for reply in replies]

    def cut_thought(self, thought: str, actions: Sequence[str], limit: int) -> str:
        """The thought without its end, where the longest of :meth:`thoughtful_ids` would have more than ``limit``
        tokens.
        """
        longest = [max(actions, key=lambda action: len(self.action_ids(action)))]
        while thought and (size := len(self.thoughtful_ids(thought, longest)[0])) > limit:
            thought = thought[: min(len(thought) - 1, len(thought) * limit // size)].rstrip()
        return thought

    def text_ids(self, text: str) -> list[int]:
        """Ids of a reply that is known as text, as it stands, without an end of turn."""
        return list(self._ids(self._as_said(text), self._said))

    def heard_ids(self, said: str, commands: Sequence[str] | None = None, ended: bool = True) -> list[int]:
        """Ids of a reply of which the text alone is known, as it stands, whatever it comes to, end of turn included.

        Args:
            said: the reply; a call of the tool is written as the template does, whose control tokens are no text.
            commands: the admissible ones then; None where actions are free text.
            ended: it was not cut.
        """
        if self._frames.call:
            reply = read_reply(said, commands, self.prompt.form)
            if reply.named and reply.action != reply.said:
                return self.action_ids(reply.action)
        ids = self.text_ids(said)
        return [*ids, self.end_id] if ended or not ids else ids

    def _as_said(self, text: str) -> str:
        return text.lstrip(" ") if self._speller.adds_spaces else text

    def understand(self, ids: Sequence[int], commands: Sequence[str] | None = None) -> Reply:
        """What sampled ``ids`` say, and which action that names.

        Args:
            ids: a reply.
            commands: the admissible ones, where the environment lists them.
        """
        return read_reply(self._decode(ids), commands, self.prompt.form)

    def action_text(self, ids: Sequence[int], commands: Sequence[str] | None = None) -> str:
        """What sampled ``ids`` come to, on one line; see :meth:`understand`."""
        return self.understand(ids, commands).action

    def encode_many(self, trajectories: Sequence[Trajectory], discount: float = 1.0) -> EncodedEpisodes:
        """Token ids, masks and returns of recorded episodes; what they say is tokenized in batches first.

        Args:
            trajectories: as they were recorded.
            discount: what later rewards count, see :meth:`Trajectory.returns_to_go`.

        Raises:
            DatasetError: an episode was sampled with another tokenizer or prompt, or lacks what the prompt shows.
        """
        turns = [turn for one in trajectories for turn in one.turns]
        message, spelt = self.prompt.message, self._frames.spelt
        self._learn_texts(
            {spelt(message(turn.observation, turn.admissible_commands, False)) for turn in turns}, self._later
        )
        self._learn_texts({text for one in trajectories for text in self._list_replies(one)}, self._said)
        collector = EpisodeCollector()
        for one in trajectories:
            self._add_episode(one, discount, collector)
        return collector.finish()

    def _list_replies(self, trajectory: Trajectory) -> Iterator[str]:
        """Texts of those replies of an episode that have no ids yet."""
        heard = _find_heard(trajectory)
        for i, turn in enumerate(trajectory.turns):
            if i in heard:
                yield self._as_said(turn.said or turn.action)
            elif turn.token_ids is None and not self._frames.call:
                yield self._write_reply(turn.action, turn.said)

    def _learn_texts(self, texts: set[str], context: Context | None) -> None:
        """Keep the ids of texts that are about to be asked for."""
        new = [text for text in texts if (text, context) not in self._known]
        if len(self._known) + len(new) > _KNOWN_TEXTS:
            self._known.clear()
        ids = self._speller.spell_many(new, context)
        self._known |= {(text, context): one for text, one in zip(new, ids, strict=True)}

    def encode(self, trajectory: Trajectory, discount: float = 1.0) -> EncodedEpisode:
        """One of :meth:`encode_many`."""
        return self.encode_many([trajectory], discount)[0]

    def _add_episode(self, trajectory: Trajectory, discount: float, collector: EpisodeCollector) -> None:
        if trajectory.tokenizer is not None and trajectory.tokenizer not in self.fingerprints:
            raise DatasetError(
                f"the episode of game {trajectory.game!r} was sampled with tokenizer and prompt "
                f"{trajectory.tokenizer}, the model's are {self.fingerprint}: record rollouts with this model and "
                "prompt, or train the one they came from"
            )
        turns, conversation, status = trajectory.turns, Conversation(self), None
        heard, cut = _find_heard(trajectory), set(trajectory.metadata.get(CUT_TURNS, ()))
        ids, lengths, starts, thoughts = list[int](), list[int](), list[int](), list[int]()
        for i, turn in enumerate(turns):
            before = len(conversation.tokens)
            kept = conversation.read(turn.observation, self._require_commands(trajectory, turn), status)
            if i == 0 or kept < before:
                starts.append(len(ids))
                kept = 0
            ids += conversation.tokens[kept:]
            read = len(conversation.tokens) - kept
            if i in heard:
                said = turn.said or turn.action
                action = self.heard_ids(said, turn.admissible_commands, i not in cut)
            else:
                action = self._recorded_ids(trajectory, turn)
            conversation.say(action, turn.action)
            if turn.said is not None:
                thoughts.extend(range(len(ids), len(ids) + self._count_thought(action, turn)))
            ids += action
            lengths += read, len(action)
            status = turn.action_status
        noise = set(trajectory.metadata.get(NOISE_TURNS, ()))
        sampled = all(
            turn.token_ids and len(turn.behaviour_logprobs or ()) == len(turn.token_ids) for turn in turns
        )
        collector.add_episode(
            ids,
            lengths,
            trajectory.returns_to_go(discount),
            [i not in noise for i in range(len(turns))],
            starts,
            thoughts,
            [logp for turn in turns for logp in turn.behaviour_logprobs or ()] if sampled else None,
            _number_states(turns),
            trajectory.success,
            trajectory.return_,
            TEXT_ONLY in trajectory.metadata,
        )

    def _recorded_ids(self, trajectory: Trajectory, turn: Turn) -> list[int]:
        """Ids of a recorded reply: the sampled ones, which without a fingerprint must name its action."""
        if turn.token_ids is None:
            key = turn.action, turn.said
            ids = self._replies.get(key)
            if ids is None:
                ids = self.action_ids(*key)
                if len(self._replies) < _KNOWN_TEXTS:
                    self._replies[key] = ids
            return ids
        if trajectory.tokenizer is None:
            spelt = self.understand(turn.token_ids, turn.admissible_commands)
            if turn.action not in (spelt.action, " ".join(spelt.said.split())):
                raise DatasetError(
                    f"the token ids of {turn.action!r} in the episode of game {trajectory.game!r} spell "
                    f"{spelt.said!r} with the model's tokenizer: train the model that they came "
                    "from, and record with RecordTrajectories(..., tokenizer=agent.tokenizer_fingerprint)"
                )
        return list(turn.token_ids)

    def _require_commands(self, trajectory: Trajectory, turn: Turn) -> Sequence[str] | None:
        if self.prompt.commands and turn.admissible_commands is None:
            raise DatasetError(
                f"the prompt shows admissible commands, and the episode of game {trajectory.game!r} has none: "
                "record it again, or train with a prompt that does not show them"
            )
        return turn.admissible_commands

    def _count_thought(self, ids: Sequence[int], turn: Turn) -> int:
        """How many of a reply's tokens come before what names the action."""
        begin = self.understand(ids, turn.admissible_commands).begin
        if not begin:
            return 0
        said = self._decode(ids)
        begin += len(said) - len(said.lstrip())
        decode = self.tokenizer.decode
        lengths = range(len(ids) - 1)
        return (
            bisect_left(
                lengths,
                begin + 1,
                key=lambda n: len(cast(str, decode(list(ids[:n]), skip_special_tokens=True))),
            )
            - 1
        )

    def _show_reply(self, ids: Sequence[int]) -> list[int]:
        """An earlier reply as the model reads it later."""
        if not self._frames.rewrites:
            return list(ids)
        key = tuple(ids)
        if key not in self._shown:
            shown = self._frames.shown(self._decode(key))
            self._shown[key] = (
                list(ids)
                if shown is None
                else [
                    *self._ids(shown, self._said),
                    *self._frames.closing,
                    self.end_id,
                ]
            )
        return self._shown[key]

    def _decode(self, ids: Sequence[int]) -> str:
        key = tuple(ids)
        text = self._spelt.get(key)
        if text is None:
            own = key[:-1] if key and key[-1] == self.end_id else key
            text = cast(str, self.tokenizer.decode(list(own), skip_special_tokens=True))
            if len(self._spelt) < _KNOWN_TEXTS:
                self._spelt[key] = text
        return text

    def _ids(self, text: str, context: Context | None = None) -> list[int]:
        """Tokenize one message; the same few thousand sentences make up most episodes, so they are kept.

        A message that spells a control token stays text: no environment can end a turn or begin one.
        """
        key = text, context
        ids = self._known.get(key)
        if ids is None:
            ids = self._speller.spell(text, context)
            if len(self._known) < _KNOWN_TEXTS:
                self._known[key] = ids
        return ids


def is_missed(action: str, commands: Sequence[str] | None, status: str | None) -> bool:
    """Whether a reply named no command: by what the environment said of it, else by its list."""
    return status == "unparsable" if status is not None else commands is not None and action not in commands


def _names_action(said: str, action: str, form: str) -> bool:
    """Whether a reply in an expression's form names an action."""
    read = read_reply(said, [action], form)
    return read.named and read.action == action


def _number_states(turns: Sequence[Turn]) -> list[int] | None:
    """What stands for the state of each turn; None where the environment did not say all of them."""
    hashes = [turn.state_hash for turn in turns]
    return None if None in hashes else [int(hash_state(one), 16) for one in hashes]


def _find_heard(trajectory: Trajectory) -> set[int]:
    """The turns in which a server gave the text of a reply and no ids."""
    if TEXT_ONLY not in trajectory.metadata:
        return set()
    noise = set(trajectory.metadata.get(NOISE_TURNS, ()))
    return {i for i, turn in enumerate(trajectory.turns) if turn.token_ids is None and i not in noise}


def _count_common(before: Sequence[int], reading: Sequence[int]) -> int:
    """Tokens that both begin with; at least one of ``reading`` is new."""
    most = min(len(before), len(reading) - 1)
    return next((i for i in range(most) if before[i] != reading[i]), most)
