"""Played episodes: whose log-probabilities are the old ones, and how far they are apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from agents.ppo import PPOConfig
from agents.training.batch import make_batch
from agents.training.config import Config
from agents.training.metrics import read_metrics
from agents.training.run import Run
from tests.algorithms import ALGORITHMS

SMALL = {
    "updates": 1,
    "questions_per_update": 4,
    "test_engines": (),
    "minibatches": 2,
    "max_turns": 2,
    "max_turn_tokens": 40,
    "max_context": 400,
}


def change_samples(monkeypatch, change):
    """Let the sampler have drawn with the log-probabilities ``change(log_probs)``."""

    def changed(*args, **options):
        batch = make_batch(*args, **options)
        log_probs = change(batch.sampled_log_probs).where(batch.response_mask, 0.0)
        return replace(batch, sampled_log_probs=log_probs)

    monkeypatch.setattr("agents.training.collect.make_batch", changed)


def play(config, monkeypatch):
    """What a run plays in its first update; all was drawn with a log-probability of -1."""
    change_samples(monkeypatch, lambda log_probs: torch.full_like(log_probs, -1.0))
    with Run(config) as run:
        for update in run.updates():
            batch = run.play(update)
            return batch, run.learner.score(batch), dict(run.metrics)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_old_log_probs_of_the_learner_are_those_it_computes(name, tmp_path, monkeypatch):
    _, config = ALGORITHMS[name]
    options = {**SMALL, "old_log_probs": "learner"}
    batch, scores, metrics = play(config(folder=tmp_path / "run", **options), monkeypatch)
    assert torch.equal(batch.old_log_probs, scores.log_probs)
    assert (batch.sampled_log_probs[batch.response_mask] == -1.0).all()
    gaps = (scores.log_probs + 1.0).abs()[batch.response_mask]
    assert gaps.max() > 0.1
    assert metrics["sampler_gap"] == pytest.approx(gaps.max().item())
    assert metrics["sampler_gap_mean"] == pytest.approx(gaps.mean().item())
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_old_log_probs_of_the_sampler_are_those_it_drew(name, tmp_path, monkeypatch):
    _, config = ALGORITHMS[name]
    options = {**SMALL, "old_log_probs": "sampler"}
    batch, scores, metrics = play(config(folder=tmp_path / "run", **options), monkeypatch)
    assert torch.equal(batch.old_log_probs, batch.sampled_log_probs)
    gaps = (scores.log_probs + 1.0).abs()[batch.response_mask]
    assert 0.1 < metrics["sampler_gap"] <= gaps.max().item() + 1e-6
    assert metrics["kl"] > 0.01


def test_the_sampler_gives_log_probs_and_values_by_default(tmp_path, monkeypatch):
    """Only a part of the tokens is scored again, another one in each update."""
    _, config = ALGORITHMS["ppo"]
    options = {**SMALL, "micro_batch_tokens": 256}
    with Run(config(folder=tmp_path / "run", **options), with_values=True) as run:
        torch.nn.init.normal_(run.policy.value_head.output.weight)
        whole, scored = run.learner.score, []

        def score(batch, policy=None):
            scored.append((policy, batch))
            return whole(batch, policy)

        monkeypatch.setattr(run.learner, "score", score)
        batches = [run.collector.collect(update)[0] for update in (0, 1)]
        parts = [batch for policy, batch in scored if policy is None]
        pairs = list(zip(parts, batches, strict=True))
        assert all(0 < len(part) < len(batch) for part, batch in pairs)
        batch = batches[0]
        scores = whole(batch)
    mask = batch.response_mask
    assert torch.equal(batch.old_log_probs, batch.sampled_log_probs)
    assert torch.allclose(batch.values, scores.values, atol=1e-5)
    assert torch.allclose(batch.old_log_probs, scores.log_probs, atol=1e-5)
    assert len(batch.values[mask].unique()) > 100 and not batch.values[~mask].any()


@pytest.mark.parametrize(
    "options", [{"mask_documents": False}, {"importance_cap": 2.0}, {"sampler": "vllm"}]
)
def test_the_learner_scores_where_the_sampler_cannot(options):
    assert not Config().scores_again
    assert Config(**options).scores_again
    assert not Config(old_log_probs="sampler", sampler="vllm").scores_again


def test_values_are_zero_without_a_value_head(tmp_path, monkeypatch):
    batch, _, _ = play(Config(folder=tmp_path / "run", **SMALL), monkeypatch)
    assert not batch.values.any()


@pytest.mark.parametrize(
    ("source", "approx_kl"), [("learner", 0.0), ("sampler", math.exp(-0.5) - 1.0 + 0.5)]
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_first_step_of_an_update_is_compared_with_the_source(
    name, source, approx_kl, tmp_path, monkeypatch
):
    """GRPO once compared with the sampler's log-probabilities, and PPO with the learner's."""
    change_samples(monkeypatch, lambda log_probs: log_probs + 0.5)
    train, config = ALGORITHMS[name]
    options = {**SMALL, "questions_per_update": 8, "minibatches": 1, "old_log_probs": source}
    train(config(folder=tmp_path / "run", **options))
    metrics = read_metrics(tmp_path / "run")[1]
    assert metrics["sampler_gap"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["sampler_gap_mean"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["approx_kl"] == pytest.approx(approx_kl, abs=1e-5)


def test_without_a_mask_on_documents_the_sampler_has_no_old_log_probs():
    with pytest.raises(ValueError, match="`mask_documents` False needs `old_log_probs` 'learner'"):
        PPOConfig(mask_documents=False, old_log_probs="sampler")
