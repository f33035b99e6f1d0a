"""The small base policy: what it is shown, that the recipe runs, and that it searches badly."""

import re

import pytest

pytest.importorskip("torch")

import torch

from agents.sampling.policy import load_policy
from agents.tiny import MODEL, train
from agents.tiny.behaviours import LACKING, NOT_READ, demonstrations, finding
from agents.tiny.exercises import reading_exercise, repeating_exercise, rewriting_exercise
from agents.tiny.tokenizer import make_tokenizer
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate, evaluation_figures
from zs_env.actions import parse_action
from zs_env.episode import Role
from zs_env.keyed_random import Stream
from zs_env.tokens.tokenizers import read_tokenizer
from zs_env.world import load_world
from zs_env.world.plans import Lookup
from zs_env.world.relations import RELATIONS
from zs_env.world.solver import HopByHopSolver

WORLD = load_world(train.FIRST_WORLD_SEED)
TOKENIZER = make_tokenizer()
DEMONSTRATIONS = list(demonstrations(WORLD.seed, 0, 300))
QUERY_AND_FINDING = re.compile(
    r"<search>(.*?)</search>(?:\n<information>.*?</information>\n| )(.*?\.)", re.DOTALL
)
LOOKUPS = {
    query: Lookup(relation, subject)
    for relation in RELATIONS
    for subject in WORLD.spans[relation.subject]
    for query in Lookup(relation, subject).wordings(WORLD)
}


def text_of(exercise):
    return "".join(text for text, _ in exercise)


def test_crowd_writes_known_words_only():
    texts = [d.episode.transcript for d in DEMONSTRATIONS]
    texts += [
        text_of(make(WORLD, Stream(i))) for make in train.EXERCISES.values() for i in range(50)
    ]
    assert all(TOKENIZER.unk_token_id not in TOKENIZER.encode(text) for text in texts)


def test_crowd_searches_badly():
    rewards = [d.episode.reward for d in DEMONSTRATIONS if not d.told]
    assert len(rewards) > 50
    assert 0.05 < sum(rewards) / len(rewards) < 0.3


def test_told_turns_search_for_what_is_missing():
    solver = HopByHopSolver(WORLD)
    checked = 0
    for episode, told in DEMONSTRATIONS:
        transcript, turn = "", 0
        for segment in episode.segments:
            if segment.role is Role.POLICY:
                if turn in told:
                    step = solver.next_step(transcript)
                    assert parse_action(segment.text).query in step.wordings(WORLD)
                    checked += 1
                turn += 1
            transcript += segment.text
    assert checked > 100


def test_learned_are_the_policys_tokens_but_not_the_decisions_of_told_turns():
    for demonstration in DEMONSTRATIONS:
        ids, labels = train.encode_episode(demonstration, TOKENIZER)
        learned = [i for i, label in zip(ids, labels, strict=True) if label != train.NO_LABEL]
        assert all(label in (i, train.NO_LABEL) for i, label in zip(ids, labels, strict=True))
        expected, turn = [], 0
        for segment in demonstration.episode.segments:
            if segment.role is Role.POLICY:
                text = segment.text
                if not text.endswith(("</search>", "</answer>")):
                    text += TOKENIZER.eos_token
                expected.append(text.replace(LACKING, "") if turn in demonstration.told else text)
                turn += 1
        assert learned == TOKENIZER.encode("".join(expected))


def test_of_an_exercise_the_pieces_are_learned_that_are_meant_to_be():
    exercise = [("the mayor of", False), ("who is", True), ("the city", False)]
    ids, labels = train.encode_exercise(exercise, TOKENIZER)
    assert ids == TOKENIZER.encode("the mayor of who is the city")
    hidden = train.NO_LABEL
    assert labels == [hidden] * 3 + TOKENIZER.encode("who is") + [hidden] * 2


