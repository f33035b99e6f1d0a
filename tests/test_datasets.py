"""Data sets by name: from folders, from the hub and its cache; samples; the list of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chat_server import running
from tests.fake_hub import FakeHub
from zs_env import Question
from zs_env.commands.main import main
from zs_env.datasets import DATASETS, FLASHRAG
from zs_env.errors import QuestionSourceError
from zs_env.question_sources import load_questions, sample_questions
from zs_env.questions import QuestionSet

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"

CARD = """---
configs:
- config_name: nq
  data_files:
  - {split: train, path: nq/train.jsonl}
  - {split: test, path: nq/test.jsonl}
- config_name: hotpotqa
  data_files:
  - {split: train, path: hotpotqa/train.jsonl}
  - {split: dev, path: hotpotqa/dev.jsonl}
---
"""

CONTEXT = {"title": ["Peru"], "sentences": [["Peru is a country.", "Its capital is Lima."]]}


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """No test asks a network, or finds what others have put into a cache."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("ZS_ENV_DATA", raising=False)


def row(name, number, **fields):
    return {
        "id": f"{name}_{number}",
        "question": f"Who is {name} {number}?",
        "golden_answers": ["she", "her"],
        **fields,
    }


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def write_repository(folder):
    """A repository in the form of the hub, with a card, of two data sets."""
    facts = {"type": "bridge", "context": CONTEXT}
    for split in ("train", "dev"):
        rows = [row(split, number, metadata=facts) for number in range(3)]
        write(folder / "hotpotqa" / f"{split}.jsonl", rows)
    for split in ("train", "test"):
        write(folder / "nq" / f"{split}.jsonl", [row(split, number) for number in range(4)])
    (folder / "README.md").write_text(CARD)
    return folder


def ids(questions):
    return [question.id for question in questions]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ["hotpotqa", "hotpotqa/dev", "hotpotqa/validation"])
def test_dataset_in_a_folder_is_read(tmp_path, name, suffix):
    write(tmp_path / f"{name}{suffix}", [row("dev", 0, level="hard"), row("dev", 1, level="easy")])
    questions = load_questions(f"hotpotqa,folder={tmp_path}")
    assert list(questions) == [
        Question("dev_0", "Who is dev 0?", ("she", "her")),
        Question("dev_1", "Who is dev 1?", ("she", "her")),
    ]
    assert questions[1].metadata == {"hops": 2, "level": "easy"}
    assert load_questions({"name": "hotpotqa", "folder": tmp_path}) is questions, "it is read once"
    assert load_questions(f"hotpotqa,folder={tmp_path},split=validation")[0] == questions[0]


def test_dataset_folder_of_the_environment_is_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("ZS_ENV_DATA", str(tmp_path))
    path = write(tmp_path / "nq.jsonl", [row("test", 0)])
    assert ids(load_questions("nq")) == ["test_0"]
    write(path, [row("test", 0), row("test", 1)])
    assert len(load_questions("nq")) == 2, "a changed file is read again"
    monkeypatch.setenv("ZS_ENV_DATA", str(tmp_path / "none"))
    with pytest.raises(QuestionSourceError, match="ZS_ENV_DATA names a folder that does not exist"):
        load_questions("nq")
    with pytest.raises(QuestionSourceError, match="`folder` names a folder that does not exist"):
        load_questions("nq,folder=/nowhere")


def test_dataset_default_split_is_that_of_results_whatever_the_environment_trains_on(tmp_path):
    folder = write_repository(tmp_path)
    for split in ("train", "test"):
        assert load_questions(f"nq,folder={folder}", split=split)[0].id == "test_0"
        assert load_questions(f"hotpotqa,folder={folder}", split=split)[0].id == "dev_0"
    assert load_questions(f"nq,folder={folder},split=train")[0].id == "train_0"


def test_dataset_plays_in_an_environment(tmp_path):
    folder = write_repository(tmp_path)
    spec = f"hotpotqa,folder={folder},sample=2"
    engine = {"name": "bm25", "corpus": str(write(tmp_path / "c.jsonl", [{"text": "Peru"}]))}
    env = gymnasium.make("ZeroSearch-v0", questions=spec, engine=engine)
    assert "Who is dev" in env.reset(seed=0)[0]
    assert len(env.unwrapped.source.questions) == 2


