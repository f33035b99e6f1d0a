"""The token ledger of an episode: exactly which tokens there were, and which of them train.

A trainer needs no more than this of an episode, and `Trajectory.verify` proves that it is sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zs_env.documents import Document
from zs_env.episode import Role, Termination
from zs_env.errors import TrajectoryError

LOG_PROB_SLACK = 1e-4
"""How far above 0 rounding may lift a log-probability."""


class TokenSegment(NamedTuple):
    """Tokens ``start`` to ``stop`` have one author; ``noisy`` documents do not help."""

    role: Role
    start: int
    stop: int
    noisy: bool = False


class SearchRecord(NamedTuple):
    """One search.

    Attributes:
        query: what was asked.
        noisy: whether noise was asked for.
        documents: what the engine returned.
        turn: index of the turn that searched, from 0.
    """

    query: str
    noisy: bool
    documents: tuple[Document, ...]
    turn: int


class TrajectorySplit(NamedTuple):
    """A trajectory as trainers take it: P tokens of prompt, R of response.

    Attributes:
        prompt_ids: the tokens that the policy read first, shape (P,), int32.
        response_ids: all tokens behind them, documents included, shape (R,), int32. The last is
            the policy's.
        response_mask: True where the policy wrote the token, which therefore contributes to the
            loss, shape (R,), bool.
        log_probs: log-probability of each policy token when it was sampled, 0.0 elsewhere, shape
            (R,), float32.
    """

    prompt_ids: NDArray[np.int32]
    response_ids: NDArray[np.int32]
    response_mask: NDArray[np.bool_]
    log_probs: NDArray[np.float32]


@dataclass(frozen=True)
class Trajectory:
    """An episode as tokens. T is the number of tokens, prompt included.

    Attributes:
        question_id: the question that was asked.
        token_ids: what the model read and wrote, in order, shape (T,), int32. Sampled ids stand
            here as they were sampled: nothing is decoded and encoded again.
        response_mask: True where the policy wrote the token, which therefore contributes to the
            loss, shape (T,), bool.
        log_probs: log-probability of each policy token when it was sampled, 0.0 elsewhere, shape
            (T,), float32.
        segments: the tokens by author, in order, without gaps.
        reward: what the final answer earned.
        termination: why the episode ended.
        searches: every search that the engine was sent, in order.
        noise_probability: chance that a search got noisy documents, in [0, 1].
        info: the last `Episode.info` of the episode: answer, scores, counts.
    """

    question_id: str
    token_ids: NDArray[np.int32]
    response_mask: NDArray[np.bool_]
    log_probs: NDArray[np.float32]
    segments: tuple[TokenSegment, ...]
    reward: float
    termination: Termination
    searches: tuple[SearchRecord, ...] = ()
    noise_probability: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of tokens, T."""
        return len(self.token_ids)

    @property
    def search_failed(self) -> bool:
        """The engine failed, through no fault of the policy: leave it out of the loss."""
        return self.termination is Termination.SEARCH_FAILED

    @property
    def response_length(self) -> int:
        """Tokens that the policy wrote."""
        return int(self.response_mask.sum())

    @property
    def num_turns(self) -> int:
        """Turns that the policy took."""
        return sum(segment.role is Role.POLICY for segment in self.segments)

    def split(
        self, *, max_prompt_tokens: int | None = None, max_response_tokens: int | None = None
    ) -> TrajectorySplit:
        """Divide the tokens into prompt and response.

        Nothing is cut: without its end, a response lacks the answer that its reward is for. For a
        trainer with limits of its own, let the episodes keep them in the first place::

            rules = Rules(
                max_context=max_prompt_tokens + max_response_tokens,
                max_response=max_response_tokens,
                turn_reserve=max_turn_tokens,
                max_action_chars=sys.maxsize,
            )

        Args:
            max_prompt_tokens: most tokens of the prompt; None allows any number.
            max_response_tokens: most tokens of the response; None allows any number.

        Returns:
            The parts; they share the memory of the trajectory.

        Raises:
            TrajectoryError: a part is longer than allowed; the message says what to change.
        """
        stop = self.segments[0].stop if self.segments else 0
        if max_prompt_tokens is not None and stop > max_prompt_tokens:
            raise self._error(
                f"the prompt has {stop} tokens, and {max_prompt_tokens} are allowed. A question is "
                "never cut: raise the limit, or leave the question out"
            )
        length = len(self) - stop
        if max_response_tokens is not None and length > max_response_tokens:
            raise self._error(
                f"the response has {length} tokens, and {max_response_tokens} are allowed: set "
                f"`max_response` of the episode's rules to at most {max_response_tokens}, counted "
                "in tokens"
            )
        return TrajectorySplit(
            self.token_ids[:stop],
            self.token_ids[stop:],
            self.response_mask[stop:],
            self.log_probs[stop:],
        )

    def verify(
        self, log_probs: NDArray[np.float32] | None = None, tolerance: float = 1e-3
    ) -> Trajectory:
        """Check that ids, masks, segments, log-probabilities, searches and reward fit together.

        Args:
            log_probs: log-probabilities of the same tokens by the model that is trained, shape
                (T,); where the policy wrote, they must agree with those of the sampler.
            tolerance: how far they may be apart.

        Returns:
            The trajectory itself.

        Raises:
            TrajectoryError: something does not fit; the message says what, and where.
        """
        self._verify_arrays()
        self._verify_segments()
        self._verify_outcome()
        if log_probs is not None:
            self._verify_agreement(np.asarray(log_probs), tolerance)
        return self

    def _verify_arrays(self) -> None:
        wanted = {"token_ids": np.int32, "response_mask": np.bool_, "log_probs": np.float32}
        for name, dtype in wanted.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
                raise self._error(f"`{name}` must be an array of one axis of {dtype.__name__}")
            if len(array) != len(self.token_ids):
                raise self._error(
                    f"`{name}` has {len(array)} entries for {len(self.token_ids)} tokens"
                )
        if (self.token_ids < 0).any():
            raise self._error("a token id is negative")
        written = self.log_probs[self.response_mask]
        if not (np.isfinite(written).all() and (written <= LOG_PROB_SLACK).all()):
            raise self._error("the log-probability of a policy token is not a number of at most 0")
        if self.log_probs[~self.response_mask].any():
            raise self._error("a token that the policy did not write has a log-probability")

    def _verify_segments(self) -> None:
        position = 0
        for index, segment in enumerate(self.segments):
            if segment.start != position or segment.stop < segment.start:
                raise self._error(
                    f"segment {index} covers [{segment.start}, {segment.stop}) where it should "
                    f"begin at {position}"
                )
            position = segment.stop
            by_policy = segment.role is Role.POLICY
            if by_policy and segment.stop == segment.start:
                raise self._error(f"segment {index} is a turn without a token")
            if (self.response_mask[segment.start : segment.stop] != by_policy).any():
                raise self._error(
                    f"`response_mask` must be {by_policy} in segment {index} ({segment.role.value})"
                )
        if position != len(self):
            raise self._error(f"the segments end at {position} of {len(self)} tokens")
        if not self.segments or self.segments[0].role is not Role.PROMPT:
            raise self._error("the first segment must be the prompt")

    def _verify_outcome(self) -> None:
        if not np.isfinite(self.reward):
            raise self._error(f"the reward is {self.reward}")
        if self.termination is not Termination.ANSWERED and self.reward != 0.0:
            raise self._error(
                f"the reward is {self.reward} without an answer ({self.termination.value})"
            )
        answered = self.termination is Termination.ANSWERED
        if "answer" in self.info and (self.info["answer"] is not None) != answered:
            raise self._error(
                f"the answer in `info` is {self.info['answer']!r}, and the episode ended as "
                f"{self.termination.value}"
            )
        shown = [s.noisy for s in self.segments if s.role is Role.INFORMATION]
        asked = [search.noisy for search in self.searches]
        # The documents of the last search are missing if it failed, or if they did not fit.
        missing = len(asked) - len(shown)
        expected = {
            Termination.SEARCH_FAILED: (1,),
            Termination.CONTEXT_EXCEEDED: (0, 1),
        }.get(Termination(self.termination), (0,))
        if shown != asked[: len(shown)] or missing not in expected:
            raise self._error(
                f"{len(asked)} searches and {len(shown)} blocks of documents do not match "
                f"({self.termination.value})"
            )
        turns = [search.turn for search in self.searches]
        if turns != sorted({*turns} & {*range(self.num_turns)}):
            raise self._error(f"searches in turns {turns} of {self.num_turns}")

    def _verify_agreement(self, log_probs: NDArray[np.float32], tolerance: float) -> None:
        if log_probs.shape != self.log_probs.shape:
            raise self._error(
                f"{log_probs.shape} log-probabilities to compare with {self.log_probs.shape}"
            )
        difference = np.abs(np.where(self.response_mask, log_probs - self.log_probs, 0.0))
        if not (difference <= tolerance).all():
            worst = int(np.nanargmax(np.where(np.isnan(difference), np.inf, difference)))
            raise self._error(
                f"token {worst} was sampled with log-probability {self.log_probs[worst]:.5f}, and "
                f"the trained model gives {log_probs[worst]:.5f}"
            )

    def _error(self, what: str) -> TrajectoryError:
        return TrajectoryError(f"trajectory of question {self.question_id!r}: {what}.")
