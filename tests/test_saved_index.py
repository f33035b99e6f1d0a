"""The saved BM25 index: it answers as one in memory does, and is not believed when it is wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from zs_env.engines import load_engine, saved_index
from zs_env.engines.bm25 import BM25Engine
from zs_env.engines.corpus import PassageFile
from zs_env.engines.saved_index import FILES, MANIFEST, STARTS, FileState, digest, open_or_build
from zs_env.errors import CorpusError
from zs_env.testing import SearchEngineContract

ROOT = Path(__file__).parent.parent
QUERIES = ["w1 w2 w3", "w0", "w77 w1 w77", "w150 w151 w0 w1 w2 w3 w4", "none", "w40 w41 w42 w43"]


@pytest.fixture
def corpus(tmp_path):
    """2,600 passages of frequent and rare words; each stands there twice, so scores tie."""
    rng = random.Random(0)
    texts = [" ".join(f"w{int(rng.expovariate(0.05))}" for _ in range(8)) for _ in range(1300)]
    path = tmp_path / "c.jsonl"
    path.write_text("\n\n".join(json.dumps({"text": text}) for text in texts + texts))
    return path


def open_engine(corpus, folder):
    passages, index = open_or_build(corpus, folder)
    return BM25Engine(passages, index=index)


def rank_all(engine, top_k=20):
    return [engine.rank(query, top_k) for query in QUERIES]


def forbid_building(monkeypatch):
    def build(*_):
        raise AssertionError("the index was built again")

    monkeypatch.setattr(saved_index, "_build", build)


class TestSavedIndexEngineContract(SearchEngineContract):
    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        self.corpus, self.folder = tmp_path / "c.jsonl", tmp_path / "index"
        self.corpus.write_text('{"text": "Ada Blake was born in Jarrow Corvale"}')

    def make_engine(self):
        return load_engine({"name": "bm25", "corpus": self.corpus, "index": self.folder})


@pytest.mark.parametrize("top_k", [1, 20, 10_000])
def test_saved_index_ranks_as_the_one_in_memory_does(corpus, tmp_path, top_k, monkeypatch):
    in_memory = rank_all(load_engine(corpus), top_k)
    assert [len(found) for found in in_memory][:2] > [0, 0]
    assert rank_all(open_engine(corpus, tmp_path / "index"), top_k) == in_memory, "as built"
    forbid_building(monkeypatch)
    assert rank_all(open_engine(corpus, tmp_path / "index"), top_k) == in_memory, "as opened"


def test_saved_index_has_the_identity_of_the_one_in_memory(corpus, tmp_path):
    identity = load_engine(corpus).identity()
    assert open_engine(corpus, tmp_path / "index").identity() == identity
    corpus.write_text(corpus.read_text().replace("w1 ", "w2 ", 1))
    assert load_engine(corpus).identity() != identity


def test_saved_index_is_an_option_of_the_engine(corpus, tmp_path):
    options = {"index": str(tmp_path / "new" / "index")}
    engine = load_engine({"name": str(corpus), **options})
    assert load_engine({"name": "bm25", "corpus": corpus, **options}) is engine, "it is opened once"
    assert {path.name for path in (tmp_path / "new" / "index").iterdir()} == {MANIFEST, *FILES}


def test_saved_index_holds_neither_scores_nor_texts_in_memory(corpus, tmp_path):
    passages, index = open_or_build(corpus, tmp_path / "index")
    assert isinstance(passages, PassageFile) and isinstance(passages.starts, np.memmap)
    assert all(isinstance(index.scores[name], np.memmap) for name in ("data", "indices", "indptr"))


def test_saved_index_answers_many_threads(corpus, tmp_path):
    engine = open_engine(corpus, tmp_path / "index")
    expected = rank_all(engine)
    with ThreadPoolExecutor(8) as executor:
        assert all(found == expected for found in executor.map(rank_all, [engine] * 64))


@pytest.mark.parametrize("move", [shutil.copy, os.rename])
def test_saved_index_of_a_corpus_that_was_copied_or_touched_is_opened(
    corpus, tmp_path, monkeypatch, move
):
    expected = rank_all(open_engine(corpus, tmp_path / "index"))
    moved = tmp_path / "moved.jsonl"
    move(corpus, moved)
    os.utime(moved, (1, 1))
    forbid_building(monkeypatch)
    assert rank_all(open_engine(moved, tmp_path / "index")) == expected


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("word", [b"w999", b"w999 w999 w999"])
def test_saved_index_of_a_corpus_that_changed_is_built_again(corpus, tmp_path, keep_time, word):
    """Also if the size, the time of change, or both are what they were."""
    open_engine(corpus, tmp_path / "index")
    status, text = corpus.stat(), corpus.read_bytes()
    start = text.rindex(b'"text": "') + len(b'"text": "')
    corpus.write_bytes(text[:start] + word + b" " + text[start + 5 :])
    if keep_time:
        os.utime(corpus, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (corpus.stat().st_size == status.st_size) == (word == b"w999")
    [found] = open_engine(corpus, tmp_path / "index").rank("w999", 5)
    assert found.passage.id == "2599"


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": _flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"    "),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_saved_index_that_is_damaged_is_built_again(corpus, tmp_path, name, damage):
    folder = tmp_path / "index"
    expected = rank_all(open_engine(corpus, folder))
    sound = (folder / name).read_bytes()
    DAMAGES[damage](folder / name)
    assert rank_all(open_engine(corpus, folder)) == expected
    assert (folder / name).read_bytes() == sound


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"version": "0"}', b'{"version": VERSION}',
     b'{"version": VERSION, "corpus": {"size": 1}}', b'{"version": VERSION, "corpus": 3}'],
)  # fmt: skip
def test_saved_index_with_another_manifest_is_built_again(corpus, tmp_path, manifest):
    folder = tmp_path / "index"
    expected = rank_all(open_engine(corpus, folder))
    sound = (folder / MANIFEST).read_bytes()
    version = json.dumps(saved_index.VERSION).encode()
    (folder / MANIFEST).write_bytes(manifest.replace(b"VERSION", version))
    assert rank_all(open_engine(corpus, folder)) == expected
    assert (folder / MANIFEST).read_bytes() == sound


def test_saved_index_of_another_version_of_the_library_is_built_again(
    corpus, tmp_path, monkeypatch
):
    open_engine(corpus, tmp_path / "index")
    monkeypatch.setattr(saved_index, "VERSION", "1, bm25s 99")
    open_engine(corpus, tmp_path / "index")
    assert json.loads((tmp_path / "index" / MANIFEST).read_bytes())["version"] == "1, bm25s 99"


def test_saved_index_does_not_replace_what_it_did_not_make(corpus, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    with pytest.raises(CorpusError, match="chapter.tex, would be lost"):
        open_or_build(corpus, folder)
    assert (folder / "chapter.tex").read_text() == "years of work"
    with pytest.raises(CorpusError, match="expected a folder for the index, got a file"):
        open_or_build(corpus, folder / "chapter.tex")
    with pytest.raises(CorpusError, match="cannot be written.*Name a folder"):
        open_or_build(corpus, folder / "chapter.tex" / "index")


@pytest.mark.parametrize("text", ["", "{", '{"text": "fine"}\n{"text": ""}'])
def test_saved_index_of_a_broken_corpus_leaves_the_old_one_and_nothing_else(tmp_path, text):
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "Lima"}')
    open_or_build(corpus, tmp_path / "index")
    manifest = (tmp_path / "index" / MANIFEST).read_bytes()
    corpus.write_text(text)
    with pytest.raises(CorpusError, match="c.jsonl"):
        open_or_build(corpus, tmp_path / "index")
    assert (tmp_path / "index" / MANIFEST).read_bytes() == manifest
    assert sorted(os.listdir(tmp_path)) == ["c.jsonl", "index"]


def test_saved_index_interrupted_leaves_nothing(corpus, tmp_path, monkeypatch):
    def interrupted(texts, name):
        next(iter(texts))
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_index, "index_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_or_build(corpus, tmp_path / "index")
    assert os.listdir(tmp_path) == ["c.jsonl"]


def test_saved_index_of_a_corpus_that_changes_meanwhile_is_refused(corpus, tmp_path, monkeypatch):
    index_texts = saved_index.index_texts

    def change_after(texts, name):
        index = index_texts(texts, name)
        corpus.write_text('{"text": "Lima"}')
        return index

    monkeypatch.setattr(saved_index, "index_texts", change_after)
    with pytest.raises(CorpusError, match="the corpus has changed while it was in use"):
        open_or_build(corpus, tmp_path / "index")
    assert os.listdir(tmp_path) == ["c.jsonl"]


def test_saved_index_in_use_notices_that_its_corpus_changed(corpus, tmp_path):
    engine = open_engine(corpus, tmp_path / "index")
    corpus.write_text("short")
    with pytest.raises(CorpusError, match="has changed while it was in use"):
        engine.rank("w1", 5)
    corpus.unlink()
    with pytest.raises(CorpusError, match="cannot be read"):
        engine.rank("w1", 5)


def test_saved_index_in_use_survives_its_replacement(corpus, tmp_path):
    engine = open_engine(corpus, tmp_path / "index")
    expected = rank_all(engine)
    (tmp_path / "index" / MANIFEST).unlink()
    open_engine(corpus, tmp_path / "index")
    assert rank_all(engine) == expected


def test_saved_index_of_a_faster_process_is_kept(corpus, tmp_path, monkeypatch):
    folder, write = tmp_path / "index", saved_index._write

    def overtaken(*arguments):
        monkeypatch.setattr(saved_index, "_write", write)
        open_or_build(corpus, folder)
        os.utime(folder / MANIFEST, (5, 5))
        write(*arguments)

    monkeypatch.setattr(saved_index, "_write", overtaken)
    open_or_build(corpus, folder)
    assert (folder / MANIFEST).stat().st_mtime == 5
    assert sorted(os.listdir(tmp_path)) == ["c.jsonl", "index"]


def test_saved_index_put_there_by_another_process_at_the_last_moment_is_kept(
    corpus, tmp_path, monkeypatch
):
    folder, rename = tmp_path / "index", Path.rename

    def overtaken(path, target):
        if target == folder:
            shutil.copytree(path, folder)
            os.utime(folder / MANIFEST, (5, 5))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    open_or_build(corpus, folder)
    assert (folder / MANIFEST).stat().st_mtime == 5
    assert sorted(os.listdir(tmp_path)) == ["c.jsonl", "index"]


@pytest.mark.parametrize("stale", [False, True])
def test_saved_index_built_by_several_processes_at_once(corpus, tmp_path, stale):
    folder = tmp_path / "index"
    if stale:
        open_or_build(corpus, folder)
        (folder / STARTS).write_bytes(b"")
    command = [sys.executable, "-W", "error", "-m", "zs_env", "index"]
    command += ["--corpus", str(corpus), "--index", str(folder)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        with process:
            _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b"")
    assert sorted(os.listdir(tmp_path)) == ["c.jsonl", "index"]
    assert rank_all(open_engine(corpus, folder)) == rank_all(load_engine(corpus))


def test_saved_index_says_how_far_it_is_only_if_that_takes_long(
    corpus, tmp_path, monkeypatch, capsys
):
    open_or_build(corpus, tmp_path / "short")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(saved_index, "PROGRESS_S", 0.0)
    open_or_build(corpus, tmp_path / "long")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("long: there is no index, or not all of it: building it.")
    assert lines[7] == "  6 of 2,600 passages read"
    assert lines[-1] == "  all passages read; computing their scores"


def test_digest_of_a_large_file_reads_blocks_spread_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_index, "BLOCK_BYTES", 4)
    monkeypatch.setattr(saved_index, "SAMPLED_BLOCKS", 3)
    path = tmp_path / "f"

    def state(content):
        path.write_bytes(content)
        return digest(path), digest(path, whole=True)

    sample, whole = state(b"aaaabbbbccccddddeeee")
    assert state(b"aaaaXbbbccccddddeeee")[0] == sample, "a block that is not in the sample"
    assert state(b"aaaaXbbbccccddddeeee")[1] != whole
    for changed in (b"Xaaabbbbccccddddeeee", b"aaaabbbbXcccddddeeee", b"aaaabbbbccccddddeeeX"):
        assert state(changed)[0] != sample
    assert state(b"aaaabbbbccccddddeeeeeeee")[0] != sample


def test_file_state_reads_all_of_a_file_whose_time_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_index, "BLOCK_BYTES", 4)
    monkeypatch.setattr(saved_index, "SAMPLED_BLOCKS", 2)
    path = tmp_path / "f"
    path.write_bytes(b"aaaabbbbcccc")
    state = FileState.of(path)
    os.utime(path, (5, 5))
    assert state.is_of(path)
    path.write_bytes(b"aaaabXbbcccc")
    assert not state.is_of(path)
