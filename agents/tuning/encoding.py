"""Pairs as tokens: what is read, what is learned, and which tokens belong to answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from agents.supervised.losses import NO_LABEL
from agents.tuning.pairs import Example, PairsError
from agents.tuning.tokenizer import end_id
from zs_env.errors import TokenizerError

T = TypeVar("T")

BATCH = 1_000
"""Pairs that are encoded at once."""


@dataclass(frozen=True)
class EncodedPair:
    """Pair as T tokens.

    Attributes:
        token_ids: ids of prompt, completion and the token that ends it.
        labels: ids of the completion and its end, `NO_LABEL` for the prompt, and for the first
            token of all, which nothing predicts.
        golden: whether a token belongs to a golden answer in the completion.
        stated: whether it belongs to a name that the documents are said to state.
        label: label of the pair.
    """

    token_ids: list[int]
    labels: list[int]
    golden: list[bool]
    stated: list[bool]
    label: str

    def __len__(self) -> int:
        """Return the number of tokens, T."""
        return len(self.token_ids)

    @property
    def num_learned(self) -> int:
        """Number of tokens with labels."""
        return sum(label != NO_LABEL for label in self.labels)

    @property
    def weighted(self) -> list[bool]:
        """Whether a token has the weight of answers: of stated names, or else golden answers."""
        return self.stated if any(self.stated) else self.golden

    def weight(self, answer_weight: float) -> float:
        """Return the summed weight of the tokens with labels."""
        return self.num_learned + (answer_weight - 1.0) * sum(self.weighted)


def encode_pair(
    pair: Example, tokenizer: Any, variables: Mapping[str, Any] | None = None
) -> EncodedPair:
    """Encode ``pair``: the prompt as a model reads it in a chat, and what it has to write then.

    Args:
        pair: pair to encode.
        tokenizer: tokenizer with a chat template.
        variables: variables of the chat template.
    """
    [encoded] = _encode([pair], tokenizer, variables)
    return encoded


def _encode(
    pairs: Sequence[Example], tokenizer: Any, variables: Mapping[str, Any] | None
) -> list[EncodedPair]:
    prompts = tokenizer.apply_chat_template(
        [list(pair.messages) for pair in pairs],
        add_generation_prompt=True,
        return_dict=False,
        **(variables or {}),
    )
    has_offsets = tokenizer.is_fast
    encoded = tokenizer(
        [pair.completion for pair in pairs],
        add_special_tokens=False,
        return_offsets_mapping=has_offsets,
    )
    completions = encoded["input_ids"]
    none = [[(0, 0)] * len(completion) for completion in completions]
    offsets = encoded["offset_mapping"] if has_offsets else none
    end = end_id(tokenizer)
    return [
        _join(pair, list(prompt), list(completion), places, end)
        for pair, prompt, completion, places in zip(
            pairs, prompts, completions, offsets, strict=True
        )
    ]


def _join(
    pair: Example,
    prompt: list[int],
    completion: list[int],
    offsets: Sequence[tuple[int, int]],
    end: int,
) -> EncodedPair:
    def marked(answers: Sequence[str]) -> list[bool]:
        spans = answer_spans(pair.completion, answers)
        tokens = [
            any(start < stop and start < last and first < stop for first, last in spans)
            for start, stop in offsets
        ]
        return without_first([False] * len(prompt) + tokens + [False], False)

    learned = [*completion, end]
    return EncodedPair(
        prompt + learned,
        without_first([NO_LABEL] * len(prompt) + learned, NO_LABEL),
        marked(pair.golden_answers),
        marked(pair.stated),
        pair.label,
    )


def without_first(values: list[T], nothing: T) -> list[T]:
    """Return ``values`` of tokens with ``nothing`` for the first token, which nothing predicts."""
    return [nothing, *values[1:]]


def answer_spans(text: str, answers: Sequence[str]) -> list[tuple[int, int]]:
    """Return start and stop of each occurrence of an answer in ``text``, as whole words.

    Case does not matter, nor how words are spaced.
    """
    spans = []
    lower = text.lower()
    for answer in answers:
        words = answer.split()
        # Most texts hold no answer, and compiling a pattern takes longer than this look.
        if words and all(word.lower() in lower for word in words):
            joined = r"\s+".join(map(re.escape, words))
            pattern = rf"(?<!\w){joined}(?!\w)"
            spans += [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]
    return spans


def encode_pairs(
    pairs: Sequence[Example],
    tokenizer: Any,
    max_length: int,
    max_unknown: float,
    variables: Mapping[str, Any] | None = None,
) -> tuple[list[EncodedPair], int]:
    """Encode ``pairs``; leave out those that are too long.

    Args:
        pairs: pairs, in order.
        tokenizer: tokenizer with a chat template.
        max_length: largest length of a pair, in tokens.
        max_unknown: largest share of unknown tokens.
        variables: variables of the chat template.

    Returns:
        Encoded pairs, and how many were left out.

    Raises:
        PairsError: all are too long.
        TokenizerError: the tokenizer does not know the texts.
    """
    encoded = [
        each
        for first in range(0, len(pairs), BATCH)
        for each in _encode(pairs[first : first + BATCH], tokenizer, variables)
    ]
    _check_unknown(pairs, encoded, tokenizer, max_unknown)
    kept = [pair for pair in encoded if len(pair) <= max_length]
    if not kept:
        raise PairsError(
            f"all {len(pairs):,} pairs are longer than {max_length:,} tokens, the shortest has "
            f"{min(map(len, encoded)):,}: raise `max_length`, and `row_tokens` with packing, up to "
            "the context of the model, or make shorter pairs."
        )
    return kept, len(encoded) - len(kept)


def _check_unknown(
    pairs: Sequence[Example], encoded: Sequence[EncodedPair], tokenizer: Any, most: float
) -> None:
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return
    counts = [pair.token_ids.count(unknown) for pair in encoded]
    share = sum(counts) / sum(map(len, encoded))
    if share > most:
        worst = pairs[max(range(len(pairs)), key=counts.__getitem__)]
        raise TokenizerError(
            f"{share:.1%} of the tokens of the pairs are unknown to the tokenizer, more than "
            f"`max_unknown` {most:.1%}; most are in {worst.place}. The model cannot learn these "
            "words: choose a model that knows them, or pairs of its vocabulary."
        )
