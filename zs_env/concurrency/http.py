"""What HTTP servers are asked and may answer, so that nothing they do is taken for an answer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

from zs_env.concurrency.event_loop import PerLoop
from zs_env.concurrency.servers import Patience, Refused, Retry, Servers
from zs_env.errors import MissingDependencyError, ServiceError

try:
    import aiohttp
except ImportError as error:
    raise MissingDependencyError.for_extra("An engine behind HTTP", "aiohttp", "http") from error

T = TypeVar("T")

TRANSIENT = (408, 409, 425, 429)
"""Client errors that another attempt may not meet; so may any server error."""

DETAIL_CHARS = 200
MAX_BODY_BYTES = 16 * 2**20


class Access(NamedTuple):
    """What a server is shown to let requests in.

    Attributes:
        headers: sent with each request.
        params: of the query string of each request.
        secrets: texts in them that must not be shown, such as keys.
    """

    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()


class JsonServers:
    """Servers that are asked and answer in JSON. May be asked from any event loop.

    Args:
        urls: where they are asked.
        patience: how long and how often to try.
        read_access: says what to show the servers; called when a connection is first needed, so
            that no key is kept with the options.

    Raises:
        ServiceError: a URL is none, or there is none.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        patience: Patience,
        read_access: Callable[[], Access] = Access,
    ) -> None:
        self._urls = check_urls(urls)
        self._patience = patience
        self._read_access = read_access
        self._clients = PerLoop(self._connect, _disconnect)

    async def ask(
        self,
        read: Callable[[Any], T],
        *,
        payload: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> T:
        """What ``read`` makes of the answer to a POST of ``payload``, or to a GET of ``params``.

        Args:
            read: takes JSON, and raises `Retry` where that is no answer.
            payload: JSON to post; None to get.
            params: of the query string.

        Raises:
            SearchFailure: the servers do not answer in time, or refuse the request.
        """
        client = self._clients.get()
        method = "GET" if payload is None else "POST"
        params = {**client.access.params, **(params or {})}

        async def send(url: str) -> T:
            try:
                # A redirection would carry the key elsewhere.
                async with client.session.request(
                    method, url, json=payload, params=params, allow_redirects=False
                ) as response:
                    body = await read_body(response)
            except aiohttp.ClientResponseError as error:  # its text holds the URL, with its query
                raise Retry(f"{type(error).__name__}: {error.message}") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise Retry(f"{type(error).__name__}: {error}") from None
            if response.status != 200:
                refuse(response.status, response.headers, body.decode(errors="replace"))
            return read(parse_json(body))

        return await client.servers.ask(send)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _connect(self) -> _Client:
        access = self._read_access()
        session = aiohttp.ClientSession(
            headers=access.headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),  # `Servers` keeps the time
        )
        named = [(public_url(url), url) for url in self._urls]
        queries = [value for url in self._urls for _, value in parse_qsl(urlsplit(url).query)]
        servers = Servers(named, self._patience, [*access.secrets, *queries])
        return _Client(session, servers, access)


class _Client(NamedTuple):
    session: aiohttp.ClientSession
    servers: Servers[str]
    access: Access


async def _disconnect(client: _Client) -> None:
    await client.session.close()


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The body of ``response``; Retry if it has no end."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Retry(f"an answer of more than {MAX_BODY_BYTES:,} bytes")
    return bytes(body)


def refuse(status: int, headers: Mapping[str, str], detail: str) -> NoReturn:
    """Raise what an HTTP status other than 200 means.

    Raises:
        Retry: another attempt may help.
        Refused: it would not.
    """
    reason = f"HTTP {status}: {' '.join(detail.split())[:DETAIL_CHARS]}"
    if status in TRANSIENT or status >= 500:
        raise Retry(reason, retry_after_s(headers))
    raise Refused(reason)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for, given as seconds or as a date; else None."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def parse_json(body: bytes) -> Any:
    """What ``body`` says; Retry if it is cut or is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Retry(f"not JSON: {error}: {body[:40]!r}") from None


def check_urls(urls: str | Sequence[str]) -> list[str]:
    """``urls`` as a list, if all are of HTTP, without a password, which would be shown in a spec.

    Raises:
        ServiceError: one is not, or there is none.
    """
    listed = [urls] if isinstance(urls, str) else urls
    if not isinstance(listed, list | tuple) or not listed:
        raise ServiceError(f"expected a URL, or a list of one or more, got {urls!r}.")
    for url in listed:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except (ValueError, AttributeError, TypeError):
            valid = False
        if valid and "@" in parts.netloc:
            raise ServiceError(f"a URL must not hold a user or a password: {parts.hostname}.")
        if not valid:
            raise ServiceError(f"expected a URL such as http://127.0.0.1:8000, got {url!r}.")
    return list(listed)


def public_url(url: str) -> str:
    """``url`` without its query, which may be secret."""
    return url.partition("?")[0]
