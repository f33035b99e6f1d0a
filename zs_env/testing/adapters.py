"""The contract of adapters: a trainer gets through one what `rollout` gives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from zs_env.episode import Assignment
from zs_env.episodes import EpisodeSource
from zs_env.rules import Limits
from zs_env.settings import TrainerSettings
from zs_env.testing.policies import ScriptedPolicy
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout
from zs_env.tokens.trajectory import Trajectory
from zs_env.world.tokenizer import WorldTokenizer

FAILING = {"name": "zs_env.testing:FailingEngine", "share": 0.4}


class Played(NamedTuple):
    """What a trainer gets of one episode through an adapter.

    Attributes:
        prompt_ids: tokens that the policy read first.
        response_ids: all tokens behind them, documents included.
        response_mask: True where a token contributes to the loss, in the polarity of this package.
        log_probs: log-probability of each policy token when it was sampled, 0.0 elsewhere.
        reward: reward; None if the trainer leaves the episode out.
        noisy: noise label of each search, in order.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    response_mask: Sequence[bool]
    log_probs: Sequence[float]
    reward: float | None
    noisy: Sequence[bool]


@dataclass(frozen=True)
class AdapterTask:
    """Episodes that an adapter is asked to play.

    Attributes:
        arguments: arguments of the adapter by name, as JSON could hold them.
        tokenizer: tokenizer of the policy.
        question_ids: question of each group.
        group_size: episodes for each question; those of a group come one after the other.
        max_context: most tokens of an episode.
        max_response: most tokens of a response, which the trainer limits.
        seed: seed of the run.
        step: training step.
        total_steps: number of training steps.
        held_out: whether the episodes belong to an evaluation.
    """

    arguments: Mapping[str, Any]
    tokenizer: Any
    question_ids: tuple[str, ...] = ()
    group_size: int = 2
    max_context: int = 1024
    max_response: int = 320
    seed: int = 7
    step: int = 6
    total_steps: int = 10
    held_out: bool = False

    @cached_property
    def source(self) -> EpisodeSource:
        """Source of the episodes, made without the adapter."""
        settings = TrainerSettings(**self.arguments)
        limits = Limits(
            self.max_context,
            settings.max_turn_tokens,
            measure=TextEncoder(self.tokenizer),
            max_response=self.max_response,
        )
        split = "test" if self.held_out else settings.split
        return EpisodeSource(replace(settings, split=split), limits)

    @cached_property
    def encoder(self) -> TextEncoder:
        """Encoder of the tokenizer."""
        encoder = self.source.limits.measure
        assert isinstance(encoder, TextEncoder)
        return encoder

    @cached_property
    def policy(self) -> ScriptedPolicy:
        """Policy that writes the tokens, in the place of the trainer's sampler."""
        return ScriptedPolicy(self.source, self.question_ids, self.encoder)

    def assignments(self) -> list[Assignment]:
        """Return the episodes, group by group."""
        return [
            self._assign(question_id, member)
            for question_id in self.question_ids
            for member in range(self.group_size)
        ]

    def trajectories(self) -> list[Trajectory]:
        """Return what `zs_env.rollout` makes of the episodes: what an adapter must give, too."""

        async def play() -> list[Trajectory]:
            source = self.source
            return [
                await rollout(
                    source.begin(assignment), source.engine, self.policy.generate, self.encoder
                )
                for assignment in self.assignments()
            ]

        return asyncio.run(play())

    def _assign(self, question_id: str, member: int) -> Assignment:
        if self.held_out:
            return self.source.assign_held_out(question_id, member=member)
        return self.source.assign(
            question_id,
            seed=self.seed,
            step=self.step,
            total_steps=self.total_steps,
            member=member,
        )


