"""Plays the episodes of an update, and scores their tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from gymnasium import logger

from agents.objectives.losses import kl_k3
from agents.sampling.player import Player
from agents.sampling.policy import Policy
from agents.training.batch import Batch, make_batch
from agents.training.learner import Learner
from agents.training.metrics import TIMING, Row, record_of, summarise
from zs_env.episode import Assignment
from zs_env.tokens.trajectory import Trajectory


class Collector:
    """Plays with the policy that ``learner`` trains.

    Args:
        learner: whose policy, options and processes these are.
        reference: the policy that training began with, if the divergence from it counts.

    Raises:
        ValueError: questions or engine do not fit, or the context is too small for one turn.

    Attributes:
        player: plays the episodes.
    """

    def __init__(self, learner: Learner, reference: Policy | None) -> None:
        config, policy = learner.config, learner.policy
        self.learner = learner
        self.reference = reference
        longest = getattr(policy.model.config, "max_position_embeddings", None)
        if longest is not None and config.max_context > longest:
            raise ValueError(
                f"`max_context` is {config.max_context}, and the model reads at most "
                f"{longest} tokens."
            )
        self.source = config.make_source(policy)
        self.player = Player(
            policy, self.source.engine, self.source.rules, config.concurrent_episodes
        )

    def collect(self, update: int) -> tuple[Batch, Row]:
        """Play this process's share of the episodes of ``update``.

        Returns:
            Their tokens, with the log-probabilities by the policy and, where there are a value
            head or a reference policy, what these say; and figures. Episodes whose search failed
            are left out of the batch.
        """
        trajectories, row = self._play(update)
        start = time.perf_counter()
        kept = [number for number, t in enumerate(trajectories) if not t.search_failed]
        if len(kept) < len(trajectories):
            reasons = [t.info["failure"] for t in trajectories if t.search_failed]
            logger.warn(
                f"{len(reasons)} of {len(trajectories)} episodes of update {update} are left out "
                f"because a search failed; the last: {reasons[-1]}"
            )
        config = self.learner.config
        batch = make_batch(
            [trajectories[number] for number in kept],
            [number // config.group_size for number in kept],
            mask_documents=config.mask_documents,
        )
        batch, figures = self._score(batch)
        return batch, row | figures | {TIMING + "score": time.perf_counter() - start}

    def _play(self, update: int) -> tuple[list[Trajectory], Row]:
        learner, sampler = self.learner, self.player.sampler
        start = time.perf_counter()
        sampler.seconds = 0.0
        noise = self.source.noise_probability(update / learner.config.updates)
        learner.policy.eval()
        with learner.autocast():
            trajectories = self.player.play(self._assignments(update))
        for trajectory in trajectories:
            trajectory.verify()
        seconds = time.perf_counter() - start
        records = learner.processes.gather([record_of(t) for t in trajectories])
        return trajectories, {
            **summarise(records),
            "episodes": float(len(records)),
            "noise_probability": noise,
            TIMING + "generation": sampler.seconds,
            TIMING + "environment": seconds - sampler.seconds,
        }

    def _assignments(self, update: int) -> Sequence[Assignment]:
        """The episodes of this process: its questions, each as often as a group is large."""
        config = self.learner.config
        first = update * config.questions_per_update
        numbers = self.learner.processes.share(range(first, first + config.questions_per_update))
        return [
            self.source.assign(
                number, seed=config.seed, step=update, total_steps=config.updates, member=member
            )
            for number in numbers
            for member in range(config.group_size)
        ]

    def _score(self, batch: Batch) -> tuple[Batch, Row]:
        """Fill in what the policy and the reference say of the tokens."""
        learner, processes = self.learner, self.learner.processes
        sampled = batch.mask & batch.response_mask
        coverage = processes.moments(batch.response_mask.double(), batch.mask)[0]
        row = {"response_mask_coverage": coverage}
        if learner.policy.value_head is not None or not learner.config.mask_documents:
            scored = learner.score(batch)
            gap = (scored.log_probs - batch.sampled_log_probs).abs()[sampled]
            row["sampler_gap"] = processes.mean(float(gap.max()) if len(gap) else 0.0)
            batch = replace(batch, old_log_probs=scored.log_probs, values=scored.values)
        else:
            batch = replace(batch, old_log_probs=batch.sampled_log_probs)
        if self.reference is not None:
            reference = learner.score(batch, self.reference).log_probs
            batch = replace(batch, reference_log_probs=reference)
            drift = kl_k3(batch.old_log_probs, reference, batch.mask)
            row["kl"] = processes.moments(drift, batch.mask)[0]
        return batch, row
