"""Training runs from end to end: folders, resuming, interrupts, bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from agents.grpo import GRPOConfig
from agents.ppo import PPOConfig
from agents.ppo import train as train_ppo
from agents.sampling.policy import load_policy
from agents.tiny.tokenizer import make_tokenizer
from agents.training.checkpoint import last_checkpoint
from agents.training.config import Config
from agents.training.errors import CheckpointError, TrainingError
from agents.training.metrics import TIMING, read_metrics, without_clocks
from agents.training.report import CURVES
from agents.training.run import Run
from tests.algorithms import ALGORITHMS
from tests.helpers import tiny_model
from zs_env import SearchEngine, SearchFailure, SearchResult
from zs_env.engines.world import load
from zs_env.settings import Settings


def options(run, **changes):
    return {
        "folder": run,
        "updates": 3,
        "questions_per_update": 8,
        "num_test_questions": 6,
        "test_engines": ("world",),
        "minibatches": 2,
        "max_turns": 3,
        "max_turn_tokens": 40,
        "max_context": 400,
        "evaluate_every": 2,
        "save_every": 1,
        **changes,
    }


def metrics_of(run):
    return [without_clocks(metrics) for metrics in read_metrics(run)]


class FailingEngine(SearchEngine):
    """Half of the searches fail."""

    def __init__(self):
        self.world = load()

    def search(self, requests):
        return [
            SearchResult(failure=SearchFailure("down")) if request.key % 2 else result
            for request, result in zip(requests, self.world.search(requests), strict=True)
        ]


@pytest.fixture(scope="module", params=ALGORITHMS)
def whole(request, tmp_path_factory):
    """The name of an algorithm, and the folder of its run that nothing has interrupted."""
    train, config = ALGORITHMS[request.param]
    run = tmp_path_factory.mktemp("whole") / request.param
    train(config(**options(run, noise_end=0.5)))
    return request.param, run


def test_run_folder_holds_config_metrics_checkpoints_and_report(whole):
    name, run = whole
    metrics = read_metrics(run)
    assert [each["update"] for each in metrics] == [0, 1, 2, 3]
    assert [each["noise_probability"] for each in metrics[1:]] == pytest.approx(
        [0.0, (4 ** (1 / 3) - 1) / 6, (4 ** (2 / 3) - 1) / 6]
    )
    assert [i for i, each in enumerate(metrics) if "test/world/f1" in each] == [0, 2, 3]
    assert all(each["response_mask_coverage"] == 1.0 for each in metrics[1:])
    assert json.loads((run / "config.json").read_text())["updates"] == 3
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["000002", "000003"]
    assert list((run / "tensorboard").iterdir())
    page = (run / "report.md").read_text()
    assert "| world | F1 |" in page
    drawn = {path.stem for path in run.glob("*.png")}
    missing = {"clip_fraction"} if name == "reinforce" else set()
    assert drawn == {"test_f1", *CURVES} - missing
    assert all(f"({stem}.png)" in page for stem in drawn)


def test_run_resumed_equals_run_never_interrupted(whole, tmp_path):
    name, run = whole
    train, config = ALGORITHMS[name]
    parts = tmp_path / "parts"
    interrupted = config(**options(parts, noise_end=0.5))
    stop_after(train, interrupted, updates=2)
    assert metrics_of(parts) != metrics_of(run)
    train(replace(interrupted, resume=True))
    assert metrics_of(parts) == metrics_of(run)
    assert weights(parts) == weights(run)


def stop_after(train, config, updates):
    """Train, and interrupt as Ctrl-C does while update number ``updates`` is played."""
    play = Run.play

    def play_and_interrupt(run, update):
        if update == updates - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return play(run, update)

    Run.play = play_and_interrupt
    try:
        with pytest.raises(SystemExit) as stopped:
            train(config)
    finally:
        Run.play = play
    assert stopped.value.code == 130


def weights(run):
    policy = load_policy(last_checkpoint(run / "checkpoints"))
    return {name: tensor.tolist() for name, tensor in policy.state_dict().items()}


@pytest.mark.slow
def test_run_killed_at_any_moment_resumes_to_the_same_metrics(tmp_path):
    whole, parts = (options(tmp_path / name, updates=4) for name in ("whole", "parts"))
    train_ppo(PPOConfig(**whole))
    command = [sys.executable, "-m", "agents.ppo", *arguments(parts), "--resume"]
    for lines_before_kill in (2, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(read_metrics(parts["folder"])) < lines_before_kill and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    train_ppo(PPOConfig(**parts, resume=True))
    assert metrics_of(parts["folder"]) == metrics_of(whole["folder"])


def arguments(options):
    """``options`` as they are typed."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, tuple) else [str(value)]
        words += ["--" + name.replace("_", "-"), *values]
    return words


