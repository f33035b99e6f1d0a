"""Waiting for many things at once."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys

import pytest

from zs_env import SearchFailure
from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, on_engine_loop, run_to_end
from zs_env.concurrency.servers import Patience, Refused, Retry, Servers
from zs_env.concurrency.single_flight import SingleFlight


async def echo(batch):
    await asyncio.sleep(0.001)
    return [f"{request}!" for request in batch]


def gather(make, count):
    """The results of ``make(i)`` for each i, at once, on one loop."""

    async def main():
        return await asyncio.gather(*make(count), return_exceptions=True)

    return asyncio.run(main())


def test_batcher_gives_each_its_own_answer_in_batches_of_bounded_size():
    sizes = []

    async def ask(batch):
        sizes.append(len(batch))
        return await echo(batch)

    def make(count):
        batcher = Batcher(ask, max_size=8, max_in_flight=2)
        return [batcher(i) for i in range(count)]

    assert gather(make, 20) == [f"{i}!" for i in range(20)]
    assert sizes == [8, 8, 4]


def test_batcher_collects_while_a_batch_is_under_way():
    sizes, running = [], []

    async def ask(batch):
        running.append(1)
        assert len(running) == 1, "one batch at a time"
        sizes.append(len(batch))
        await asyncio.sleep(0.05)
        running.pop()
        return batch

    async def main():
        batcher = Batcher(ask, max_size=100, max_in_flight=1)
        tasks = []
        for i in range(30):
            tasks.append(asyncio.create_task(batcher(i)))
            await asyncio.sleep(0.001)
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == list(range(30))
    assert sum(sizes) == 30 and len(sizes) <= 4


def test_batcher_error_is_that_of_its_batch():
    async def ask(batch):
        if "bad" in batch:
            raise SearchFailure("no luck")
        return batch

    async def main():
        batcher = Batcher(ask, max_size=2, max_in_flight=9)
        tasks = [batcher(name) for name in ("a", "bad", "b")]
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert asyncio.run(main()) == [SearchFailure("no luck"), SearchFailure("no luck"), "b"]


def test_batcher_leaves_out_who_has_gone():
    asked = []

    async def ask(batch):
        asked.extend(batch)
        return batch

    async def main():
        batcher = Batcher(ask, max_size=9, max_in_flight=9)
        gone, stays = asyncio.create_task(batcher("gone")), asyncio.create_task(batcher("stays"))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(main()) == "stays" and asked == ["stays"]


def test_single_flight_asks_once_and_ends_with_the_last_who_waits():
    started, ended = [], []

    async def ask():
        started.append(1)
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(1)

    async def main():
        flights = SingleFlight()
        tasks = [asyncio.create_task(flights.run("a", ask)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for count, task in enumerate(tasks):
            assert (len(started), len(ended)) == (1, 0), count
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert ended == [1]
        return await flights.run("a", lambda: asyncio.sleep(0, "anew"))

    assert asyncio.run(main()) == "anew"


def test_single_flight_error_is_raised_to_all_and_forgotten():
    async def fail():
        await asyncio.sleep(0)
        raise SearchFailure("no luck")

    async def main():
        flights = SingleFlight()
        first = await asyncio.gather(
            *(flights.run("a", fail) for _ in range(2)), return_exceptions=True
        )
        return first, await flights.run("a", lambda: asyncio.sleep(0, "well"))

    failure = SearchFailure("no luck")
    assert asyncio.run(main()) == ([failure, failure], "well")


def ask_servers(send, names=("a",), **patience):
    """Ask once; the result, and the names of the servers that were asked."""
    asked = []

    async def note(target):
        asked.append(target)
        return await send(target)

    async def main():
        return await Servers([(name, name) for name in names], Patience(**patience)).ask(note)

    try:
        return asyncio.run(main()), asked
    except SearchFailure as failure:
        return failure, asked


def test_servers_failover_needs_no_pause():
    async def send(name):
        if name != "c":
            raise Retry("down")
        return "well"

    assert ask_servers(send, "abc", deadline_s=0.2) == ("well", ["a", "b", "c"])


def test_servers_refusal_ends_at_once_and_hides_secrets():
    async def send(name):
        raise Refused("key s3cret is wrong")

    async def main():
        servers = Servers([("a", "a")], Patience(), secrets=["s3cret", ""])
        with pytest.raises(SearchFailure, match=r"^a: key \[secret\] is wrong$"):
            await servers.ask(send)

    asyncio.run(main())


def test_servers_defect_is_no_failure():
    async def send(name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_servers(send)


def test_servers_pauses_grow_and_stay_bounded(monkeypatch):
    """A server that is down at once must not be asked 70,000 times in two seconds."""
    pauses = []
    sleep = asyncio.sleep

    async def note(seconds, *rest):
        pauses.append(seconds)
        await sleep(0)

    async def send(name):
        raise Retry("down")

    monkeypatch.setattr(asyncio, "sleep", note)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0] + sum(pauses))
    failure, asked = ask_servers(send, max_attempts=10)
    assert "given up after 10 attempts" in str(failure) and len(asked) == 10
    assert len(pauses) == 9 and pauses[0] >= 0.25
    for base, pause in zip((0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0), pauses, strict=True):
        assert base <= pause <= 1.5 * base


def test_servers_that_failed_are_tried_by_one_request_at_a_time():
    """All requests at once went to a server that hung when its rest was over."""
    asked = []

    async def main():
        servers = Servers([("a", "a"), ("b", "b")], Patience(timeout_s=0.1))
        ill = True

        async def send(name):
            asked.append(name)
            if name == "a" and ill:
                raise Retry("down")
            await asyncio.sleep(0.3 if name == "a" else 0.01)
            return name

        await servers.ask(send)
        ill = False
        await asyncio.sleep(0.3)
        asked.clear()
        await asyncio.gather(*(servers.ask(send) for _ in range(10)))

    asyncio.run(main())
    assert asked.count("a") == 1 and asked.count("b") == 10


def test_engine_loop_is_one_and_is_reached_from_any_other():
    async def loop():
        return asyncio.get_running_loop()

    async def elsewhere():
        return await on_engine_loop(loop())

    assert run_to_end(loop()) is asyncio.run(elsewhere()) is run_to_end(elsewhere())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ZeroDivisionError])
def test_engine_loop_raises_to_who_awaits(error):
    async def fail():
        raise error

    async def elsewhere():
        with pytest.raises(error):
            await on_engine_loop(fail())
        return await on_engine_loop(asyncio.sleep(0, "goes on"))

    assert asyncio.run(elsewhere()) == "goes on"


CLOSED = []


async def close(made):
    CLOSED.append(made)


def test_per_loop_is_made_once_for_each_loop_and_freed_when_it_is_forgotten():
    holders = [held := PerLoop(object, close)]

    async def get():
        return holders[0].get()

    first = run_to_end(get())
    assert run_to_end(get()) is first and asyncio.run(get()) is not first
    assert run_to_end(on_engine_loop(get())) is first
    assert pickle.loads(pickle.dumps(held))._made == {}
    held.close()
    held.close()
    assert CLOSED == [first]
    second = run_to_end(get())
    del held
    holders.clear()
    gc.collect()
    run_to_end(asyncio.sleep(0.01))
    assert CLOSED == [first, second]


def test_what_was_not_closed_is_freed_at_the_end_of_the_program():
    program = (
        "import zs_env\n"
        "from benchmarks.chat_server import *\n"
        "from zs_env.engines import *\n"
        "with running(ChatServer().app()) as url:\n"
        "    options = {'base_url': url + '/v1', 'model': MODEL}\n"
        "    engine = load_engine('simulated', options)\n"
        "    print(len(answer_batch(engine, [zs_env.SearchRequest('q', '?', ('a',))])))\n"
    )
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")