def test_repeating_exercise_repeats_sentences_in_other_orders():
    reordered = 0
    for number in range(100):
        [(document, first), (repetitions, second)] = repeating_exercise(WORLD, Stream(number))
        assert not first and second
        told = document.split("Doc 1: ")[1].split(".\n")[0]
        for repetition in repetitions.split("\n"):
            again = repetition.removesuffix(".")
            assert sorted(again.split(". ")) == sorted(told.split(". "))
            reordered += again != told
    assert reordered > 100


def test_reading_exercise_finds_what_its_documents_state():
    solver = HopByHopSolver(WORLD)
    found = set()
    for number in range(100):
        exercise = reading_exercise(WORLD, Stream(number))
        text = text_of(exercise)
        assert [piece for piece, is_learned in exercise if is_learned] == [
            piece for piece, _ in exercise[1::2]
        ]
        pairs = QUERY_AND_FINDING.findall(text)
        assert pairs
        for query, thought in pairs:
            lookup = LOOKUPS[query]
            entity = solver.read(lookup, text)
            assert thought == (NOT_READ if entity is None else finding(WORLD, lookup, entity))
            found.add(entity is not None)
    assert found == {True, False}


def test_finding_says_what_was_read():
    lookup = Lookup(RELATIONS[0], 0)
    name, city = WORLD.names[0], WORLD.spans["city"].start
    assert finding(WORLD, lookup, city) == f"The birthplace of {name} is {WORLD.names[city]}."


def test_rewriting_exercise_takes_the_question_apart():
    for number in range(100):
        question, *lines = text_of(rewriting_exercise(WORLD, Stream(number))).split("\n")
        known = []
        for line in lines:
            [(query, thought)] = QUERY_AND_FINDING.findall(line)
            subject = WORLD.names[LOOKUPS[query].subject]
            assert any(subject in text for text in (question, *known))
            known.append(thought)
        # The last line asks what the question asks: both begin alike.
        assert question.removeprefix("Question: ").split()[0] == query.split()[0]


def test_muon_trains_the_matrices_and_adamw_the_rest():
    model = train.make_model(train.Config(hidden_size=16, layers=1), TOKENIZER)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    muon, adamw = train.make_optimizers(model, train.Config())
    sizes = [sum(len(group["params"]) for group in each.param_groups) for each in (muon, adamw)]
    assert sum(sizes) == len(before)
    ids = torch.arange(20).reshape(2, 10)
    train.loss_of(model, ids, ids, usual_labels=20.0).backward()
    muon.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if "proj" in n}
    adamw.step()
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_recipe_repeats_then_reads_then_imitates():
    config = train.Config(repeating_steps=10, reading_steps=40)
    kinds = [train.kind_of(step, config) for step in range(200)]
    assert set(kinds[:10]) == {"repeating"}
    assert set(kinds[10:50]) == {"repeating", "reading"}
    assert set(kinds[50:]) == {"reading", "rewriting", "episodes"}


def test_recipe_makes_a_policy(tmp_path):
    train.main(
        train.Config(
            output=tmp_path,
            steps=6,
            repeating_steps=2,
            reading_steps=2,
            batch_tokens=512,
            hidden_size=16,
            layers=1,
        )
    )
    policy = load_policy(tmp_path)
    assert all(torch.isfinite(parameter).all() for parameter in policy.parameters())
    assert policy.tokenizer.get_vocab() == TOKENIZER.get_vocab()


def test_bundled_policy_is_small_and_knows_the_vocabulary():
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 8e6
    assert read_tokenizer(str(MODEL)).get_vocab() == TOKENIZER.get_vocab()


@pytest.mark.parametrize("engine", ["world", "bm25"])
def test_bundled_policy_searches_badly(engine):
    config = Config(num_test_questions=100)
    policy = load_policy(str(MODEL))
    source = config.make_test_source(policy, engine)
    records = evaluate(policy, source, config, Processes("cpu"))
    assert evaluation_figures(records)["f1"] <= 0.2
