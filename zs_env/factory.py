"""What the arguments of an environment stand for, and the episodes that follow from a seed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gymnasium import logger

from zs_env import keyed_random
from zs_env.curriculum import noise_probability
from zs_env.engines import SearchEngine, load_engine
from zs_env.episode import Episode
from zs_env.prompts import PROMPT, render_prompt
from zs_env.question_sources import load_questions
from zs_env.questions import Question, QuestionSet, QuestionSource
from zs_env.rewards import RewardFunction
from zs_env.rules import Rules

SAMPLE_SIZE = 100
"""Questions that are checked at construction where not all of them are in memory."""


@dataclass(frozen=True)
class EpisodeFactory:
    """Makes the episodes of an environment from its arguments. All drivers share it.

    Args:
        questions: see `zs_env.question_sources.load_questions`.
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
        world_size: ``tiny``, ``small``, ``medium`` or ``large``.
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
        measure: what the limits of the context count.
    """

    questions: str | Path | QuestionSource | Sequence[Question] = "world"
    split: str = "train"
    engine: str | Path | SearchEngine = "world"
    engine_options: Mapping[str, Any] | None = field(default_factory=dict)
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
    measure: Callable[[str], int] = field(default=len, init=False, repr=False, compare=False)

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

    def __reduce__(self) -> tuple[Callable[..., EpisodeFactory], tuple[Any, ...]]:
        """Pickle as the arguments, those of `measured` included."""
        arguments = tuple(getattr(self, f.name) for f in fields(self) if f.init)
        limits = (self.measure, self.rules.max_context, self.rules.turn_reserve)
        return _restore, (type(self), arguments, limits)

    def noise_probability(self, progress: float) -> float:
        """The share of noisy searches at ``progress``, in [0, 1]; 0.0 if the engine makes none."""
        noise = noise_probability(
            progress, self.noise, self.noise_start, self.noise_end, self.noise_base
        )
        return noise if self.search_engine.honours_noise else 0.0

    def make(self, question: Question, key: int, noise_probability: float) -> Episode:
        """The episode of ``question`` whose random choices follow from ``key``."""
        return Episode(
            question,
            self.rules,
            key=key,
            noise_probability=noise_probability,
            measure=self.measure,
        )

    def measured(
        self, measure: Callable[[str], int], max_context: int, turn_reserve: int
    ) -> EpisodeFactory:
        """A copy, with the same engine, whose context is counted by ``measure``, as in tokens.

        Args:
            measure: length of a text.
            max_context: most that a transcript may measure.
            turn_reserve: room kept free for the policy's next turn.

        Raises:
            ValueError: a question does not fit; the message says how much it needs.
        """
        copied = object.__new__(type(self))  # copy() would make an engine anew
        vars(copied).update(vars(self))
        rules = replace(self.rules, max_context=max_context, turn_reserve=turn_reserve)
        object.__setattr__(copied, "rules", rules)
        object.__setattr__(copied, "measure", measure)
        copied._check_longest()
        return copied

    def find(self, question_id: str | None) -> Question | None:
        """The question called ``question_id``, or None for None.

        Raises:
            ValueError: there is no question of that id.
        """
        if question_id is None:
            return None
        try:
            return self.source.get(question_id)
        except (KeyError, AttributeError):
            raise ValueError(f"there is no question with the id {question_id!r}.") from None

    def close(self) -> None:
        """Close the engine, unless the user made it."""
        if not isinstance(self.engine, SearchEngine):
            self.search_engine.close()

    def _check_longest(self) -> None:
        in_memory = isinstance(self.source, QuestionSet)
        num_checked = len(self.source) if in_memory else min(len(self.source), SAMPLE_SIZE)
        checked = [self.source[index] for index in range(num_checked)]
        longest = max(checked, key=lambda question: _num_bytes(question.text))
        prompt = render_prompt(self.rules.prompt_template, longest.text)
        # A token takes a byte at least. Only where that leaves a doubt are all questions measured.
        if _num_bytes(prompt) + self.rules.turn_reserve > self.rules.max_context:
            longest = max(checked, key=lambda question: self.measure(question.text))
        self.make(longest, 0, 0.0)

    def _check_questions(self) -> None:
        if len(self.source) == 0:
            raise ValueError("`questions` must hold at least one question, got none.")
        self._check_longest()
        from_file = isinstance(self.questions, str | Path) and str(self.questions) != "world"
        searches_world = self.engine == "world" or (
            self.engine == "bm25" and not (self.engine_options or {}).get("corpus")
        )
        if from_file and searches_world:
            logger.warn(
                f"The engine {self.engine!r} knows only the embedded world, which "
                f"{self.questions} is not about: choose another `engine`, such as the path of a "
                ".jsonl corpus."
            )


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _restore(
    kind: type[EpisodeFactory], arguments: Sequence[Any], limits: tuple[Any, int, int]
) -> EpisodeFactory:
    return kind(*arguments).measured(*limits)


class QuestionOrder:
    """The questions of ``source`` without end, in random orders that follow from ``seed``.

    Each question comes once before any comes again. Any place can be asked for at once, so a run
    that goes on needs to remember nothing but how many questions it has drawn.

    Args:
        source: the questions.
        seed: what the order follows from.
    """

    __slots__ = ("_epoch", "_key", "_seed", "_source")

    def __init__(self, source: QuestionSource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._epoch = -1
        self._key = 0

    def __getitem__(self, number: int) -> Question:
        """The question drawn as ``number``, from 0."""
        if number < 0:
            raise IndexError(f"questions are counted from 0, got {number}.")
        size = len(self._source)
        epoch, position = divmod(number, size)
        if epoch != self._epoch:
            self._key = keyed_random.derive_key("order", self._seed, epoch)
            self._epoch = epoch
        return self._source[keyed_random.shuffled_index(position, size, self._key)]


class EpisodeStream:
    """The episodes of one environment, one after the other, fixed by a seed.

    The questions come in a random order of the whole source, each once before any comes again; a
    question that is asked for by name does not disturb it.

    Args:
        factory: makes them.
        seed: what the order of questions and the episodes' keys follow from.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: it is negative.
    """

    __slots__ = ("_factory", "_num_begun", "_num_drawn", "_order", "_seed")

    def __init__(self, factory: EpisodeFactory, seed: int) -> None:
        self._factory = factory
        self._seed = as_integer("seed", seed)
        if self._seed < 0:
            raise ValueError(f"`seed` must not be negative, got {seed}.")
        self._order = QuestionOrder(factory.source, self._seed)
        self._num_begun = 0
        self._num_drawn = 0

    def next(
        self,
        noise_probability: float,
        question: Question | None = None,
        key: int | None = None,
    ) -> Episode:
        """The next episode.

        Args:
            noise_probability: of its searches, in [0, 1].
            question: what to ask instead of the next in order.
            key: what random choices follow from, instead of seed and count.
        """
        if question is None:
            question = self._order[self._num_drawn]
            self._num_drawn += 1
        if key is None:
            key = keyed_random.derive_key("episode", self._seed, self._num_begun)
        self._num_begun += 1
        return self._factory.make(question, key, noise_probability)


def as_key(key: Any) -> int | None:
    """A key of the reset options as a Python int, or None; TypeError if it is neither."""
    return None if key is None else as_integer("key", key)


def as_integer(name: str, value: Any) -> int:
    """``value`` as a Python int, so that equal numbers of any type draw alike; else TypeError."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r}.") from None


def make_factory(arguments: Mapping[str, Any]) -> EpisodeFactory:
    """The factory of an environment's keyword arguments; TypeError names one that is unknown."""
    known = [f.name for f in fields(EpisodeFactory) if f.init]
    if unknown := [name for name in arguments if name not in known]:
        raise TypeError(
            f"unknown arguments {', '.join(unknown)}; expected some of {', '.join(known)}."
        )
    return EpisodeFactory(**arguments)
