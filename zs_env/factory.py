"""What the arguments of an environment stand for, and the episodes that follow from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gymnasium import logger

from zs_env import keyed_random
from zs_env.curriculum import noise_probability
from zs_env.engines import SearchEngine, load_engine
from zs_env.episode import Episode
from zs_env.prompts import PROMPT
from zs_env.questions import Question, QuestionSet, QuestionSource, load_questions
from zs_env.rewards import RewardFunction
from zs_env.rules import Rules

SAMPLE_SIZE = 100
"""Questions that are checked at construction where not all of them are in memory."""


@dataclass(frozen=True)
class EpisodeFactory:
    """Makes the episodes of an environment. All drivers share it, so that they agree.

    Args:
        questions: see `zs_env.questions.load_questions`.
        split: ``train`` or ``test``.
        engine: see `zs_env.engines.load_engine`.
        engine_options: keyword arguments of an engine given by name.
        max_turns: turns before the episode is truncated; the answer's turn counts.
        top_k: documents for each search.
        document_words: about how many words a document has; one is cut at four times as many.
        reward: ``f1``, ``exact_match``, ``substring_match`` or a callable
            (prediction, golden_answers) -> float.
        noise: schedule of the curriculum, see `zs_env.curriculum.noise_probability`.
        noise_start: noise probability at progress 0.
        noise_end: noise probability at progress 1.
        noise_base: how late the exponential schedule rises.
        world_seed: seed of the embedded world.
        world_size: ``small``, ``medium`` or ``large``.
        prompt_template: the first observation; holds ``{question}``.
        max_action_chars: characters of one turn that are read.
        max_context_chars: characters that a transcript may have.

    Raises:
        ValueError: an argument is out of its range, or a question does not fit.
        TypeError: an argument has the wrong type.
        ZeroSearchError: a file or an optional dependency is missing or broken.

    Attributes:
        source: the questions.
        search_engine: the engine.
        rules: the limits and the reward.
    """

    questions: str | Path | QuestionSource | Sequence[Question] = "world"
    split: str = "train"
    engine: str | Path | SearchEngine = "world"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    max_turns: int = 5
    top_k: int = 5
    document_words: int = 30
    reward: str | RewardFunction = "f1"
    noise: str = "exponential"
    noise_start: float = 0.0
    noise_end: float = 0.5
    noise_base: float = 4.0
    world_seed: int = 0
    world_size: str = "small"
    prompt_template: str = PROMPT
    max_action_chars: int = 4096
    max_context_chars: int = 32768
    source: QuestionSource = field(init=False, repr=False, compare=False)
    search_engine: SearchEngine = field(init=False, repr=False, compare=False)
    rules: Rules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the arguments, and find what they stand for."""
        rules = Rules(
            max_turns=self.max_turns,
            top_k=self.top_k,
            document_words=self.document_words,
            max_action_chars=self.max_action_chars,
            max_context=self.max_context_chars,
            turn_reserve=self.max_action_chars,
            reward=self.reward,
            prompt_template=self.prompt_template,
        )
        world = (self.world_seed, self.world_size)
        object.__setattr__(self, "rules", rules)
        source = load_questions(self.questions, self.split, *world)
        object.__setattr__(self, "source", source)
        engine = load_engine(self.engine, self.engine_options, *world)
        object.__setattr__(self, "search_engine", engine)
        self.noise_probability(0.0)
        self._check_questions()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Pickle as the arguments."""
        return type(self), tuple(getattr(self, f.name) for f in fields(self) if f.init)

    def noise_probability(self, progress: float) -> float:
        """The share of noisy searches at ``progress``, in [0, 1]; 0.0 if the engine makes none."""
        noise = noise_probability(
            progress, self.noise, self.noise_start, self.noise_end, self.noise_base
        )
        return noise if self.search_engine.honours_noise else 0.0

    def close(self) -> None:
        """Close the engine, unless the user made it."""
        if not isinstance(self.engine, SearchEngine):
            self.search_engine.close()

    def _check_questions(self) -> None:
        if len(self.source) == 0:
            raise ValueError("`questions` must hold at least one question, got none.")
        in_memory = isinstance(self.source, QuestionSet)
        num_checked = len(self.source) if in_memory else min(len(self.source), SAMPLE_SIZE)
        checked = (self.source[index] for index in range(num_checked))
        Episode(max(checked, key=lambda question: len(question.text)), self.rules)
        from_file = isinstance(self.questions, str | Path) and str(self.questions) != "world"
        if from_file and self.engine == "world":
            logger.warn(
                f"The engine 'world' knows only the embedded world, which {self.questions} is not "
                "about: choose another `engine`, such as the path of a .jsonl corpus."
            )


class EpisodeStream:
    """The episodes of one environment, one after the other, fixed by a seed.

    The questions come in a random order of the whole source, each once before any comes again.

    Args:
        factory: makes them.
        seed: what the order of questions and the episodes' keys follow from.
    """

    __slots__ = ("_count", "_factory", "_order", "_seed")

    def __init__(self, factory: EpisodeFactory, seed: int) -> None:
        self._factory = factory
        self._seed = seed
        self._count = 0
        self._order = 0

    def next(
        self, noise_probability: float, question_id: str | None = None, key: int | None = None
    ) -> Episode:
        """The next episode.

        Args:
            noise_probability: of its searches, in [0, 1].
            question_id: a question to ask instead of the next in order.
            key: what random choices follow from, instead of seed and count.

        Raises:
            ValueError: there is no question of that id.
        """
        source = self._factory.source
        if question_id is None:
            epoch, position = divmod(self._count, len(source))
            if position == 0 or self._order == 0:
                self._order = keyed_random.derive_key("order", self._seed, epoch)
            question = source[keyed_random.shuffled_index(position, len(source), self._order)]
        else:
            question = self._find(question_id)
        if key is None:
            key = keyed_random.derive_key("episode", self._seed, self._count)
        self._count += 1
        rules = self._factory.rules
        return Episode(question, rules, key=key, noise_probability=noise_probability)

    def _find(self, question_id: str) -> Question:
        try:
            return self._factory.source.get(question_id)
        except KeyError:
            raise ValueError(f"there is no question with the id {question_id!r}.") from None
