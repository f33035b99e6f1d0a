"""Settings of the whole test run."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# No limits of time: a busy machine is no defect.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_configure():
    """Have programs that tests start end at Ctrl-C: a shell's background jobs would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Run slow tests first: at the end, other processes would wait for one of them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def server():
    """A server that plays a language model, at ``server.url``; ``server.plan`` says how."""
    from benchmarks.chat_server import ChatServer, running

    server = ChatServer()
    with running(server.app()) as url:
        server.url = f"{url}/v1"
        yield server
