"""The worker of a model in this process: no text waits for another, and nothing is read twice."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

pytest.importorskip("torch")

import torch

from tests.chat_model import make_model
from tests.test_generator import VOCABULARY, make
from zs_env.llm import ChatRequest
from zs_env.llm.sampling.causal_model import LEAST_PREFIX, CausalModel
from zs_env.llm.sampling.draft import Draft
from zs_env.llm.sampling.generator import Generator
from zs_env.llm.sampling.slots import Place, Slots
from zs_env.llm.sampling.worker import Job, Worker
from zs_env.llm.transformers_local import TransformersLanguageModel

FIRST, SECOND = list(range(1, 41)), list(range(40, 0, -1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), max_length=1024)


@pytest.fixture
def llm(folder):
    made = TransformersLanguageModel(str(folder), max_batch_size=4)
    made.load()
    yield made
    made.close()


def job(token_ids, max_tokens):
    return Job(
        token_ids,
        lambda slot, cached: Draft(slot, 0, greedy=True, cached=cached),
        lambda written: len(written) == max_tokens,
        tuple,
    )


def ids(length, seed=0):
    """Token ids of the model in `folder`, without its special ones."""
    return tuple((seed * 31 + 7 * place) % 1000 + 10 for place in range(length))


def request(token_ids, **options):
    return ChatRequest((), token_ids=token_ids, **{"max_tokens": 12, "temperature": 0.0, **options})


def writer(num_slots):
    return Worker(Generator(CausalModel(make(), VOCABULARY)), num_slots)


def at_steps(worker, calls):
    """Make ``calls`` before the steps of these numbers; return a list that grows with each step."""
    step, steps = worker._generator.step, []

    def counted():
        calls.get(len(steps), int)()
        steps.append(1)
        return step()

    worker._generator.step = counted
    return steps


def noted(llm):
    """A list that gets the shape of what the model reads at each call."""
    model = llm._loaded.worker._generator._model
    at, shapes = model.at, []

    def noting(token_ids, chosen, **options):
        shapes.append(tuple(token_ids.shape))
        return at(token_ids, chosen, **options)

    model.at = noting
    return shapes


def fresh(folder, requests):
    """What a model without anything in its cache writes for each of ``requests``."""
    texts = []
    for each in requests:
        llm = TransformersLanguageModel(str(folder))
        texts += llm.complete([each])
        llm.close()
    return texts


def test_late_text_begins_at_once_and_ends_before_an_earlier_long_one():
    worker, ended = writer(2), {}
    long, late = job(FIRST, 30), job(SECOND, 3)
    steps = at_steps(worker, {5: lambda: worker.submit([late])})
    for name, each in (("long", long), ("late", late)):
        each.answer.add_done_callback(lambda _, name=name: ended.setdefault(name, len(steps)))
    worker.submit([long])
    assert len(long.answer.result()) == 30
    # It was submitted in step 6, and is read in step 7, which writes its first token.
    assert ended == {"late": 9, "long": 31}
    worker.join()
    # What is written together is what is written alone.
    for one in (long, late):
        alone = job(one.token_ids, len(one.answer.result()))
        writer(1).submit([alone])
        assert alone.answer.result() == one.answer.result()


def test_text_without_a_slot_takes_the_first_that_is_free():
    worker, ended = writer(2), []
    jobs = [job(FIRST, 9), job(SECOND, 3), job(SECOND[5:], 2), job(SECOND[9:], 2)]
    for number, each in enumerate(jobs):
        each.answer.add_done_callback(lambda _, number=number: ended.append(number))
    worker.submit(jobs)
    assert [len(each.answer.result()) for each in jobs] == [9, 3, 2, 2]
    assert ended == [1, 2, 3, 0]


def test_cancelled_text_is_not_written_on():
    worker = writer(1)
    long, waiting, next_one = job(FIRST, 1000), job(SECOND, 5), job(SECOND, 2)
    steps = at_steps(worker, {3: lambda: (long.answer.cancel(), waiting.answer.cancel())})
    worker.submit([long, waiting, next_one])
    assert len(next_one.answer.result()) == 2
    assert len(steps) == 4 + 2


def test_slot_is_chosen_by_what_a_context_has_in_common_with_it():
    slots = Slots(3)
    assert [slots.take(FIRST), slots.take(SECOND)] == [Place(0, 0, 0), Place(1, 1, 0)]
    slots.give_back(1, SECOND)
    slots.give_back(0, FIRST)
    # It goes on with all that slot 0 holds; the last token of a context is read again.
    assert slots.take([*FIRST, 7, 8]) == Place(0, 0, 40)
    slots.give_back(0, FIRST)
    assert slots.take(FIRST) == Place(0, 0, 39)
    slots.give_back(0, FIRST)
    # It shares half, which is copied: slot 0 stays for who goes on with the other half.
    assert slots.take([*FIRST[:20], 9]) == Place(2, 0, 20)
    assert slots.take([*FIRST[: LEAST_PREFIX - 1], 9]) == Place(1, 1, 0)  # the oldest
    # With no other slot free, the shared part stays where it is.
    assert slots.take([*FIRST[:20], 9]) == Place(0, 0, 20)


def test_turns_of_a_conversation_read_only_what_is_new(llm, folder):
    shapes, context, asked, got = noted(llm), ids(60), [], []
    for turn in range(3):
        asked.append(request(context))
        shapes.clear()
        got += llm.complete([asked[-1]])
        # The last token that was written has not been read.
        new = 60 if turn == 0 else 1 + 25
        assert shapes == [(1, new)] + [(1, 1)] * 11
        assert len(got[-1].token_ids) == 12
        context += got[-1].token_ids + ids(25, seed=turn + 1)
    assert got == fresh(folder, asked)


def test_conversations_in_turn_keep_their_slots(llm, folder):
    """Each turn comes alone, so every slot is free; another begins alike, and takes none away."""
    begin = ids(40)
    contexts = [begin + ids(30, seed) for seed in (1, 2, 3)]
    shapes, asked, got = noted(llm), [], []
    for turn in range(2):
        for number, context in enumerate(contexts):
            asked.append(request(context, temperature=1.0, seed=number))
            shapes.clear()
            got += llm.complete([asked[-1]])
            expected = [70, 30, 30][number] if turn == 0 else 1 + 9
            assert shapes[0] == (1, expected)
            contexts[number] += got[-1].token_ids + ids(9, seed=number)
    assert got == fresh(folder, asked)


def test_part_of_what_a_slot_holds_is_kept_if_no_other_is_free(folder):
    llm = TransformersLanguageModel(str(folder), max_batch_size=1)
    llm.load()
    shapes = noted(llm)
    requests = [request(ids(80)), request(ids(50) + ids(20, 5)), request(ids(80)), request(ids(30))]
    got = [llm.complete([each])[0] for each in requests]
    assert [shape for shape in shapes if shape != (1, 1)] == [(1, 80), (1, 20), (1, 30)]
    assert got == fresh(folder, requests)
    llm.close()


class Interrupt(BaseException):
    """Like KeyboardInterrupt, which would end the event loops of the test."""


@pytest.mark.parametrize("error", [RuntimeError, Interrupt, StopIteration])
def test_error_of_the_model_reaches_every_caller_and_the_model_is_loaded_again(llm, error):
    [expected] = llm.complete([request(ids(20))])
    broken = llm._loaded
    step, all_there = broken.worker._generator.step, threading.Event()

    def fail():
        assert all_there.wait(30.0)
        step()
        raise error("broken")

    async def gather():
        asked = (llm.acomplete(request(ids(20), seed=seed)) for seed in range(6))
        return await asyncio.gather(*asked, return_exceptions=True)

    broken.worker._generator.step = fail
    submit, counts = broken.worker.submit, []

    def counting(jobs):
        submit(jobs)
        counts.extend(jobs)
        if len(counts) == 8:
            all_there.set()

    broken.worker.submit = counting
    with ThreadPoolExecutor(3) as pool:
        one, other = (pool.submit(llm.complete, [request(ids(9))]) for _ in range(2))
        several = pool.submit(asyncio.run, gather())
        wait([one, other, several], timeout=60.0)
        raised = [one.exception(), other.exception(), *several.result()]
    # A coroutine cannot raise StopIteration.
    kinds = (error, RuntimeError) if error is StopIteration else error
    assert len(raised) == 8 and all(isinstance(each, kinds) for each in raised)
    assert "broken" in str(raised[0]) and llm._loaded is broken
    assert llm.complete([request(ids(20))]) == [expected]
    assert llm._loaded is not broken


def test_memory_of_ended_texts_is_given_up_before_those_under_way_fail(llm, monkeypatch):
    requests = [request(ids(20, seed), temperature=1.0, seed=seed) for seed in range(3)]
    expected = llm.complete(requests)
    model = llm._loaded.worker._generator._model
    at, calls = model.at, []

    def out_of_memory(*arguments, **options):
        calls.append(1)
        if len(calls) in failing:
            raise torch.OutOfMemoryError
        return at(*arguments, **options)

    monkeypatch.setattr(model, "at", out_of_memory)
    failing = [5]  # in the middle of a text; the cache still holds those of two others
    assert llm.complete(requests[:1]) == expected[:1]
    calls.clear()
    failing = [2, 4]  # the second time, nothing is left but what is under way
    failures = llm.complete(requests[1:])
    assert ["2 texts at a time do not fit" in str(failure) for failure in failures] == [True, True]


def test_job_for_a_worker_that_has_ended_gets_its_error():
    worker = writer(1)
    worker._generator.step = lambda: 1 / 0
    first, second = job(FIRST, 3), job(FIRST, 3)
    worker.submit([first])
    assert isinstance(first.answer.result(), ZeroDivisionError)
    worker.submit([second])
    assert second.answer.result() is first.answer.result() is worker.error
    worker.join()


def test_closing_waits_for_what_is_under_way(llm):
    begun = threading.Event()
    at_steps(llm._loaded.worker, {5: begun.set})
    [expected] = TransformersLanguageModel(llm.model).complete([request(ids(20), max_tokens=80)])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(llm.complete, [request(ids(20), max_tokens=80)])
        assert begun.wait(30.0)
        llm.close()
        assert llm._loaded is None
        assert answer.result(30.0) == [expected]
    assert llm.complete([request(ids(20), max_tokens=80)]) == [expected]


def test_interrupt_of_the_caller_ends_its_texts(llm):
    [expected] = llm.complete([request(ids(20))])
    worker, main = llm._loaded.worker, threading.main_thread().ident
    steps = at_steps(worker, {3: lambda: signal.pthread_kill(main, signal.SIGINT)})
    with pytest.raises(KeyboardInterrupt):
        llm.complete([request(ids(20), max_tokens=900)] * 2)
    worker.join()
    assert len(steps) < 900
    assert llm.complete([request(ids(20))]) == [expected]


def test_cancelled_request_ends_its_text(llm):
    worker = llm._loaded.worker

    async def cancel():
        task = asyncio.create_task(llm.acomplete(request(ids(20), max_tokens=900)))
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        steps = at_steps(worker, {3: lambda: loop.call_soon_threadsafe(begun.set)})
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(worker.join)
        return len(steps)

    assert asyncio.run(cancel()) < 900


def test_model_that_is_forgotten_is_freed_without_closing(folder):
    llm = TransformersLanguageModel(str(folder))
    llm.complete([request(ids(20))])
    llm._loaded.worker.join()
    worker = weakref.ref(llm._loaded.worker)
    del llm
    gc.collect()
    assert worker() is None


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


BEGIN = """
import os, sys, threading
from zs_env.llm import ChatRequest
from zs_env.llm.transformers_local import TransformersLanguageModel
llm = TransformersLanguageModel(sys.argv[1])
[expected] = llm.complete([ChatRequest((), token_ids=tuple(range(10, 40)), max_tokens=9)])
worker, begun = llm._loaded.worker, threading.Event()
step = worker._generator.step
def noting():
    written = step()
    begun.set()
    return written
worker._generator.step = noting
[answer] = llm._begin([ChatRequest((), token_ids=(11, 12, 13), max_tokens=900)])
begun.wait()
"""


def test_fork_writes_its_own_texts_whatever_was_under_way(folder):
    code = f"""{BEGIN}
child = os.fork()
[got] = llm.complete([ChatRequest((), token_ids=tuple(range(10, 40)), max_tokens=9)])
if child == 0:
    os._exit(0 if got == expected and not answer.done() else 1)
_, status = os.waitpid(child, 0)
assert status == 0 and got == expected, (status, got)
assert len(answer.result().token_ids) > 0
"""
    result = run(code, folder)
    assert result.returncode == 0, result.stderr


def test_program_ends_while_a_text_is_under_way(folder):
    result = run(f"{BEGIN}\nprint('end', answer.done())", folder)
    assert (result.returncode, result.stdout.split()[0]) == (0, "end"), result.stderr
