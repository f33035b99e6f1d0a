"""A question being played: what a method does with it is noted here, and becomes its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zs_env import keyed_random
from zs_env.actions import close_turn, ends_turn
from zs_env.documents import (
    Document,
    SearchRequest,
    SearchResult,
    clean_documents,
    clean_text,
)
from zs_env.engines import SearchEngine, checked_asearch
from zs_env.episode import Episode, Role, Segment, Termination
from zs_env.errors import SearchFailure
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.policy_model import Piece, PolicyModel
from zs_env.evaluation.record import Record, RecordKey, RecordSearch, RecordSegment
from zs_env.evaluation.scores import scores_of
from zs_env.prompts import QuotingText
from zs_env.questions import Question
from zs_env.rules import DOCUMENT_SLACK

Watch = Callable[[RecordSegment], None]
"""Function that is called with each segment of a transcript as it is written."""

_FIELD = re.compile(r"{(\w+)}")


class Task(NamedTuple):
    """A question to play.

    Attributes:
        key: what its record is called.
        question: the question.
        seed: seed of the run; with question and repeat it fixes noise, documents and sampling.
        world: seed and size of the embedded world that the question is about; None if it is about
            none, or if that is not known.
    """

    key: RecordKey
    question: Question
    seed: int
    world: tuple[int, str] | None = None

    def random_key(self, purpose: str, *parts: int) -> int:
        """Return the key of random choices: not of the method, so that runs can be paired."""
        return keyed_random.derive_key(
            purpose, self.seed, self.question.id, self.key.repeat, *parts
        )


class Play:
    """One question, from the prompt to the record.

    Args:
        task: what to play.
        policy: model of the policy; None for a method without one.
        engine: search engine.
        options: options of the run.
        watch: function that is shown each segment.

    Attributes:
        task: what is played.
        question: its question.
        policy: model of the policy.
        engine: search engine.
        options: options of the run.
        pieces: transcript so far.
        searches: searches so far.
        turns: turns that the model took.
        invalid_turns: turns without an action.
        answer: final answer; None as long as there is none.
        termination: why it ended.
        failure: why the engine or the model failed; None if they did not.
        prompt_tokens: tokens that the model read so far, summed over its requests.
        completion_tokens: tokens that it wrote.
    """

    def __init__(
        self,
        task: Task,
        policy: PolicyModel | None,
        engine: SearchEngine,
        options: PlayOptions,
        watch: Watch | None = None,
    ) -> None:
        self.task = task
        self.question = task.question
        self.policy = policy
        self.engine = engine
        self.options = options
        self.pieces: list[Piece] = []
        self.searches: list[RecordSearch] = []
        self.turns = 0
        self.invalid_turns = 0
        self.answer: str | None = None
        self.termination: str = Termination.TURNS_SPENT.value
        self.failure: str | None = None
        self._watch = watch
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._num_requests = 0

    @property
    def noise_probability(self) -> float:
        """Chance that a search gets noisy documents."""
        return self.options.noise if self.engine.honours_noise else 0.0

    @property
    def episode_key(self) -> int:
        """Key of the noise labels and of what engines draw."""
        return self.task.random_key("evaluated episode")

    def begin(self, template: str, **fields: str) -> None:
        """Write the prompt: ``template`` with ``{question}`` and ``fields`` filled in, cleaned."""
        assert self.policy is not None
        fields = {"question": clean_text(self.question.text), **fields}
        self.add(Piece(Role.PROMPT, fill_template(self.policy.prompt(template), fields)))

    async def write(self, stop: Sequence[str] = ()) -> str:
        """Have the model write a turn, and return it, with the text of ``stop`` that ended it."""
        piece = await self.compose(stop)
        self.turns += 1
        self.add(piece)
        return str(piece.text)

    async def compose(self, stop: Sequence[str] = ()) -> Piece:
        """Have the model write a turn that is not added to the transcript.

        One that stopped inside an open thought is asked to go on.
        """
        turn = Piece(Role.POLICY, "")
        left = self.options.max_turn_tokens
        while left > 0:
            before = self.completion_tokens
            rest = await self.sample([*self.pieces, turn] if turn.text else self.pieces, stop, left)
            turn = Piece(Role.POLICY, turn.text + rest.text, False, turn.token_ids + rest.token_ids)
            left -= max(self.completion_tokens - before, 1)
            stopped = bool(rest.text) and turn.text.endswith(tuple(stop) or "\0")
            if not stopped or ends_turn(turn.text):
                break
        return turn

    async def sample(
        self, pieces: Sequence[Piece], stop: Sequence[str] = (), max_tokens: int | None = None
    ) -> Piece:
        """Have the model continue ``pieces``, until a text of ``stop``, which is kept.

        Raises:
            ModelFailure: the model gave up.
        """
        assert self.policy is not None
        completion = await self.policy.write(
            pieces,
            stop=stop,
            seed=self.task.random_key("evaluated turn", self._num_requests) >> 33,
            max_tokens=max_tokens or self.options.max_turn_tokens,
        )
        self._num_requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        text = completion.text
        if completion.stop is not None:
            text += completion.stop
        elif stop and not completion.cut and not completion.ended:
            text = close_turn(text)  # the server does not say which text ended it
        return Piece(Role.POLICY, text, token_ids=completion.token_ids)

    async def ask(self, template: str, **fields: str) -> str:
        """Have the model answer a prompt apart from the transcript, filled in as by `begin`."""
        assert self.policy is not None
        fields = {"question": clean_text(self.question.text), **fields}
        prompt = fill_template(self.policy.prompt(template), fields)
        return str((await self.sample([Piece(Role.PROMPT, prompt)])).text)

    async def search(self, query: str) -> Sequence[Document]:
        """Search, and return the documents, cleaned and cut.

        Raises:
            SearchFailure: the engine gave up.
        """
        turn = len(self.searches)
        source = (self.episode_key, self.question.id, turn)
        noise = self.noise_probability
        request = SearchRequest(
            query=clean_text(query),
            question=self.question.text,
            golden_answers=self.question.golden_answers,
            noisy=noise > 0.0 and keyed_random.uniform("noise", *source) < noise,
            turn=turn,
            top_k=self.options.top_k,
            document_words=self.options.document_words,
            key=keyed_random.derive_key("engine", *source),
        )
        result = await self.find(request)
        if result.failure is not None:
            raise result.failure
        return clean_documents(
            result.documents[: request.top_k], DOCUMENT_SLACK * request.document_words
        )

    async def find(self, request: SearchRequest) -> SearchResult:
        """Ask the engine, and note the search, with its documents as they can be read."""
        result = await checked_asearch(self.engine, request)
        readable = clean_documents(
            result.documents[: request.top_k], DOCUMENT_SLACK * request.document_words
        )
        self.searches.append(
            RecordSearch(
                turn=request.turn,
                query=request.query,
                documents=tuple((each.title, each.text) for each in readable),
                noisy=request.noisy,
                failure=None if result.failure is None else str(result.failure),
            )
        )
        return result

    def add(self, piece: Piece) -> None:
        """Add to the transcript."""
        self.pieces.append(piece)
        if self._watch is not None:
            self._watch(RecordSegment(piece.role.value, str(piece.text), piece.noisy))

    def add_segment(self, segment: Segment) -> None:
        """Add a segment of an episode to the transcript."""
        self.add(Piece(*segment))

    def finish(self, answer: str | None) -> None:
        """Note the final answer; None for a turn without one."""
        self.answer = answer
        if answer is None:
            self.invalid_turns += 1
        else:
            self.termination = Termination.ANSWERED.value

    def take_outcome(self, episode: Episode) -> None:
        """Note how ``episode`` ended."""
        assert episode.termination is not None
        self.answer = episode.answer
        self.turns = episode.turn
        self.invalid_turns = episode.num_invalid
        self.termination = episode.termination.value
        self.failure = episode.failure

    def exceed_context(self) -> None:
        """Note that the transcript does not fit the context; that counts as no answer."""
        self.answer = None
        self.termination = Termination.CONTEXT_EXCEEDED.value

    def fail(self, termination: str, failure: SearchFailure) -> None:
        """Note that the engine or the model failed."""
        self.answer = None
        self.termination = termination
        self.failure = str(failure)

    def record(self, seconds: float) -> Record:
        """Return what happened.

        Args:
            seconds: how long it took.
        """
        failed = self.failure is not None
        golden_answers = self.question.golden_answers
        return Record(
            *self.task.key,
            question=self.question.text,
            golden_answers=golden_answers,
            answer=self.answer,
            scores={} if failed else scores_of(self.answer, golden_answers),
            termination=self.termination,
            failure=self.failure,
            segments=tuple(
                RecordSegment(piece.role.value, str(piece.text), piece.noisy)
                for piece in self.pieces
            ),
            searches=tuple(self.searches),
            turns=self.turns,
            invalid_turns=self.invalid_turns,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=seconds,
            noise_probability=self.noise_probability,
            metadata=dict(self.question.metadata),
        )


def fill_template(template: str, fields: dict[str, str]) -> QuotingText:
    """Fill in the ``fields`` that ``template`` names, each marked as a quotation."""
    text, spans, last = "", [], 0
    for match in _FIELD.finditer(template):
        if match[1] not in fields:
            continue
        text += template[last : match.start()]
        spans.append((len(text), len(text) + len(fields[match[1]])))
        text += fields[match[1]]
        last = match.end()
    return QuotingText(text + template[last:], tuple(spans))
