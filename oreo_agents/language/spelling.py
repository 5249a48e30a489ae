"""Tokenizing a part of a longer text as it would be tokenized in there.

Most tokenizers do the same with a part as with the whole. SentencePiece's (Llama 2, Mistral 0.x, TinyLlama, Phi-3) put
a space before every text that they are given, and let a space before a word become part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Context:
    """What stands before a part."""

    before: str = ""
    """The text, from the last control token on, that is included; empty: nothing, or a control token."""
    lead: str = ""
    """Spaces between that and the part, which become tokens together with it."""
    tail: str = ""
    """What follows the part up to the next control token, which becomes tokens together with it, too."""


class Speller:
    """Ids of parts of a text.

    Args:
        tokenizer: any Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.adds_spaces = self._cut("\n", "go") != self._plain("go")
        """Whether the tokenizer puts a space before every text."""
        control = tokenizer.eos_token or tokenizer.bos_token
        self._adds_after_control = bool(
            self.adds_spaces and control and self._parsed(control + "go")[1:] == self._plain("go")
        )

    def spell(self, text: str, context: Context | None = None) -> list[int]:
        """Ids of a message or a reply; control tokens in it stay text.

        Args:
            text: what is written.
            context: what stands before it; None: nothing.
        """
        if not self.adds_spaces or context is None:
            return self._plain(text)
        written = context.lead + text + context.tail
        if context.before:
            return self._cut(context.before, written)
        return self._plain(written) if self._adds_after_control else self._cut("\n", written)

    def spell_many(self, texts: Sequence[str], context: Context | None = None) -> list[list[int]]:
        """:meth:`spell` of each; in one batch, which is several times faster, where no text needs its neighbours."""
        if not texts or not self.tokenizer.is_fast or (self.adds_spaces and context is not None):
            return [self.spell(text, context) for text in texts]
        self._plain("")  # leaves the backend as it is to be: nothing padded or cut, control tokens as text
        backend = self.tokenizer.backend_tokenizer
        return [one.ids for one in backend.encode_batch_fast([*texts], add_special_tokens=False)]

    def spell_piece(self, text: str, follows: bool) -> list[int]:
        """Ids of what a template writes, control tokens included.

        Args:
            text: what is written.
            follows: it stands after a message or a reply.
        """
        ids = self._parsed(text)
        if not (self.adds_spaces and follows and text) or ids[0] in self.tokenizer.all_special_ids:
            return ids
        guard, both = self._parsed("a"), self._parsed("a" + text)
        return both[len(guard) :] if both[: len(guard)] == guard else ids

    def split_tail(self, piece: str) -> tuple[str, str]:
        """What a piece begins with that becomes tokens together with the part before it, and the rest of the piece."""
        if not self.adds_spaces:
            return "", piece
        controls = [piece.find(token) for token in self.tokenizer.all_special_tokens]
        first = min((at for at in controls if at >= 0), default=len(piece))
        return piece[:first], piece[first:]

    def find_context(self, piece: str) -> tuple[str, Context]:
        """What is left of a piece before a message or a reply, and what that is to know of it."""
        if not self.adds_spaces:
            return piece, Context()
        left = piece.rstrip(" ")
        ids = self._parsed(left)
        special = set(self.tokenizer.all_special_ids)
        last = max((i for i, token in enumerate(ids) if token in special), default=-1)
        before = left if last < 0 else str(self.tokenizer.decode(ids[last + 1 :]))
        return left, Context(before, piece[len(left) :])

    def _cut(self, before: str, text: str) -> list[int]:
        """Ids of ``text`` after ``before``; alone, where the two grow together."""
        first, both = self._plain(before), self._plain(before + text)
        return both[len(first) :] if both[: len(first)] == first else self._plain(text)

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _parsed(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
