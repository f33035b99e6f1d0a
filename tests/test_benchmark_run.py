"""Runs of a benchmark: records, tables, and folders that hold something else."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from zs_env.commands.main import main
from zs_env.errors import RecordError
from zs_env.evaluation.benchmark_hashes import BenchmarkChanged, hashes_of
from zs_env.evaluation.benchmark_plans import plans_of
from zs_env.evaluation.benchmark_table import benchmark_table
from zs_env.evaluation.benchmarks import BENCHMARKS, Benchmark, Tier, find_benchmark
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.report import read_kept
from zs_env.evaluation.run import Plan, evaluate
from zs_env.evaluation.statistics import macro_mean, mean_of
from zs_env.evaluation.store import RECORDS, RUN, read_records, read_run, write_run
from zs_env.llm.scripted import ScriptedLanguageModel

HERE = "tests.test_benchmark_run"


def policy(request):
    """Search once, and answer as all the world does."""
    return "<answer>Yes</answer>" if request.prefill else "<search>x</search>"


class Named(ScriptedLanguageModel):
    """A model whose name says less than its options."""

    def __init__(self, address):
        super().__init__(policy)

    def identity(self):
        return {"model": "named"}


def make_benchmark(name="mini-v1"):
    tiers = (
        Tier("easy", "tiny", "world", max_turns=3, kinds="1-hop"),
        Tier("hard", "small", "world", max_turns=4, noise=0.5),
    )
    benchmark = Benchmark(name, tiers, num_questions={0: 6, 5: 4, 7: 3})
    hashed = [
        replace(tier, hashes={seed: hashes_of(benchmark, tier, seed) for seed in benchmark.seeds})
        for tier in tiers
    ]
    return replace(benchmark, tiers=tuple(hashed))


@pytest.fixture(autouse=True)
def mini(monkeypatch):
    benchmark = make_benchmark()
    monkeypatch.setitem(BENCHMARKS, benchmark.name, benchmark)
    return benchmark


def play(folder, *arguments, method="solver", benchmark="mini-v1"):
    given = ["--benchmark", benchmark] if benchmark else ["--questions", "world,sample=3"]
    where = [] if folder is None else ["--folder", str(folder)]
    main(["evaluate", "--quiet", "--method", method, *given, *where, *map(str, arguments)])


def error_of(call, *arguments, **options):
    with pytest.raises(SystemExit) as exit:
        call(*arguments, **options)
    return str(exit.value)


def change_hashes(monkeypatch, benchmark, number, place):
    """As an update does that changes what tier ``number`` asks (0), or what is found (1)."""
    tiers = list(benchmark.tiers)
    hashes = {seed: list(own) for seed, own in tiers[number].hashes.items()}
    for own in hashes.values():
        own[place] = "0"
    tiers[number] = replace(
        tiers[number], hashes={seed: tuple(own) for seed, own in hashes.items()}
    )
    changed = replace(benchmark, tiers=tuple(tiers))
    monkeypatch.setitem(BENCHMARKS, benchmark.name, changed)


def without_clock(records):
    return [replace(record, seconds=0.0) for record in records]


def test_records_carry_the_benchmark_and_follow_from_it(tmp_path, mini):
    for name in ("a", "b"):
        play(tmp_path / name)
    records = read_records(tmp_path / "a")
    assert without_clock(records) == without_clock(read_records(tmp_path / "b"))
    assert len(records) == 2 * 13
    assert {r.benchmark for r in records} == {"mini-v1,tier=easy", "mini-v1,tier=hard"}
    assert all((r.noise_probability == 0.5) == ("hard" in r.benchmark) for r in records)
    asked = read_run(tmp_path / "a")
    assert asked["method"] == "solver" and asked["seed"] == 0
    for tier in mini.tiers:
        own = asked["benchmark"][mini.part(tier)]
        assert own["options"]["max_turns"] == tier.max_turns
        for place, what in enumerate(("questions", "documents")):
            assert own[what][mini.questions(tier, 5)] == tier.hashes[5][place]


def test_table_has_a_row_of_tiers_other_worlds_and_searches(tmp_path, mini, capsys):
    play(tmp_path)
    shown = capsys.readouterr().out
    records = read_records(tmp_path)
    table = benchmark_table(mini, {"it": records})
    [[name, easy, hard, others, searches, failed]] = table.rows
    assert (name, failed) == ("it", 0)

    def scores(tier, seeds):
        datasets = [mini.questions(mini.tiers[tier], seed) for seed in seeds]
        return [r.scores["f1"] for r in records if r.dataset in datasets]

    assert easy == mean_of(scores(0, [0])) and easy.mean == 1.0 and easy.questions == 6
    assert hard == mean_of(scores(1, [0]))
    assert others == macro_mean([mean_of(scores(0, [5, 7])), mean_of(scores(1, [5, 7]))])
    home = [r for r in records if "world_seed=0" in r.dataset]
    assert searches == pytest.approx(sum(len(r.searches) for r in home) / len(home))
    assert shown.startswith("mini-v1\nagent ")
    assert re.search(r"^solver  1\.000 \(1\.000 – 1\.000\)  0\.\d{3} \(-?\d", shown, re.M)
    assert (tmp_path / "results.md").read_text().startswith("**mini-v1**\n\n| agent | easy |")
    main(["results", str(tmp_path)])
    assert capsys.readouterr().out == shown
    main(["results", str(tmp_path), "--format", "json"])
    row, worlds, kinds = (table["rows"] for table in json.loads(capsys.readouterr().out))
    assert row[0]["easy"] == easy._asdict()
    assert [(r["tier"], r["world"], r["questions"]) for r in worlds] == [
        ("easy", "0", 6), ("easy", "5", 4), ("easy", "7", 3),
        ("hard", "0", 6), ("hard", "5", 4), ("hard", "7", 3),
    ]  # fmt: skip
    assert {"f1", "exact_match", "searches"} <= worlds[0].keys()
    assert sum(r["questions"] for r in kinds) == 12 and kinds[0]["kind"] == "1-hop"


def test_one_tier_leaves_the_others_blank(capsys):
    play(None, benchmark="mini-v1,tier=easy")
    assert re.search(r"^solver  1\.000 \(.*\) +-  1\.000 \(", capsys.readouterr().out, re.M)


def test_a_run_goes_on_where_it_was_cut(tmp_path, mini, capsys):
    arguments = ["--model", f"scripted,script={HERE}:policy"]
    play(tmp_path, *arguments, method="search")
    shown = capsys.readouterr().out
    assert shown.splitlines()[3].startswith("search, ")
    lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
    (tmp_path / RECORDS).write_bytes(b"".join(lines[:9]))
    play(tmp_path, *arguments, method="search")
    assert capsys.readouterr().out == shown
    assert (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)[:9] == lines[:9]


def test_plans_of_several_tiers_share_a_model(mini, monkeypatch):
    from zs_env.evaluation import run

    made = []

    class Model(ScriptedLanguageModel):
        def __init__(self):
            super().__init__(policy)
            made.append(self)
            self.closed = 0

        def close(self):
            self.closed += 1

    monkeypatch.setattr(run, "load_model", lambda m: m if isinstance(m, Model) else Model())
    plans = plans_of(find_benchmark("mini-v1"), "search", "some model")
    assert len(evaluate(plans, show_progress=False)) == 26
    assert [model.closed for model in made] == [1]


def test_a_folder_of_another_benchmark_or_none_is_refused(tmp_path, monkeypatch):
    play(tmp_path)
    of_all = "mini-v1,tier=easy, mini-v1,tier=hard"
    message = error_of(play, tmp_path, benchmark=None)
    assert f"holds a run of {of_all}, and this is one of no benchmark. Give" in message
    message = error_of(play, tmp_path, benchmark="mini-v1,tier=hard")
    assert f"holds a run of {of_all}, and this is one of mini-v1,tier=hard. Give" in message
    monkeypatch.setitem(BENCHMARKS, "mini-v2", make_benchmark("mini-v2"))
    assert "and this is one of mini-v2,tier=easy" in error_of(play, tmp_path, benchmark="mini-v2")
    play(tmp_path / "plain", benchmark=None)
    message = error_of(play, tmp_path / "plain")
    assert f"holds a run of no benchmark, and this is one of {of_all}" in message


def test_another_option_of_the_agent_is_refused_in_a_few_words(tmp_path):
    play(tmp_path)
    message = error_of(play, tmp_path, "--max-turn-tokens", 7)
    assert "`benchmark.mini-v1,tier=easy.options.max_turn_tokens` was 500, now 7;" in message
    assert len(message) < 400


@pytest.mark.parametrize("command", [["results"], ["rescore", "--metric", "squad_f1"], ["compare"]])
def test_records_of_a_benchmark_that_is_not_known_are_not_judged(tmp_path, monkeypatch, command):
    play(tmp_path / "a")
    play(tmp_path / "b", method="scripted-rag")
    arguments = [
        command[0],
        *map(str, [tmp_path / "a", tmp_path / "b"][: 1 + (command[0] == "compare")]),
    ]  # noqa: E501
    main([*arguments, *command[1:]])
    kept = (tmp_path / "a" / RECORDS).read_bytes()
    mini = BENCHMARKS["mini-v1"]
    for place, what in enumerate(("questions", "documents")):
        change_hashes(monkeypatch, mini, 0, place)
        message = error_of(main, [*arguments, *command[1:]])
        assert f"mini-v1,tier=easy with other {what} than this version has" in message
    monkeypatch.delitem(BENCHMARKS, "mini-v1")
    message = error_of(main, [*arguments, *command[1:]])
    assert (
        "a run of mini-v1,tier=easy, which this version does not have: it has world-v1" in message
    )
    assert (tmp_path / "a" / RECORDS).read_bytes() == kept


def test_mixed_records_are_not_judged(tmp_path):
    play(tmp_path / "a")
    play(tmp_path / "plain", benchmark=None)
    asked, records = read_kept(tmp_path / "a")
    write_run(tmp_path / "mixed", asked, [*records, *read_records(tmp_path / "plain")])
    with pytest.raises(RecordError, match="records of no benchmark in a run of mini-v1,tier=easy"):
        read_kept(tmp_path / "mixed")
    assert "records of no benchmark in a run" in error_of(play, tmp_path / "mixed")
    write_run(tmp_path / "other", read_run(tmp_path / "plain"), records)
    with pytest.raises(RecordError, match="mini-v1,tier=hard in a run of no benchmark"):
        read_kept(tmp_path / "other")


def test_agents_are_compared_in_pairs_but_not_with_runs_of_no_benchmark(tmp_path, capsys):
    play(tmp_path / "a")
    play(tmp_path / "b", "--max-turn-tokens", 7, method="random")
    play(tmp_path / "plain", benchmark=None)
    capsys.readouterr()
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--any-engine", "--metric", "f1"])
    assert capsys.readouterr().out.startswith("f1: against ")
    message = error_of(main, ["compare", str(tmp_path / "a"), str(tmp_path / "plain")])
    assert "option benchmark is [" in message


def test_contradicting_options_and_a_changed_benchmark_are_refused(tmp_path, monkeypatch):
    message = error_of(play, tmp_path, "--max-turns", 3, "--engine", "bm25", "--in-domain", "nq")
    assert "fixes --engine, --in-domain, --max-turns: leave that out" in message
    assert not (tmp_path / RUN).exists()
    play(tmp_path)
    message = error_of(main, ["results", str(tmp_path), "--in-domain", "nq"])
    assert "the benchmark 'mini-v1' fixes what is in domain" in message
    mini = BENCHMARKS["mini-v1"]
    change_hashes(monkeypatch, mini, 1, 0)
    message = error_of(play, tmp_path)
    assert "the questions of mini-v1,tier=hard in the world of seed 0 have changed" in message


@pytest.mark.parametrize(("place", "what"), [(0, "questions"), (1, "documents")])
def test_a_changed_benchmark_is_refused_from_python_too(mini, monkeypatch, place, what):
    """Only the command compared the hashes."""
    change_hashes(monkeypatch, mini, 1, place)
    plans = plans_of(find_benchmark("mini-v1"), "solver")
    with pytest.raises(BenchmarkChanged, match=f"the {what} of mini-v1,tier=hard"):
        evaluate(plans, show_progress=False)
    assert evaluate(plans[0], show_progress=False)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"engines": ["bm25"]}, "engines"),
        ({"questions": ["world"], "num_questions": 3}, "questions, num_questions"),
        ({"options": PlayOptions()}, "options"),
    ],
)
def test_a_plan_that_only_bears_the_name_of_a_benchmark_is_refused(changes, names):
    plan = replace(plans_of(find_benchmark("mini-v1"), "solver")[0], **changes)
    with pytest.raises(ValueError, match=f"asks otherwise, in {names}: make"):
        evaluate(plan, show_progress=False)


def test_plans_that_are_not_tiers_of_a_benchmark_are_refused_together():
    """Of several plans without a benchmark only the first was recorded; none was an IndexError."""
    easy, hard = plans_of(find_benchmark("mini-v1"), "solver")
    plain = Plan(method="solver", num_questions=2)
    for plans in ([], [plain, plain], [easy, plain], [easy, easy]):
        with pytest.raises(ValueError, match="one for each of some tiers of a benchmark, got"):
            evaluate(plans, show_progress=False)
    with pytest.raises(ValueError, match="plans with the same `method`"):
        evaluate([easy, replace(hard, method="random")], show_progress=False)
    assert len(evaluate([plain], show_progress=False)) == 2


def test_the_agent_is_called_the_same_with_a_folder_and_without(tmp_path, capsys):
    """Without one it was called by all options of its model, and not by the model's name."""
    shown = []
    for folder in (None, tmp_path):
        play(folder, "--model", f"{HERE}:Named,address=http://127.0.0.1:1", method="search")
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and re.search("^search, named  ", shown[0], re.M)


def test_rescored_metrics_are_shown(tmp_path, capsys):
    play(tmp_path)
    capsys.readouterr()
    main(["rescore", str(tmp_path), "--metric", f"{HERE}:length"])
    out = capsys.readouterr().out
    assert out.startswith("mini-v1\n") and f"{HERE}:length" in out


def length(prediction, golden_answers):
    return float(len(prediction))
