"""What every adapter needs: the episodes that a trainer asks for by the id of a question.

A trainer holds rows of questions, counts its steps, and logs numbers. A `TrainingTask` gives it
rows for its data set, an episode for a row at a step, and the figures of what was played.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.episode import Assignment
from zs_env.episodes import EpisodeSource
from zs_env.evaluation.figures import Figures, figures_of, mean_figures
from zs_env.loading import parse_spec
from zs_env.question_sources import WORLD
from zs_env.questions import QuestionRow, question_rows
from zs_env.rules import Limits
from zs_env.settings import TrainerSettings
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.tokenizers import check_tags
from zs_env.tokens.trajectory import Trajectory

PREFIX = "search/"
"""What the names of figures begin with in the log of a trainer."""


class TrainingTask:
    """Training and held-out episodes of one trainer, with the engine, the rules and the curriculum.

    It is made before the first step, and everything that settings, questions, tokenizer and engine
    can be wrong about is said then. It pickles as its arguments: each worker loads its own copy.

    Args:
        settings: arguments of the adapter.
        tokenizer: tokenizer of the policy, or its encoder.
        max_context: most tokens of an episode.
        max_response: most tokens of all behind the prompt, documents included; None leaves it to
            ``max_context``.

    Raises:
        ValueError: a setting is out of its range, or a question does not fit into the limits.
        TypeError: a setting has the wrong type.
        TokenizerError: the tokenizer has no end-of-text, or cannot write the tags.
        ZeroSearchError: questions or engine are missing, broken or cannot be reached.

    Attributes:
        settings: arguments of the adapter.
        encoder: encoder of the policy's tokenizer.
        source: source of the training episodes.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        tokenizer: Any,
        *,
        max_context: int,
        max_response: int | None = None,
    ) -> None:
        self.settings = settings
        self.encoder = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer)
        check_tags(self.encoder)
        self._check_room(max_context if max_response is None else max_response)
        self._limits = Limits(
            max_context,
            settings.max_turn_tokens,
            measure=self.encoder,
            max_response=max_response,
        )
        self.source = EpisodeSource(settings, self._limits)
        self._held_out: EpisodeSource | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments."""
        limits = self._limits
        arguments = (self.settings, self.encoder, limits.max_context, limits.max_response)
        return _remake, arguments

    @property
    def held_out(self) -> EpisodeSource:
        """Source of the held-out episodes, made when it is first asked for.

        Raises:
            ValueError: there are no held-out questions, or they are those of training, or do not
                fit into the limits.
        """
        if self._held_out is None:
            settings = self.settings
            held_out = replace(
                settings,
                questions=_held_out_questions(settings),
                split="test",
                engine=self.source.engine if settings.test_engine is None else settings.test_engine,
            )
            self._held_out = EpisodeSource(held_out, self._limits, self.source.prompt)
        return self._held_out

    def rows(self, *, held_out: bool = False) -> Iterator[QuestionRow]:
        """Yield the rows of the trainer's data set, one for each question."""
        return question_rows(self._source(held_out).questions)

    def assign(
        self,
        question_id: str,
        *,
        seed: int = 0,
        step: int = 0,
        total_steps: int | None = None,
        member: int = 0,
        held_out: bool = False,
    ) -> Assignment:
        """Return which episode a trainer plays: it follows from the arguments on every worker.

        Args:
            question_id: id of the question.
            seed: seed of the run.
            step: training step, from 0.
            total_steps: number of training steps, which fixes the progress of the curriculum; None,
                or a number below 1, if the trainer does not know it: progress is then 0.
            member: number of the episode in its group, from 0. Members share noise labels and
                documents, and draw other tokens.
            held_out: whether it is an episode of an evaluation, without curriculum: noise is
                ``test_noise``, and nothing depends on seed and step.

        Raises:
            ValueError: no question has that id, or a number is out of its range.
        """
        source = self._source(held_out)
        if held_out:
            noise = self.settings.test_noise
            return source.assign_held_out(question_id, noise_probability=noise, member=member)
        known = total_steps is not None and total_steps > 0
        return source.assign(
            question_id,
            seed=seed,
            step=step,
            total_steps=total_steps if known else 1,  # type: ignore[arg-type]  # it is no None here
            member=member,
            noise_probability=None if known else source.noise_probability(0.0),
        )

    def check_ids(self, question_ids: Sequence[Any], *, held_out: bool = False) -> None:
        """Check that each row of a trainer's data set names a question.

        Raises:
            ValueError: one does not; the message shows it.
        """
        questions = self._source(held_out).questions
        for question_id in question_ids:
            try:
                questions.get(question_id)
            except (KeyError, AttributeError, TypeError):
                raise ValueError(
                    "expected a data set whose rows hold the id of one of the "
                    f"{'held-out' if held_out else 'training'} questions, got {question_id!r}: "
                    "make it with the data set maker of the adapter."
                ) from None

    def figures(self, trajectory: Trajectory, *, held_out: bool = False) -> Figures:
        """Return the figures of one episode, for `metrics`."""
        source = self._source(held_out)
        question = source.find(trajectory.question_id)
        figures = figures_of(trajectory, question, source.rules.max_document_words)
        return {**figures, "noise_probability": trajectory.noise_probability}

    def close(self) -> None:
        """Close the engines that were given by name."""
        for source in (self.source, self._held_out):
            if source is not None:
                source.close()

    def _source(self, held_out: bool) -> EpisodeSource:
        return self.held_out if held_out else self.source

    def _check_room(self, max_response: int) -> None:
        if self.settings.max_turn_tokens > max_response:
            raise ValueError(
                f"`max_turn_tokens` is {self.settings.max_turn_tokens}, and a response may have "
                f"{max_response} tokens: a response holds at least one turn. Raise the limit of "
                "the trainer, or lower `max_turn_tokens`."
            )


def metrics(figures: Sequence[Figures]) -> dict[str, float]:
    """Return what a trainer logs of a batch: means over the episodes whose search did not fail.

    ``search/f1``, ``exact_match``, ``reward``, ``turns``, ``searches``, ``noise_probability``,
    ``noisy_share`` of the searches, ``noisy_leak_share``, and the others of
    `zs_env.evaluation.figures.mean_figures`; ``failed_searches`` counts the episodes left out.

    Args:
        figures: figures of each episode of the batch, of all workers.
    """
    kept = [episode for episode in figures if not episode["search_failed"]]
    found = {"failed_searches": float(len(figures) - len(kept))}
    if kept:
        noise = sum(episode["noise_probability"] for episode in kept) / len(kept)
        found = {**mean_figures(kept), "noise_probability": noise, **found}
    return {PREFIX + name: value for name, value in found.items()}


def _remake(
    settings: TrainerSettings, encoder: TextEncoder, max_context: int, max_response: int | None
) -> TrainingTask:
    return TrainingTask(settings, encoder, max_context=max_context, max_response=max_response)


def _held_out_questions(settings: TrainerSettings) -> Any:
    """Return the held-out questions; by default the other split of the embedded world."""
    questions = settings.questions
    if settings.test_questions is not None:
        return settings.test_questions
    named = isinstance(questions, str | Path | Mapping) and parse_spec("questions", questions)
    if not named or named.name != WORLD:
        raise ValueError(
            "held-out episodes need `test_questions`, and there are none: expected questions that "
            "are not trained on, such as 'hotpotqa,sample=500'."
        )
    options = dict(named.options)
    if options.pop("split", settings.split) == "test":
        raise ValueError(
            "held-out episodes need `test_questions`: training has the split 'test' of the "
            "embedded world itself."
        )
    return {"name": WORLD, **options}
