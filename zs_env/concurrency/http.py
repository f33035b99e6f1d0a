"""Client of HTTP servers that answer in JSON; a malformed answer is an error.

Redirections are refused, because they would carry prompts and keys to another server. The size of
an answer is limited, as received and decompressed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from zs_env.concurrency.attempts import AttemptError
from zs_env.concurrency.event_loop import PerLoop
from zs_env.concurrency.keys import read_key
from zs_env.concurrency.servers import Patience, Servers
from zs_env.concurrency.urls import (
    check_urls,
    environment_proxy,
    join_path,
    public_url,
    url_secrets,
)
from zs_env.errors import MissingDependencyError

try:
    import aiohttp
    from yarl import URL

    from zs_env.concurrency.answers import (
        ENCODINGS,
        MAX_BODY_BYTES,
        connection_error,
        parse_json,
        read_body,
        refuse,
    )
except ImportError as error:
    raise MissingDependencyError.for_extra("A client of HTTP servers", "aiohttp", "http") from error

T = TypeVar("T")

JSON_HEADERS = {"Content-Type": "application/json"}
"""Headers of a request with a body."""


class Access(NamedTuple):
    """Credentials of a server.

    Attributes:
        headers: headers of each request.
        params: parameters of each request's query string.
        secrets: texts in them that must not be shown, such as keys.
    """

    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()

    @classmethod
    def bearer(cls, variable: str) -> Access:
        """Return access with the key in the environment variable ``variable``, if there is one."""
        key = read_key(variable)
        return cls({"Authorization": f"Bearer {key}"}, secrets=(key,)) if key else cls()


class JsonServers:
    """Servers that take and give JSON. They can be asked from any event loop.

    Args:
        urls: URL of the server, or several.
        patience: limits of time and attempts.
        read_access: returns the credentials; called when a connection is first needed, so that no
            key is kept with the options.
        use_proxy: whether to use the proxy that the environment names, if any.

    Raises:
        ServiceError: ``urls`` is not a URL or a list of URLs.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        patience: Patience,
        read_access: Callable[[], Access] = Access,
        *,
        use_proxy: bool = False,
    ) -> None:
        self._urls = check_urls(urls)
        self._patience = patience
        self._read_access = read_access
        self._use_proxy = use_proxy
        self._clients = PerLoop(self._connect, _disconnect)

    async def ask(
        self,
        read: Callable[[Any], T],
        *,
        path: str = "",
        payload: Any = None,
        params: Mapping[str, Any] | None = None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> T:
        """Send a POST of ``payload``, or a GET, and return the answer as ``read`` converts it.

        Args:
            read: converts the JSON, and raises `Retry` if it is malformed.
            path: path to append to that of the URL.
            payload: JSON to post; None to get.
            params: parameters of the query string.
            max_bytes: largest size of an answer, decompressed.

        Raises:
            SearchFailure: the servers do not answer in time, or refuse the request.
            ServiceError: the key cannot be sent.
        """
        client = self._clients.get()
        body = None if payload is None else json.dumps(payload).encode()
        return await client.servers.ask(
            lambda target: client.send(target, path, body, params, max_bytes, read)
        )

    async def try_each(
        self, read: Callable[[Any], T], *, path: str, timeout_s: float
    ) -> list[tuple[str, T | AttemptError]]:
        """Send a GET of ``path`` to each server once, and return (name, answer or error) of each.

        Args:
            read: as for `ask`.
            path: path to append to that of the URL.
            timeout_s: time limit of each server, in seconds.

        Raises:
            ServiceError: the key cannot be sent.
        """
        client = self._clients.get()
        return await client.servers.try_each(
            lambda target: client.send(target, path, None, None, MAX_BODY_BYTES, read), timeout_s
        )

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _connect(self) -> _Client:
        access = self._read_access()
        targets = [
            _Target(url, environment_proxy(url) if self._use_proxy else None, access.params)
            for url in self._urls
        ]
        session = aiohttp.ClientSession(
            headers={"Accept-Encoding": ENCODINGS, **access.headers},
            connector=aiohttp.TCPConnector(limit=0),  # `Patience.max_concurrency` is the limit
            cookie_jar=aiohttp.DummyCookieJar(),  # requests depend on nothing that was answered
            timeout=aiohttp.ClientTimeout(total=None),  # `Servers` limits the time
            auto_decompress=False,  # `read_body` does it, and limits the size
        )
        secrets = [*access.secrets]
        for target in targets:
            secrets += url_secrets(target.url)
            secrets.append(urlsplit(target.proxy or "").password or "")
        named = [(public_url(target.url), target) for target in targets]
        return _Client(session, Servers(named, self._patience, secrets))


class _Target:
    """Server to send requests to.

    Args:
        url: URL of the server.
        proxy: proxy to use, if any.
        params: parameters of each request's query string.
    """

    def __init__(self, url: str, proxy: str | None, params: Mapping[str, str]) -> None:
        self.url = url
        self.proxy = proxy
        self._params = params
        self._paths: dict[str, URL] = {}

    def at(self, path: str, params: Mapping[str, Any] | None) -> URL:
        """Return the URL of ``path``, with ``params`` in its query string."""
        if path not in self._paths:
            self._paths[path] = URL(join_path(self.url, path)).update_query(self._params)
        url = self._paths[path]
        return url.update_query(params) if params else url


class _Client(NamedTuple):
    """Session and servers of one event loop."""

    session: aiohttp.ClientSession
    servers: Servers[_Target]

    async def send(
        self,
        target: _Target,
        path: str,
        body: bytes | None,
        params: Mapping[str, Any] | None,
        max_bytes: int,
        read: Callable[[Any], T],
    ) -> T:
        """Send a request and return what ``read`` makes of the answer; raise Retry or Refused."""
        try:
            async with self.session.request(
                "GET" if body is None else "POST",
                target.at(path, params),
                data=body,
                headers=None if body is None else JSON_HEADERS,
                proxy=target.proxy,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    await refuse(response)
                answer = await read_body(response, max_bytes)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise connection_error(error) from None
        return read(parse_json(answer))


async def _disconnect(client: _Client) -> None:
    await client.session.close()
