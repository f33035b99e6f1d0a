r"""HTTP server of BM25, in the wire format of Search-R1's retrieval server.

    POST /retrieve
    {"queries": ["capital of Peru"], "topk": 1, "return_scores": true}

    {"result": [[{"document": {"id": "7", "contents": "\"Lima\"\nLima is the …"}, "score": 2.5}]]}

``topk`` and ``return_scores`` are optional; without scores, an entry is the document itself. The
answer has one list for each query, best document first, with fewer than ``topk`` documents if fewer
share a word with the query. A malformed request gets status 400 and ``{"error": "…"}``; so does a
request for more than 30,000 documents (queries times ``topk``) or an answer of more than 16 MiB.
GET /health answers ``{"status": "ok", "searches": 12, "failed_searches": 0, "seconds": 0.25}``:
the queries asked for, those that failed, and the time of all requests, summed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from zs_env.concurrency.event_loop import in_thread
from zs_env.engines.bm25 import BM25Engine, Ranked
from zs_env.engines.corpus import join_contents
from zs_env.engines.retrieval_request import RetrievalRequest, check_top_k
from zs_env.engines.usage import Usage
from zs_env.errors import MissingDependencyError, ZeroSearchError

try:
    from aiohttp import web

    from zs_env.concurrency.answers import MAX_BODY_BYTES as MAX_ANSWER_BYTES
except ImportError as error:
    raise MissingDependencyError.for_extra("The retrieval server", "aiohttp", "http") from error

MAX_BODY_BYTES = 8 << 20

CHUNK = 16
"""Queries that a thread answers at once; between chunks, the server may stop or serve others."""

NUM_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Most chunks that are answered at the same time; others wait."""

READ_TIMEOUT_S = 30.0
"""Time limit for a request to arrive, and for a connection without a request, in seconds."""

LINGER_S = 1.0
"""Time for which the rest of a refused request is read, so that the client gets the answer."""

STOP_S = 0.5
"""Time that requests under way get to finish when the server stops, in seconds."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# aiohttp logs broken requests and dropped clients with tracebacks; the client's answer is enough.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
_logger = logging.getLogger(__name__)


def make_app(engine: BM25Engine, top_k: int = 3) -> web.Application:
    """Make the server's application.

    Args:
        engine: engine that answers.
        top_k: documents for each query if a request has no ``topk``.

    Raises:
        ValueError: ``top_k`` is out of range.
    """
    check_top_k(top_k)
    usage = Usage()
    slots = asyncio.Semaphore(NUM_THREADS)

    async def retrieve(http_request: web.Request) -> web.Response:
        try:
            request = RetrievalRequest.parse(await _read(http_request), top_k)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        with usage.counting(len(request.queries)):
            answers = await _answer(engine, request, slots, http_request)
        return web.Response(
            text=f'{{"result": [{", ".join(answers)}]}}', content_type="application/json"
        )

    async def health(_: web.Request) -> web.Response:
        counts = {name: getattr(usage, name) for name in ("searches", "failed_searches", "seconds")}
        return web.json_response({"status": "ok", **counts})

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
    app.add_routes([web.post("/retrieve", retrieve), web.get("/health", health)])
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Make a runner of ``app`` that logs no requests and limits the wait for every client."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=_SILENT,
        keepalive_timeout=READ_TIMEOUT_S,
        lingering_time=LINGER_S,
        shutdown_timeout=STOP_S,
    )


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        return web.json_response({"error": error.text}, status=error.status)
    except ConnectionError:  # the client has gone
        raise
    except ZeroSearchError as error:  # such as a corpus that has changed
        return web.json_response({"error": str(error)}, status=500)
    except Exception as error:
        _logger.exception("a request could not be answered")
        return web.json_response({"error": f"internal error: {error!r}"}, status=500)


async def _read(request: web.Request) -> bytes:
    """Return the body of ``request``; raise an HTTP error if it is malformed or too slow."""
    try:
        return await asyncio.wait_for(request.read(), READ_TIMEOUT_S)
    except asyncio.TimeoutError:
        text = f"the body must arrive within {READ_TIMEOUT_S:g} s."
        raise web.HTTPRequestTimeout(text=text) from None
    except web.RequestPayloadError as error:
        text = f"the body cannot be read: {' '.join(str(error).split())}."
        raise web.HTTPBadRequest(text=text) from None


async def _answer(
    engine: BM25Engine,
    request: RetrievalRequest,
    slots: asyncio.Semaphore,
    http_request: web.Request,
) -> list[str]:
    """Return each query's documents as JSON; raise an HTTP error if they are too long to send."""

    def answer_chunk(queries: list[str]) -> list[str]:
        return [
            json.dumps([_encode(found, request.return_scores) for found in ranked])
            for ranked in (engine.rank(query, request.top_k) for query in queries)
        ]

    answers: list[str] = []
    size = 0
    for start in range(0, len(request.queries), CHUNK):
        if http_request.transport is None:  # do not search for a client that has disconnected
            raise ConnectionResetError("the client has gone")
        async with slots:
            chunk = await in_thread(answer_chunk, request.queries[start : start + CHUNK])
        answers += chunk
        size += sum(map(len, chunk))
        if size > MAX_ANSWER_BYTES:
            text = (
                f"an answer must have at most {MAX_ANSWER_BYTES} bytes: ask for fewer `queries`, "
                "or for a smaller `topk`."
            )
            raise web.HTTPBadRequest(text=text)
    return answers


def _encode(found: Ranked, with_score: bool) -> dict[str, Any]:
    passage_id, document = found.passage
    encoded = {"id": passage_id, "contents": join_contents(document)}
    return {"document": encoded, "score": found.score} if with_score else encoded


def check_address(host: str, port: int) -> None:
    """Check the form of an address to listen at.

    Raises:
        ValueError: ``host`` is empty, or ``port`` is out of range.
    """
    if not host:
        raise ValueError("`host` must be an address or a name, such as 127.0.0.1, got ''.")
    if not 0 <= port <= 65_535:
        raise ValueError(f"`port` must be from 0 to 65535, 0 for any that is free, got {port}.")


async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM; print the URL once the server listens.

    Args:
        app: application to serve.
        host: address to listen at.
        port: port to listen at; 0 for any that is free.

    Raises:
        ValueError: the address is invalid.
        OSError: it cannot be used, such as a port that is in use.
    """
    check_address(host, port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C raises KeyboardInterrupt
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = make_runner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        place = f"[{host}]" if ":" in host else host
        print(f"serving at http://{place}:{runner.addresses[0][1]}/retrieve", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
