"""Language models behind an OpenAI-compatible server: vLLM, SGLang, a hosted API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zs_env.concurrency.attempts import AttemptError, Refused, no_answer
from zs_env.concurrency.event_loop import on_engine_loop, run_to_end
from zs_env.concurrency.http import Access, JsonServers
from zs_env.concurrency.servers import Patience
from zs_env.errors import ContextExceeded, SearchFailure, ServiceError
from zs_env.hidden import named_secrets
from zs_env.llm.base import ChatRequest, Completion, LanguageModel, whole_message
from zs_env.llm.chat_body import chat_body, refusal_hint

CHECK_TIMEOUT_S = 10.0
"""Time limit of the check of one server, in seconds."""

BYTES_PER_TOKEN = 512
"""Bytes that an answer may have for each token asked for.

A token is mostly shorter than 16 bytes and at most 128; JSON may write one byte as six.
"""

OVERHEAD_BYTES = 2**16
"""Bytes that an answer may have besides those of its tokens."""

FIELD_REFUSED = re.compile(r"\bHTTP 4(00|22)\b")
"""Statuses of servers that refuse a field."""

TOO_LONG = re.compile("context length|context_length|max_model_len|context window", re.IGNORECASE)
"""What servers say of a chat that does not fit their context."""


class OpenAILanguageModel(LanguageModel):
    """Model behind one OpenAI-compatible server, or behind several with the same model.

    Chats go to ``/chat/completions``, plain texts to ``/completions``.

    Args:
        model: name of the model on the servers.
        base_url: URL of the API, such as ``http://127.0.0.1:8000/v1``, or several.
        api_key_env: environment variable that holds the key; local servers mostly need no key.
        timeout_s: time limit of one attempt, in seconds.
        deadline_s: time limit of a request, in seconds, waiting and retries included.
        max_attempts: most attempts of one request.
        max_concurrency: most requests under way at the same time; a server that is overloaded
            (status 429 or 503, or no answer in time) gets fewer, and more again by steps.
        extra_body: additional fields of a request's body, as JSON, such as
            ``{"chat_template_kwargs": {"enable_thinking": false}}``.

    Raises:
        ServiceError: ``base_url`` is not a URL or a list of URLs.
        ValueError: a limit is not positive.
    """

    continues_messages = True
    grammars = ("regex", "json")

    def __init__(
        self,
        model: str,
        base_url: str | Sequence[str] = "https://api.openai.com/v1",
        api_key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 60.0,
        deadline_s: float = 120.0,
        max_attempts: int = 6,
        max_concurrency: int = 1024,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self._api_key_env = api_key_env
        self._extra_body = dict(extra_body or {})
        patience = Patience(timeout_s, deadline_s, max_attempts, max_concurrency)
        self._servers = JsonServers(base_url, patience, self._access, use_proxy=True)

    async def acomplete(self, request: ChatRequest) -> Completion:
        """Continue one chat."""
        return await on_engine_loop(self._ask(request))

    def identity(self) -> dict[str, Any]:
        """Return the model and the additional fields of requests, without the URLs."""
        return {"model": self.model, **self._extra_body}

    def check(self) -> None:
        """Check the servers by asking for their models.

        Raises:
            ServiceError: no server can be reached, or one refuses the key or lacks the model.
        """
        run_to_end(self._check())

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    def _access(self) -> Access:
        """Return the credentials; messages must not show those among the fields of requests."""
        access = Access.bearer(self._api_key_env)
        return access._replace(secrets=(*access.secrets, *named_secrets(self._extra_body)))

    async def _ask(self, request: ChatRequest) -> Completion:
        body = {**chat_body(self.model, request), **self._extra_body}
        try:
            completion = await self._servers.ask(
                read_completion,
                path="/chat/completions" if request.messages else "/completions",
                payload=body,
                max_bytes=answer_bytes(body),
            )
        except SearchFailure as failure:
            if not FIELD_REFUSED.search(str(failure)):
                raise
            if TOO_LONG.search(str(failure)):
                raise ContextExceeded(str(failure)) from None
            if hint := refusal_hint(request):
                raise SearchFailure(f"{failure}.{hint}") from None
            raise
        if not request.messages:
            return replace(completion, text=request.prefill + completion.text)
        return replace(completion, text=whole_message(request.prefill, completion.text))

    async def _check(self) -> None:
        tried = await self._servers.try_each(
            read_model_names, path="/models", timeout_s=CHECK_TIMEOUT_S
        )
        reasons = []
        for name, outcome in tried:
            if isinstance(outcome, Refused):
                raise ServiceError(
                    f"{name} refuses: {outcome}. Is `base_url` right (with /v1)? Is the key in "
                    f"${self._api_key_env}?"
                )
            if isinstance(outcome, AttemptError):
                reasons.append(f"{name}: {outcome}")
            elif self.model not in outcome:
                known = ", ".join(map(repr, outcome))
                raise ServiceError(f"{name} has no model {self.model!r}, only {known}.")
        if len(reasons) == len(tried):
            raise ServiceError(
                f"no server of {self.model!r} can be reached: {'; '.join(reasons)}. "
                "Is it running, and is `base_url` right (with /v1)?"
            )


def answer_bytes(body: Mapping[str, Any]) -> int:
    """Return the most bytes that an answer to ``body`` may have, by the tokens it asks for."""
    asked = (body.get("max_tokens"), body.get("max_completion_tokens"))
    num_tokens = max([0, *(count for count in asked if isinstance(count, int))])
    return OVERHEAD_BYTES + BYTES_PER_TOKEN * num_tokens


def read_completion(answer: Any) -> Completion:
    """Return the completion in a server's answer; raise Retry if there is none."""
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        cut = choice.get("finish_reason") == "length"
        stop = choice.get("stop_reason")  # of vLLM: a text, the id of a token, or null
        ended = "stop_reason" in choice and not cut and not isinstance(stop, str)
        usage = answer.get("usage") or {}
        num_read, num_written = (
            int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion")
        )
        if not isinstance(text, str | None):
            raise TypeError
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise no_answer("a chat completion", answer) from None
    # A null is written by models that wrote only reasoning.
    return Completion(
        text or "", num_read, num_written, cut, ended, stop if isinstance(stop, str) else None
    )


def read_model_names(listing: Any) -> list[str]:
    """Return the names of the models in a server's list; raise Retry if it is malformed."""
    try:
        return [str(model["id"]) for model in listing["data"]]
    except (LookupError, TypeError):
        raise no_answer("a list of models", listing) from None
