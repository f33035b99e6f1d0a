"""Language models for engines: requests, completions and the base class."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Any, NamedTuple

from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, in_thread, on_engine_loop, run_to_end
from zs_env.errors import SearchFailure


class Message(NamedTuple):
    """Message of a chat; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


class Grammar(NamedTuple):
    """Form that every text of a model has, because tokens that leave it are not sampled.

    Attributes:
        kind: ``regex`` or ``json``.
        text: regular expression, or JSON schema as JSON text. It describes what the model writes,
            without `ChatRequest.prefill`.
    """

    kind: str
    text: str


class Contrast(NamedTuple):
    """Other messages, and how strongly the model is to avoid what it would write after them.

    Of the tokens that are likely after the messages of a request, those are preferred that the
    other messages make less likely: log-probabilities ``p + weight * (p - q)``, see
    `zs_env.llm.sampling.drawing.contrasted`.

    Attributes:
        messages: the other messages.
        weight: weight of the difference, above 0.
    """

    messages: tuple[Message, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Chat to continue by one message, or a text to continue.

    Attributes:
        messages: messages so far. If there are none, the model continues the plain text
            ``prefill``, without a chat.
        seed: seed of sampling, in [0, 2**31): the same request gets the same text.
        temperature: temperature of sampling, at least 0; 0 takes the likeliest token.
        top_p: probability that the likeliest tokens to sample from have together, in (0, 1].
        max_tokens: most tokens that the model writes, at least 1.
        prefill: beginning of the message, which the model continues; the completion's text
            begins with it.
        grammar: grammar that holds what the model writes; None for none.
        stop: texts that end what the model writes; none of them is part of it.
        end_ids: more tokens that end what the model writes; only for models in this process.
        token_ids: all that the model reads, as token ids, instead of messages and ``prefill``; only
            for models in this process. None for none.
        special_tokens: whether a plain text gets the special tokens that the tokenizer puts around
            texts, such as begin-of-text; a text that has them already must not.
        contrast: what the text is contrasted with; only for models that can. None for nothing.

    Raises:
        TypeError: a sampling parameter has the wrong type.
        ValueError: a sampling parameter is out of its range.
    """

    messages: tuple[Message, ...]
    seed: int = 0
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 600
    prefill: str = ""
    grammar: Grammar | None = None
    stop: tuple[str, ...] = ()
    end_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] | None = None
    special_tokens: bool = True
    contrast: Contrast | None = None

    def __post_init__(self) -> None:
        """Check the sampling parameters."""
        for name in ("seed", "temperature", "top_p", "max_tokens"):
            check_number(name, getattr(self, name))


class _Number(NamedTuple):
    """Type and range of a sampling parameter."""

    expected: str
    type: type | UnionType
    fits: Callable[[Any], bool]

    def check(self, name: str, value: object) -> None:
        right_type = isinstance(value, self.type) and not isinstance(value, bool)
        if right_type and self.fits(value):
            return
        error = ValueError if right_type else TypeError
        raise error(f"`{name}` must be {self.expected}, got {value!r}.")


_NUMBERS = {
    "seed": _Number("an integer in [0, 2**31)", int, lambda seed: 0 <= seed < 2**31),
    "temperature": _Number("a number of at least 0", int | float, lambda t: 0 <= t < math.inf),
    "top_p": _Number("a number in (0, 1]", int | float, lambda top_p: 0 < top_p <= 1),
    "max_tokens": _Number("an integer of at least 1", int, lambda count: count >= 1),
    "contrast": _Number("a number of at least 0", int | float, lambda w: 0 <= w < math.inf),
}


def check_number(name: str, value: Any) -> Any:
    """Return the sampling parameter ``name`` if it is in its range.

    Raises:
        TypeError: it has the wrong type.
        ValueError: it is out of its range.
    """
    _NUMBERS[name].check(name, value)
    return value


@dataclass(frozen=True, slots=True)
class Completion:
    """Message that a language model wrote.

    Attributes:
        text: the message, `ChatRequest.prefill` included.
        prompt_tokens: number of tokens read, those of a contrast included.
        completion_tokens: number of tokens written.
        cut: whether its largest length ended it.
        ended: whether it is known that the model ended it, and no text of `ChatRequest.stop`.
        stop: text of `ChatRequest.stop` that ended it; None if none did, or if it is not known.
        token_ids: tokens written, those of ``stop`` included; empty if they are not known.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False
    ended: bool = False
    stop: str | None = None
    token_ids: tuple[int, ...] = ()


def whole_message(prefill: str, written: str) -> str:
    """Return ``prefill`` and what was ``written`` after it; a model that repeats it began anew."""
    begun_anew = written.lstrip().startswith(prefill.strip())
    return written if begun_anew else prefill + written


def first_stop(text: str, stop: Sequence[str]) -> str | None:
    """Return the text of ``stop`` that comes first in ``text``; None if none is in it."""
    found = [(text.find(each), each) for each in stop if each in text]
    return min(found)[1] if found else None


class LanguageModel:
    """Model that continues chats. Override `complete` or `acomplete`; the other is derived.

    Single requests are collected into batches for `complete`, and one batch is run at a time.
    """

    max_batch_size: int = 256
    """Largest batch for `complete` when single requests are collected."""

    continues_messages: bool = False
    """Whether the model honours `ChatRequest.prefill`."""

    grammars: tuple[str, ...] = ()
    """Kinds of `Grammar` that the model can be held to."""

    contrasts: bool = False
    """Whether the model honours `ChatRequest.contrast`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that overrides neither method."""
        super().__init_subclass__(**kwargs)
        base = LanguageModel
        if cls.complete is base.complete and cls.acomplete is base.acomplete:
            raise TypeError(f"{cls.__name__} must override `complete` or `acomplete`.")

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | SearchFailure]:
        """Continue a batch of chats.

        Returns:
            One completion or failure for each request, in the order of the requests.
        """
        return run_to_end(self._complete_all(requests))

    async def acomplete(self, request: ChatRequest) -> Completion:
        """Continue one chat without blocking the event loop.

        Raises:
            SearchFailure: the model could not continue the chat.
        """
        return await on_engine_loop(self._collect(request))

    def identity(self) -> dict[str, Any]:
        """Return what decides the text besides the request, such as the model's name. JSON.

        Raises:
            NotImplementedError: the model does not override it; its texts cannot be recorded.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override `identity` to say what decides its texts."
        )

    def check(self) -> None:
        """Check that the model can be used; called once at the start.

        Raises:
            ServiceError: it cannot be used.
        """

    def check_form(self, prefill: str, grammar: str | None, contrast: bool = False) -> None:
        """Check that it honours ``prefill``, a grammar of the kind ``grammar``, and contrasts.

        Raises:
            ValueError: it does not.
        """
        name = type(self).__name__
        if prefill and not self.continues_messages:
            raise ValueError(f"{name} cannot continue a message: leave out `prefill`.")
        if grammar is not None and grammar not in self.grammars:
            known = " or ".join(self.grammars) or "none"
            raise ValueError(
                f"{name} cannot be held to a grammar of the kind {grammar!r}, expected {known}: "
                "leave out `grammar`, or use vLLM or a server that has it."
            )
        if contrast and not self.contrasts:
            raise ValueError(
                f"{name} cannot contrast what it writes with another prompt: leave out `contrast`, "
                "or use transformers_local with `max_batch_size` of at least 2."
            )

    def close(self) -> None:
        """Free what the model holds. May be called twice."""

    async def _complete_all(
        self, requests: Sequence[ChatRequest]
    ) -> list[Completion | SearchFailure]:
        outcomes = await asyncio.gather(
            *(self.acomplete(request) for request in requests), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, SearchFailure):
                raise outcome
        return outcomes  # type: ignore[return-value]  # other exceptions were raised

    async def _collect(self, request: ChatRequest) -> Completion:
        outcome = await self._batchers.get()(request)
        if isinstance(outcome, SearchFailure):
            raise outcome
        return outcome

    @cached_property
    def _batchers(self) -> PerLoop[Batcher[ChatRequest, Completion | SearchFailure]]:
        return PerLoop(self._make_batcher)

    def _make_batcher(self) -> Batcher[ChatRequest, Completion | SearchFailure]:
        async def ask(requests: Sequence[ChatRequest]) -> list[Completion | SearchFailure]:
            return await in_thread(self.complete, requests)

        return Batcher(ask, max_size=self.max_batch_size, max_in_flight=1)
