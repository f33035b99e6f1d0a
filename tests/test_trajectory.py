"""The token ledger of an episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zs_env import Document
from zs_env.episode import Role, Termination
from zs_env.errors import TrajectoryError
from zs_env.tokens.trajectory import SearchRecord, TokenSegment, Trajectory

DOCUMENTS = (Document("Ada Blake was born in Jarrow Corvale."),)
PROMPT = TokenSegment(Role.PROMPT, 0, 3)
SEARCH = TokenSegment(Role.POLICY, 3, 7)
FOUND = TokenSegment(Role.INFORMATION, 7, 10, noisy=True)
ANSWER = TokenSegment(Role.POLICY, 10, 12)
LOG_PROBS = (0, 0, 0, -0.5, -1, -0.25, -2, 0, 0, 0, -0.125, -4)

SOUND = Trajectory(
    question_id="q-7",
    token_ids=np.arange(40, 52, dtype=np.int32),
    response_mask=np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1], dtype=np.bool_),
    log_probs=np.array(LOG_PROBS, dtype=np.float32),
    segments=(PROMPT, SEARCH, FOUND, ANSWER),
    reward=0.5,
    termination=Termination.ANSWERED,
    searches=(SearchRecord("ada", True, DOCUMENTS, turn=0),),
)


def changed(array, index, value):
    """A copy of ``array`` with another value at ``index``."""
    copy = array.copy()
    copy[index] = value
    return copy


def log_prob(index, value):
    """Log-probabilities that are sound but for one."""
    return {"log_probs": changed(SOUND.log_probs, index, value)}


def segments(*those):
    return {"segments": those}


def searches(*noisy):
    """Searches in turns 0, 1, …, with these labels."""
    records = [SearchRecord("ada", label, DOCUMENTS, turn) for turn, label in enumerate(noisy)]
    return {"searches": tuple(records)}


def cut_short(stop, termination, **changes):
    """The first ``stop`` tokens, which earned nothing."""
    return replace(
        SOUND,
        token_ids=SOUND.token_ids[:stop],
        response_mask=SOUND.response_mask[:stop],
        log_probs=SOUND.log_probs[:stop],
        segments=tuple(segment for segment in SOUND.segments if segment.stop <= stop),
        reward=0.0,
        termination=termination,
        **changes,
    )


@pytest.mark.parametrize(
    "trajectory",
    [
        SOUND,
        replace(SOUND, reward=-1.0),
        # Rounding lifts a log-probability above 0 now and then.
        replace(SOUND, **log_prob(3, 5e-5)),
        cut_short(12, Termination.TURNS_SPENT),
        # Nor did a correction fit.
        cut_short(12, Termination.CONTEXT_EXCEEDED),
        cut_short(7, Termination.TURNS_SPENT, searches=()),
        cut_short(7, Termination.SEARCH_FAILED, **searches(True)),
        cut_short(7, Termination.CONTEXT_EXCEEDED, **searches(False)),
        cut_short(12, Termination.SEARCH_FAILED, **searches(True, False)),
        cut_short(3, Termination.CONTEXT_EXCEEDED, searches=()),
    ],
)
def test_trajectory_verify_sound_is_returned(trajectory):
    assert trajectory.verify() is trajectory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": SOUND.token_ids.astype(np.int64)}, "`token_ids` must be .* of int32"),
        ({"token_ids": SOUND.token_ids.tolist()}, "`token_ids` must be an array of one axis"),
        ({"token_ids": SOUND.token_ids[None]}, "`token_ids` must be an array of one axis"),
        ({"token_ids": np.array(3, dtype=np.int32)}, "`token_ids` must be an array of one axis"),
        ({"response_mask": SOUND.response_mask.astype(np.int8)}, "`response_mask` .* of bool"),
        ({"log_probs": SOUND.log_probs.astype(np.float64)}, "`log_probs` must be .* of float32"),
        ({"token_ids": SOUND.token_ids[1:]}, "`response_mask` has 12 entries for 11 tokens"),
        ({"response_mask": SOUND.response_mask[1:]}, "`response_mask` has 11 entries for 12"),
        ({"log_probs": np.append(SOUND.log_probs, np.float32(0))}, "`log_probs` has 13 entries"),
        ({"token_ids": changed(SOUND.token_ids, 8, -1)}, "a token id is negative"),
        (log_prob(4, np.nan), "of a policy token is not a number of at most 0"),
        (log_prob(4, -np.inf), "of a policy token is not a number of at most 0"),
        (log_prob(4, 2e-4), "of a policy token is not a number of at most 0"),
        (log_prob(8, -0.5), "a token that the policy did not write has a log-probability"),
        (log_prob(2, np.nan), "a token that the policy did not write has a log-probability"),
        (
            {"response_mask": changed(SOUND.response_mask, 8, True)},
            r"`response_mask` must be False in segment 2 \(information\)",
        ),
        (
            {"response_mask": changed(SOUND.response_mask, 0, True)},
            r"`response_mask` must be False in segment 0 \(prompt\)",
        ),
        (
            {"response_mask": changed(SOUND.response_mask, 5, False), **log_prob(5, 0)},
            r"`response_mask` must be True in segment 1 \(policy\)",
        ),
        (
            {"response_mask": changed(SOUND.response_mask, 5, False)},
            "a token that the policy did not write has a log-probability",
        ),
        (
            segments(PROMPT, SEARCH, FOUND._replace(start=8), ANSWER),
            r"segment 2 covers \[8, 10\) where it should begin at 7",
        ),
        (
            segments(PROMPT, SEARCH, FOUND._replace(start=6), ANSWER),
            r"segment 2 covers \[6, 10\) where it should begin at 7",
        ),
        (
            segments(PROMPT, SEARCH, FOUND._replace(stop=6), ANSWER),
            r"segment 2 covers \[7, 6\) where it should begin at 7",
        ),
        (segments(PROMPT, FOUND, SEARCH, ANSWER), r"segment 1 covers \[7, 10\) .* begin at 3"),
        (segments(PROMPT, SEARCH, FOUND), "the segments end at 10 of 12 tokens"),
        (
            segments(PROMPT, SEARCH, FOUND, ANSWER._replace(stop=13)),
            "the segments end at 13 of 12 tokens",
        ),
        (
            segments(PROMPT, TokenSegment(Role.POLICY, 3, 3), SEARCH, FOUND, ANSWER),
            "segment 1 is a turn without a token",
        ),
        (
            segments(PROMPT._replace(role=Role.CORRECTION), SEARCH, FOUND, ANSWER),
            "the first segment must be the prompt",
        ),
        (segments(), "the segments end at 0 of 12 tokens"),
        ({"reward": float("nan")}, "the reward is nan"),
        ({"reward": float("inf")}, "the reward is inf"),
        (
            {"termination": Termination.TURNS_SPENT},
            r"the reward is 0.5 without an answer \(turns_spent\)",
        ),
        (
            {"termination": Termination.SEARCH_FAILED},
            r"the reward is 0.5 without an answer \(search_failed\)",
        ),
        (searches(), "0 searches and 1 blocks of documents do not match"),
        (searches(False), "1 searches and 1 blocks of documents do not match"),
        (searches(False, True), "2 searches and 1 blocks of documents do not match"),
        (searches(True, True, True), "3 searches and 1 blocks of documents do not match"),
        (
            {"info": {"answer": None}},
            r"the answer in `info` is None, and the episode ended as answered",
        ),
        (
            {"searches": (SearchRecord("ada", True, DOCUMENTS, turn=2),)},
            r"searches in turns \[2\] of 2",
        ),
        (
            {"searches": (SearchRecord("ada", True, DOCUMENTS, turn=-1),)},
            r"searches in turns \[-1\] of 2",
        ),
        (
            segments(PROMPT, SEARCH, FOUND._replace(role=Role.CORRECTION), ANSWER)
            | searches(True, True),
            "2 searches and 0 blocks of documents do not match",
        ),
    ],
)
def test_trajectory_verify_corrupted_is_refused(changes, message):
    with pytest.raises(TrajectoryError, match=f"trajectory of question 'q-7': .*{message}"):
        replace(SOUND, **changes).verify()


def test_trajectory_verify_answer_without_an_answered_end_is_refused():
    """The two were once not compared."""
    spent = cut_short(12, Termination.TURNS_SPENT, info={"answer": "Lima"})
    with pytest.raises(TrajectoryError, match="is 'Lima', and the episode ended as turns_spent"):
        spent.verify()
    replace(spent, info={"answer": None}).verify()
    replace(SOUND, info={"answer": ""}).verify()


def test_trajectory_verify_two_searches_in_one_turn_are_refused():
    twice = (SearchRecord("ada", True, DOCUMENTS, turn=0),) * 2
    with pytest.raises(TrajectoryError, match=r"searches in turns \[0, 0\] of 2"):
        cut_short(12, Termination.SEARCH_FAILED, searches=twice).verify()


def test_trajectory_split_is_what_trainers_take():
    split = SOUND.split()
    assert split.prompt_ids.tolist() == [40, 41, 42]
    assert split.response_ids.tolist() == [43, 44, 45, 46, 47, 48, 49, 50, 51]
    assert split.response_mask.tolist() == [True] * 4 + [False] * 3 + [True] * 2
    assert split.log_probs.tolist() == [-0.5, -1, -0.25, -2, 0, 0, 0, -0.125, -4]
    dtypes = [array.dtype for array in split]
    assert dtypes == [np.int32, np.int32, np.bool_, np.float32]
    within = SOUND.split(max_prompt_tokens=3, max_response_tokens=9)
    assert [a.tolist() for a in within] == [a.tolist() for a in split]


def test_trajectory_split_cuts_neither_question_nor_answer():
    with pytest.raises(TrajectoryError, match="the prompt has 3 tokens, and 2 are .*never cut"):
        SOUND.split(max_prompt_tokens=2)
    with pytest.raises(TrajectoryError, match="response has 9 tokens, and 8 .*`max_response`.* 8"):
        SOUND.split(max_response_tokens=8)


def test_trajectory_verify_without_anything_is_refused():
    nothing = cut_short(0, Termination.TURNS_SPENT, searches=())
    with pytest.raises(TrajectoryError, match="the first segment must be the prompt"):
        nothing.verify()


@pytest.mark.parametrize(
    "trajectory",
    [
        # Only what ended the episode may have left a search without its documents.
        replace(SOUND, **searches(True, True)),
        cut_short(12, Termination.TURNS_SPENT, **searches(True, True)),
        # Where the last search failed, nothing was shown for it.
        cut_short(12, Termination.SEARCH_FAILED),
        cut_short(7, Termination.SEARCH_FAILED, searches=()),
    ],
)
def test_trajectory_verify_documents_lost_without_a_reason_is_refused(trajectory):
    with pytest.raises(TrajectoryError, match="searches and .* blocks of documents do not match"):
        trajectory.verify()


def test_trajectory_verify_log_probs_that_agree_are_accepted():
    offset = np.where(SOUND.response_mask, np.float32(0.0009), np.float32(0))
    for log_probs in (SOUND.log_probs, SOUND.log_probs - offset, SOUND.log_probs.tolist()):
        assert SOUND.verify(log_probs) is SOUND
    assert SOUND.verify(SOUND.log_probs + 0.25 * offset / 0.0009, tolerance=0.3) is SOUND


@pytest.mark.parametrize("elsewhere", [-7.5, np.nan, np.inf, -np.inf])
def test_trajectory_verify_log_probs_elsewhere_do_not_count(elsewhere):
    """A model has an opinion on every token; only the policy's own are compared."""
    log_probs = np.where(SOUND.response_mask, SOUND.log_probs, np.float32(elsewhere))
    assert SOUND.verify(log_probs) is SOUND


