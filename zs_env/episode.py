"""The rules of an episode, without input or output: every driver steps this one state machine.

A driver passes on what the policy wrote and what the search engine found::

    episode = Episode(question, Rules())
    while not episode.finished:
        request = episode.act(policy(episode.transcript))
        if request is not None:
            episode.observe(checked_search(engine, [request])[0])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from zs_env import keyed_random
from zs_env.actions import EMPTY_QUERY, Answer, Invalid, find_action
from zs_env.documents import Document, SearchRequest, SearchResult, clean_documents, clean_text
from zs_env.prompts import (
    fit_documents,
    render_correction,
    render_prompt,
)
from zs_env.questions import Question
from zs_env.rewards import REWARDS, all_scores, may_contain, substring_match
from zs_env.rules import Rules


class Role(str, Enum):
    """Who wrote a segment of the transcript."""

    PROMPT = "prompt"
    POLICY = "policy"
    INFORMATION = "information"
    CORRECTION = "correction"


class Termination(str, Enum):
    """Why an episode ended."""

    ANSWERED = "answered"
    TURNS_SPENT = "turns_spent"
    CONTEXT_EXCEEDED = "context_exceeded"
    SEARCH_FAILED = "search_failed"


class Segment(NamedTuple):
    """A stretch of the transcript with one author; ``noisy`` documents do not help.

    The ``text`` of prompts and documents is a `zs_env.prompts.QuotingText`.
    """

    role: Role
    text: str
    noisy: bool = False


class Assignment(NamedTuple):
    """An episode to play.

    Attributes:
        question: what to answer.
        key: fixes noise labels and what engines draw; the members of a group share it.
        sampling_key: fixes what the policy draws.
        noise_probability: chance that a search gets noisy documents, in [0, 1].
    """

    question: Question
    key: int
    sampling_key: int
    noise_probability: float


class Episode:
    """One question, from the prompt to the reward.

    Args:
        question: what to answer.
        rules: the limits and the reward.
        key: fixes the noise labels and what engines draw. Episodes that share key and question,
            such as the members of one GRPO group, draw the same.
        noise_probability: chance that a search gets noisy documents, in [0, 1].
        measure: length of a text in the unit of ``rules.max_context``; characters by default.

    Raises:
        ValueError: the prompt and one turn do not fit into ``rules.max_context``.

    Attributes:
        segments: the transcript by author, list of `Segment`.
        delta: the text that the environment added last, str.
        turn: turns taken so far.
        terminated: the policy has answered.
        truncated: turns or context are spent, or the engine failed.
        reward: what the answer earned; 0.0 until there is one.
        answer: the final answer, or None.
        scores: the answer's score by each name of `REWARDS`.
        num_searches: searches sent to the engine.
        num_invalid: turns without an action.
        cut_chars: characters of the policy that were dropped because they stood after its action
            or beyond ``rules.max_action_chars``.
        failure: why the engine failed, which ended the episode; None if it did not.
        context_exceeded: the context ran out, which ended the episode.
        golden_answer_seen: a document that was shown contained a golden answer.
    """

    def __init__(
        self,
        question: Question,
        rules: Rules,
        *,
        key: int = 0,
        noise_probability: float = 0.0,
        measure: Callable[[str], int] = len,
    ) -> None:
        self.question = question
        self.rules = rules
        self.measure = measure
        self.key = key
        self.noise_probability = noise_probability
        self.turn = 0
        self.terminated = False
        self.truncated = False
        self.reward = 0.0
        self.answer: str | None = None
        self.scores = dict.fromkeys(REWARDS, 0.0)
        self.num_searches = 0
        self.num_invalid = 0
        self.cut_chars = 0
        self.failure: str | None = None
        self.context_exceeded = False
        self.golden_answer_seen = False
        self.segments: list[Segment] = []
        self.delta = ""
        self._transcript = ""
        self._unread: list[str] = []
        self._context_length = 0
        self._request: SearchRequest | None = None
        self._event: dict[str, Any] = {}
        self._prompt_length = 0
        self._add(Role.PROMPT, render_prompt(rules.prompt_template, question.text))
        self._prompt_length = self._context_length
        if self._room() < 0:
            raise ValueError(
                f"the prompt of question {question.id!r} and one turn need "
                f"{self._context_length + rules.turn_reserve} of context, and only "
                f"{rules.max_context} is allowed ({self._prompt_length} for the prompt, "
                f"{rules.turn_reserve} for the turn): raise the context limit (`max_context`, in "
                "an environment `context_length` or `max_context_chars`) or drop the question."
            )

    @property
    def finished(self) -> bool:
        """True once the episode is terminated or truncated."""
        return self.terminated or self.truncated

    @property
    def termination(self) -> Termination | None:
        """Why the episode ended; None while it runs."""
        if self.terminated:
            return Termination.ANSWERED
        if not self.truncated:
            return None
        if self.search_failed:
            return Termination.SEARCH_FAILED
        return Termination.CONTEXT_EXCEEDED if self.context_exceeded else Termination.TURNS_SPENT

    @property
    def search_failed(self) -> bool:
        """True if the engine failed, which ended the episode."""
        return self.failure is not None

    @property
    def transcript(self) -> str:
        """All text so far, by all authors."""
        if self._unread:
            self._transcript = "".join([self._transcript, *self._unread])
            self._unread.clear()
        return self._transcript

    def act(self, text: str, length: int | None = None) -> SearchRequest | None:
        """Take the policy's turn.

        Args:
            text: what the policy wrote in this turn. Any string will do.
            length: context that the turn takes, such as the number of sampled tokens; measured if
                not given.

        Returns:
            The search to run, whose result `observe` must be given before the next turn; or None
            if the environment has already replied, or the episode is finished.

        Raises:
            RuntimeError: the episode is finished, or waits for the result of a search.
        """
        if self.finished or self._request is not None:
            state = "is finished" if self.finished else "waits for the documents of its search"
            raise RuntimeError(f"this episode {state}; it cannot act.")
        action, end = find_action(text[: self.rules.max_action_chars])
        self.cut_chars += len(text) - end
        self._event = {}
        self._add(Role.POLICY, text[:end], length=length)
        self.turn += 1
        if isinstance(action, Answer):
            self._finish(action.text)
        elif isinstance(action, Invalid):
            self._correct(action.reason)
        else:
            self._search(clean_text(action.query))
        return self._request

    def observe(self, result: SearchResult) -> str:
        """Take the engine's result for the request that `act` returned.

        Returns:
            The text that was added for the policy to read; empty if the episode was truncated.

        Raises:
            RuntimeError: no search was asked for.
        """
        if self._request is None:
            raise RuntimeError("this episode did not search; there is nothing to observe.")
        request, self._request = self._request, None
        self.num_searches += 1
        self._event = {
            "query": request.query,
            "noisy": request.noisy,
            "num_documents": min(len(result.documents), self.rules.top_k),
        }
        if result.failure is not None:
            self.failure = str(result.failure)
            self._truncate()
            return ""
        self._show(result.documents[: self.rules.top_k], request.noisy)
        return self.delta

    def info(self) -> dict[str, Any]:
        """Return what the last turn did and, at the end, the outcome, as a fresh flat dict."""
        info = {
            "turn": self.turn,
            "num_searches": self.num_searches,
            "num_invalid": self.num_invalid,
            **self._event,
        }
        if self.finished:
            info |= {
                "answer": self.answer,
                **self.scores,
                "search_failed": self.search_failed,
                "failure": self.failure,
                "context_exceeded": self.context_exceeded,
                "golden_answer_seen": self.golden_answer_seen,
                "cut_chars": self.cut_chars,
            }
        return info

    def _search(self, query: str) -> None:
        if not query:
            self._correct(EMPTY_QUERY)
        elif self.turn == self.rules.max_turns:
            self._truncate()
        else:
            self._request = self._make_request(query)

    def _make_request(self, query: str) -> SearchRequest:
        turn = self.turn - 1
        source = (self.key, self.question.id, turn)
        noise = self.noise_probability
        noisy = noise > 0.0 and keyed_random.uniform("noise", *source) < noise
        rules = self.rules
        # By position, in the order of the fields: names would double the cost.
        return SearchRequest(
            query,
            self.question.text,
            self.question.golden_answers,
            noisy,
            turn,
            rules.top_k,
            rules.document_words,
            keyed_random.derive_key("engine", *source),
        )

    def _show(self, documents: Sequence[Document], noisy: bool) -> None:
        max_words = self.rules.max_document_words
        clean = clean_documents(documents, max_words)
        fitted = fit_documents(clean, max_words, self._room(), self.measure)
        if fitted is None:
            self._overflow()
            return
        shown, block = fitted
        self._add(Role.INFORMATION, block, noisy)
        golden_answers = self.question.golden_answers
        if may_contain(block, golden_answers):
            self.golden_answer_seen |= any(
                substring_match(f"{document.title} {document.text}", golden_answers)
                for document in shown
            )

    def _correct(self, reason: str) -> None:
        self.num_invalid += 1
        self._event = {"invalid": reason}
        if self.turn == self.rules.max_turns:
            self._truncate()
            return
        correction = render_correction(reason)
        if self.measure(correction) <= self._room():
            self._add(Role.CORRECTION, correction)
        else:
            self._overflow()

    def _finish(self, answer: str) -> None:
        self.delta = ""
        self.answer = answer
        self.terminated = True
        golden_answers = self.question.golden_answers
        self.scores = all_scores(answer, golden_answers)
        reward = self.rules.reward
        value = self.scores[reward] if isinstance(reward, str) else reward(answer, golden_answers)
        if value is None or isinstance(value, str):
            raise TypeError(f"`reward` must return a number, got {value!r}.")
        if not math.isfinite(value):
            raise ValueError(
                f"`reward` must return a finite number, got {value} from {reward} for the answer "
                f"{answer!r} to question {self.question.id!r}."
            )
        self.reward = float(value)

    def _truncate(self) -> None:
        self.delta = ""
        self.truncated = True

    def _overflow(self) -> None:
        self.context_exceeded = True
        self._truncate()

    def _add(self, role: Role, text: str, noisy: bool = False, length: int | None = None) -> None:
        self.segments.append(Segment(role, text, noisy))
        self._unread.append(text)
        self._context_length += self.measure(text) if length is None else length
        if role is not Role.POLICY:
            self.delta = str(text)

    def _room(self) -> int:
        """Context that the environment may still fill, with the next turn's room kept free."""
        rules, length = self.rules, self._context_length
        room = rules.max_context - length
        if rules.max_response is not None:
            room = min(room, rules.max_response - (length - self._prompt_length))
        return room - rules.turn_reserve