def test_dataset_of_the_library_with_a_card_equals_its_plain_files(tmp_path):
    """The card names files that no rule would find."""
    plain, folder = write_repository(tmp_path / "plain"), write_repository(tmp_path / "card")
    (folder / "hotpotqa").rename(folder / "wiki")
    (folder / "README.md").write_text(CARD.replace("path: hotpotqa", "path: wiki"))
    questions = load_questions(f"hotpotqa,folder={folder}")
    expected = load_questions(f"hotpotqa,folder={plain}")
    assert list(questions) == list(expected)
    assert questions[0].metadata == expected[0].metadata == {"hops": 2, "type": "bridge"}
    assert ids(load_questions(f"hotpotqa,folder={folder},split=train"))[0] == "train_0"
    with pytest.raises(QuestionSourceError, match="no split 'test', only train, dev"):
        load_questions(f"hotpotqa,folder={folder},split=test")


def test_dataset_in_shards_is_read_by_the_library(tmp_path):
    for number in range(2):
        name = f"hotpotqa/validation-{number:05}-of-00002.parquet"
        write(tmp_path / name, [row("dev", 2 * number), row("dev", 2 * number + 1)])
    questions = load_questions(f"hotpotqa,folder={tmp_path}")
    assert ids(questions) == ["dev_0", "dev_1", "dev_2", "dev_3"]
    assert load_questions(f"hotpotqa,folder={tmp_path}") is questions


HUB_PROGRAM = """
from zs_env.dataset_places import describe_place
from zs_env.datasets import DATASETS
from zs_env.question_sources import load_questions
from zs_env.errors import QuestionSourceError

def ids(spec):
    return [question.id for question in load_questions(spec)]

assert ids("hotpotqa") == ["dev_0", "dev_1", "dev_2"]
assert load_questions("hotpotqa")[0].metadata == {"hops": 2, "type": "bridge"}
assert ids("nq,split=train") == ["train_0", "train_1", "train_2", "train_3"]
assert ids("hub,id=RUC-NLPIR/FlashRAG_datasets,config=nq") == ids("nq")
mixture = load_questions("zerosearch-train")
assert ids("zerosearch-train") == [
    *(f"nq/train_{number}" for number in range(4)),
    *(f"hotpotqa/train_{number}" for number in range(3)),
]
assert mixture[6].metadata == {"hops": 2, "type": "bridge", "dataset": "hotpotqa"}
assert {name for name in DATASETS if describe_place(DATASETS[name])} == {
    "nq", "hotpotqa", "zerosearch-train"
}
for spec, message in [
    ("popqa", "popqa is not at hand: ZS_ENV_DATA is not set, and the Hugging Face hub"),
    ("hotpotqa,split=test", "hotpotqa: there is no split 'test', only train, dev."),
    ("hub,id=no/one", "no/one of the Hugging Face hub is not at hand: "),
]:
    try:
        load_questions(spec)
    except QuestionSourceError as error:
        assert message in str(error) and "\\n" not in str(error), error
    else:
        raise AssertionError(spec)
"""


def test_dataset_of_the_hub_is_kept_for_when_there_is_no_network(tmp_path):
    """The real library asks a server that answers as the hub does; then it is told to ask none."""
    hub = FakeHub(write_repository(tmp_path / "repository"), FLASHRAG)
    with running(hub.app()) as url:
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
        }
        for offline in ("0", "1"):
            before = hub.requests
            result = subprocess.run(
                [sys.executable, "-c", HUB_PROGRAM],
                env={**environment, "HF_HUB_OFFLINE": offline},
                capture_output=True, text=True,
            )  # fmt: skip
            assert result.returncode == 0, result.stderr
            assert (hub.requests == before) == (offline == "1")


def test_dataset_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZS_ENV_DATA", str(tmp_path))
    with pytest.raises(QuestionSourceError) as error:
        load_questions("musique")
    message = str(error.value)
    assert message.startswith(f"musique is not at hand: it is not in {tmp_path} (ZS_ENV_DATA)")
    assert (
        f"`hf download {FLASHRAG} --repo-type dataset --local-dir DATA --include 'musique/*'` gets "
        "it; then set ZS_ENV_DATA=DATA, or write musique,folder=DATA."
    ) in message
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(QuestionSourceError, match=r"\(in the checkout, pip install '\.\[data\]'\)"):
        load_questions("musique")


