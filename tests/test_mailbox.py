"""Calls between threads with event loops."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from zs_env.concurrency.mailbox import Mailbox, run_elsewhere, wait_for_thread


@pytest.fixture
def other():
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def on(loop, coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30.0)


def test_mailbox_makes_calls_in_order_and_wakes_its_loop_once_for_those_that_come_together(other):
    made, wakes, busy = [], [], threading.Event()
    mailbox = Mailbox.of(other)
    wake = other.call_soon_threadsafe
    other.call_soon_threadsafe(busy.wait)  # while the loop is busy, all calls come
    other.call_soon_threadsafe = lambda *call: wakes.append(1) or wake(*call)
    for i in range(100):
        mailbox.post(lambda i=i: made.append(i))
    busy.set()
    del other.call_soon_threadsafe
    on(other, asyncio.sleep(0.01))
    assert made == list(range(100)) and len(wakes) == 1
    mailbox.post(lambda: made.append("later"))
    on(other, asyncio.sleep(0.01))
    assert made[-1] == "later"


def test_mailbox_loses_no_call_of_several_threads(other):
    made = []
    mailbox = Mailbox.of(other)

    def post():
        for _ in range(2000):
            mailbox.post(lambda: made.append(1))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    on(other, asyncio.sleep(0.01))
    assert len(made) == 8000


def test_mailbox_is_one_for_each_loop_and_outlives_it():
    loop = asyncio.new_event_loop()
    mailbox = Mailbox.of(loop)
    assert Mailbox.of(loop) is mailbox
    loop.close()
    mailbox.post(print)
    del loop
    mailbox.post(print)


def test_run_elsewhere_gives_results_and_errors(other):
    async def where(value):
        assert asyncio.get_running_loop() is other
        await asyncio.sleep(0.001 * (value % 3))
        if value == 7:
            raise ZeroDivisionError
        return value

    async def main():
        mailbox = Mailbox.of(other)
        return await asyncio.gather(
            *(run_elsewhere(mailbox, where(i)) for i in range(20)), return_exceptions=True
        )

    outcomes = asyncio.run(main())
    assert isinstance(outcomes.pop(7), ZeroDivisionError)
    assert outcomes == [i for i in range(20) if i != 7]


def test_run_elsewhere_that_is_cancelled_cancels_the_other_side(other):
    started, cancelled = threading.Event(), threading.Event()

    async def hang():
        started.set()
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def main():
        task = asyncio.create_task(run_elsewhere(Mailbox.of(other), hang()))
        while not started.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cancelled.wait(30.0)


def test_run_elsewhere_is_cancelled_if_the_other_side_cancels_itself(other):
    async def give_up():
        raise asyncio.CancelledError

    async def main():
        with pytest.raises(asyncio.CancelledError):
            await run_elsewhere(Mailbox.of(other), give_up())

    asyncio.run(main())


def test_futures_that_a_thread_sets_together_wake_the_loop_once():
    async def wait_for_all():
        loop, wakes = asyncio.get_running_loop(), []
        futures = [Future() for _ in range(50)]
        tasks = [asyncio.create_task(wait_for_thread(future)) for future in futures]
        await asyncio.sleep(0)
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *call: wakes.append(1) or wake(*call)

        def give():
            for number, future in enumerate(futures):
                future.set_result(number)

        thread = threading.Thread(target=give)
        thread.start()
        thread.join()  # the loop is busy until all are set
        del loop.call_soon_threadsafe
        return await asyncio.gather(*tasks), len(wakes)

    assert asyncio.run(wait_for_all()) == (list(range(50)), 1)


def test_waiting_for_a_thread_passes_on_errors_and_cancels_the_future():
    async def wait_for(future):
        task = asyncio.create_task(wait_for_thread(future))
        await asyncio.sleep(0)
        task.cancel()
        await task

    failed, cancelled = Future(), Future()
    failed.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        asyncio.run(wait_for_thread(failed))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(wait_for(cancelled))
    assert cancelled.cancelled()
