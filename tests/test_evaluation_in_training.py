"""Evaluations that a run makes: greedy or sampled, under noise, and what is kept of them."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from agents.grpo import GRPOConfig
from agents.grpo import train as train_grpo
from agents.ppo import PPOConfig, train
from agents.sampling.policy import load_policy
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate, evaluation_figures
from agents.training.metrics import evaluation_prefix, read_metrics, without_clocks
from agents.training.report import comparison
from agents.training.resume import check_options
from zs_env.evaluation.report import read_for_comparison
from zs_env.evaluation.store import read_records, read_run

SMALL = {
    "updates": 1,
    "questions_per_update": 8,
    "num_test_questions": 12,
    "test_engines": ("world", "empty"),
    "minibatches": 2,
    "max_turns": 4,
    "max_turn_tokens": 40,
    "max_context": 500,
}
BOTH = {"test_decoding": ("greedy", "sampled"), "test_noise": 0.5}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The folder of a run that is evaluated greedily and without noise."""
    folder = tmp_path_factory.mktemp("usual") / "run"
    train(PPOConfig(folder=folder, **SMALL))
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The folder of a run that is evaluated in both ways, under noise."""
    folder = tmp_path_factory.mktemp("noisy") / "run"
    train(PPOConfig(folder=folder, **SMALL, **BOTH))
    return folder


def trained(folder):
    """The metrics of training, without those of evaluations."""
    return [
        {name: f for name, f in without_clocks(each).items() if not name.startswith("test/")}
        for each in read_metrics(folder)
    ]


def test_evaluation_changes_nothing_in_training(usual, noisy):
    assert trained(usual) == trained(noisy)


def test_metrics_of_a_usual_run_have_the_names_that_they_had(usual):
    last = read_metrics(usual)[-1]
    assert {"test/world/f1", "test/empty/f1", "test/world/fooled_share"} <= set(last)
    assert not any("sampled" in name for name in last)
    assert last["test/world/fooled_share"] == 0.0, "without noise nobody is fooled by it"


def test_metrics_tell_both_ways_apart(noisy):
    last = read_metrics(noisy)[-1]
    for engine in ("world", "empty"):
        ways = [last[f"test/{engine}/{way}response_length"] for way in ("", "sampled/")]
        assert ways[0] != ways[1]


def test_records_are_those_of_the_ways(usual, noisy):
    assert not (usual / "evaluation_sampled").exists()
    asked = {name: read_run(noisy / name) for name in ("evaluation", "evaluation_sampled")}
    played = {n: (a["options"]["noise"], a["options"]["temperature"]) for n, a in asked.items()}
    assert played == {"evaluation": (0.5, 0.0), "evaluation_sampled": (0.5, 1.0)}
    assert read_run(usual / "evaluation")["options"]["noise"] == 0.0
    for name in asked:
        records = read_records(noisy / name)
        assert len(records) == 2 * SMALL["num_test_questions"]
        noise = {record.engine: record.noise_probability for record in records}
        assert noise == {"world": 0.5, "empty": 0.0}, "the other has no noise"
        assert asked[name]["options"]["max_turns"] == 4
        assert max(record.turns for record in records) <= 4
        figures = evaluation_figures([r for r in records if r.engine == "world"])
        prefix = evaluation_prefix("world", {"evaluation": "greedy"}.get(name, "sampled"))
        assert read_metrics(noisy)[-1][f"{prefix}f1"] == pytest.approx(figures["f1"])


def test_runs_pair_their_sampled_evaluations(noisy, tmp_path):
    """Another algorithm with another seed asks the same questions under the same noise."""
    train_grpo(GRPOConfig(folder=tmp_path / "run", seed=5, group_size=2, **SMALL, **BOTH))
    ours = read_for_comparison(noisy / "evaluation_sampled")
    theirs = read_for_comparison(tmp_path / "run" / "evaluation_sampled")
    assert ours.options == theirs.options
    assert [r.key for r in ours.records] == [r.key for r in theirs.records]
    # Before training, both have the same policy, and draw the same tokens.
    first = [read_metrics(folder)[0] for folder in (noisy, tmp_path / "run")]
    names = [name for name in first[0] if name.startswith("test/")]
    assert {n: first[0][n] for n in names} == {n: first[1][n] for n in names}


def test_report_says_what_was_played(usual, noisy):
    page = (usual / "report.md").read_text()
    assert page.count("Held-out questions, greedy, no noise:") == 1
    page = (noisy / "report.md").read_text()
    for way in ("greedy", "sampled at temperature 1"):
        assert page.count(f"Held-out questions, {way}, noise 0.5 where the engine has it:") == 1
    assert "| world | fooled by noise |" in page


def test_comparison_shows_a_figure_that_only_one_evaluation_has():
    config = Config(test_engines=("world",), test_decoding=("sampled",)).to_json()
    figures = dict.fromkeys(("f1", "searches"), 0.25)
    first = {"update": 0.0} | {f"test/world/sampled/{n}": f for n, f in figures.items()}
    last = {**first, "update": 4.0, "test/world/sampled/noisy_asked_again_share": 0.5}
    lines = comparison([first, last], config)
    assert lines[0] == "Held-out questions, sampled at temperature 1, no noise:"
    assert lines[2] == "| engine | | before | after 4 updates |"
    assert lines[4:] == [
        "| world | F1 | 0.250 | 0.250 |",
        "| world | searches an episode | 0.250 | 0.250 |",
        "| world | asked again after a noisy search | - | 0.500 |",
    ]
    assert comparison([{"update": 0.0}], config) == ["No evaluation was made."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_noise": 1.5}, r"`test_noise` must be a number in \[0, 1\], got 1.5"),
        ({"test_decoding": ()}, "`test_decoding` must name at least one way"),
        ({"test_decoding": ("greedy", "greedy")}, "each once"),
        ({"test_decoding": ("sampeld",)}, "`test_decoding` must be one of greedy, sampled"),
    ],
)
def test_bad_options_of_the_evaluation_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(**changes)


def test_run_that_began_before_these_options_may_resume():
    before = Config().to_json()
    del before["test_decoding"], before["test_noise"]
    assert check_options(Config(), before) == []
    with pytest.raises(Exception, match=r"test_noise was 0.0 \(the default; it is new\), is 0.5"):
        check_options(Config(test_noise=0.5), before)


def test_sampled_evaluation_is_the_same_again_and_differs_from_the_greedy_one():
    config = Config(num_test_questions=40, max_turns=3)
    policy = load_policy("tiny", temperature=config.temperature)
    source = config.make_test_source(policy, "world")

    def play(**options):
        records = evaluate(policy, source, config, Processes("cpu"), **options)
        return json.dumps([record.as_json() for record in records], default=str)

    sampled = play(greedy=False, noise=0.5)
    assert sampled == play(greedy=False, noise=0.5)
    assert sampled != play(greedy=True, noise=0.5)
    assert sampled != play(greedy=False, noise=0.0)
