"""Server of OpenEnv: each WebSocket connection is a session with episodes of its own."""

from __future__ import annotations

import socket

from gymnasium.error import ResetNeeded
from typing_extensions import Unpack

from zs_env.adapters.openenv.environment import ServedEpisodes, ZeroSearchEnvironment
from zs_env.adapters.openenv.framework import (
    FastAPI,
    JSONResponse,
    Request,
    check_version,
    create_fastapi_app,
    uvicorn,
)
from zs_env.adapters.openenv.models import (
    ZeroSearchAction,
    ZeroSearchObservation,
    ZeroSearchState,
)
from zs_env.checks import as_integer
from zs_env.episodes import EpisodeSource
from zs_env.settings import TextArguments, TextSettings, make_settings

MAX_SESSIONS = 1024
"""Most sessions at the same time, by default; each has a thread of OpenEnv's, which sleeps."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

PING_TIMEOUT_S = 300.0
"""Time limit of a client's answer to a ping: a trainer that computes does not answer."""

STOP_S = 1
"""Time that sessions under way get to finish when the server stops, in seconds."""


def make_app(
    *,
    max_sessions: int = MAX_SESSIONS,
    total_episodes: int | None = None,
    **arguments: Unpack[TextArguments],
) -> FastAPI:
    """Make the server's application. All sessions share questions and engine.

    Args:
        max_sessions: most sessions at the same time.
        total_episodes: number of finished episodes, over all sessions, after which progress is 1,
            for trainers that send none; None for a curriculum that the sessions set.
        arguments: arguments of `zs_env.envs.text_env.ZeroSearchEnv`; here ``observation`` is
            ``delta`` by default.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an argument is unknown or has the wrong type.
        ZeroSearchError: questions or engine cannot be used, or OpenEnv has another version.
    """
    check_version()
    sessions = as_integer("max_sessions", max_sessions, 1)
    settings = make_settings(TextSettings, {"observation": "delta", **arguments})
    source = EpisodeSource(settings, settings.limits)
    try:
        episodes = ServedEpisodes(source, settings.observation, total_episodes)
        app = create_fastapi_app(
            lambda: ZeroSearchEnvironment(episodes),
            ZeroSearchAction,
            ZeroSearchObservation,
            max_concurrent_envs=sessions,
            env_name="zero_search",
            state_cls=ZeroSearchState,
        )
    except BaseException:
        source.close()  # the engine may hold threads and connections
        raise
    app.router.on_shutdown.append(source.close)
    for kind in (ResetNeeded, ValueError, TypeError):
        app.add_exception_handler(kind, _refuse)
    return app


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer a plain HTTP request that cannot be carried out, such as a step without a session."""
    hint = "" if request.url.path != "/step" else " An episode needs a session: connect to /ws."
    return JSONResponse({"error": f"{error}{hint}"}, status_code=400)


def make_server(app: FastAPI) -> uvicorn.Server:
    """Make a server of ``app`` that logs warnings alone, and is patient with its clients."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            ws_ping_timeout=PING_TIMEOUT_S,
            timeout_graceful_shutdown=STOP_S,
        )
    )


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM; print the URL once the server listens.

    Args:
        app: application to serve.
        host: address to listen at.
        port: port to listen at; 0 for any that is free.

    Raises:
        OSError: the address cannot be used, such as a port that is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listening:
        place = f"[{host}]" if ":" in host else host
        print(f"serving at http://{place}:{listening.getsockname()[1]}", flush=True)
        make_server(app).run(sockets=[listening])
