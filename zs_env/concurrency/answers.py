"""Reading of HTTP answers: size, compression, status, JSON, connection errors."""

from __future__ import annotations

import gzip
import json
import math
import os
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, NoReturn

import aiohttp

from zs_env.concurrency.attempts import Refused, Retry

TRANSIENT = (408, 409, 425, 429)
"""Client errors after which another attempt may succeed, as after every server error."""

OVERLOADED = (429, 503)
"""Statuses of a server that has too many requests under way."""

ENCODINGS = "gzip"
"""Value of Accept-Encoding: the compression that `read_body` can undo."""

MAX_BODY_BYTES = 16 * 2**20
"""Largest size of an answer, decompressed."""

MAX_ERROR_BYTES = 2**16
"""Largest size of an error's text that is read, decompressed."""


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body of ``response``, decompressed.

    Args:
        response: response of a session that does not decompress.
        max_bytes: largest size of the body, as received and decompressed.

    Raises:
        Retry: the body is larger, or is not compressed as its header says.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            break
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    decoded = _decode(bytes(body), encoding, max_bytes) if len(body) <= max_bytes else body
    if len(decoded) > max_bytes:
        raise Retry(f"an answer of more than {max_bytes:,} bytes")
    return bytes(decoded)


def _decode(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return ``body`` decompressed, with one byte more than ``max_bytes`` if it is longer."""
    if encoding in ("", "identity") or not body:
        return body
    if encoding != "gzip":
        raise Retry(f"an answer in the encoding {encoding[:40]!r}, which was not asked for")
    try:  # stops at the limit: a few bytes may decompress to gigabytes
        return gzip.GzipFile(fileobj=BytesIO(body)).read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Retry(f"not gzip: {error}") from None


async def refuse(response: aiohttp.ClientResponse) -> NoReturn:
    """Raise the error that an HTTP status other than 200 stands for.

    Raises:
        Retry: another attempt may succeed.
        Refused: another attempt would be refused as well.
    """
    try:
        detail = (await read_body(response, MAX_ERROR_BYTES)).decode(errors="replace")
    except Retry as error:
        detail = str(error)
    reason = f"HTTP {response.status}"
    if response.status in TRANSIENT or response.status >= 500:
        after_s = retry_after_s(response.headers)
        raise Retry(reason, detail, after_s, overloaded=response.status in OVERLOADED)
    raise Refused(reason, detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that Retry-After asks for, in seconds; None without a valid header."""
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
    """Return ``body`` parsed; raise Retry if it is not JSON, such as a cut answer."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Retry(f"not JSON ({error})", body.decode(errors="replace")) from None


def connection_error(error: Exception) -> Retry:
    """Return an error of the HTTP client as `Retry`, with a text for the user."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Retry(f"the proxy answers HTTP {error.status}", error.message)
    if isinstance(error, aiohttp.ClientResponseError):  # its own text shows the URL with its query
        return Retry("malformed HTTP", error.message)
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        code = cause.errno or 0  # below 0 where a host's name is not found
        text = os.strerror(code) if code > 0 else cause.strerror
        return Retry(f"cannot connect: {text or cause}")
    return Retry(f"{type(error).__name__}: {error}")
