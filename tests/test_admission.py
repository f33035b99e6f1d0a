"""The queue of requests for places at servers."""

from __future__ import annotations

import asyncio

from zs_env.concurrency.admission import Admission, Server
from zs_env.concurrency.attempts import Retry
from zs_env.concurrency.servers import Patience, Servers


async def turns():
    """Let all others do what they can."""
    for _ in range(5):
        await asyncio.sleep(0)


def make(num_places, limits=(8,)):
    servers = [Server(str(i), i, limit) for i, limit in enumerate(limits)]
    return servers, Admission(servers, num_places)


def run(main):
    asyncio.run(asyncio.wait_for(main(), 60.0))


def test_admission_is_first_come_first_served():
    entered = []

    async def main():
        _, admission = make(1)

        async def use(i):
            server = await admission.enter()
            entered.append(i)
            await turns()
            admission.leave(server)
            if i < 3:  # whoever has just left comes after those that wait
                await use(10 + i)

        await asyncio.gather(*map(use, range(6)))

    run(main)
    assert entered == [0, 1, 2, 3, 4, 5, 10, 11, 12]


def test_admission_bounds_each_server_and_all_together():
    async def main():
        servers, admission = make(5, limits=(2, 8))
        tasks = [asyncio.create_task(admission.enter()) for _ in range(9)]
        await turns()
        assert [server.in_flight for server in servers] == [2, 3]
        assert sum(task.done() for task in tasks) == 5
        admission.leave(servers[0])
        await turns()
        assert [server.in_flight for server in servers] == [2, 3]
        for task in tasks:
            task.cancel()

    run(main)


def test_admission_cancelled_while_it_waits_takes_no_place():
    async def main():
        [server], admission = make(1)
        await admission.enter()
        gone = [asyncio.create_task(admission.enter()) for _ in range(3)]
        await turns()
        for task in gone:
            task.cancel()
        await turns()
        stays = asyncio.create_task(admission.enter())
        await turns()
        assert not stays.done()
        admission.leave(server)
        assert await stays is server and server.in_flight == 1

    run(main)


def test_admission_cancelled_as_it_gets_its_place_gives_it_back():
    async def main():
        [server], admission = make(1)
        await admission.enter()
        gone = asyncio.create_task(admission.enter())
        stays = asyncio.create_task(admission.enter())
        await turns()
        admission.leave(server)  # hands the place to the first, which has no time to notice
        gone.cancel()
        assert await stays is server
        assert gone.cancelled() and server.in_flight == 1
        admission.leave(server)
        assert server.in_flight == 0
        assert await admission.enter() is server

    run(main)


def test_admission_waits_for_a_full_server_rather_than_for_one_that_failed():
    async def main():
        (well, ill), admission = make(8, limits=(2, 8))
        ill.rest()
        assert [await admission.enter() for _ in range(2)] == [well, well]
        third = asyncio.create_task(admission.enter())
        await turns()
        assert not third.done() and ill.in_flight == 0
        admission.leave(well)
        assert await third is well

    run(main)


def test_servers_request_that_is_cancelled_gives_its_place_back():
    async def main():
        servers = Servers([("a", "a")], Patience(max_concurrency=1))
        started = asyncio.Event()

        async def hang(_):
            started.set()
            await asyncio.sleep(1e6)

        async def good(_):
            return "well"

        task = asyncio.create_task(servers.ask(hang))
        await started.wait()
        waiting = asyncio.create_task(servers.ask(good))
        await turns()
        assert not waiting.done()
        task.cancel()
        assert await waiting == "well"
        assert await servers.ask(good) == "well"

    run(main)


def test_servers_with_one_place_serve_all_though_they_are_overloaded_at_times():
    asked = []

    async def main():
        patience = Patience(max_concurrency=1, max_attempts=3)
        servers = Servers([("a", "a")], patience)

        async def ask(i):
            async def send(_):
                asked.append(i)
                await asyncio.sleep(0)
                if asked.count(i) == 1 and i % 5 == 0:
                    raise Retry("busy", overloaded=True)
                return i

            return await servers.ask(send)

        assert await asyncio.gather(*map(ask, range(20))) == list(range(20))

    run(main)
    assert len(asked) == 24


def test_servers_overloaded_one_does_not_slow_the_other():
    most = {"small": 0, "large": 0}
    under_way = {"small": 0, "large": 0}
    refused = []

    async def main():
        patience = Patience(max_concurrency=16, max_attempts=100)
        servers = Servers([("small", "small"), ("large", "large")], patience)

        async def send(name):
            if name == "small" and under_way["small"] == 2:
                refused.append(1)
                raise Retry("busy", overloaded=True)
            under_way[name] += 1
            most[name] = max(most[name], under_way[name])
            await asyncio.sleep(0.01)
            under_way[name] -= 1
            return name

        answers = await asyncio.gather(*(servers.ask(send) for _ in range(400)))
        assert answers.count("large") > 200

    run(main)
    assert most["small"] == 2 and most["large"] >= 13
    assert len(refused) < 40