def test_dataset_that_its_folder_lacks_is_refused(tmp_path):
    write(tmp_path / "nq.jsonl", [row("test", 0)])
    with pytest.raises(QuestionSourceError) as error:
        load_questions(f"musique,folder={tmp_path}")
    assert "expected musique/dev.jsonl, or musique.jsonl with its split 'dev'" in str(error.value)
    assert "got nq.jsonl." in str(error.value)
    with pytest.raises(QuestionSourceError, match="there is no nq with the split 'train'"):
        load_questions(f"zerosearch-train,folder={tmp_path}")
    (tmp_path / "musique").mkdir()
    with pytest.raises(QuestionSourceError, match="musique cannot be read: .*(?i:data)"):
        load_questions(f"musique,folder={tmp_path}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", 0), row("a", 0)], "two questions have the id 'a_0'"),
        ([row("a", 0), {**row("a", 1), "golden_answers": []}], "'a_1' has no golden answer"),
        ([row("a", 0), {**row("a", 1), "question": None}], "expected the fields `question` and"),
    ],
)
def test_dataset_with_a_broken_row_is_refused(tmp_path, rows, message):
    write(tmp_path / "plain" / "nq.jsonl", rows)
    with pytest.raises(QuestionSourceError, match=message) as error:
        load_questions(f"nq,folder={tmp_path / 'plain'}")
    assert "nq.jsonl" in str(error.value)
    write(tmp_path / "shards" / "nq" / "test-00000-of-00001.parquet", rows)
    with pytest.raises(QuestionSourceError, match=message) as error:
        load_questions(f"nq,folder={tmp_path / 'shards'}")
    assert "nq, test" in str(error.value)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("hotpot_qa", ValueError, r"got 'hotpot_qa' \(did you mean 'hotpotqa'\?\)"),
        ("nq,size=3", TypeError, "have no option 'size'; expected some of folder, split, sample"),
        ("nq,split=tset", QuestionSourceError, "nq: there is no split 'tset', only train, dev"),
        ("zerosearch-train,split=dev", QuestionSourceError, "no split 'dev', only train"),
        ("world,sampel=3", TypeError, r"did you mean 'sample'\?"),
        ("world,sample=0", ValueError, "`sample` must be at least 1, got 0"),
        ("world,sample=half", TypeError, "`sample` must be an integer, got 'half'"),
        ("world,sample=3,seed=x", TypeError, "`seed` must be an integer"),
        ("world,seed=3", TypeError, "`seed` chooses a `sample`: expected world,sample=100,seed=3"),
        ("hub", TypeError, "the questions 'hub' need an id"),
        ("hub,id=no/one", QuestionSourceError, "no/one of the Hugging Face hub is not at hand"),
    ],
)
def test_questions_with_a_wrong_option_are_refused(spec, error, message):
    with pytest.raises(error, match=message):
        load_questions(spec)


def test_dataset_of_the_users_own_repository_names_its_columns(tmp_path):
    write(tmp_path / "test.jsonl", [{"problem": "Who?", "answer": "she", "topic": "x"}])
    questions = load_questions(f"hub,id={tmp_path},question=problem,answers=answer")
    assert list(questions) == [Question(f"{tmp_path}-0", "Who?", ("she",))]
    assert questions[0].metadata == {"topic": "x"}
    with pytest.raises(QuestionSourceError, match="expected the fields `question` and .* got prob"):
        load_questions(f"hub,id={tmp_path}")


@pytest.mark.parametrize(
    ("name", "fields", "hops"),
    [
        ("nq", {}, 1),
        ("bamboogle", {}, 2),
        ("musique", {"id": "3hop1__140786_2053573"}, 3),
        ("musique", {"metadata": {"metadata": {"question_decomposition": [{"id": 1}] * 4}}}, 4),
        ("musique", {}, None),
        ("2wikimultihopqa", {"metadata": {"type": "bridge_comparison"}}, 4),
        ("2wikimultihopqa", {"type": "compositional"}, 2),
        ("2wikimultihopqa", {}, None),
        ("nq", {"hops": 7}, 7),
    ],
)
def test_dataset_says_the_hops_of_its_questions(tmp_path, name, fields, hops):
    write(tmp_path / f"{name}.jsonl", [{**row("x", 0), **fields}])
    [question] = load_questions(f"{name},folder={tmp_path}")
    assert question.metadata.get("hops") == hops


