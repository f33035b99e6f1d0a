"""Base class of language models that run in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from zs_env.errors import ContextExceeded, SearchFailure, ServiceError
from zs_env.llm.base import ChatRequest, Completion, LanguageModel, Message, whole_message


class Prompt(NamedTuple):
    """Chat as the model reads it.

    Attributes:
        token_ids: token ids of the chat in the model's template, the begun message included.
        max_tokens: most tokens to write: the request's limit, or the room left in the context.
        request: request of the chat.
        contrast: token ids of the chat to contrast with; None for none.
    """

    token_ids: list[int]
    max_tokens: int
    request: ChatRequest
    contrast: list[int] | None = None


class Loaded(Protocol):
    """Model in memory.

    Attributes:
        tokenizer: tokenizer with the chat template.
        max_length: length of the context, in tokens, read and written together.
        end_ids: tokens that end a message.
    """

    tokenizer: Any
    max_length: int
    end_ids: Sequence[int]

    def close(self) -> None:
        """Free the model, after what is under way has ended."""


L = TypeVar("L", bound=Loaded)


class LocalLanguageModel(LanguageModel, Generic[L]):
    """Model that is loaded when it is checked or first used, and used by one thread at a time.

    So an engine that only replays records loads no model. A subclass implements `_load`, which
    loads the model, `complete`, which reads its prompts with `_prepare`, and `identity`.

    Args:
        model: folder or hub name of the model.
        chat_template_kwargs: additional variables of its chat template.
        max_batch_size: most requests of a batch.

    Raises:
        ValueError: ``max_batch_size`` is not positive.
    """

    continues_messages = True

    def __init__(
        self, model: str, chat_template_kwargs: Mapping[str, Any] | None, max_batch_size: int
    ) -> None:
        super().__init__()
        if max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
        self.model = model
        self.max_batch_size = max_batch_size
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self._loaded: L | None = None
        self._has_chat = False
        self._lock = threading.Lock()

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | SearchFailure]:
        """Continue a batch of chats; a chat that does not fit the context fails alone.

        Raises:
            ServiceError: the model cannot be loaded, or its chat template cannot continue a
                message that a request begins.
            ValueError: a request has a grammar that the model cannot be held to.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Load the model, and check that it can chat.

        Raises:
            ServiceError: it does not exist, does not fit in memory, or has no chat template.
        """
        with self._lock:
            self._check_chat(self._load_once())

    def load(self) -> L:
        """Load the model, if it is not, and return it: its tokenizer, the length of its context.

        Raises:
            ServiceError: it does not exist, or does not fit in memory.
        """
        with self._lock:
            return self._load_once()

    def close(self) -> None:
        """Free the model, after what is under way has ended."""
        with self._lock:
            self._free()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: a copy loads the model again."""
        return {**self.__dict__, "_loaded": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state with a new lock."""
        self.__dict__.update(state, _lock=threading.Lock())

    def _load(self) -> L:
        """Load the model; raise OSError, ValueError or RuntimeError if that fails."""
        raise NotImplementedError

    def _load_once(self) -> L:
        if self._loaded is not None:
            return self._loaded
        try:
            self._loaded = self._load()
        except (OSError, ValueError, RuntimeError) as error:
            raise ServiceError(
                f"`model` must be a folder or hub name of a causal language model that fits in "
                f"memory; {self.model!r} cannot be loaded: {error}"
            ) from error
        return self._loaded

    def _check_chat(self, loaded: Loaded) -> None:
        if self._has_chat:
            return
        try:
            self._encode(loaded, [Message("user", "?")])
        except Exception as error:
            self._free()
            raise ServiceError(
                f"{self.model!r} has no chat template that can be used: {error} Choose an instruct "
                "model, or put a `chat_template.jinja` beside its tokenizer."
            ) from error
        self._has_chat = True

    def _prepare(self, requests: Sequence[ChatRequest]) -> tuple[L, list[Prompt | SearchFailure]]:
        """Return the loaded model and the prompts of ``requests``, or why one does not fit.

        The lock must be held.
        """
        for request in requests:
            kind = request.grammar and request.grammar.kind
            self.check_form(request.prefill, kind, request.contrast is not None)
        loaded = self._load_once()
        if any(request.token_ids is None and request.messages for request in requests):
            self._check_chat(loaded)
        return loaded, [self._read(loaded, request) for request in requests]

    def _read(self, loaded: Loaded, request: ChatRequest) -> Prompt | SearchFailure:
        token_ids = self._context(loaded, request)
        other = None
        if request.contrast is not None:
            other = self._encode(loaded, request.contrast.messages, request.prefill)
        longest = max(len(token_ids), len(other or ()))
        room = loaded.max_length - longest
        if room < 1:
            return ContextExceeded(
                f"the prompt has {longest:,} tokens, and the context of {self.model!r} only "
                f"{loaded.max_length:,}, which must hold what it writes as well."
            )
        return Prompt(token_ids, min(request.max_tokens, room), request, other)

    def _context(self, loaded: Loaded, request: ChatRequest) -> list[int]:
        if request.token_ids is not None:
            return list(request.token_ids)
        if not request.messages:
            encode = loaded.tokenizer.encode
            return list(encode(request.prefill, add_special_tokens=request.special_tokens))
        return self._encode(loaded, request.messages, request.prefill)

    def _encode(self, loaded: Loaded, messages: Sequence[Message], prefill: str = "") -> list[int]:
        if prefill:
            return self._encode_begun(loaded, [*messages, Message("assistant", prefill)])
        return list(self._apply_template(loaded, messages, add_generation_prompt=True))

    def _encode_begun(self, loaded: Loaded, messages: Sequence[Message]) -> list[int]:
        """Encode ``messages``, of which the last is begun and left open."""
        prefill = messages[-1].content
        begun = {"add_generation_prompt": False, "continue_final_message": True}
        try:
            text = self._apply_template(loaded, messages, tokenize=False, **begun)
            if not text.endswith(prefill):
                raise ValueError(f"the chat ends in {text[-len(prefill) :]!r}.")
            return list(self._apply_template(loaded, messages, **begun))
        except Exception as error:  # templates are programs, and raise what they like
            reason, *_ = str(error).splitlines() or [type(error).__name__]  # the chat comes below
            raise ServiceError(
                f"the chat template of {self.model!r} cannot continue a message that begins with "
                f"{prefill!r}: {reason} Leave out `prefill`, or let it end without a blank."
            ) from error

    def _apply_template(self, loaded: Loaded, messages: Sequence[Message], **options: Any) -> Any:
        chat = [message._asdict() for message in messages]
        options = {"return_dict": False, **options, **self.chat_template_kwargs}
        return loaded.tokenizer.apply_chat_template(chat, **options)

    def _free(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()


def whole(prompt: Prompt, written: Completion) -> Completion:
    """Put what was begun before what was ``written``."""
    request = prompt.request
    if not request.messages:
        return replace(written, text=request.prefill + written.text)
    return replace(written, text=whole_message(request.prefill, written.text))
