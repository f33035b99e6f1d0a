"""Records of episodes that a trainer played as tokens."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.documents import clean_documents
from zs_env.episode import Role
from zs_env.evaluation.record import Record, RecordKey, RecordSearch, RecordSegment
from zs_env.evaluation.scores import scores_of
from zs_env.questions import Question
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.trajectory import SearchRecord, Trajectory


def record_trajectory(
    trajectory: Trajectory,
    question: Question,
    encoder: TextEncoder,
    key: RecordKey,
    max_document_words: int,
) -> Record:
    """Return the record of a trajectory.

    Args:
        trajectory: episode.
        question: its question.
        encoder: encoder of the policy's tokens.
        key: what the record is called.
        max_document_words: words at which documents were cut for the policy.
    """
    info = trajectory.info
    turns = [segment for segment in trajectory.segments if segment.role is Role.POLICY]
    failure = info["failure"]
    return Record(
        *key,
        question=question.text,
        golden_answers=question.golden_answers,
        answer=info["answer"],
        scores={} if failure else scores_of(info["answer"], question.golden_answers),
        termination=trajectory.termination.value,
        failure=failure,
        segments=tuple(
            RecordSegment(
                segment.role.value,
                encoder.decode(trajectory.token_ids[segment.start : segment.stop].tolist()),
                segment.noisy,
            )
            for segment in trajectory.segments
        ),
        searches=record_searches(trajectory.searches, failure, max_document_words),
        turns=trajectory.num_turns,
        invalid_turns=info["num_invalid"],
        prompt_tokens=sum(turn.start for turn in turns),
        completion_tokens=trajectory.response_length,
        noise_probability=trajectory.noise_probability,
        metadata=dict(question.metadata),
    )


def record_searches(
    searches: Sequence[SearchRecord], failure: str | None, max_document_words: int
) -> tuple[RecordSearch, ...]:
    """Return the searches of an episode with their documents as the policy read them.

    Args:
        searches: all searches of the episode, in order.
        failure: why the last of them failed, which ended the episode; None if it did not.
        max_document_words: words at which documents were cut for the policy.
    """
    last = len(searches) - 1
    return tuple(
        RecordSearch(
            search.turn,
            search.query,
            tuple((d.title, d.text) for d in clean_documents(search.documents, max_document_words)),
            search.noisy,
            failure if number == last else None,  # a failure ends the episode
        )
        for number, search in enumerate(searches)
    )