@pytest.mark.parametrize(
    ("log_probs", "message"),
    [
        (changed(SOUND.log_probs, 6, -2.25), "token 6 .* -2.00000, .* gives -2.25000"),
        (changed(SOUND.log_probs, 6, -1.998), "token 6 .* -2.00000, .* gives -1.99800"),
        (changed(SOUND.log_probs, 4, np.nan), "token 4 .* -1.00000, .* gives nan"),
        (changed(SOUND.log_probs, 4, -np.inf), "token 4 .* -1.00000, .* gives -inf"),
        # The worst of several is named.
        (changed(changed(SOUND.log_probs, 4, -1.5), 10, -9.0), "token 10 .* gives -9.00000"),
        # A shift by one is the usual mistake.
        (np.roll(SOUND.log_probs, 1), "token 11 .* -4.00000, .* gives -0.12500"),
        (SOUND.log_probs[1:], r"\(11,\) log-probabilities to compare with \(12,\)"),
        (SOUND.log_probs[None], r"\(1, 12\) log-probabilities to compare with \(12,\)"),
    ],
)
def test_trajectory_verify_log_probs_that_disagree_are_refused(log_probs, message):
    with pytest.raises(TrajectoryError, match=f"question 'q-7': .*{message}"):
        SOUND.verify(log_probs)


def test_trajectory_properties_count_what_the_policy_did():
    assert (len(SOUND), SOUND.response_length, SOUND.num_turns) == (12, 6, 2)
    cut = cut_short(7, Termination.SEARCH_FAILED, **searches(True))
    assert (len(cut), cut.response_length, cut.num_turns) == (7, 4, 1)


@pytest.mark.parametrize("termination", Termination)
def test_trajectory_search_failed_is_one_termination_of_four(termination):
    trajectory = replace(SOUND, termination=termination)
    assert trajectory.search_failed == (termination.value == "search_failed")
