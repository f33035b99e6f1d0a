"""Collection of an update's episodes: they are played, and their tokens scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import torch
from gymnasium import logger

from agents.objectives.losses import kl_k3
from agents.sampling.interface import SamplerService
from agents.sampling.player import Player
from agents.sampling.policy import Policy
from agents.training.batch import Batch, PlayedBatch, make_batch
from agents.training.learner import Learner
from agents.training.metrics import TIMING, Metrics
from zs_env.episode import Assignment
from zs_env.evaluation.figures import figures_of, mean_figures
from zs_env.tokens.trajectory import Trajectory


class Collector:
    """Collector of episodes played with the policy that ``learner`` trains.

    Args:
        learner: learner, with its policy, options and processes.
        reference: policy that training began with; None if the KL divergence from it is not used.
        samplers: sampler of the tokens; by default the policy itself.

    Raises:
        ValueError: questions or engine are wrong, or the context is too small for one turn.

    Attributes:
        source: source of the episodes.
        player: player of the episodes.
    """

    def __init__(
        self,
        learner: Learner,
        reference: Policy | None,
        samplers: SamplerService | None = None,
    ) -> None:
        config, policy = learner.config, learner.policy
        self.learner = learner
        self.reference = reference
        self._samplers = samplers
        longest = getattr(policy.model.config, "max_position_embeddings", None)
        if longest is not None and config.max_context > longest:
            raise ValueError(
                f"`max_context` is {config.max_context}, and the model reads at most {longest} "
                "tokens."
            )
        self.source = config.make_source(policy)
        self.player = Player(
            policy,
            self.source.engine,
            self.source.rules,
            config.concurrent_episodes,
            samplers=samplers,
        )

    def collect(self, update: int) -> tuple[Batch, Metrics]:
        """Play this process's share of the episodes of ``update``, and score their tokens.

        Returns:
            The episodes without those whose search failed, and metrics of all played episodes.
        """
        trajectories, played = self._play(update)
        start = time.perf_counter()
        kept = [number for number, t in enumerate(trajectories) if not t.search_failed]
        if len(kept) < len(trajectories):
            reasons = [t.info["failure"] for t in trajectories if t.search_failed]
            logger.warn(
                f"{len(reasons)} of {len(trajectories)} episodes of update {update} are left out "
                f"because a search failed; the last: {reasons[-1]}"
            )
        config = self.learner.config
        values = self.player.values
        batch, scored = self._score(
            make_batch(
                [trajectories[number] for number in kept],
                [number // config.group_size for number in kept],
                mask_documents=config.mask_documents,
            ),
            None if values is None else [values[number] for number in kept],
            update,
        )
        return batch, played | scored | {TIMING + "score": time.perf_counter() - start}

    def _play(self, update: int) -> tuple[list[Trajectory], Metrics]:
        learner, sampler = self.learner, self.player.sampler
        start = time.perf_counter()
        sampler.seconds = 0.0
        noise = self.source.noise_probability(update / learner.config.updates)
        learner.policy.eval()
        assignments = self._assignments(update)
        with learner.autocast():
            trajectories = self.player.play(assignments)
            self._let_rest()
        for trajectory in trajectories:
            trajectory.verify()  # a wrong mask or log-probability would go unnoticed in training
        seconds = time.perf_counter() - start
        cut = self.source.rules.max_document_words
        records = learner.processes.gather(
            [
                figures_of(trajectory, assignment.question, cut)
                for trajectory, assignment in zip(trajectories, assignments, strict=True)
            ]
        )
        return trajectories, {
            **mean_figures(records),
            "episodes": float(len(records)),
            "noise_probability": noise,
            TIMING + "generation": sampler.seconds,
            TIMING + "environment": seconds - sampler.seconds,
        }

    def _let_rest(self) -> None:
        """Check that the sampler kept its weights, and let it sleep while the learner works."""
        if self._samplers is not None:
            self.learner.processes.on_main(self._samplers.check)
            self._samplers.sleep()

    def _assignments(self, update: int) -> Sequence[Assignment]:
        """Return the assignments of this process: ``group_size`` for each of its questions."""
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

    def _score(
        self, batch: PlayedBatch, sampled_values: list[list[float]] | None, update: int
    ) -> tuple[Batch, Metrics]:
        """Add the scores of the policy and of the reference; return metrics of both, too.

        The sampler may have scored the tokens already. Then only a part of them is scored again, to
        see how far both differ.
        """
        learner, processes = self.learner, self.learner.processes
        has_values = learner.policy.value_head is not None
        old, values = batch.sampled_log_probs, torch.zeros_like(batch.sampled_log_probs)
        if learner.config.scores_again or (has_values and sampled_values is None):
            part, scores = batch, learner.score(batch)
            values = scores.values
            if learner.config.scores_again:
                old = scores.log_probs
        else:
            part = self._part(batch, update)
            scores = learner.score(part)
            if sampled_values is not None:
                # Row after row, in the order in which the tokens were sampled.
                values[batch.response_mask] = torch.tensor([*chain(*sampled_values)])
        sampled = part.response_mask  # not the loss mask, which may hold document tokens
        gaps = (scores.log_probs - part.sampled_log_probs).abs()
        metrics = {
            "response_mask_coverage": processes.moments(
                batch.response_mask.double(), batch.loss_mask
            )[0],
            "sampler_gap": processes.mean(float(gaps[sampled].max()) if sampled.any() else 0.0),
            "sampler_gap_mean": processes.moments(gaps, sampled)[0],
        }
        if self.reference is None:
            return batch.with_scores(old, values), metrics
        reference = learner.score(batch, self.reference).log_probs
        drift = kl_k3(old, reference, batch.loss_mask)
        metrics["kl"] = processes.moments(drift, batch.loss_mask)[0]
        return batch.with_scores(old, values, reference), metrics

    def _part(self, batch: PlayedBatch, update: int) -> PlayedBatch:
        """Return a micro-batch of ``batch``, another one for the next update."""
        parts = list(batch.micro_batches(self.learner.config.micro_batch_tokens))
        return batch.select(parts[update % len(parts)]) if parts else batch
