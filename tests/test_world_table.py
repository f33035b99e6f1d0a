"""The committed table of world-v1: its rows come out again, and its page shows them."""

from __future__ import annotations

import pytest

from benchmarks import world_table
from zs_env.evaluation.benchmarks import WORLD_V1


def test_rows_come_out_again_to_the_digit(capsys):
    world_table.main(["check", "solver"])
    assert capsys.readouterr().out == "solver: the same\n"


def test_a_row_that_comes_out_otherwise_is_shown(monkeypatch):
    [row] = [row for row in world_table.read_rows() if row["agent"] == "random"]
    monkeypatch.setattr(world_table, "read_rows", lambda: [{**row, "searches": 1.0}])
    with pytest.raises(SystemExit, match="--method random: the table has .*'searches': 1.0"):
        world_table.main(["check"])


def test_rows_stand_beside_their_command_and_within_the_limits():
    rows = {row["agent"]: row for row in world_table.read_rows()}
    for row in rows.values():
        assert row["command"].startswith(f"{world_table.COMMAND} ") and row["failed"] == 0
        for name in ("easy", "standard", "hard"):
            assert row[name]["questions"] == 300
    for name in ("easy", "standard"):
        assert rows["solver"][name]["mean"] >= 0.95
    assert rows["careful"]["hard"]["mean"] >= 0.85 > 0.5 >= rows["careless"]["hard"]["mean"]
    for tier in (*(tier.name for tier in WORLD_V1.tiers), "other worlds"):
        assert rows["scripted-direct"][tier]["mean"] <= 0.05


def test_the_page_shows_rows_protocol_and_examples_as_they_are():
    page = world_table.PAGE.read_text()
    assert world_table.rendered(page) == page
    readme = world_table.README.read_text()
    assert world_table.readme(readme) == readme


def test_adding_a_row_takes_the_place_of_the_one_of_its_name(tmp_path, monkeypatch):
    page, readme, rows = (tmp_path / name for name in ("page.md", "readme.md", "rows.json"))
    page.write_text(world_table.PAGE.read_text())
    readme.write_text(world_table.README.read_text())
    [row] = [row for row in world_table.read_rows() if row["agent"] == "random"]
    played = []

    def play(arguments, folder):
        played.append((arguments, folder))
        return {**row, "searches": len(played)}

    monkeypatch.setattr(world_table, "PAGE", page)
    monkeypatch.setattr(world_table, "README", readme)
    monkeypatch.setattr(world_table, "SHOWN", ("b", "a"))
    monkeypatch.setattr(world_table, "ROWS", rows)
    monkeypatch.setattr(world_table, "examples", lambda tier: tier.name)
    monkeypatch.setattr(world_table, "play", play)
    for name in ("a", "b", "a"):
        world_table.main(["add", name, "--method", "random", "--folder", "x", "--max-context", "9"])
    assert played == [(["--method", "random", "--max-context", "9"], "x")] * 3
    found = [(row["agent"], row["searches"]) for row in world_table.read_rows()]
    assert found == [("a", 3), ("b", 2)]
    assert "| a | 0.0" in page.read_text() and "| solver |" not in page.read_text()
    assert "| b | 0.007 | 0.003 | 0.000 | 0.002 |\n| a | 0.007" in readme.read_text()
