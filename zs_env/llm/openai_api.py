"""Language models behind an OpenAI-compatible server: vLLM, SGLang, a hosted API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

from zs_env.concurrency.event_loop import PerLoop, on_engine_loop, run_to_end
from zs_env.concurrency.http import MAX_BODY_BYTES, check_urls, parse_json, public_url, refuse
from zs_env.concurrency.servers import Patience, Refused, Retry, Servers, hide
from zs_env.errors import MissingDependencyError, ServiceError
from zs_env.llm.base import ChatRequest, Completion, LanguageModel

try:
    import httpx2
    import openai
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "A language model behind a server", "openai", "llm"
    ) from error

NO_KEY = "none"
"""Sent to servers that ask for no key; the client insists on one."""

CHECK_TIMEOUT_S = 10.0


class OpenAILanguageModel(LanguageModel):
    """Asks ``/chat/completions`` of one server, or of several that serve the same model.

    Args:
        model: its name on the servers.
        base_url: of the API, such as ``http://127.0.0.1:8000/v1``, or several.
        api_key_env: the environment variable that holds the key. Servers of one's own mostly need
            none.
        timeout_s: seconds that one attempt may take.
        deadline_s: seconds after which a request has failed, waiting and retries included.
        max_attempts: attempts of one request.
        max_concurrency: requests under way at the same time.
        extra_body: more fields of the request's body, as JSON, such as
            ``{"chat_template_kwargs": {"enable_thinking": false}}``.

    Raises:
        ServiceError: a URL is none, or there is none.
        ValueError: a limit is not positive.
    """

    def __init__(
        self,
        model: str,
        base_url: str | Sequence[str] = "https://api.openai.com/v1",
        api_key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 60.0,
        deadline_s: float = 120.0,
        max_attempts: int = 6,
        max_concurrency: int = 256,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.base_urls = check_urls(base_url)
        self._api_key_env = api_key_env
        self._patience = Patience(timeout_s, deadline_s, max_attempts, max_concurrency)
        self._extra_body = dict(extra_body or {})
        self._servers = PerLoop(self._connect, _disconnect)

    async def acomplete(self, request: ChatRequest) -> Completion:
        """Continue one chat."""
        return await on_engine_loop(self._ask(request))

    def identity(self) -> dict[str, Any]:
        """The model and what else the servers are told; not where they are."""
        return {"model": self.model, **self._extra_body}

    def check(self) -> None:
        """Ask the servers for their models.

        Raises:
            ServiceError: no server can be reached, or one refuses the key or lacks the model.
        """
        run_to_end(self._check())

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    async def _ask(self, request: ChatRequest) -> Completion:
        body = {
            "model": self.model,
            "messages": [
                {"role": role, "content": content.encode(errors="replace").decode()}
                for role, content in request.messages
            ],
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            **self._extra_body,
        }

        async def send(client: openai.AsyncOpenAI) -> Completion:
            # As bytes: the client would take what is no JSON for an answer too.
            answer = client.post("/chat/completions", cast_to=bytes, body=body)
            return read_completion(await _body_of(answer))

        return await self._servers.get().ask(send)

    async def _check(self) -> None:
        servers = self._servers.get()
        reasons = await asyncio.gather(*(self._check_server(client) for client in servers.targets))
        if all(reasons):
            raise ServiceError(
                f"no server of {self.model!r} can be reached: {'; '.join(filter(None, reasons))}. "
                "Is it running, and is `base_url` right (with /v1)?"
            )

    async def _check_server(self, client: openai.AsyncOpenAI) -> str | None:
        """Why a server cannot be reached, if it cannot; ServiceError if it refuses."""
        name = public_url(str(client.base_url))
        try:
            listing = _body_of(client.get("/models", cast_to=bytes))
            models = _model_names(parse_json(await asyncio.wait_for(listing, CHECK_TIMEOUT_S)))
        except asyncio.TimeoutError:
            return f"{name}: no answer within {CHECK_TIMEOUT_S:g} s"
        except Retry as reason:
            return hide(f"{name}: {reason}", self._secrets())
        except Refused as refusal:
            raise ServiceError(
                f"{name} refuses: {hide(str(refusal), self._secrets())}. Is `base_url` right (with "
                f"/v1)? Is the key in ${self._api_key_env}?"
            ) from None
        if self.model not in models:
            known = ", ".join(map(repr, models))
            raise ServiceError(f"{name} has no model {self.model!r}, only {known}.")
        return None

    def _connect(self) -> Servers[openai.AsyncOpenAI]:
        http_client = openai.DefaultAioHttpClient(
            timeout=None,  # `Servers` keeps the time
            event_hooks={"response": [_bound_body]},
        )
        clients = [
            openai.AsyncOpenAI(
                base_url=url, api_key=self._key(), http_client=http_client, max_retries=0
            )
            for url in self.base_urls
        ]
        named = zip(map(public_url, self.base_urls), clients, strict=True)
        return Servers(list(named), self._patience, self._secrets())

    def _key(self) -> str:
        return os.environ.get(self._api_key_env, "").strip() or NO_KEY

    def _secrets(self) -> list[str]:
        return [self._key()]


async def _disconnect(servers: Servers[openai.AsyncOpenAI]) -> None:
    for client in servers.targets:
        await client.close()


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of an answer, which raises where it gets too long to be one."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise httpx2.ReadError(f"an answer of more than {MAX_BODY_BYTES:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_body(response: httpx2.Response) -> None:
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)


async def _body_of(answer: Coroutine[Any, Any, bytes]) -> bytes:
    """Await what the client was asked, and sort what may go wrong."""
    try:
        return await answer
    except openai.APIStatusError as error:
        refuse(error.status_code, error.response.headers, error.response.text)
    except openai.OpenAIError as error:
        cause = error.__cause__ or error
        raise Retry(f"{type(cause).__name__}: {cause}") from None


def read_completion(body: bytes) -> Completion:
    """The completion that a server's answer holds; Retry if it holds none."""
    answer = parse_json(body)
    try:
        text = answer["choices"][0]["message"]["content"]
        usage = answer.get("usage") or {}
        counts = [int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion")]
        if not isinstance(text, str | None):
            raise TypeError
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise Retry(f"not a chat completion: {body[:80]!r}") from None
    return Completion(text or "", *counts)  # a model that only reasoned has written no text


def _model_names(listing: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in listing["data"]]
    except (LookupError, TypeError):
        raise Retry(f"not a list of models: {str(listing)[:80]}") from None