def test_registry_agrees_with_itself():
    for name, dataset in DATASETS.items():
        assert dataset.name == name and dataset.evaluation_split in dataset.splits
        assert dataset.link.startswith("https://") and dataset.licence and dataset.hops
        assert bool(dataset.parts) != bool(dataset.config)
        for part, split in dataset.parts:
            assert DATASETS[part].in_domain
            assert split in DATASETS[part].splits
    [mixture] = [dataset for dataset in DATASETS.values() if dataset.parts]
    assert mixture.splits["train"] == sum(DATASETS[n].splits[s] for n, s in mixture.parts)


def question_set(names):
    return QuestionSet(Question(name, f"Who is {name}?", ("x",)) for name in names)


@given(
    st.lists(st.text(max_size=4), min_size=1, max_size=30, unique=True),
    st.integers(1, 40),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_sample_is_the_same_for_any_order_of_the_questions(names, number, seed, random):
    sample = ids(sample_questions(question_set(names), number, seed))
    assert len(set(sample)) == min(number, len(names)) and set(sample) <= set(names)
    random.shuffle(names)
    assert ids(sample_questions(question_set(names), number, seed)) == sample
    assert ids(sample_questions(question_set(names), number + 1, seed))[:number] == sample


def test_sample_follows_from_the_seed_and_stays_what_it_was():
    """A sample that changed would make published results incomparable."""
    source = question_set([f"dev_{number}" for number in range(100)])
    sample = ids(sample_questions(source, 4))
    assert sample == ["dev_87", "dev_79", "dev_83", "dev_11"]
    assert ids(sample_questions(source, 4, seed=1)) != sample


def test_sample_of_files_and_of_the_world(tmp_path):
    path = write(tmp_path / "q.jsonl", [row("q", number) for number in range(20)])
    sampled = load_questions(f"{path},sample=5,seed=2")
    assert ids(sampled) == ids(sample_questions(load_questions(path), 5, 2))
    assert load_questions(f"{path},sample=5,seed=2") is sampled
    world = load_questions("world,sample=5", split="test")
    assert len(world) == 5 and all("-test-" in question.id for question in world)
    assert ids(load_questions("world,sample=5,split=train,world_size=tiny"))[0].startswith(
        "world-tiny-0-train-"
    )


def test_sampled_world_is_what_the_engine_knows():
    """It is held in memory, as a file is; the environment warned of that."""
    gymnasium.make("ZeroSearch-v0", questions="world,sample=5").reset(seed=0)


def test_command_lists_the_data_sets_and_asks_no_network(tmp_path, monkeypatch, capsys):
    write(tmp_path / "nq.jsonl", [row("test", 0)])
    monkeypatch.setenv("ZS_ENV_DATA", str(tmp_path))
    main(["datasets"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["name", "split", "questions"]
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert lines[0].split() == (
        ["nq", "test", "3,610", "1", "yes", "CC", "BY-SA", "3.0", f"{tmp_path}/nq.jsonl"]
    )
    assert lines[3].startswith("hotpotqa          dev    7,405 ")
    assert lines[3].endswith(f"not at hand; hub: {FLASHRAG}")


REAL = {
    "nq": ("nq_open_dev", 3610),
    "hotpotqa": ("hotpotqa_dev", 7405),
    "musique": ("musique_dev_500", 500),
    "2wikimultihopqa": ("2wikimultihopqa_dev_500", 500),
    "bamboogle": ("bamboogle_test", 125),
}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real question sets lie in {DATA}, if anywhere")
def test_real_question_sets_are_read_as_plain_files_and_by_the_library(tmp_path):
    for name, (file, number) in REAL.items():
        (tmp_path / "plain").mkdir(exist_ok=True)
        (tmp_path / "plain" / f"{name}.jsonl").symlink_to(DATA / f"{file}.jsonl")
        split = "test" if name in ("nq", "bamboogle") else "dev"
        lines = (DATA / f"{file}.jsonl").read_text().splitlines()
        shard = tmp_path / "hub" / name / f"{split}-00000-of-00001.jsonl"
        write(shard, [json.loads(line) for line in lines])
        plain = load_questions(f"{name},folder={tmp_path / 'plain'}")
        assert len(plain) == number
        assert list(load_questions(f"{name},folder={tmp_path / 'hub'}")) == list(plain)
    sample = load_questions(f"hotpotqa,folder={tmp_path / 'plain'},sample=500")
    assert len(sample) == 500 and {q.metadata["hops"] for q in sample} == {2}
    assert {q.metadata["type"] for q in sample} == {"bridge", "comparison"}
