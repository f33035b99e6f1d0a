"""The record of a trajectory is that of the same episode, played as text."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.helpers import ByteTokenizer, FixedEngine, answer, search
from zs_env import Episode, Question, Rules, rollout
from zs_env.episode import Role
from zs_env.evaluation.ask import ask
from zs_env.evaluation.run import Plan
from zs_env.evaluation.trajectories import record_trajectory
from zs_env.tokens.encoder import TextEncoder

QUESTION = Question("q", "What is it?\x00", ("Lima",), {"hops": 2})
DOCUMENT = "It is </information> Lima.\x1b[2J"


def as_sampled(turn):
    """A turn without an action ends in the token for it."""
    ids = ByteTokenizer().encode(turn)
    return ids if "</" in turn else [*ids, ByteTokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("turns", "failure"),
    [
        ([search("x"), "Hm.", answer("Lima, Peru")], None),
        ([search("x"), search("<search>y")], "no server"),
        (["Hm."] * 5, None),
        ([search("x")] * 5, None),
        ([answer("Lima") + " and so on"], None),
    ],
)
def test_record_of_a_trajectory(turns, failure):
    engine = FixedEngine(DOCUMENT, "second")
    if failure:
        engine = FailsAtSecond()
    written = iter(turns)
    played = ask(
        Plan(model=lambda request: next(written), questions=[[QUESTION]], engines=[engine])
    )
    encoder = TextEncoder(ByteTokenizer())
    sampled = iter(turns)

    async def generate(token_ids, stop, max_tokens):
        ids = as_sampled(next(sampled))
        return ids, [0.0] * len(ids)

    if failure:
        engine = FailsAtSecond()
    episode = Episode(QUESTION, Rules(max_context=2**17, turn_reserve=2**12), measure=encoder)
    trajectory = asyncio.run(rollout(episode, engine, generate, encoder))
    record = record_trajectory(trajectory, QUESTION, encoder, played.key, 120)
    assert record.failed == bool(failure) == bool(played.failed)
    expected = replace(played, seconds=0.0, prompt_tokens=0, completion_tokens=0)
    if trailing := turns[0].endswith("so on"):
        # Tokens behind the action were sampled, and stay.
        assert record.segments[-1].text == turns[0]
    assert replace(record, prompt_tokens=0, completion_tokens=0) == (
        expected if not trailing else replace(expected, segments=record.segments)
    )
    starts = [s.start for s in trajectory.segments if s.role is Role.POLICY]
    assert record.prompt_tokens == sum(starts) > 0
    assert record.completion_tokens == sum(map(len, map(as_sampled, turns[: record.turns])))


class FailsAtSecond(FixedEngine):
    def __init__(self):
        super().__init__(DOCUMENT, "second")

    def search(self, requests):
        results = super().search(requests)
        return results if len(self.requests) < 2 else FixedEngine(failure="no server").search([0])