def test_run_with_failing_engine_leaves_failed_searches_out(tmp_path):
    config = GRPOConfig(
        **options(tmp_path / "run", updates=1, engine="tests.test_run:FailingEngine")
    )
    with Run(config) as run:
        # Every episode searches in every turn.
        query = "<search>the rival of Ada Blake</search>"
        ids = run.policy.tokenizer.encode(query, add_special_tokens=False)
        run.collector.player.sampler.session = lambda key: Scripted(ids)
        for update in run.updates():
            with pytest.warns(UserWarning, match="of 40 episodes of update 0 .* the last: down"):
                batch = run.play(update)
            metrics = dict(run.metrics)
    assert 0 < metrics["failed_searches"] < metrics["episodes"] == 40
    assert len(batch) == metrics["episodes"] - metrics["failed_searches"]


class Scripted:
    """Samples the same tokens, whatever it reads."""

    def __init__(self, ids):
        self.ids = ids

    async def __call__(self, token_ids, stop, max_tokens):
        return self.ids[:max_tokens], [-1.0] * len(self.ids[:max_tokens])

    def close(self):
        pass


def test_run_without_mask_trains_on_documents_and_says_so(tmp_path):
    run = tmp_path / "run"
    changes = {"updates": 1, "mask_documents": False, "max_turns": 5, "max_kl": 100.0}
    train_ppo(PPOConfig(**options(run, **changes)))
    coverage = read_metrics(run)[1]["response_mask_coverage"]
    assert 0.0 < coverage < 1.0


def test_run_whose_policy_leaps_away_stops(tmp_path):
    config = PPOConfig(**options(tmp_path / "run", max_kl=1e-12))
    with pytest.raises(TrainingError, match="learning_rate"):
        train_ppo(config)
    assert last_checkpoint(tmp_path / "run" / "checkpoints") is None


def test_run_with_exploding_loss_stops_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = PPOConfig(**options(run))
    stop_after(train_ppo, config, updates=2)
    before = weights(run)
    monkeypatch.setattr(
        "agents.ppo.rewards_at_end", lambda rewards, mask: torch.full(mask.shape, float("nan"))
    )
    with pytest.raises(TrainingError, match="learning_rate"):
        train_ppo(replace(config, resume=True))
    assert last_checkpoint(run / "checkpoints").name == "000002"
    assert weights(run) == before


def test_run_in_a_folder_in_use_is_refused(tmp_path):
    config = PPOConfig(**options(tmp_path / "run", updates=1))
    train_ppo(config)
    with pytest.raises(CheckpointError, match="--resume"):
        train_ppo(config)
    with pytest.raises(CheckpointError, match="learning_rate was 0.001, is 0.1"):
        train_ppo(replace(config, resume=True, learning_rate=0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "no/such/folder"}, "no/such/folder"),
        ({"max_context": 60}, "context"),
        ({"max_context": 100_000}, "reads at most 2048"),
        ({"questions_per_update": 9}, "do not divide"),
        ({"engine": "nonsense"}, "nonsense"),
        ({"engine": "bm25,corpsu=x"}, "did you mean 'corpus'"),
        ({"engine": '{"name": '}, "JSON object"),
        ({"temperature": 0.0}, "temperature"),
        ({"learning_rate_decay": 1.5}, "learning_rate_decay"),
    ],
)
def test_run_with_bad_option_says_so_before_any_work(changes, message, tmp_path):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        train_ppo(PPOConfig(**{**options(tmp_path / "run"), **changes}))
    assert not (tmp_path / "run").exists()


def test_run_with_tokenizer_without_end_of_text_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    tiny_model(tmp_path / "model", tokenizer)
    file = tmp_path / "model" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["eos_token"]
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="end-of-text"):
        train_ppo(PPOConfig(**options(tmp_path / "run", model=str(tmp_path / "model"))))


def test_command_line_with_unknown_option_fails_and_names_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "agents.ppo", "--no-such-option", "1"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 2
    assert "no-such-option" in done.stdout + done.stderr


def test_timing_is_kept_apart_from_what_repeats(tmp_path):
    train_ppo(PPOConfig(**options(tmp_path / "run", updates=1)))
    metrics = read_metrics(tmp_path / "run")[1]
    assert {name for name in metrics if name.startswith(TIMING)} >= {
        "time/generation", "time/environment", "time/learn", "time/update",
    }  # fmt: skip
    assert not any(name.startswith(TIMING) for name in without_clocks(metrics))
    assert torch.isfinite(torch.tensor(list(metrics.values()))).all()


def test_options_are_named_as_the_arguments_of_the_environments():
    assert issubclass(Config, Settings)
    assert Config().split == "train", "what is trained on is no option"
