"""URLs of servers: checks, the form to show, and proxies."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from zs_env.errors import ServiceError

MIN_SECRET_CHARS = 8
"""Length from which a value in a URL's query is hidden anywhere; others only with their names."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_urls(urls: str | Sequence[str]) -> list[str]:
    """Check that ``urls`` are HTTP URLs without a password, and return them as a list.

    Raises:
        ServiceError: there is no URL, or one is not as expected.
    """
    # An environment's specification shows its URLs, and would show a password in them.
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
            shown = public_url(url) if isinstance(url, str) else url
            raise ServiceError(f"expected a URL such as http://127.0.0.1:8000, got {shown!r}.")
    return list(listed)


def public_url(url: str) -> str:
    """Return ``url`` without its query, which may be secret."""
    return url.partition("?")[0]


def url_secrets(url: str) -> list[str]:
    """Return the parts of the query of ``url`` that must not be shown, such as a key."""
    return [
        value if len(value) >= MIN_SECRET_CHARS else f"{name}={value}"
        for name, value in parse_qsl(urlsplit(url).query)
    ]


def join_path(url: str, path: str) -> str:
    """Return ``url`` with ``path`` appended to its own path, before its query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path)) if path else url


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``, as in ``HTTPS_PROXY``.

    None if it names no proxy, if ``NO_PROXY`` excludes the host, or if the host is this machine.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
