"""Episodes for drivers and trainers."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from tests.helpers import EchoEngine, FixedEngine, answer, search
from zs_env import Question
from zs_env.engines import load_engine
from zs_env.episodes import EpisodeSource, advance, as_key
from zs_env.rules import Limits
from zs_env.settings import TextSettings

QUESTIONS = [Question(f"q{i}", f"Who is number {i}?", ("x",)) for i in range(10)]


def source_of(**arguments):
    settings = TextSettings(**{"questions": QUESTIONS, "engine": EchoEngine(), **arguments})
    return EpisodeSource(settings, settings.limits)


def test_assign_number_goes_through_every_question_before_any_comes_again():
    source = source_of()
    drawn = [source.assign(number, seed=3).question.id for number in range(20)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(q.id for q in QUESTIONS)
    assert drawn[:10] != drawn[10:]


def test_assign_group_shares_key_and_question_but_not_draws():
    source = source_of()
    first, second = (source.assign(4, seed=1, member=member) for member in (0, 1))
    assert (first.question, first.key) == (second.question, second.key)
    assert first.sampling_key != second.sampling_key
    assert source.assign(5, seed=1).key != first.key != source.assign(4, seed=2).key


def test_assign_id_draws_anew_in_each_step():
    source = source_of()
    first, later = (source.assign("q7", step=step, total_steps=9) for step in (0, 1))
    assert first.question is later.question is QUESTIONS[7]
    assert first.key != later.key
    assert first == source.assign("q7", step=0, total_steps=9)


def test_assign_noise_follows_the_step_or_is_given():
    source = source_of(noise="linear", noise_start=0.0, noise_end=0.8)
    noises = [source.assign(0, step=s, total_steps=4).noise_probability for s in (0, 1, 4, 9)]
    assert noises == pytest.approx([0.0, 0.2, 0.8, 0.8])
    assert source.assign(0, step=4, total_steps=4, noise_probability=0.1).noise_probability == 0.1


def test_assign_is_the_same_in_another_process():
    code = (
        "import json; from zs_env.episodes import EpisodeSource; "
        "from zs_env.settings import TextSettings; s = TextSettings(); "
        "print(json.dumps(EpisodeSource(s, s.limits).assign(12345, seed=7, step=3, total_steps=9, "
        "member=2)[1:]))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = TextSettings()
    here = EpisodeSource(settings, settings.limits).assign(
        12345, seed=7, step=3, total_steps=9, member=2
    )
    assert json.loads(there.stdout) == list(here[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "q99"}, "there is no question with the id 'q99'"),
        ({"question": -1}, "`question` must be at least 0, got -1"),
        ({"question": 1.5}, "`question` must be an integer, got 1.5"),
        ({"question": 0, "total_steps": 0}, "`total_steps` must be at least 1"),
        ({"question": 0, "step": -1}, "`step` must be at least 0"),
        ({"question": 0, "noise_probability": 2}, "`noise_probability` must be a number in"),
    ],
)
def test_assign_wrong_argument_is_refused(arguments, message):
    question = arguments.pop("question")
    with pytest.raises((TypeError, ValueError), match=message):
        source_of().assign(question, **arguments)


def test_begin_makes_the_assigned_episode():
    source = source_of(max_turns=3)
    assignment = source.assign(2, seed=5, noise_probability=0.25)
    episode = source.begin(assignment)
    assert episode.question == assignment.question and episode.key == assignment.key
    assert episode.noise_probability == 0.25 and episode.rules.max_turns == 3


def test_advance_takes_a_turn_and_answers_its_search():
    engine = FixedEngine("Lima is the capital.")
    source = source_of(engine=engine)
    episode = source.begin(source.assign("q1"))
    advance(episode, source.engine, search("capital of Peru"))
    assert episode.num_searches == 1 and "Lima is the capital." in episode.transcript
    advance(episode, source.engine, answer("x"))
    assert episode.terminated and episode.reward == 1.0
    with pytest.raises(RuntimeError, match="is finished"):
        advance(episode, source.engine, "more")


def test_source_question_that_does_not_fit_is_refused():
    long = Question("long", "why " * 200, ("x",))
    with pytest.raises(ValueError, match="question 'long'.* raise the context limit"):
        source_of(questions=[*QUESTIONS, long], max_context_chars=5000)


@pytest.mark.parametrize("engine", ["world", "world,mixture=natural", "bm25"])
def test_source_questions_say_which_world_the_engine_searches(engine):
    """Hard questions were played with an engine on the small world of the settings."""
    source = source_of(questions="world,world_size=hard,world_seed=3", engine=engine)
    assert source.questions[0].id.startswith("world-hard-3-")
    assert source.engine.identity() == load_engine(engine, 3, "hard").identity()


def test_source_measures_in_the_unit_of_its_limits():
    settings = TextSettings(questions=QUESTIONS, engine=EchoEngine(), prompt_template="{question}")
    words = Limits(max_context=14, turn_reserve=10, measure=lambda text: len(text.split()))
    assert EpisodeSource(settings, words).make(QUESTIONS[0], 0, 0.0).rules.max_context == 14
    with pytest.raises(ValueError, match="need 14 of context, and only 13"):
        EpisodeSource(settings, Limits(13, 10, measure=lambda text: len(text.split())))


class ClosingEngine(EchoEngine):
    closed = 0

    def close(self):
        type(self).closed += 1


def test_source_closes_the_engine_that_it_made_and_no_other():
    ClosingEngine.closed = 0
    source_of(engine="tests.test_episodes:ClosingEngine").close()
    assert ClosingEngine.closed == 1
    source_of(engine=ClosingEngine()).close()
    assert ClosingEngine.closed == 1
    with pytest.raises(ValueError, match="raise the context limit"):
        source_of(engine="tests.test_episodes:ClosingEngine", max_context_chars=4100)
    assert ClosingEngine.closed == 2, "nothing is left open by a source that could not be made"


def test_source_is_pickled_as_its_arguments():
    source = source_of(engine="world", questions="world", max_turns=3)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.settings == source.settings and copy.rules == source.rules


def test_source_finds_questions_of_a_class_by_name():
    source = source_of(questions="tests.test_episodes:make_questions,count=3")
    assert [source.questions[i].id for i in range(3)] == ["n0", "n1", "n2"]
    source = source_of(questions="world,split=test,world_size=tiny", engine="world")
    assert len(source.questions) == 264


def make_questions(count):
    from zs_env.questions import QuestionSet

    return QuestionSet(Question(f"n{i}", "Who?", ("x",)) for i in range(count))


@pytest.mark.parametrize("key", [0, 2**64 - 1])
def test_as_key_takes_64_bits(key):
    assert as_key(key) == key


@pytest.mark.parametrize("key", [-1, 2**64, 1.5, "7", True])
def test_as_key_refuses_others(key):
    with pytest.raises((TypeError, ValueError), match="`key`"):
        as_key(key)
