r"""HTTP server of any engine, in the wire format of Search-R1's retrieval server.

    POST /retrieve
    {"queries": ["capital of Peru"], "topk": 1, "return_scores": true}

    {"result": [[{"document": {"id": "7", "contents": "\"Lima\"\nLima is the …"}, "score": 2.5}]]}

``topk`` and ``return_scores`` are optional; without scores, an entry is the document itself. A text
as ``query`` stands for a list with that query alone, as SkyRL asks. The answer has one list for
each query, best document first, with fewer than ``topk`` documents if fewer were found. Where the
engine has no scores, a score is the reciprocal of the rank.

What a simulated engine should know besides the query is optional, and null means that it is not
given. `Defaults` holds what takes its place.

| field               | value                                   | without it                        |
|---------------------|-----------------------------------------|-----------------------------------|
| `questions`         | list of strings, one for each query     | the query itself                  |
| `golden_answers`    | list of lists of strings                | none                              |
| `noisy`             | list of true or false                   | drawn from `noise_probability`    |
| `noise_probability` | number in [0, 1], not beside `noisy`    | that of the server                |
| `keys`              | list of integers in [0, 2**64)          | from seed, question and query     |
| `turns`             | list of integers, from 0                | 0                                 |
| `document_words`    | integer from 1 to 1000                  | that of the server                |
| `return_details`    | true: the answer has the fields below   | false                             |

Details are ``noisy``, a list of the labels; ``failures``, a list with null or the reason why the
search of that query failed; and ``honours_noise``, false for a real engine, which has no noisy
documents. Without details, a request of which a search failed gets status 502, unless the server
was told to give such searches no documents. A query without a word finds nothing.

A malformed request gets status 400 and ``{"error": "…"}``; so does a request for more than 30,000
documents (queries times ``topk``) or an answer of more than 16 MiB. GET /health answers
``{"status": "ok", "searches": 12, "failed_searches": 0, "seconds": 0.25}``: the queries asked for,
those that failed, and the time of all requests, summed.
"""  # noqa: E501  (the rows of a table cannot be broken)

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from zs_env.checks import as_integer, check_choice
from zs_env.engines.base import SearchEngine
from zs_env.engines.retrieval_answers import Answer, Answerer, AnswerTooLarge
from zs_env.engines.retrieval_request import Defaults, RetrievalRequest
from zs_env.engines.usage import Usage
from zs_env.errors import MissingDependencyError, ZeroSearchError

try:
    from aiohttp import web

    from zs_env.concurrency.answers import MAX_BODY_BYTES as MAX_ANSWER_BYTES
except ImportError as error:
    raise MissingDependencyError.for_extra("The retrieval server", "aiohttp", "http") from error

MAX_BODY_BYTES = 8 << 20

FAILURES = ("error", "empty")
"""Treatments of failed searches, for clients that do not ask for details."""

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


def make_app(
    engine: SearchEngine,
    defaults: Defaults | None = None,
    *,
    failures: str = "error",
    max_concurrency: int = 256,
) -> web.Application:
    """Make the server's application.

    Args:
        engine: engine that answers.
        defaults: values of what a request leaves open.
        failures: treatment of failed searches of requests that do not ask for details: ``error``,
            status 502, or ``empty``, no documents, which trainers cannot tell from a search that
            found nothing.
        max_concurrency: most searches under way at the same time.

    Raises:
        ValueError: an argument is out of range.
    """
    check_choice("failures", failures, FAILURES)
    defaults = defaults or Defaults()
    answerer = Answerer(engine, as_integer("max_concurrency", max_concurrency, 1), MAX_ANSWER_BYTES)
    usage = Usage()

    async def retrieve(http_request: web.Request) -> web.Response:
        body = await _read(http_request)
        try:
            request = RetrievalRequest.parse(body, defaults, honours_noise=engine.honours_noise)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        with usage.counting(len(request.searches)):
            answers = await answerer.answer(request)
        failed = [answer for answer in answers if answer.failure is not None]
        usage.failed_searches += len(failed)
        if failed and failures == "error" and not request.return_details:
            text = f"{len(failed)} of {len(answers)} searches failed: {failed[0].failure}"
            raise web.HTTPBadGateway(text=text)
        text = _write(request, answers, engine.honours_noise)
        return web.Response(text=text, content_type="application/json")

    async def health(_: web.Request) -> web.Response:
        counts = {name: getattr(usage, name) for name in ("searches", "failed_searches", "seconds")}
        return web.json_response({"status": "ok", **counts})

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
    app.add_routes([web.post("/retrieve", retrieve), web.get("/health", health)])
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Make a runner of ``app`` that logs no requests and limits the wait for every client.

    It ends the searches of a client that leaves.
    """
    return web.AppRunner(
        app,
        handler_cancellation=True,
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
    except AnswerTooLarge as error:
        return web.json_response({"error": str(error)}, status=400)
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


def _write(request: RetrievalRequest, answers: Sequence[Answer], honours_noise: bool) -> str:
    """Return the body of the response to ``request``."""
    result = f'"result": [{", ".join(answer.documents for answer in answers)}]'
    if not request.return_details:
        return f"{{{result}}}"
    details: dict[str, Any] = {
        "noisy": [search.noisy for search in request.searches],
        "failures": [answer.failure and str(answer.failure) for answer in answers],
        "honours_noise": honours_noise,
    }
    return f"{{{result}, {json.dumps(details)[1:]}"


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
