"""Episodes made from settings, for every driver and trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium import logger

from zs_env import keyed_random
from zs_env.checks import as_integer, as_share
from zs_env.curriculum import noise_probability
from zs_env.engines import SearchEngine, checked_search, knows_only_the_world, load_engine
from zs_env.episode import Assignment, Episode
from zs_env.prompts import render_prompt
from zs_env.question_sources import QuestionOrder, are_about_the_world, load_questions, world_of
from zs_env.questions import Question, QuestionSet
from zs_env.rules import Limits, Rules
from zs_env.settings import Settings
from zs_env.tokens.chat import PolicyPrompt, policy_prompt
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.trajectory import SearchRecord
from zs_env.world.tokenizer import check_vocabulary

SAMPLE_SIZE = 100
"""Number of questions checked at construction, if not all of them are in memory."""

KEY_LIMIT = 2**64
"""Bound of keys, which have 64 bits."""


class EpisodeSource:
    """Source of episodes, with the questions, the engine and the rules of ``settings``.

    Args:
        settings: arguments of the driver or trainer; `zs_env.settings.ChatSettings` has those of
            the policy's chat template.
        limits: lengths of turns and transcripts, and their unit. If that is the tokens of a
            `zs_env.tokens.encoder.TextEncoder`, the prompt is written as its model reads it.
        prompt: prompt that another source has written, instead of one from ``settings``.

    Raises:
        ValueError: a setting is out of its range, or a question does not fit into the limits.
        TypeError: a setting has the wrong type.
        ZeroSearchError: a file or an optional dependency is missing or broken, or the policy has
            an earlier vocabulary of the embedded world that is asked about.

    Attributes:
        questions: the questions.
        engine: the search engine.
        rules: limits and reward of every episode.
        prompt: prompt as the policy reads it, and whether that is in a chat.
    """

    def __init__(
        self, settings: Settings, limits: Limits, prompt: PolicyPrompt | None = None
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.prompt = prompt or write_prompt(settings, limits.measure)
        self.rules = Rules(
            max_turns=settings.max_turns,
            top_k=settings.top_k,
            document_words=settings.document_words,
            max_action_chars=limits.max_action_chars,
            max_context=limits.max_context,
            turn_reserve=limits.turn_reserve,
            reward=settings.reward,
            prompt_template=self.prompt.template,
            max_response=limits.max_response,
        )
        world = world_of(settings.questions, settings.world_seed, settings.world_size)
        if isinstance(limits.measure, TextEncoder) and are_about_the_world(settings.questions):
            check_vocabulary(limits.measure.tokenizer, world[1])
        self._noise(0.0)  # a bad schedule is refused before anything is loaded
        self.questions = load_questions(settings.questions, settings.split, *world)
        self.engine: SearchEngine = load_engine(settings.engine, *world)
        try:
            self._check_questions()
        except BaseException:
            self.close()  # the engine may hold threads and connections
            raise

    def __reduce__(self) -> tuple[type[EpisodeSource], tuple[Settings, Limits, PolicyPrompt]]:
        """Pickle the arguments: a copy loads its own questions and engine."""
        # The prompt goes along: a chat template may write the date.
        return type(self), (self.settings, self.limits, self.prompt)

    def noise_probability(self, progress: float) -> float:
        """Return the noise probability at ``progress``, in [0, 1]; 0.0 for a real engine.

        Raises:
            ValueError: ``progress`` is outside [0, 1].
        """
        noise = self._noise(progress)
        return noise if self.engine.honours_noise else 0.0

    def make(self, question: Question, key: int, noise_probability: float) -> Episode:
        """Make the episode of ``question`` whose random choices follow from ``key``."""
        return Episode(
            question,
            self.rules,
            key=key,
            noise_probability=noise_probability,
            measure=self.limits.measure,
        )

    def begin(self, assignment: Assignment) -> Episode:
        """Make the episode of ``assignment``."""
        return self.make(assignment.question, assignment.key, assignment.noise_probability)

    def assign(
        self,
        question: int | str,
        *,
        seed: int = 0,
        step: int = 0,
        total_steps: int = 1,
        member: int = 0,
        noise_probability: float | None = None,
    ) -> Assignment:
        """Return which episode a trainer plays: it follows from the arguments on every worker.

        The members of a group share the question, the noise labels and the documents; the tokens
        that the policy samples differ.

        Args:
            question: number or id of the question. Numbers count from 0, without end, in the random
                order of ``seed``. Ids are for trainers that order questions themselves; the
                episode's key then depends on ``step`` too.
            seed: seed of the run.
            step: training step, from 0.
            total_steps: number of training steps; progress is ``step / total_steps``, at most 1.
            member: number of the episode in its group, from 0.
            noise_probability: noise probability of the episode, in [0, 1], instead of the
                curriculum's.

        Raises:
            ValueError: no question has that id, or a number is out of its range.
        """
        total = as_integer("total_steps", total_steps, 1)
        step = as_integer("step", step, 0)
        if noise_probability is None:
            noise = self.noise_probability(min(step / total, 1.0))
        else:
            noise = as_share("noise_probability", noise_probability)
        if isinstance(question, str):
            found = self.find(question)
            source: tuple[int | str, ...] = (seed, question, step)
        else:
            number = as_integer("question", question, 0)
            found = QuestionOrder(self.questions, seed)[number]
            source = (seed, number)
        return Assignment(
            found,
            key=keyed_random.derive_key("episode", *source),
            sampling_key=keyed_random.derive_key("sample", *source, member),
            noise_probability=noise,
        )

    def assign_held_out(
        self, question_id: str, *, noise_probability: float = 0.0, member: int = 0
    ) -> Assignment:
        """Return which episode an evaluation plays.

        Noise labels, documents and sampled tokens follow from the question alone, whatever the run
        and its step: evaluations draw the same, and are compared in pairs.

        Args:
            question_id: id of the question.
            noise_probability: noise probability, in [0, 1]; 0.0 for an engine that ignores noise.
            member: number of the episode among those of the question, from 0.

        Raises:
            ValueError: no question has that id, or a number is out of its range.
        """
        noise = as_share("noise_probability", noise_probability)
        others = (as_integer("member", member, 0),) if member else ()
        return Assignment(
            self.find(question_id),
            key=keyed_random.derive_key("test", question_id),
            sampling_key=keyed_random.derive_key("test sample", question_id, *others),
            noise_probability=noise if self.engine.honours_noise else 0.0,
        )

    def find(self, question_id: str) -> Question:
        """Return the question called ``question_id``.

        Raises:
            ValueError: no question has that id.
        """
        try:
            return self.questions.get(question_id)
        except (KeyError, AttributeError):  # the latter if the id is no string
            raise ValueError(f"there is no question with the id {question_id!r}.") from None

    def close(self) -> None:
        """Close the engine, unless it was given as an object."""
        if not isinstance(self.settings.engine, SearchEngine):
            self.engine.close()

    def _noise(self, progress: float) -> float:
        settings = self.settings
        return noise_probability(
            progress,
            settings.noise,
            settings.noise_start,
            settings.noise_end,
            settings.noise_base,
        )

    def _check_questions(self) -> None:
        if len(self.questions) == 0:
            raise ValueError("`questions` must hold at least one question, got none.")
        self._check_longest()
        asked = self.settings.questions
        # A likely mistake: questions from a file or data set, and the default engine.
        named = isinstance(self.questions, QuestionSet) and isinstance(asked, str | Path)
        foreign = named and not are_about_the_world(asked)
        if foreign and knows_only_the_world(self.settings.engine):
            logger.warn(
                f"The engine {self.settings.engine!r} knows only the embedded world, which "
                f"{asked} is not about: choose another `engine`, such as 'bm25,corpus=FILE.jsonl'."
            )

    def longest_prompt(self) -> int:
        """Return the length of the prompt of the longest question, in the unit of the limits.

        The longest is that of most bytes; of questions that are not in memory, the first
        `SAMPLE_SIZE` are looked at.
        """
        longest = max(self._to_check(), key=lambda question: _num_bytes(question.text))
        return self.limits.measure(render_prompt(self.rules.prompt_template, longest.text))

    def _to_check(self) -> list[Question]:
        in_memory = isinstance(self.questions, QuestionSet)
        num_checked = len(self.questions) if in_memory else min(len(self.questions), SAMPLE_SIZE)
        return [self.questions[index] for index in range(num_checked)]

    def _check_longest(self) -> None:
        """Check that the longest question fits: making its episode raises if it does not."""
        checked = self._to_check()
        longest = max(checked, key=lambda question: _num_bytes(question.text))
        prompt = render_prompt(self.rules.prompt_template, longest.text)
        # A token has at least one byte, so the number of bytes bounds that of tokens. Counting the
        # tokens of all questions is slow, and needed only if the bytes exceed the limit.
        if _num_bytes(prompt) + self.rules.turn_reserve > self.rules.max_context:
            longest = max(checked, key=lambda question: self.limits.measure(question.text))
        self.make(longest, 0, 0.0)


def write_prompt(settings: Settings, measure: Callable[[str], int]) -> PolicyPrompt:
    """Return the prompt of ``settings`` as the policy reads it.

    Args:
        settings: arguments of the driver or trainer.
        measure: unit of lengths; a `TextEncoder` has the policy's tokenizer.

    Raises:
        ValueError: an option of the chat is wrong, or there is no chat.
    """
    template, chat = settings.prompt_template, settings.chat
    if isinstance(measure, TextEncoder):
        return policy_prompt(measure.tokenizer, template, **chat)
    asked = chat.pop("chat_template", "auto") == "on"
    if asked or any(value is not None for value in chat.values()):
        raise ValueError(
            "`chat_template`, `system_prompt` and `chat_template_kwargs` need the tokenizer of the "
            "policy: give Limits(measure=TextEncoder(tokenizer)), or leave them out."
        )
    return PolicyPrompt(template, chat=False)


class EpisodeStream:
    """Episodes of one environment, one after the other, fixed by a seed.

    The questions come in a random order of the whole source, each once before any repeats; an
    episode of a given question leaves the order as it is.

    Args:
        source: source of the episodes.
        seed: seed of the order of questions and of the episodes' keys.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: the seed is negative.
    """

    __slots__ = ("_num_begun", "_num_drawn", "_order", "_seed", "_source")

    def __init__(self, source: EpisodeSource, seed: int) -> None:
        self._source = source
        self._seed = as_integer("seed", seed, 0)
        self._order = QuestionOrder(source.questions, self._seed)
        self._num_begun = 0
        self._num_drawn = 0  # without the episodes of a given question

    def next(
        self,
        noise_probability: float,
        question: Question | None = None,
        key: int | None = None,
    ) -> Episode:
        """Make the next episode.

        Args:
            noise_probability: noise probability of the episode, in [0, 1].
            question: question to ask, instead of the next in order.
            key: key of the random choices, instead of one from seed and count.
        """
        if question is None:
            question = self._order[self._num_drawn]
            self._num_drawn += 1
        if key is None:
            key = keyed_random.derive_key("episode", self._seed, self._num_begun)
        self._num_begun += 1
        return self._source.make(question, key, noise_probability)


def as_key(key: Any) -> int:
    """Check a key, and return it as a Python int in [0, 2**64).

    Raises:
        TypeError: the key is not an integer.
        ValueError: the key is out of its range.
    """
    number = as_integer("key", key, 0)
    if number >= KEY_LIMIT:
        raise ValueError(f"`key` must be less than 2**64, got {number}.")
    return number


def advance(episode: Episode, engine: SearchEngine, text: str) -> SearchRecord | None:
    """Take one turn of ``episode``: act on ``text``, and have ``engine`` answer its search.

    For drivers and trainers that hold text; see `zs_env.tokens.rollout` for tokens.

    Args:
        episode: running episode.
        engine: search engine, called if the turn is a search.
        text: text that the policy wrote in this turn.

    Returns:
        The search of this turn; None if it was none.

    Raises:
        RuntimeError: the episode is finished.
        EngineContractError: the engine broke its contract.
    """
    request = episode.act(text)
    if request is None:
        return None
    result = checked_search(engine, [request])[0]
    episode.observe(result)
    return SearchRecord(request.query, request.noisy, result.documents, request.turn)


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
