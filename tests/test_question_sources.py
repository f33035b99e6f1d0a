"""Questions and the files they come from."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env import Question
from zs_env.errors import QuestionSourceError
from zs_env.question_sources import QuestionOrder, load_questions, world_of
from zs_env.questions import QuestionSet
from zs_env.world import load_world


@pytest.fixture
def write(tmp_path):
    """Writes lines to a file; an object becomes JSON."""

    def write_lines(*lines, name="q.jsonl"):
        path = tmp_path / name
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(b"\n".join(texts))
        return path

    return write_lines


GOOD = {"question": "Where?", "answers": ["here", "there"], "type": "bridge"}


def test_load_questions_jsonl_reads_answers_ids_and_metadata(write):
    path = write(GOOD, b"", {"id": 7, "question": "Who?", "golden_answers": "she"})
    questions = load_questions(path)
    assert list(questions) == [
        Question("q-0", "Where?", ("here", "there")),
        Question("7", "Who?", ("she",)),
    ]
    assert questions[0].metadata == {"type": "bridge"}
    assert questions.get("7").text == "Who?"
    assert load_questions(str(path)) is questions, "a file is read once"


def test_load_questions_changed_file_is_read_again(write):
    assert len(load_questions(write(GOOD))) == 1
    assert len(load_questions(write(GOOD, {**GOOD, "question": "When?"}))) == 2


def test_load_questions_parquet_equals_jsonl(write, tmp_path):
    rows = [GOOD, {"question": "Who?", "answers": ["she"], "type": "x"}]
    path = tmp_path / "q.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert list(load_questions(path)) == list(load_questions(write(*rows)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{broken", "q.jsonl:2: not a line of JSON"),
        (b"\xff\xfe", "q.jsonl:2: not a line of JSON"),
        (b"[" * 100_000, "q.jsonl:2: not a line of JSON"),
        (b"[1]", "q.jsonl:2: expected a JSON object"),
        ({"question": "Who?"}, "q.jsonl:2: expected the fields `question` and `answers`"),
        ({"answers": ["x"]}, "q.jsonl:2: expected the fields"),
        ({"question": "Who?", "answers": None}, "neither null, got question."),
        ({"question": " ", "answers": ["x"]}, "q.jsonl:2: the text of question"),
        ({"question": "Who?", "answers": []}, "q.jsonl:2: question 'q-1' has no golden answer"),
        ({"question": "Who?", "answers": ["", " "]}, "q.jsonl:2: question 'q-1' has no golden"),
        ({"question": "Who?", "answers": 3}, "q.jsonl:2: the answers must be a list of strings"),
        ({"question": "Who?", "answers": [3]}, "q.jsonl:2: a question's answer must be a string"),
        ({"question": 3, "answers": ["x"]}, "q.jsonl:2: a question's text must be a string"),
        ({**GOOD, "id": "q-0"}, "q.jsonl: two questions have the id 'q-0'"),
    ],
)
def test_load_questions_broken_line_is_named(write, line, message):
    with pytest.raises(QuestionSourceError) as error:
        load_questions(write(GOOD, line))
    assert message in str(error.value)


def test_load_questions_missing_empty_or_unreadable_file_is_refused(write, tmp_path):
    with pytest.raises(QuestionSourceError, match="no such file"):
        load_questions(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(QuestionSourceError, match="folder.jsonl: expected a file, got a folder"):
        load_questions(tmp_path / "folder.jsonl")
    with pytest.raises(QuestionSourceError, match="no questions"):
        load_questions(write(b""))
    with pytest.raises(QuestionSourceError, match="not a readable parquet"):
        load_questions(write(b"PAR1?", name="q.parquet"))


def test_load_questions_unknown_name_split_or_type_is_refused():
    with pytest.raises(ValueError, match=r"'world', a path that ends in .jsonl or .parquet"):
        load_questions("trivia")
    with pytest.raises(ValueError, match="`split` must be one of train, test, got 'dev'"):
        load_questions("world", split="dev")
    with pytest.raises(TypeError, match="expected zs_env.Question objects, got str"):
        load_questions(["Who?"])
    with pytest.raises(TypeError, match="as a mapping must hold `name`"):
        load_questions({"q": "Who?"})
    with pytest.raises(QuestionSourceError, match="no questions"):
        load_questions([])


def test_world_of_some_kinds_keeps_ids_and_order():
    world = load_world(0, "small").questions("test")
    some = load_questions("world,kinds=1-hop+comparison", "test")
    wanted = [q for q in world if q.metadata["kind"] in ("1-hop", "comparison")]
    assert [some[index] for index in range(len(some))] == wanted
    assert len(load_questions("world,kinds=2-hop,sample=7", "test")) == 7
    with pytest.raises(ValueError, match="1-hop, .* comparison, got '2-hops' .did you mean '2-hop"):
        load_questions("world,kinds=1-hop+2-hops")


@pytest.mark.parametrize("kinds", [3, ["1-hop"]])
def test_world_of_kinds_that_are_no_text_is_refused(kinds):
    with pytest.raises(TypeError, match="`kinds` must be text such as '1-hop.2-hop', got"):
        load_questions({"name": "world", "kinds": kinds})


def test_world_of_takes_options_of_the_questions_over_those_given():
    assert world_of("world") == world_of([]) == (0, "small")
    assert world_of("world,world_size=hard", 4, "tiny") == (4, "hard")
    assert world_of({"name": "world", "world_seed": 7}, 4, "tiny") == (7, "tiny")


def test_question_takes_one_answer_as_a_string():
    assert Question("a", "Who?", "she").golden_answers == ("she",)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (("1", "Who?", None), TypeError, "golden answers must be a string or a list .* got None"),
        (("1", "Who?", 3), TypeError, "golden answers must .* got 3"),
        (("1", "Who?", b"she"), TypeError, "golden answers must .* got b'she'"),
        (("1", "Who?", {"a": "she"}), TypeError, "golden answers must .* got {'a': 'she'}"),
        (("1", "Who?", [None]), ValueError, "a question's answer must be a string, got None"),
        (("1", "Who?", []), ValueError, "question '1' has no golden answer"),
        (("1", None, "she"), ValueError, "a question's text must be a string, got None"),
        ((1, "Who?", "she"), ValueError, "a question's id must be a string, got 1"),
        (("1", "Who?", "she", 3), TypeError, "a question's metadata must be a dict, got 3"),
    ],
)
def test_question_with_a_field_of_the_wrong_type_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Question(*fields)


def test_question_is_hashable_and_compares_without_metadata():
    questions = {Question("a", "Who?", ("she",)), Question("a", "Who?", ["she"], {"hops": 1})}
    assert len(questions) == 1


def test_question_set_is_a_sequence():
    questions = QuestionSet([Question(str(i), "Who?", ("she",)) for i in range(3)])
    assert [question.id for question in questions[1:]] == ["1", "2"]
    with pytest.raises(KeyError):
        questions.get("3")


def drawn(order, numbers):
    """The ids of the questions drawn as ``numbers``."""
    return [order[number].id for number in numbers]


@given(
    st.integers(1, 9),
    st.integers(0, 2**64),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_question_order_any_place_equals_the_place_in_sequence(size, seed, numbers):
    """A run that goes on from the middle draws what it would have drawn."""
    source = QuestionSet(Question(str(i), f"Question {i}?", ("x",)) for i in range(size))
    in_sequence = drawn(QuestionOrder(source, seed), range(41))
    order = QuestionOrder(source, seed)
    assert drawn(order, numbers) == [in_sequence[number] for number in numbers]
    assert [drawn(QuestionOrder(source, seed), [n]) for n in numbers] == (
        [[in_sequence[number]] for number in numbers]
    )


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_question_order_each_question_comes_once_before_any_again(size):
    source = QuestionSet(Question(str(i), f"Question {i}?", ("x",)) for i in range(size))
    order = QuestionOrder(source, seed=3)
    epochs = [drawn(order, range(epoch * size, (epoch + 1) * size)) for epoch in range(5)]
    assert all(sorted(epoch) == sorted(q.id for q in source) for epoch in epochs)
    if size == 100:
        assert len({tuple(epoch) for epoch in epochs}) == 5, "each epoch has its own order"
        assert drawn(QuestionOrder(source, seed=4), range(size)) != epochs[0]
