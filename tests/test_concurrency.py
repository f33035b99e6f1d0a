"""Waiting for many things at once."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import time

import pytest

from zs_env import SearchFailure
from zs_env.concurrency.attempts import Refused, Retry
from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, in_thread, on_engine_loop, run_to_end
from zs_env.concurrency.servers import Patience, Servers
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.errors import EngineContractError


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
    sizes = []

    async def main():
        all_wait = asyncio.Event()

        async def ask(batch):
            sizes.append(len(batch))
            await all_wait.wait()
            return batch

        batcher = Batcher(ask, max_size=100, max_in_flight=1)
        tasks = [asyncio.create_task(batcher(0))]
        while not sizes:
            await asyncio.sleep(0.001)
        for i in range(1, 30):
            tasks.append(asyncio.create_task(batcher(i)))
            await asyncio.sleep(0.001)
        assert sizes == [1], "one batch at a time"
        all_wait.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == list(range(30))
    assert sizes == [1, 29]


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


@pytest.mark.parametrize("answers", [[1], [1, 2, 3], None, "ab"])
def test_batcher_wrong_number_of_answers_is_a_defect_and_leaves_nobody_waiting(answers):
    async def ask(batch):
        return answers

    def make(count):
        batcher = Batcher(ask, max_size=9, max_in_flight=1)
        return [asyncio.wait_for(batcher(i), 5.0) for i in range(count)]

    outcomes = gather(make, 2)
    assert all(isinstance(outcome, EngineContractError) for outcome in outcomes), outcomes
    assert "a batch of 2 must get a list of as many answers" in str(outcomes[0])


@pytest.mark.parametrize(("size", "in_flight"), [(0, 1), (1, 0)])
def test_batcher_without_room_is_refused(size, in_flight):
    with pytest.raises(ValueError, match="must have room"):
        Batcher(echo, max_size=size, max_in_flight=in_flight)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, StopIteration])
def test_in_thread_gives_what_comes_of_it(error):
    def fail():
        raise error

    async def main():
        assert await in_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(RuntimeError if error is StopIteration else error):
            await in_thread(fail)

    asyncio.run(main())


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
        raise Refused("key s3cret/k3y is wrong, none of ?k=s3cret%2Fk3y is right")

    async def main():
        servers = Servers([("a", "a")], Patience(), secrets=["s3cret/k3y", "", "none"])
        with pytest.raises(SearchFailure, match="key") as caught:
            await servers.ask(send)
        expected = "a: key [secret] is wrong, none of ?k=[secret] is right"
        assert str(caught.value) == expected

    asyncio.run(main())


def test_servers_that_ask_to_wait_are_asked_by_nobody_until_then():
    """Retry-After was honoured by the request that got it, and by no other."""
    times = []

    async def main():
        servers = Servers([("a", "a")], Patience())

        async def send(_):
            times.append(time.monotonic())
            if len(times) == 1:
                raise Retry("busy", after_s=0.6)

        first = asyncio.create_task(servers.ask(send))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, *(servers.ask(send) for _ in range(10)))

    asyncio.run(main())
    assert len(times) == 12 and min(times[1:]) - times[0] >= 0.6


def test_servers_success_of_an_older_request_does_not_cancel_a_wait():
    asked = []

    async def main():
        servers = Servers([("a", "a"), ("b", "b")], Patience())

        async def send(name):
            asked.append(name)
            await asyncio.sleep(0)
            if len(asked) == 1:  # answers well, after the other was told to wait
                await asyncio.sleep(0.1)
            elif name == asked[0]:
                raise Retry("busy", after_s=30.0)
            return name

        await asyncio.gather(*(servers.ask(send) for _ in range(3)))
        asked[1:] = []
        await asyncio.gather(*(servers.ask(send) for _ in range(5)))

    asyncio.run(main())
    assert asked[1:] == ["b" if asked[0] == "a" else "a"] * 5


def test_servers_wait_beyond_the_deadline_fails_at_once():
    async def send(_):
        raise Retry("busy", after_s=3600.0)

    start = time.monotonic()
    failure, asked = ask_servers(send, deadline_s=5.0)
    assert str(failure) == "a: busy: to wait 3600 s." and asked == ["a"]
    assert time.monotonic() - start < 4.0


def test_servers_that_come_back_share_what_waits():
    counts = dict.fromkeys("abc", 0)

    async def main():
        servers = Servers([(name, name) for name in "abc"], Patience(max_attempts=100))
        down = True

        async def send(name):
            if down:
                raise Retry("down")
            counts[name] += 1
            await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(servers.ask(send)) for _ in range(60)]
        await asyncio.sleep(0.1)
        down = False
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert min(counts.values()) >= 15, counts


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
        servers = Servers([("a", "a"), ("b", "b")], Patience(timeout_s=0.5))
        ill = True

        async def send(name):
            asked.append(name)
            if name == "a" and ill:
                raise Retry("down")
            await asyncio.sleep(5.0 if name == "a" else 0.01)
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


def test_engine_loop_lives_in_a_fork_even_if_its_lock_was_held():
    """A child inherited the lock locked, and waited for ever."""
    program = """
import asyncio, os, signal, threading
from zs_env.concurrency.event_loop import _Background, run_to_end
run_to_end(asyncio.sleep(0))
_Background._lock.acquire()
if os.fork() == 0:
    signal.alarm(5)
    run_to_end(asyncio.sleep(0))
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "0\n"


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
        "    engine = load_engine({'name': 'simulated', **options})\n"
        "    print(len(checked_search(engine, [zs_env.SearchRequest('q', '?', ('a',))])))\n"
    )
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True
    )
    # A busy machine makes steps slow, of which the debug mode warns.
    errors = [e for e in result.stderr.splitlines() if not e.startswith("Executing <")]
    assert (result.returncode, result.stdout, errors) == (0, "1\n", [])


def test_servers_dead_one_does_not_use_up_attempts_while_the_other_often_fails():
    """The dead one has the fewest requests under way, and got them all."""

    async def main():
        servers = Servers([("alive", "alive"), ("dead", "dead")], Patience(max_attempts=8))
        count = 0

        async def send(name):
            nonlocal count
            if name == "dead":
                raise Retry("down")
            await asyncio.sleep(0.01)
            count += 1
            if count % 4 == 0:
                raise Retry("flaky")

        async def ask_in_turn():
            for _ in range(20):
                await servers.ask(send)

        await asyncio.gather(*(ask_in_turn() for _ in range(30)))

    asyncio.run(main())
