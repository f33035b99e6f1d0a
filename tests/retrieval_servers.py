"""Real retrieval servers, in a process of their own or in this one, and requests to them."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import aiohttp
import pytest
from aiohttp import web

from tests.helpers import program_that_serves
from zs_env.engines.retrieval_server import make_app, make_runner

ROOT = Path(__file__).parent.parent

COMMAND = [sys.executable, "-W", "error", "-m", "zs_env", "serve-retrieval", "--port", "0"]


def serving(*options, command=COMMAND):
    """A server in a process of its own, and the address it prints."""
    return program_that_serves(*command, *options)


def post(url, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(url, content, timeout=60) as response:
        return json.load(response)


def post_refused(url, body):
    with pytest.raises(HTTPError) as error:
        post(url, body)
    with error.value as response:
        return response.status, json.load(response)["error"]


def health_of(url):
    with urllib.request.urlopen(url.replace("/retrieve", "/health"), timeout=60) as response:
        return json.load(response)


def run_in_process(engine, use, *arguments, **options):
    """Serve ``engine`` in this process, and await ``use(session, url)``; the rest is `make_app`'s.

    It is the whole server, with what it does about clients that err or leave.
    """

    async def main():
        runner = make_runner(make_app(engine, *arguments, **options))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                await use(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    asyncio.run(main())
