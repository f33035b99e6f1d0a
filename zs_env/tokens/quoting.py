"""Token ids of texts that quote others: nothing that they wrote becomes markup for the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

from zs_env.actions import ANY_TAG
from zs_env.documents import clean_text

ENDS = ("eos_token_id", "bos_token_id")
SPECIAL_ATTRIBUTES = (*ENDS, "pad_token_id", "mask_token_id")
REMEMBERED_FRAMES = 16

_WORDS = re.compile(r"[\w\s'.\-]*|.", re.DOTALL)
"""Added tokens of this form extend the vocabulary, and are not markup."""


class QuotingEncoder:
    """Encodes texts in which some spans were written by others.

    The text is encoded as a whole, as a model has learned to read it. Only where that turns a part
    of a span into markup are the spans and what is around them encoded apart, and the spans in
    pieces that contain no markup. Markup is a special token, an added token such as
    ``<tool_call>``, and a tag of the environment, which a tokenizer may make of other characters.
    The token for unknown words is none, unless a span spells it.

    Args:
        tokenizer: of the policy, a `zs_env.tokens.encoder.Tokenizer`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._encode_frame = lru_cache(maxsize=REMEMBERED_FRAMES)(self._tokenize)

    def encode(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Return the ids of ``text``, without special tokens around it.

        Args:
            text: its quotations are clean, see `zs_env.documents.clean_text`.
            spans: start and stop of each quotation, in order.
        """
        ids = self._tokenize(text)
        pieces = list(_pieces(text, spans))
        if self._is_sound(ids, text, pieces):
            return ids
        return tuple(
            token
            for piece, quoted in pieces
            for token in (self._encode_quotation(piece) if quoted else self._encode_frame(piece))
        )

    def _is_sound(self, ids: Sequence[int], text: str, pieces: Sequence[tuple[str, bool]]) -> bool:
        """Return whether all markup in ``ids``, those of ``text``, comes from the frame."""
        quotations = [piece for piece, quoted in pieces if quoted]
        if not quotations:
            return True
        if any(self._unknown and self._unknown in quotation for quotation in quotations):
            return False
        found = self._markup_in(ids)
        if found:
            frame = [self._encode_frame(piece) for piece, quoted in pieces if not quoted]
            if found != [token for part in frame for token in self._markup_in(part)]:
                return False
        if not any(map(_may_turn_into_a_tag, quotations)):
            return True
        return _tags_in(self._tokenizer.decode(list(ids))) <= _tags_in(text)

    def _encode_quotation(self, text: str) -> list[int]:
        as_read = self._tokenizer.decode(list(self._tokenize(text)))
        if ANY_TAG.search(as_read):  # such as one in wide characters, which were made narrow
            text = clean_text(as_read)
        stops = [match.start() + 1 for match in self._spelled_markup.finditer(text)]
        pieces = [text[i:j] for i, j in zip([0, *stops], [*stops, len(text)], strict=True)]
        return [token for piece in pieces for token in self._encode_plain(piece)]

    def _encode_plain(self, text: str) -> list[int]:
        """Return the ids of ``text``, which is halved until there is no markup among them."""
        ids = list(self._tokenize(text))
        if not self._markup_in(ids):
            return ids
        if len(text) == 1:  # a character that is markup by itself
            return []
        half = len(text) // 2
        return self._encode_plain(text[:half]) + self._encode_plain(text[half:])

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _markup_in(self, ids: Sequence[int]) -> list[int]:
        markup = self.markup
        if markup.keys().isdisjoint(ids):
            return []
        return [token for token in ids if token in markup]

    @cached_property
    def markup(self) -> dict[int, str]:
        """Token -> its text, for special and added tokens that are no tags."""
        tokenizer = self._tokenizer
        special = {*getattr(tokenizer, "all_special_ids", ())}
        special |= {getattr(tokenizer, name, None) for name in SPECIAL_ATTRIBUTES}
        unknown = {getattr(tokenizer, "unk_token_id", None)}
        if unknown & {getattr(tokenizer, name, None) for name in ENDS}:
            unknown = set()  # it has another meaning, as for GPT-2
        special -= {None, *unknown}
        added: dict[str, int] = getattr(tokenizer, "get_added_vocab", dict)()
        texts = {token: tokenizer.decode([token]) for token in special}
        texts |= {token: text for text, token in added.items() if not _WORDS.fullmatch(text)}
        return {
            token: text
            for token, text in texts.items()
            if token not in unknown and not (text.isspace() or ANY_TAG.fullmatch(text.strip()))
        }

    @cached_property
    def _unknown(self) -> str:
        """Text that spells the token for unknown words, or nothing."""
        return getattr(self._tokenizer, "unk_token", None) or ""

    @cached_property
    def _spelled_markup(self) -> re.Pattern[str]:
        spelled = {*self.markup.values(), self._unknown} - {""}
        texts = sorted(spelled, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")


def _pieces(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of ``text`` that hold something, and whether each is a quotation."""
    position = 0
    for start, stop in spans:
        yield from _piece(text[position:start], False)
        yield from _piece(text[start:stop], True)
        position = stop
    yield from _piece(text[position:], False)


def _piece(text: str, quoted: bool) -> Iterator[tuple[str, bool]]:
    if text:
        yield text, quoted


def _may_turn_into_a_tag(text: str) -> bool:
    """Return whether a tokenizer that replaces characters could make a tag of ``text``."""
    return "<" in text or not text.isascii()


def _tags_in(text: str) -> Counter[str]:
    return Counter(ANY_TAG.findall(text))