class AdapterContract:
    """Tests of what every adapter for tokens must do. Override `play`, and `make_tokenizer`.

    A scripted policy plays the same episodes through the adapter and through `zs_env.rollout`; it
    searches, answers rightly and wrongly, errs, and runs out of room. Both must give the same.

    Attributes:
        num_questions: questions that are asked.
        arguments: arguments of the adapter.
    """

    num_questions = 12
    arguments: Mapping[str, Any] = {
        "questions": "world,sample=40",
        "engine": "world",
        "max_turns": 4,
        "top_k": 2,
        "document_words": 12,
        "noise_start": 0.3,
        "noise_end": 0.7,
        "max_turn_tokens": 48,
    }

    def make_tokenizer(self) -> Any:
        """Return the tokenizer of the policy."""
        return WorldTokenizer()

    def play(self, task: AdapterTask) -> Sequence[Played | None]:
        """Play the episodes of ``task`` through the adapter, and return what the trainer gets.

        Args:
            task: episodes, in groups, and ``task.policy``, which takes the place of the sampler.

        Returns:
            What the trainer gets of each episode, group by group; None for one that it does not
            get at all, because the search failed.
        """
        raise NotImplementedError("override play() to play the episodes through the adapter")

    def test_adapter_gives_the_tokens_masks_rewards_and_labels_of_rollout(self) -> None:
        """Check that all episodes of a training step are those that `zs_env.rollout` plays."""
        task = self._make_task()
        expected = task.trajectories()
        labels = {search.noisy for trajectory in expected for search in trajectory.searches}
        ends = {trajectory.termination for trajectory in expected}
        assert labels == {False, True} and len(ends) > 1, "the script has become too simple"
        _check_alike(self.play(task), expected)

    def test_adapter_follows_the_curriculum_of_the_trainer(self) -> None:
        """Check that the trainer's progress sets the noise: the first step differs from the last.

        The same questions in another step, or with another seed, also have other random choices.
        """
        schedule = {"noise_start": 0.0, "noise_end": 1.0, "noise": "linear"}
        for step, noisy in ((0, {False}), (10, {True})):
            task = self._make_task(schedule, step=step)
            played = self.play(task)
            assert {label for episode in played if episode for label in episode.noisy} == noisy
            _check_alike(played, task.trajectories())
        task = self._make_task(seed=8)
        _check_alike(self.play(task), task.trajectories())

    def test_adapter_members_of_a_group_share_noise_and_documents(self) -> None:
        """Check that members that write the same read the same."""
        task = self._make_task()
        played = list(self.play(task))
        for first in range(0, len(played), task.group_size):
            group = played[first : first + task.group_size]
            assert None not in group, f"group {first} is not whole"
            parts = [_parts(member) for member in group if member is not None]
            assert all(part == parts[0] for part in parts), f"group {first}"

    def test_adapter_leaves_out_failed_searches_and_nothing_else(self) -> None:
        """Check that an episode whose search failed has no reward and no token in the loss."""
        task = self._make_task({"engine": FAILING})
        expected = task.trajectories()
        failed = [trajectory.search_failed for trajectory in expected]
        assert any(failed) and not all(failed), "the script has become too simple"
        _check_alike(self.play(task), expected)

    def test_adapter_evaluates_without_noise_and_alike_at_any_step(self) -> None:
        """Check that held-out episodes follow from their questions alone."""
        tasks = [self._make_task(held_out=True, step=step, seed=step) for step in (0, 9)]
        expected = tasks[0].trajectories()
        for task in tasks:
            played = self.play(task)
            assert not any(label for episode in played if episode for label in episode.noisy)
            _check_alike(played, expected)

    def _make_task(self, changes: Mapping[str, Any] | None = None, **options: Any) -> AdapterTask:
        arguments = {**self.arguments, **(changes or {})}
        task = AdapterTask(arguments, self.make_tokenizer(), **options)
        questions = task.source.questions
        count = min(self.num_questions, len(questions))
        return replace(task, question_ids=tuple(questions[n].id for n in range(count)))


def _check_alike(played: Sequence[Played | None], expected: Sequence[Trajectory]) -> None:
    assert len(played) == len(expected), f"{len(played)} episodes of {len(expected)}"
    for number, (episode, trajectory) in enumerate(zip(played, expected, strict=True)):
        if episode is None:
            assert trajectory.search_failed, (
                f"episode {number}, of question {trajectory.question_id!r}, is missing, and none "
                "of its searches failed"
            )
            continue
        wanted = _parts(_as_played(trajectory))
        for name, found in _parts(episode).items():
            assert found == wanted[name], (
                f"episode {number}, of question {trajectory.question_id!r}, "
                f"{trajectory.termination.value}: `{name}` is {found} through the adapter, and "
                f"{wanted[name]} by rollout"
            )


def _as_played(trajectory: Trajectory) -> Played:
    """Return what a trainer must get of ``trajectory``."""
    split, failed = trajectory.split(), trajectory.search_failed
    return Played(
        prompt_ids=split.prompt_ids.tolist(),
        response_ids=split.response_ids.tolist(),
        response_mask=[bool(trains) and not failed for trains in split.response_mask],
        log_probs=split.log_probs.tolist(),
        reward=None if failed else trajectory.reward,
        noisy=[search.noisy for search in trajectory.searches],
    )


def _parts(played: Played) -> dict[str, Any]:
    """Return the fields as plain lists, so that arrays and lists compare alike."""
    lists = {name: np.asarray(value).tolist() for name, value in played._asdict().items()}
    return {**lists, "reward": played.reward, "response_mask": [*map(bool, played.response_mask)]}
