"""Record and replay."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
import subprocess
import sys
import time

import gymnasium as gym
import pytest

from benchmarks.chat_server import MODEL, ChatServer, running
from tests.helpers import EchoEngine, FixedEngine, mixed_policy
from zs_env import Document, SearchEngine, SearchFailure, SearchRequest, SearchResult
from zs_env.engines import checked_search, load_engine
from zs_env.engines.cached import CachedEngine
from zs_env.engines.simulated import SimulatedEngine
from zs_env.errors import ServiceError
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.testing import SearchEngineContract

REQUEST = SearchRequest("a query", "Which sea?", ("Pale Sea",), key=9)


class CountingEngine(SearchEngine):
    """Counts what it is asked; its answers depend on ``name`` and on all of the request."""

    def __init__(self, name="n", real=False):
        self.name, self.asked = name, 0
        self.honours_noise = not real

    def identity(self):
        return {"name": self.name}

    def search(self, requests):
        self.asked += len(requests)
        return [SearchResult((Document(f"{self.name} {r} \ud800", "T"),)) for r in requests]


def ask(engine, **changes):
    return checked_search(engine, [REQUEST._replace(**changes)])[0]


def write(request):
    return "\n".join(f"Doc {i}: x" for i in range(5))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


class TestCachedContract(SearchEngineContract):
    @pytest.fixture(autouse=True)
    def record(self, folder):
        self.engine = load_engine({"name": "cached", "engine": "world", "folder": str(folder)})
        yield
        self.engine.close()

    def make_engine(self):
        return self.engine


def test_recorded_answer_needs_no_engine(folder):
    with_engine = CachedEngine(CountingEngine(), folder)
    first, again = ask(with_engine), ask(with_engine)
    with_engine.close()
    replayed = CachedEngine(inner := CountingEngine(), folder, mode="replay")
    assert first == again == ask(replayed) and inner.asked == 0
    assert (with_engine.num_recorded, with_engine.num_replayed) == (1, 1)
    missing = ask(replayed, query="other").failure
    assert str(missing) == f"{folder} has no record of 'other'."
    replayed.close()


@pytest.mark.parametrize(
    "change",
    [
        {"query": "b"},
        {"question": "?"},
        {"golden_answers": ("x",)},
        {"noisy": True},
        {"top_k": 1},
        {"document_words": 9},
        {"key": 1},
        {"turn": 1},
    ],
)
def test_all_that_decides_the_answer_is_told_apart(folder, change):
    engine = CachedEngine(inner := CountingEngine(), folder)
    assert ask(engine) != ask(engine, **change) and inner.asked == 2
    engine.close()


def test_real_engine_is_asked_once_for_a_query(folder):
    """What a real engine must not look at cannot decide its answer."""
    engine = CachedEngine(inner := CountingEngine(real=True), folder)
    ask(engine)
    ask(engine, question="?", golden_answers=("x",), key=1, turn=3, document_words=9)
    assert inner.asked == 1 and not engine.honours_noise
    ask(engine, top_k=1)
    assert inner.asked == 2
    engine.close()


def test_engines_that_answer_differently_share_a_folder(folder):
    first, second = (CachedEngine(CountingEngine(name), folder) for name in "ab")
    assert ask(first) != ask(second)
    first.close()
    second.close()


def test_simulated_engine_is_told_apart_by_all_that_decides_its_text(folder):
    changes = [
        {},
        {"model": "other"},
        {"temperature": 0.5},
        {"template": "fine-tuned"},
        {"search_engine": "Bing"},
        {"max_tokens": 5},
        {"extra_body": {"top_k": 3}},
    ]
    options = [{"base_url": "http://127.0.0.1:9/v1", "model": "tiny", **c} for c in changes]
    identities = [
        json.dumps(load_engine({"name": "simulated", **o}, check=False).identity(), sort_keys=True)
        for o in options
    ]
    assert len(set(identities)) == len(identities)
    elsewhere = {**options[0], "base_url": "http://127.0.0.1:10/v1", "timeout_s": 3.0}
    same = load_engine({"name": "simulated", **elsewhere}, check=False).identity()
    assert json.dumps(same, sort_keys=True) == identities[0]


def test_engine_that_does_not_say_what_decides_is_refused(folder):
    with pytest.raises(NotImplementedError, match="EchoEngine must override `identity`"):
        CachedEngine(EchoEngine(), folder)


def test_failure_is_not_recorded(folder):
    class Recovering(CountingEngine):
        def search(self, requests):
            if self.asked == 0:
                self.asked += 1
                return [SearchResult(failure=SearchFailure("busy"))]
            return super().search(requests)

    engine = CachedEngine(Recovering(), folder)
    assert ask(engine).failure == SearchFailure("busy")
    assert ask(engine).failure is None
    engine.close()


def damage(folder, how):
    database = folder / "cache.db"
    if how == "garbage":
        database.write_bytes(b"no database at all" * 1000)
    elif how == "truncated":
        database.write_bytes(database.read_bytes()[:5000])
    else:
        connection = sqlite3.connect(database)
        [(key, value)] = connection.execute("SELECT rowid, value FROM Cache").fetchall()
        changed = {
            "letter": value.replace("Pale", "Dead"),
            "empty": "",
            "pickle": sqlite3.Binary(b"cos\nsystem\n(S'false'\ntR."),
        }[how]
        mode = 4 if how == "pickle" else 1
        connection.execute(
            "UPDATE Cache SET value = ?, mode = ? WHERE rowid = ?", (changed, mode, key)
        )
        connection.commit()
        connection.close()


@pytest.mark.parametrize("how", ["letter", "empty", "pickle", "garbage", "truncated"])
@pytest.mark.filterwarnings("ignore:.*damaged")
def test_damaged_record_is_not_believed_and_made_anew(folder, how):
    engine = CachedEngine(CountingEngine(), folder)
    expected = ask(engine)
    engine.close()
    for leftover in folder.glob("cache.db-*"):
        leftover.unlink()
    damage(folder, how)
    engine = CachedEngine(inner := CountingEngine(), folder)
    assert ask(engine) == expected and inner.asked == 1, "asked again"
    assert ask(engine) == expected and inner.asked == 1, "and refilled"
    engine.close()


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("how", ["letter", "empty", "pickle", "garbage", "truncated"])
@pytest.mark.parametrize("checked", [False, True])
def test_replay_of_a_damaged_record_is_one_error_and_changes_nothing(folder, how, checked):
    """The record was moved away, and an empty one was begun."""
    engine = CachedEngine(CountingEngine(), folder)
    ask(engine)
    engine.close()
    damage(folder, how)
    before = contents(folder)
    engine = CachedEngine(inner := CountingEngine(), folder, mode="replay")
    with pytest.raises(ServiceError, match="cannot be replayed: .*[Nn]othing in it was changed"):
        engine.check() if checked else ask(engine)
    engine.close()
    assert contents(folder) == before and inner.asked == 0


@pytest.mark.parametrize("exists", [False, True])
def test_replay_of_a_folder_without_records_is_one_error_and_makes_nothing(folder, exists):
    if exists:
        folder.mkdir()
    with pytest.raises(ServiceError, match="cache holds no records: there is no cache.db. Record"):
        load_engine(f"cached,engine=world,folder={folder},mode=replay")
    assert not folder.exists() or not contents(folder)


def test_replay_of_another_database_is_one_error_and_changes_nothing(folder):
    folder.mkdir()
    sqlite3.connect(folder / "cache.db").close()
    with pytest.raises(ServiceError, match="cannot be replayed: no such table"):
        CachedEngine(CountingEngine(), folder, mode="replay").check()
    assert contents(folder) == {"cache.db": b""}


def test_replay_of_a_record_that_is_damaged_meanwhile_is_an_error(folder):
    engine = CachedEngine(CountingEngine(), folder)
    ask(engine)
    engine.close()
    engine = CachedEngine(CountingEngine(), folder, mode="replay")
    engine.check()
    damage(folder, "letter")
    with pytest.raises(ServiceError, match="the record .* is damaged .*nothing was changed"):
        ask(engine)
    engine.close()


def test_record_that_was_moved_to_another_key_is_not_believed(folder):
    engine = CachedEngine(CountingEngine(), folder)
    first, second = ask(engine), ask(engine, query="b")
    engine.close()
    connection = sqlite3.connect(folder / "cache.db")
    rows = connection.execute("SELECT rowid, value FROM Cache ORDER BY rowid").fetchall()
    for (rowid, _), (_, value) in zip(rows, rows[::-1], strict=True):
        connection.execute("UPDATE Cache SET value = ? WHERE rowid = ?", (value, rowid))
    connection.commit()
    connection.close()
    with pytest.warns(UserWarning, match="damaged"):
        engine = CachedEngine(CountingEngine(), folder)
        assert (ask(engine), ask(engine, query="b")) == (first, second)
        engine.close()


def test_folder_that_cannot_be_used_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="file cannot hold records"):
        load_engine({"name": "cached", "engine": "world", "folder": str(tmp_path / "file")})


def test_requests_alike_and_under_way_get_one_answer(folder):
    """Each was answered for itself, and only the last was replayed."""

    class Random(CountingEngine):
        async def asearch(self, request):
            self.asked += 1
            number = self.asked
            await asyncio.sleep(0.01)
            return SearchResult((Document(f"answer {number}"),))

    engine = CachedEngine(Random(), folder)
    first, second = checked_search(engine, [REQUEST, REQUEST])
    assert first == second == ask(engine)
    engine.close()


def test_answer_of_the_process_that_was_faster_is_the_one_that_counts(folder):
    fast, slow = (CachedEngine(CountingEngine(), folder) for _ in range(2))

    class Slow(CountingEngine):
        def search(self, requests):
            ask(fast)
            return [SearchResult((Document("late"),)) for _ in requests]

    slow.engine = Slow()
    assert ask(slow) == ask(fast) and "late" not in str(ask(slow))
    fast.close()
    slow.close()


@pytest.mark.filterwarnings("ignore:.*(not recorded|could not be read)")
def test_locked_folder_delays_and_names_the_lock_and_loses_nothing(folder):
    CachedEngine(CountingEngine(), folder).close()
    engine = CachedEngine(CountingEngine(), folder)
    expected = ask(engine, key=1)
    connection = sqlite3.connect(folder / "cache.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    assert ask(engine).failure is None
    assert time.monotonic() - start < 5.0
    connection.execute("ROLLBACK")
    connection.close()
    assert ask(engine, key=1) == expected
    engine.close()


def test_engine_goes_on_after_close_and_after_pickling(folder):
    engine = CachedEngine(CountingEngine(), folder)
    first = ask(engine)
    copy = pickle.loads(pickle.dumps(engine))
    engine.close()
    assert ask(engine) == first == ask(copy)
    assert (engine.engine.asked, copy.engine.asked) == (1, 1)
    engine.close()
    copy.close()


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_engine_that_was_used_works_in_other_processes(folder, context):
    """A fork has no thread of its own for the folder, and waited for ever."""
    engine = CachedEngine(CountingEngine(), folder)
    expected = ask(engine)
    envs = gym.make_vec(
        "zs_env:ZeroSearch-v0",
        num_envs=2,
        vectorization_mode="async",
        engine=engine,
        vector_kwargs={"context": context, "shared_memory": False},
    )
    envs.reset(seed=0)
    _, _, _, truncated, infos = envs.step(["<search>a</search>", "<search>b</search>"])
    envs.close()
    assert not truncated.any() and infos["num_documents"].tolist() == [1, 1]
    assert ask(engine) == expected
    engine.close()


def test_usage_is_that_of_the_engine(folder):
    engine = CachedEngine(SimulatedEngine(ScriptedLanguageModel(write)), folder)
    ask(engine)
    ask(engine)
    assert engine.usage.searches == 1
    engine.close()


KEYS = {
    "world": "4368f8f31d9f01d2902da58ced2bb8be",
    "bm25": "cac9ee1617b8631e2d657e5592dc6281",
    "simulated": "1fa59baa9f4c84efa057538c48029a05",
    "retrieval": "f9e262f86ba96fe311e269e7aa9cf6d5",
    "google": "28bbd0cc96598d0571e1acf9634eee1e",
}
"""What the records of `RECORDED` have been stored under since there are records."""

RECORDED = SearchRequest("a query", "Which sea?", ("Pale Sea",), True, 2, 5, 30, 9)


@pytest.mark.parametrize("name", KEYS)
def test_key_of_a_record_stays_what_it_was(name, tmp_path, monkeypatch):
    """A changed identity, or an engine that moves to another module, loses all records."""
    (tmp_path / "c.jsonl").write_text('{"text": "Lima is in Peru", "title": "Lima"}\n')
    monkeypatch.setattr("zs_env.engines.bm25.BM25S_VERSION", "0.3.0")
    address = "http://127.0.0.1:9"
    options = {
        "world": {},
        "bm25": {"corpus": str(tmp_path / "c.jsonl")},
        "simulated": {"base_url": address, "model": "tiny", "extra_body": {"top_k": 7}},
        "retrieval": {"url": f"{address}/r?key=1"},
        "google": {},
    }[name]
    engine = CachedEngine(load_engine({"name": name, **options}, check=False), tmp_path / "records")
    assert engine._key(RECORDED) == KEYS[name]


WORKER = """
import sys
from tests.test_cached import CountingEngine, REQUEST
from zs_env.engines import checked_search
from zs_env.engines.cached import CachedEngine
engine = CachedEngine(CountingEngine(), sys.argv[1])
results = checked_search(engine, [REQUEST._replace(key=i % 40) for i in range(200)])
assert all(f"key={i % 40}" in r.documents[0].text for i, r in enumerate(results))
engine.close()
"""


def test_processes_share_a_folder(folder):
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        with process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    engine = CachedEngine(inner := CountingEngine(), folder, mode="replay")
    assert all(ask(engine, key=i).failure is None for i in range(40)) and inner.asked == 0
    engine.close()


def play(engine, options, num_episodes=8):
    env = gym.make(
        "ZeroSearch-v0", engine={"name": engine, **options}, noise="constant", max_turns=4
    )
    transcripts = []
    observation, _ = env.reset(seed=0)
    for _ in range(num_episodes):
        over = False
        while not over:
            observation, _, terminated, truncated, _ = env.step(mixed_policy(observation))
            over = terminated or truncated
        transcripts.append(observation)
        observation, _ = env.reset()
    env.close()
    return transcripts


def test_replayed_run_needs_no_server_and_is_identical(folder):
    with running(ChatServer().app()) as url:
        options = {"base_url": f"{url}/v1", "model": MODEL}
        plain = play("simulated", options)
        cached = {"engine": {"name": "simulated", **options}, "folder": str(folder)}
        recorded = play("cached", cached)
    replayed = play("cached", {**cached, "mode": "replay"})
    assert plain == recorded == replayed
    with pytest.raises(ServiceError, match="can be reached"):
        play("cached", cached)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "missing a required argument: 'folder'"),
        ({"folder": ""}, ValueError, "`folder` must name a folder, got an empty text"),
        ({"mode": "believe"}, ValueError, "`mode` must be one of record, replay, got 'believe'"),
        ({"engine": "altavista"}, ValueError, "`engine` must be one of"),
        ({"engine": {"name": FixedEngine(), "k": 1}}, TypeError, "must hold `name`"),
    ],
)
def test_wrong_option_is_refused(folder, options, error, message):
    if options:
        options = {"engine": "world", "folder": str(folder), **options}
    with pytest.raises(error, match=message):
        load_engine({"name": "cached", **options})
