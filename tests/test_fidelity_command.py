"""``zs-env simulation fidelity``, from searches to the picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.fidelity_data import collected, world_queries
from zs_env.commands.main import main
from zs_env.simulation.fidelity.definitions import FIGURES, KINDS
from zs_env.simulation.fidelity.kinds import DOCUMENT_KINDS
from zs_env.simulation.fidelity.progress import AskingProgress
from zs_env.simulation.searches import write_searches

FAULTY, DEAD = "tests.fidelity_data:FaultySimulator", "tests.fidelity_data:DeadSimulator"


@pytest.fixture
def source(tmp_path):
    write_searches(tmp_path / "searches.jsonl", collected(world_queries(40)))
    return tmp_path / "searches.jsonl"


def command(source, folder, *more):
    main(
        [
            "simulation",
            "fidelity",
            "--queries",
            str(source),
            "--folder",
            str(folder),
            "--quiet",
            *more,
        ]
    )


def test_report_is_written_and_the_second_call_is_the_same(source, tmp_path, capsys):
    folder = tmp_path / "fidelity"
    call = ("--simulated", "world", FAULTY, "--names", "world", "faulty", "--num-queries", "25")
    command(source, folder, *call, "--price-prompt", "1")
    printed = capsys.readouterr().out
    written = {name: (folder / name).read_bytes() for name in ("fidelity.md", "fidelity.json")}
    assert "Noisy searches" in printed and "faulty without answers" in printed
    assert (folder / "fidelity.png").stat().st_size > 10_000
    told = json.loads(written["fidelity.json"])
    assert told["queries"]["asked"] == 25 and told["judge"] == "world"
    names = [column["name"] for column in told["columns"]]
    assert names[:5] == [
        "bm25",
        "world",
        "world without answers",
        "faulty",
        "faulty without answers",
    ]
    assert told["columns"][3]["figures"]["price"]["value"] == 1e-4
    assert set(told["columns"][1]["figures"]) <= set(told["definitions"])
    command(source, folder, *call, "--price-prompt", "1")
    assert capsys.readouterr().out == printed
    for name, content in written.items():
        assert (folder / name).read_bytes() == content


def test_keys_in_urls_are_written_nowhere(source, tmp_path, capsys):
    spec = f"{FAULTY},fails=https://example.org/v1?key=SECRET"
    command(source, tmp_path / "f", "--real", spec, "--simulated", spec, "--num-queries", "12")
    said = capsys.readouterr()
    files = [path for path in (tmp_path / "f").iterdir() if path.name != "fidelity.png"]
    written = [said.out, said.err, *(path.read_text() for path in files)]
    assert "documents.jsonl" in {path.name for path in files}
    assert f"{FAULTY},fails=https://example.org/v1" in said.out
    assert not any("SECRET" in text for text in written)


def test_failed_searches_are_the_exit_status(source, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command(source, tmp_path / "f", "--simulated", DEAD, "world", "--only-with-answers")
    assert ended.value.code == 3
    assert "gave up on all of its first" in capsys.readouterr().err
    assert (tmp_path / "f" / "fidelity.md").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--simulated", "world", "--names", "a", "b"), "a name for each simulator: 1, got 2"),
        (("--simulated", "world", "world"), "different names"),
        (("--simulated", "world", "--depth", "3"), "depth"),
        (("--simulated", "world", "--judge", "nobody"), "nobody"),
        (("--simulated", "nothing"), "nothing"),
    ],
)
def test_wrong_options_are_named(source, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as ended:
        command(source, tmp_path / "f", *more)
    assert ended.value.code != 0
    assert message in capsys.readouterr().err + str(ended.value.code)


def test_documentation_defines_every_figure():
    page = (Path(__file__).parent.parent / "docs" / "fidelity.md").read_text()
    for name, each in FIGURES.items():
        assert each.section in page, name
        if each.section not in ("True noise", KINDS):
            assert each.label.partition(", ")[0] in page, name
    for kind in DOCUMENT_KINDS:
        assert f"*{kind}*" in page, kind


def test_progress_shows_the_time_that_is_left():
    output = io.StringIO()
    progress = AskingProgress(100, output)
    progress("bm25", 40, 0)  # kept
    progress._began -= 10.0
    progress("bm25", 9, 1)
    line = progress.line()
    assert "50/100 steps  bm25  failed 1" in line
    assert "1.0/s" in line and line.endswith("left")
    assert any(f"0:{seconds} left" in line for seconds in (49, 50))
    progress.close()
    assert output.getvalue().count("\n") == 1
