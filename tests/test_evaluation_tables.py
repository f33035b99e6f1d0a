"""Tables in four formats: they agree, and no name breaks one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from tests.evaluation_records import make_failure, make_record, make_records
from zs_env.evaluation.alike import Run
from zs_env.evaluation.compare import compare
from zs_env.evaluation.layout import tables_of, tables_of_comparison
from zs_env.evaluation.results import results_of
from zs_env.evaluation.statistics import Estimate
from zs_env.evaluation.summary import Prices
from zs_env.evaluation.tables import (
    FORMATS,
    Column,
    Table,
    as_csv,
    as_json,
    as_markdown,
    as_text,
)

TABLE = Table(
    "Scores",
    [Column("dataset"), Column("questions"), Column("f1", estimates=True), Column("tokens", 0)],
    [["nq", 500, Estimate(0.4234, 0.0182, 500), 1234.5], ["musique", 1, None, None]],
)


def test_text_by_hand():
    assert as_text([TABLE]).splitlines() == [
        "Scores",
        "dataset  questions             f1  tokens",
        "-------  ---------  -------------  ------",
        "nq             500  0.423 ± 0.018    1234",
        "musique          1              -       -",
    ]


def test_markdown_by_hand():
    assert as_markdown([TABLE]).splitlines() == [
        "**Scores**",
        "",
        "| dataset | questions | f1 | tokens |",
        "| --- | ---: | ---: | ---: |",
        "| nq | 500 | 0.423 ± 0.018 | 1234 |",
        "| musique | 1 | - | - |",
    ]


def test_csv_and_json_have_numbers_in_full():
    assert as_csv([TABLE]).splitlines() == [
        "table,dataset,questions,f1,f1 standard error,tokens",
        "Scores,nq,500,0.4234,0.0182,1234.5",
        "Scores,musique,1,,,",
    ]
    f1 = {"mean": 0.4234, "standard_error": 0.0182, "questions": 500}
    assert json.loads(as_json([TABLE])) == [
        {
            "title": "Scores",
            "rows": [
                {"dataset": "nq", "questions": 500, "f1": f1, "tokens": 1234.5},
                {"dataset": "musique", "questions": 1, "f1": None, "tokens": None},
            ],
        }
    ]


def test_estimate_of_one_question_has_no_error_behind_it():
    assert "0.500\n" in as_text([Table("", [Column("f1")], [[Estimate(0.5, None, 1)]])])


HOSTILE = [
    "a|b",
    "a\\|b",
    "line\nbreak\r\u2028",
    "\x1b[31mred\x07",
    "<search>x</search>",
    "<script>alert(1)</script>",
    "`code` **bold** [link](x)",
    "\u202eright to left",
    "\ud800",
    '=cmd("x"),"y"',
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_breaks_no_table(name):
    table = Table(name, [Column("dataset"), Column("questions")], [[name, 1], ["nq", 2]])
    for write in FORMATS.values():
        text = write([table])
        assert text.encode() and all(letter.isprintable() or letter == "\n" for letter in text)
    assert len(as_text([table]).splitlines()) == 5
    markdown = as_markdown([table])
    assert len(markdown.splitlines()) == 6 and "<" not in markdown
    for line in markdown.splitlines()[2:]:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    rows = list(csv.reader(io.StringIO(as_csv([table]))))
    assert [len(row) for row in rows] == [3, 3, 3] and not rows[1][1].startswith("=")
    assert json.loads(as_json([table]))[0]["rows"][0] == {"dataset": name, "questions": 1}


def test_markdown_leaves_underscores_within_words():
    text = as_markdown([Table("exact_match", [Column("_x_")], [["a"]])])
    assert "**exact_match**" in text and r"| \_x\_ |" in text


def test_wide_letters_keep_columns_aligned():
    lines = as_text([Table("", [Column("name"), Column("n")], [["漢字", 1], ["abcd", 2]])])
    assert lines.splitlines()[1:] == ["name  n", "----  -", "漢字  1", "abcd  2"]


def records():
    return [
        *make_records([1.0, 0.0, 1.0]),
        *(
            make_record(f"m{i}", i % 2, dataset="musique", repeat=repeat, metadata={"hops": 2 + i})
            for i in range(2)
            for repeat in range(2)
        ),
        make_failure("z", dataset="musique"),
    ]


def test_tables_of_results_show_failures_beside_scores():
    tables = {table.title: table for table in tables_of(results_of(records(), prices=Prices()))}
    assert list(tables) == [
        "Scores", "Means over datasets", "Usage of an episode", "Repeats", "By hops"
    ]  # fmt: skip
    names = [column.name for column in tables["Scores"].columns]
    assert names[2:6] == ["questions", "repeats", "failed", "failed share"]
    musique = dict(zip(names, tables["Scores"].rows[0], strict=True))
    assert (musique["questions"], musique["failed"], musique["failed share"]) == (3, 1, 0.2)
    assert musique["exact_match"] == Estimate(0.5, 0.5, 2)
    assert tables["Usage of an episode"].columns[-1].name == "cost"


def test_table_of_scores_counts_what_a_metric_did_not_score():
    scored = [*make_records([1.0, 0.0]), make_record("z", None)]
    [table, *_] = tables_of(results_of(scored + make_records([1.0], dataset="popqa")))
    assert table.columns[-1].name == "exact_match unscored"
    assert [row[-1] for row in table.rows] == [1, 0]


def test_run_of_nothing_has_no_tables():
    assert tables_of(results_of([])) == []


@pytest.mark.parametrize("format_name", FORMATS)
def test_tables_of_results_and_comparisons_have_every_format(format_name):
    better = [replace(record, scores={"exact_match": 1.0}) for record in records()]
    comparison = compare([Run("base", records()), Run("tuned", better)])
    for tables in (tables_of(results_of(records())), tables_of_comparison(comparison)):
        text = FORMATS[format_name](tables)
        assert text.endswith("\n") and "exact_match" in text and "musique" in text


def test_tables_of_a_comparison_with_nothing_to_compare_have_no_numbers():
    popqa = [make_failure("y", dataset="popqa"), make_record("z", None, dataset="popqa")]
    runs = [Run(name, [make_record("a", 1.0), *popqa]) for name in "ab"]
    [table] = tables_of_comparison(compare(runs))
    assert table.title == "exact_match: against a"
    assert list(table.rows[1]) == ["popqa", "bm25", "b", 0, 2, *[None] * 9]
