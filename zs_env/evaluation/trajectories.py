"""Records of episodes that a trainer played as tokens."""

from __future__ import annotations

from zs_env.documents import clean_documents
from zs_env.evaluation.record import Record, RecordKey, RecordSearch, RecordSegment
from zs_env.questions import Question
from zs_env.rewards import REWARDS
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.trajectory import Trajectory

MAX_WORDS = 500
"""Words at which a document is cut in a record."""


def record_trajectory(
    trajectory: Trajectory,
    question: Question,
    encoder: TextEncoder,
    key: RecordKey,
    seconds: float = 0.0,
) -> Record:
    """Return the record of a trajectory.

    Args:
        trajectory: episode.
        question: its question.
        encoder: encoder of the policy's tokens.
        key: what the record is called.
        seconds: how long it took, if that is known.
    """
    info = trajectory.info
    written = trajectory.response_length
    failure = info["failure"]
    last = len(trajectory.searches) - 1
    return Record(
        *key,
        question=question.text,
        golden_answers=question.golden_answers,
        answer=info["answer"],
        scores={} if failure else {name: float(info[name]) for name in REWARDS},
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
        searches=tuple(
            RecordSearch(
                search.turn,
                search.query,
                tuple((d.title, d.text) for d in clean_documents(search.documents, MAX_WORDS)),
                search.noisy,
                failure if number == last else None,  # a failure ends the episode
            )
            for number, search in enumerate(trajectory.searches)
        ),
        turns=trajectory.num_turns,
        invalid_turns=info["num_invalid"],
        prompt_tokens=len(trajectory) - written,  # each is read once
        completion_tokens=written,
        seconds=seconds,
        noise_probability=trajectory.noise_probability,
        metadata=dict(question.metadata),
    )
