r"""Serves BM25 over HTTP, in the wire format of Search-R1's retrieval server.

    POST /retrieve
    {"queries": ["capital of Peru"], "topk": 1, "return_scores": true}

    {"result": [[{"document": {"id": "7", "contents": "\"Lima\"\nLima is the …"}, "score": 2.5}]]}

``topk`` and ``return_scores`` may be left out; without scores, the documents stand alone. There is
one list for each query, best document first, with fewer than ``topk`` documents if fewer share a
word with the query. What is wrong with a request is answered with status 400 and
``{"error": "…"}``. GET /health answers ``{"status": "ok"}``.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from zs_env.engines.bm25 import BM25Engine, Ranked
from zs_env.engines.corpus import join_contents
from zs_env.errors import MissingDependencyError, ZeroSearchError

try:
    from aiohttp import web
except ImportError as error:
    raise MissingDependencyError.for_extra("The retrieval server", "aiohttp", "http") from error

MAX_BODY_BYTES = 8 << 20
MAX_QUERIES = 10_000
MAX_TOP_K = 1000
MAX_QUERY_CHARS = 4096
"""Of a longer query, which a policy may well write, the beginning is searched for."""

CHUNK = 16
"""Queries that one call of a thread answers: the server can stop, and others be served, between."""

STOP_S = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RetrievalRequest(NamedTuple):
    """What was asked, checked."""

    queries: list[str]
    top_k: int
    return_scores: bool

    @classmethod
    def parse(cls, body: bytes, top_k: int) -> RetrievalRequest:
        """Read the body of a request.

        Args:
            body: JSON.
            top_k: what ``topk`` is if it is left out or null.

        Raises:
            ValueError: it is not what is expected; the message says what is.
        """
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body must be JSON: {error}.") from None
        if not isinstance(fields, dict):
            _refuse("the body", "a JSON object", fields)
        wanted = fields.get("topk")
        return cls(
            _check_queries(fields.get("queries")),
            _check_top_k(top_k if wanted is None else wanted),
            _check_bool(fields.get("return_scores", False)),
        )


def _check_queries(queries: object) -> list[str]:
    if not (isinstance(queries, list) and all(isinstance(query, str) for query in queries)):
        _refuse("`queries`", "a list of strings", queries)
    if len(queries) > MAX_QUERIES:
        _refuse("the number of `queries`", f"at most {MAX_QUERIES}", len(queries))
    return queries


def _check_top_k(top_k: object) -> int:
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        _refuse("`topk`", f"an integer from 1 to {MAX_TOP_K}, or null", top_k)
    return top_k


def _check_bool(return_scores: object) -> bool:
    if not isinstance(return_scores, bool):
        _refuse("`return_scores`", "true or false", return_scores)
    return return_scores


def _refuse(what: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{what} must be {expected}, got {json.dumps(got)[:80]}.")


def make_app(engine: BM25Engine, top_k: int = 3) -> web.Application:
    """The server's application.

    Args:
        engine: what answers.
        top_k: documents a query where the request does not say.
    """
    _check_top_k(top_k)

    async def retrieve(http_request: web.Request) -> web.Response:
        try:
            request = RetrievalRequest.parse(await http_request.read(), top_k)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return web.json_response({"result": await _answer(engine, request)})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
    app.add_routes([web.post("/retrieve", retrieve), web.get("/health", health)])
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        return web.json_response({"error": error.text}, status=error.status)
    except ZeroSearchError as error:  # such as a corpus that was changed
        return web.json_response({"error": str(error)}, status=500)


async def _answer(engine: BM25Engine, request: RetrievalRequest) -> list[list[dict[str, Any]]]:
    def answer_chunk(queries: list[str]) -> list[list[dict[str, Any]]]:
        return [
            [_encode(found, request.return_scores) for found in engine.rank(query, request.top_k)]
            for query in queries
        ]

    result: list[list[dict[str, Any]]] = []
    queries = [query[:MAX_QUERY_CHARS] for query in request.queries]
    for start in range(0, len(queries), CHUNK):
        result += await asyncio.to_thread(answer_chunk, queries[start : start + CHUNK])
    return result


def _encode(found: Ranked, with_score: bool) -> dict[str, Any]:
    passage_id, document = found.passage
    encoded = {"id": passage_id, "contents": join_contents(document)}
    return {"document": encoded, "score": found.score} if with_score else encoded


async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until the program is told to end, by Ctrl-C or SIGTERM. Prints where, once it listens.

    Args:
        app: what to serve.
        host: address to listen at.
        port: port to listen at; 0 for any that is free.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C raises KeyboardInterrupt
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        place = f"[{host}]" if ":" in host else host
        print(f"serving at http://{place}:{runner.addresses[0][1]}/retrieve", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
