"""Pairs of judged searches: their documents, prompts, balance and splits, files and card."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.full_disk import largest_file
from tests.simulation_data import (
    DATA,
    ROOT,
    WORLD,
    environment,
    judged,
    make_search,
    one_search,
    world_searches,
)
from zs_env import Document, SearchEngine, SearchFailure, SearchRequest, SearchResult
from zs_env.commands.main import main
from zs_env.engines.document_forms import parse_documents
from zs_env.engines.simulated import SimulatedEngine
from zs_env.errors import SimulationDataError
from zs_env.evaluation.run import Plan, evaluate
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.prompts import SIMULATION_TEMPLATES, document_lines
from zs_env.rewards import normalize_answer
from zs_env.simulation.card import as_markdown, make_card, warnings_of
from zs_env.simulation.deeper import HELD_BACK, find_deeper, place_of
from zs_env.simulation.entities import Entities, swapped, swapped_text
from zs_env.simulation.export import write_pairs
from zs_env.simulation.judges import FunctionJudge, load_judge
from zs_env.simulation.make_pairs import DUPLICATE, NO_ANSWER, NOT_JUDGED, make_pairs
from zs_env.simulation.pair import CARD, read_card, read_pairs, template_id
from zs_env.simulation.recipe import Recipe
from zs_env.simulation.searches import Searches, searches_of, write_searches
from zs_env.simulation.targets import TOO_FEW, UNREADABLE, Targets
from zs_env.simulation.truth import asked_facts, holds_golden_answer, stated_facts
from zs_env.simulation.verdicts import judge_source
from zs_env.world.tokenizer import WorldTokenizer

HERE = "tests.test_simulation_pairs"
PLAIN = Recipe(template="world")
PILOT = Recipe(
    template="world",
    hide_answer_from_noisy=True,
    swap_share=0.5,
    random_answer_share=1.0,
    page_share=0.12,
    noisy_share=0.4,
    final_hop_share=0.45,
)


@lru_cache
def made(recipe=PLAIN):
    return make_pairs(world_searches(), "world", recipe)


def all_pairs(recipe=PLAIN):
    return [pair for pairs in made(recipe).pairs.values() for pair in pairs]


def documents_of(pair):
    return parse_documents(pair.completion, 99)


def plain_searches(count=40, **values):
    """Searches of another subject, every second one useful, each with twelve documents."""
    return [
        make_search(
            number,
            texts=[
                Document(
                    "Lima is its capital." if number % 2 == 0 and place == 1 else f"Fact {place}.",
                    f"Page {number} {place}",
                )
                for place in range(12)
            ],
            verdicts={"answer": number % 2 == 0},
            **values,
        )
        for number in range(count)
    ]


class Fails(SearchEngine):
    honours_noise = False

    async def asearch(self, request):
        raise SearchFailure("quota spent")


class Pages(SearchEngine):
    """Finds pages about anything but the answer, and counts what it is asked."""

    honours_noise = False

    def __init__(self):
        self.asked = []

    def search(self, requests):
        self.asked += [(request.query, request.top_k) for request in requests]
        return [
            SearchResult(tuple(Document(f"Deep {n} of {r.query}", f"Deep {n}") for n in range(9)))
            for r in requests
        ]


def test_pairs_are_balanced_different_and_split_by_question():
    train, held_out = made().pairs["train"], made().pairs["held_out"]
    for pairs in (train, held_out):
        counts = Counter(pair.label for pair in pairs)
        assert counts["useful"] == counts["noisy"] > 0
    assert len({(pair.prompt, pair.completion) for pair in all_pairs()}) == len(all_pairs())
    # By question; those about entities that are held out may be of any question.
    ours = {pair.question_id for pair in train}
    assert not ours & {pair.question_id for pair in held_out if not pair.unseen}
    assert not any(pair.unseen for pair in train) and any(pair.unseen for pair in held_out)
    # Under either label: fidelity asks held-out queries under both.
    assert not {pair.query.lower() for pair in train} & {pair.query.lower() for pair in held_out}
    both = {(p.query, p.question_id, p.label) for p in train}
    useful = [pair for pair in train if pair.label == "useful"]
    assert sum((p.query, p.question_id, "noisy") in both for p in useful) > 0.75 * len(useful)


def test_noisy_documents_neither_state_the_fact_nor_hold_the_answer_nor_are_its_page():
    noisy = [pair for pair in all_pairs() if pair.label == "noisy"]
    for pair in noisy:
        documents = documents_of(pair)
        assert not stated_facts(WORLD, pair.query, documents).useful
        assert not holds_golden_answer(documents, pair.golden_answers, pair.query)
        own = {WORLD.names[fact.subject] for fact in asked_facts(WORLD, pair.query)}
        assert not own & {document.title for document in documents}
    assert {pair.hop for pair in noisy} == {"final", "earlier", "unknown"}


def test_useful_documents_state_what_is_asked():
    for pair in all_pairs():
        if pair.label == "useful":
            stated = stated_facts(WORLD, pair.query, documents_of(pair)).stated
            assert stated
            names = {normalize_answer(WORLD.names[fact.object]) for fact in stated}
            assert (normalize_answer(pair.golden_answers[0]) in names) == (pair.hop == "final")
            assert pair.stated and all(name in pair.completion for name in pair.stated)
        else:
            assert not pair.stated


@pytest.mark.parametrize("recipe", [PLAIN, PILOT])
def test_completion_is_read_back_as_as_many_documents(recipe):
    for pair in all_pairs(recipe):
        documents = documents_of(pair)
        assert document_lines(documents) == pair.completion
        assert pair.label == "page" or len(documents) == 5


@pytest.mark.parametrize("template", list(SIMULATION_TEMPLATES))
@pytest.mark.parametrize("hide", [False, True])
def test_prompt_is_byte_for_byte_the_one_that_the_engine_sends(template, hide):
    recipe = Recipe(template=template, hide_answer_from_noisy=hide, search_engine="Bing")
    sent = []
    llm = ScriptedLanguageModel(lambda request: sent.append(request) or "Doc 1: x")
    engine = SimulatedEngine(llm, template, "Bing", hide_answer_from_noisy=hide)
    pairs = made(recipe).pairs["train"][:40]
    assert {pair.label for pair in pairs} == {"useful", "noisy"}
    for pair in pairs:
        sent.clear()
        engine.search(
            [
                SearchRequest(
                    pair.query, pair.question, pair.golden_answers, pair.label == "noisy",
                    pair.turn, top_k=5, document_words=30, key=7,
                )
            ]
        )  # fmt: skip
        assert [message.content for message in sent[0].messages] == [pair.prompt]
        shown = pair.golden_answers[0] in pair.prompt.replace(pair.question, "")
        assert shown != (hide and pair.label == "noisy") or pair.golden_answers[0] in pair.query


def test_no_target_is_a_page_that_test_questions_need_unless_asked_for():
    def tested(pair):
        return any(WORLD.is_test[WORLD.find(d.title)] for d in documents_of(pair))

    assert not any(map(tested, all_pairs())) and not any(map(tested, all_pairs(PILOT)))
    with_tests = replace(PLAIN, test_pages=True)
    assert any(map(tested, all_pairs(with_tests)))
    for recipe, text in ((PLAIN, "No document is of a page"), (with_tests, "ARE among")):
        card = make_card(Searches(list(world_searches()), Counter()), made(recipe), recipe, "world")
        assert text in card["test_pages"]


def test_no_training_target_is_a_page_of_an_entity_that_is_held_out():
    entities = Entities(WORLD, PLAIN.held_out_entities, False, PLAIN.seed)
    names = {n for e, n in enumerate(WORLD.names) if entities.is_held_out(e)}
    assert 0.03 < len(names) / WORLD.num_entities < 0.07
    for recipe in (PLAIN, PILOT):
        for pair in made(recipe).pairs["train"]:
            assert not names & {document.title for document in documents_of(pair)}
    unseen = [pair for pair in made().pairs["held_out"] if pair.unseen and pair.label == "useful"]
    assert any(names & {document.title for document in documents_of(pair)} for pair in unseen)


def test_recipe_of_the_pilot_has_its_shares():
    train = made(PILOT).pairs["train"]
    by_label = Counter(pair.label for pair in train)
    assert by_label["page"] / len(train) == pytest.approx(0.12, abs=0.01)
    assert by_label["noisy"] / (by_label["noisy"] + by_label["useful"]) == pytest.approx(
        0.4, abs=0.01
    )
    useful = [pair for pair in train if pair.label == "useful"]
    final = [pair for pair in useful if pair.hop == "final"]
    assert len(final) / len(useful) == pytest.approx(0.45, abs=0.01)
    swaps = sum(pair.origin == "swapped" for pair in final)
    assert swaps / len(final) == pytest.approx(0.5, abs=0.12)
    assert {p.origin for p in useful if p.hop == "earlier"} <= {"engine", "deeper"}


def test_swapped_answer_stands_in_prompt_and_documents_in_place_of_the_right_one():
    answers = {search.question_id: search.golden_answers for search in world_searches()}
    swaps = [pair for pair in made(PILOT).pairs["train"] if pair.origin == "swapped"]
    assert len(swaps) > 10
    for pair in swaps:
        right, [other] = answers[pair.question_id], pair.golden_answers
        assert other in pair.stated and right[0] not in pair.stated
        assert other != right[0] and f"Answer: {other}\n" in pair.prompt
        assert holds_golden_answer(documents_of(pair), [other])
        assert not holds_golden_answer(documents_of(pair), right)
        assert WORLD.types[WORLD.find(other)] == WORLD.types[WORLD.find(right[0])]
    assert not any(p.origin == "swapped" for p in made(PILOT).pairs["held_out"])


def test_renamed_entity_has_a_name_that_no_entity_has_in_prompt_and_documents():
    queries = {s.question_id: set() for s in world_searches()}
    for search in world_searches():
        queries[search.question_id].add(search.query)
    recipe = replace(PILOT, swap_share=0.0, rename_share=0.5)
    train = [pair for pair in made(recipe).pairs["train"] if pair.label == "useful"]
    renamed = [pair for pair in train if pair.query not in queries[pair.question_id]]
    assert len(renamed) > 10
    assert {(pair.hop, pair.origin) for pair in renamed} == {("final", "swapped")}
    final = [pair for pair in train if pair.hop == "final"]
    assert len(renamed) / len(final) == pytest.approx(0.5, abs=0.15)
    for pair in renamed:
        right = next(q for q in queries[pair.question_id] if differs_in_one_name(q, pair.query))
        name, other = differs_in_one_name(right, pair.query)
        assert WORLD.find(other) is None and WORLD.find(name) is not None
        texts = pair.prompt + pair.completion
        assert other in pair.completion and swapped_text(texts, name, "") == texts
        assert holds_golden_answer(documents_of(pair), pair.golden_answers)


def differs_in_one_name(query, other):
    """Return the name that ``query`` has and the one in its place in ``other``; None if not so."""
    for name in WORLD.names:
        before, found, behind = query.partition(name)
        if found and other.startswith(before) and other.endswith(behind):
            in_its_place = other[len(before) : len(other) - len(behind)]
            if len(in_its_place.split()) == 2:
                return name, in_its_place
    return None


def test_random_answer_stands_only_in_prompts_of_earlier_hops():
    earlier = [p for p in made(PILOT).pairs["train"] if (p.label, p.hop) == ("useful", "earlier")]
    for pair in earlier:
        told = re.search(r"Answer: (.*)\n", pair.prompt)[1]
        assert told != pair.golden_answers[0] and WORLD.find(told) is not None
        assert not holds_golden_answer(documents_of(pair), [told])


def test_noisy_prompts_hide_the_answer():
    for pair in all_pairs(PILOT):
        if pair.label == "noisy":
            assert pair.prompt.endswith(" Answer: \n")


def test_prompts_and_documents_of_the_world_are_in_its_vocabulary():
    tokenizer = WorldTokenizer()
    for pair in all_pairs(PILOT):
        assert tokenizer.unk_token_id not in tokenizer.encode(pair.prompt + pair.completion)


def test_same_searches_give_the_same_pairs_and_another_seed_others():
    assert make_pairs(world_searches(), "world", PLAIN).pairs == made().pairs
    backwards = make_pairs(world_searches()[::-1], "world", PLAIN)
    assert len(backwards.pairs["train"]) == len(made().pairs["train"])
    assert made(replace(PLAIN, seed=1)).pairs["train"] != made().pairs["train"]


@given(
    num_pairs=st.integers(2, 200),
    noisy_share=st.floats(0.2, 0.8),
    final_hop_share=st.none() | st.floats(0.0, 1.0),
)
def test_shares_hold_whatever_is_asked_for(num_pairs, noisy_share, final_hop_share):
    recipe = Recipe(
        template="world", num_pairs=num_pairs, noisy_share=noisy_share,
        final_hop_share=final_hop_share, num_held_out=5,
    )  # fmt: skip
    if final_hop_share is not None and final_hop_share < 1.0:
        # All of them are of final hops. It gave a folder without a pair, and no word.
        with pytest.raises(SimulationDataError, match=r"(\d+) useful pairs, \1 of them of a final"):
            make_pairs(plain_searches(), "answer", recipe, "none")
        return
    pairs = make_pairs(plain_searches(), "answer", recipe, "none").pairs["train"]
    counts = Counter(pair.label for pair in pairs)
    assert len(pairs) <= num_pairs
    if final_hop_share is None:
        assert abs(counts["noisy"] - noisy_share * len(pairs)) <= 1
    assert {pair.hop for pair in pairs if pair.label == "useful"} <= {"final"}


def test_of_several_numbers_of_documents_each_pair_gets_one_as_often_as_it_is_given():
    pairs = make_pairs(plain_searches(400), "answer", replace(PLAIN, top_k=(2, 2, 3)), "none")
    counts = Counter()
    for pair in pairs.pairs["train"]:
        count = len(documents_of(pair))
        assert pair.prompt.startswith(f"{count} {pair.label} documents")
        counts[count] += 1
    assert set(counts) == {2, 3} and 1.4 * counts[3] < counts[2] < 2.8 * counts[3]


def test_variants_of_a_search_have_other_answers_and_other_noise():
    once, often = made(PILOT), made(replace(PILOT, variants=4, num_pairs=100_000))
    assert often.pairs["held_out"] and len(often.pairs["held_out"]) == len(once.pairs["held_out"])
    pairs = often.pairs["train"]
    texts = [(pair.prompt, pair.completion) for pair in pairs]
    assert len(set(texts)) == len(texts)
    swaps, noises = defaultdict(set), defaultdict(set)
    for pair in pairs:
        place = pair.question_id, pair.query
        if pair.origin == "swapped":
            swaps[place].add(pair.golden_answers)
        elif pair.label == "noisy":
            noises[place].add(pair.completion)
    assert max(map(len, swaps.values())) == 4 and max(map(len, noises.values())) == 4


def test_half_of_the_noise_is_of_useful_queries_where_most_searches_are_noisy():
    """Of real questions and few passages 3 % were, so the query told the label."""
    rare = [
        replace(search, verdicts={"answer": n % 20 == 0}, judged_top_k={"answer": 2})
        for n, search in enumerate(plain_searches(400))
    ]
    train = make_pairs(rare, "answer", replace(PLAIN, top_k=(2,)), "none").pairs["train"]
    useful = {pair.query for pair in train if pair.label == "useful"}
    noisy = [pair for pair in train if pair.label == "noisy"]
    assert len(useful) == len(noisy) > 10
    assert sum(pair.query in useful for pair in noisy) == len(noisy) // 2


def test_held_out_pairs_have_both_labels_or_there_are_none():
    """A single useful pair was held out, which tuning refused to measure with."""
    searches = [replace(s, judged_top_k={"answer": 2}) for s in plain_searches()]
    sizes = set()
    for seed in range(12):
        recipe = Recipe(top_k=(2,), noisy_share=0.3, held_out_share=0.1, seed=seed)
        held_out = make_pairs(searches, "answer", recipe, "none").pairs["held_out"]
        assert len({pair.label for pair in held_out}) in (0, 2)
        sizes.add(len(held_out))
    assert 0 in sizes and max(sizes) > 1


def test_user_is_warned_of_long_documents_and_of_nothing_held_out():
    def warnings(recipe, texts=("w " * 20,) * 7):
        searches = [
            make_search(n, [f"Lima {t} {n} {i}" if n % 2 else f"{t} {n} {i}" for i, t in
                            enumerate(texts)], verdicts={"answer": bool(n % 2)})
            for n in range(40)
        ]  # fmt: skip
        found = make_pairs(searches, "answer", recipe, Pages())
        card = make_card(Searches(searches, Counter()), found, recipe, "answer")
        assert f"median is {card['document_words']}." in as_markdown({**card, "files": {}})
        return warnings_of(card)

    recipe = Recipe(template="world", held_out_share=0.3, document_words=20)
    assert warnings(recipe) == []
    assert "`--document-words 22`" in warnings(replace(recipe, document_words=9))[0]
    assert "`--document-words 22`" in warnings(replace(recipe, document_words=60))[0]
    assert "no pairs are held out" in warnings(replace(recipe, held_out_share=0.0))[0]
    assert warnings(replace(recipe, held_out_share=0.0, num_held_out=0)) == []


def test_command_shows_how_far_engines_are_asked_again(monkeypatch, tmp_path, source, capsys):
    monkeypatch.setattr("zs_env.evaluation.progress.LINE_S", 0.0)
    write(source, tmp_path / "pairs")
    asked = len({place_of(search) for search in world_searches()})
    assert f"{asked:,}/{asked:,} queries asked again" in capsys.readouterr().err
    write(source, tmp_path / "pairs", "--quiet")
    assert capsys.readouterr().err == ""


def test_elsewhere_documents_of_a_useful_search_are_noise_for_no_query():
    searches = [
        make_search(n, texts=[f"Clue {n} {i}." for i in range(5)], verdicts={"llm": True})
        for n in range(20)
    ]
    engine = Pages()
    pairs = make_pairs(searches, "llm", PLAIN, engine).pairs["train"]
    assert {pair.label for pair in pairs} == {"useful", "noisy"}
    for pair in pairs:
        deep = [document.text.startswith("Deep") for document in documents_of(pair)]
        assert all(deep) if pair.label == "noisy" else not any(deep)
        assert pair.hop == "earlier"


def test_elsewhere_results_behind_the_judged_ones_are_noise_of_useful_searches(tmp_path):
    """Twelve results of a paid engine gave useful searches no noise, and lost earlier hops."""
    searches = [
        make_search(n, texts=[
            "Lima is its capital." if n % 2 == 0 and place in (1, 8) else f"Clue {n} {place}."
            for place in range(12)
        ])
        for n in range(20)
    ]  # fmt: skip
    write_searches(tmp_path / "searches.jsonl", searches)
    judge = FunctionJudge(lambda search: len(search.documents) == 5, "five")
    found = judge_source(tmp_path, judge, top_k=5).searches
    pairs = make_pairs(found, "five", replace(PLAIN, held_out_share=0.0), "none").pairs["train"]
    told = {(pair.label, pair.query): pair for pair in pairs}
    assert len(told) == 40
    for n, search in enumerate(searches):
        useful, noisy = (told[label, search.query] for label in ("useful", "noisy"))
        assert documents_of(useful) == list(search.documents[:5])
        behind = [d for d in search.documents[5:] if "Lima" not in d.text]
        assert documents_of(noisy) == behind[:5]
        assert useful.hop == noisy.hop == ("final" if n % 2 == 0 else "earlier")
    # Judged as a whole, none has noise, and of earlier hops the judge may mean the others.
    as_a_whole = judge_source(tmp_path, FunctionJudge(lambda search: True, "all")).searches
    with pytest.raises(SimulationDataError, match=f"20 × noisy: {TOO_FEW}, 10 × useful: .* shown"):
        make_pairs(as_a_whole, "all", PLAIN, "none")


def test_own_page_elsewhere_is_one_whose_title_the_query_names():
    search = make_search(
        query="capital of the Peru", golden_answers=("x",), verdicts={"llm": False},
        texts=[Document(f"Fact {n}.", title) for n, title in
               enumerate(["Peru", "The Capital", "Lima", "Rope", "The", "P", "Cusco"])],
    )  # fmt: skip
    own = Targets(PLAIN).noise(search, (), None, False, useful=False).target(5)
    assert [d.title for d in own.documents] == ["Lima", "Rope", "The", "P", "Cusco"]
    either = (
        Targets(replace(PLAIN, own_page_noise=True)).noise(search, (), None, False, False).target(5)
    )
    assert [d.title for d in either.documents] == ["Peru", "The Capital", "Lima", "Rope", "The"]


@pytest.mark.parametrize(
    ("changes", "hop"),
    [({}, None), ({"golden_answers": ("no",)}, "earlier"), ({"query": "where is Lima"}, "earlier")],
)
def test_answer_that_says_nothing_keeps_no_document_from_noise(changes, hop):
    search = make_search(texts=[f"No {n}, Lima." for n in range(10)], **changes)
    found = (
        Targets(PLAIN).noise(search.first(5), search.documents, None, False, useful=True).target(5)
    )
    if hop is None:
        assert found.reason == TOO_FEW
    else:
        assert found.documents == search.documents[5:] and found.hop == hop


def test_paid_engines_are_not_asked_unless_they_are_named():
    searches = [replace(search, engine="google") for search in plain_searches(6)]
    assert find_deeper(searches, "auto", 20).asked == 0
    engine = Pages()
    assert find_deeper(searches, engine, 12).asked == 0, "they hold twelve documents"
    assert find_deeper([*searches, *searches], engine, 20).asked == 6
    assert engine.asked == [(search.query, 20) for search in searches]
    few = [search for search in world_searches()[:4]]
    found = find_deeper(few, "auto", 6)
    assert found.asked == len({place_of(s) for s in few}) and find_deeper(few, "none").asked == 0
    for search in few:
        assert found.results[place_of(search)][:5] == search.documents


def test_engine_that_cannot_be_asked_is_an_error():
    with pytest.raises(SimulationDataError, match="cannot be asked for deeper results: quota"):
        make_pairs(plain_searches(6), "answer", replace(PLAIN, depth=20), Fails())


def test_what_cannot_be_used_is_left_out_and_counted():
    good = plain_searches(30)
    searches = [
        *good,
        make_search(50, verdicts={}),
        make_search(51, golden_answers=(), verdicts={"answer": True}),
        make_search(52, golden_answers=(" ",), verdicts={"answer": True}),
        make_search(53, verdicts={"answer": False}),
        make_search(54, texts=[Document("x", "A (b (c))")] * 1 + [f"y{n}." for n in range(6)],
                    golden_answers=("none",), verdicts={"answer": False}),
        replace(good[0], turn=3),
    ]  # fmt: skip
    found = make_pairs(searches, "answer", PLAIN, "none")
    assert found.left_out[NOT_JUDGED] == 1 and found.left_out[NO_ANSWER] == 2
    assert found.pairs_left_out[f"noisy: {TOO_FEW}"] >= 1
    assert found.pairs_left_out[f"noisy: {UNREADABLE}"] == 1
    assert found.left_out["the same query of the same question"] == 1
    assert found.searches == len(searches) and DUPLICATE not in found.pairs_left_out
    assert sum(found.left_out.values()) == 4


def test_title_with_parentheses_is_kept():
    documents = [Document("A planet.", "Mercury (planet)"), Document("x", "(a) b (c)")]
    assert parse_documents(document_lines(documents), 5) == documents


@pytest.mark.parametrize("verdict", [True, False])
def test_searches_of_one_label_are_an_error_that_says_what_was_left_out(verdict):
    texts = [f"Fact {number}." for number in range(5)]
    searches = [make_search(n, texts, verdicts={"answer": verdict}) for n in range(9)]
    missing = "noisy" if verdict else "useful"
    with pytest.raises(SimulationDataError, match=f"there are no {missing}.* pairs.*Left out: "):
        make_pairs(searches, "answer", PLAIN, "none")
    with pytest.raises(SimulationDataError, match="no search can be used"):
        make_pairs(searches, "llm", PLAIN, "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, "`depth` must be at least `top_k`, got 3 and 5"),
        ({"depth": 3, "top_k": (2, 4)}, "`depth` must be at least `top_k`, got 3 and 4"),
        ({"top_k": ()}, "`top_k` must hold at least one number"),
        ({"top_k": (2, 0)}, "`top_k` must be at least 1"),
        ({"noisy_share": 1.0}, "`noisy_share` must be between 0 and 1"),
        ({"num_pairs": 0}, "`num_pairs` must be at least 1"),
        ({"swap_share": 2}, "`swap_share` must be a number in"),
        ({"rename_share": -0.1}, "`rename_share` must be a number in"),
        ({"template": "none"}, "`template` must be one of"),
    ],
)
def test_recipe_with_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_pages_need_the_embedded_world():
    with pytest.raises(ValueError, match="`page_share` needs searches about the embedded world"):
        make_pairs(plain_searches(), "answer", replace(PLAIN, page_share=0.1), "none")


def test_swap_replaces_whole_names_in_any_case():
    documents = [Document("The Lima of lima. Limassol.", "Lima (city)")]
    assert swapped(documents, "Lima", "Oslo") == (
        Document("The Oslo of Oslo. Limassol.", "Oslo (city)"),
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "searches.jsonl"
    write_searches(path, world_searches())
    return path


def write(source, folder, *options):
    main(
        [
            "simulation",
            "pairs",
            str(source),
            "--template",
            "world",
            "--folder",
            str(folder),
            *options,
        ]
    )


def test_folder_has_all_forms_and_a_card(source, tmp_path, capsys):
    folder = tmp_path / "pairs"
    write(source, folder, "--page-share", "0.1", "--licence", "cc0-1.0")
    assert "train     useful" in capsys.readouterr().out
    recipe = replace(PLAIN, page_share=0.1)
    assert read_pairs(folder, "world") == made(recipe).pairs["train"]
    assert read_pairs(folder, split="held_out") == made(recipe).pairs["held_out"]
    labelled = [pair for pair in made(recipe).pairs["train"] if pair.label != "page"]
    chat = [json.loads(line) for line in (folder / "chat_train.jsonl").read_text().splitlines()]
    assert chat == [
        {"messages": [{"role": "user", "content": pair.prompt},
                      {"role": "assistant", "content": pair.completion}]}
        for pair in labelled
    ]  # fmt: skip
    conversations = [json.loads(x) for x in (folder / "trl_train.jsonl").read_text().splitlines()]
    assert [x["prompt"] + x["completion"] for x in conversations] == [x["messages"] for x in chat]
    assert all(set(x) == {"prompt", "completion"} for x in conversations)
    assert all(len(x["prompt"]) == len(x["completion"]) == 1 for x in conversations)
    info = json.loads((folder / "dataset_info.json").read_text())
    for split, told in info.items():
        rows = [json.loads(x) for x in (folder / told["file_name"]).read_text().splitlines()]
        columns = told["columns"]
        assert rows and all(set(row) == set(columns.values()) for row in rows)
        if split == "simulation_train":
            assert [row[columns["prompt"]] for row in rows] == [p.prompt for p in labelled]
            assert [row[columns["response"]] for row in rows] == [p.completion for p in labelled]
    card = read_card(folder)
    assert card["licence"] == "cc0-1.0" and card["judge"]["name"] == "world"
    assert card["sources"]["searches"] == len(world_searches())
    assert sum(row["pairs"] for row in card["pairs"]["train"]["counts"]) == len(
        made(recipe).pairs["train"]
    )
    readme = (folder / "README.md").read_text()
    assert (
        "license: cc0-1.0" in readme and "page_share" in readme and card["template"]["id"] in readme
    )


def test_card_tells_the_agreement_of_judges_and_a_licence():
    searches = judged(world_searches(), load_judge("answer"))
    card = make_card(Searches(searches, Counter()), made(), PLAIN, "world")
    [agreement] = card["judge"]["agreement"]
    assert agreement["first"] == "answer" and 0 < agreement["agreement"]["value"] < 1
    assert card["licence"] == "apache-2.0"
    real = make_pairs(plain_searches(), "answer", PLAIN, "none")
    card = make_card(Searches(plain_searches(), Counter()), real, PLAIN, "answer")
    assert card["licence"] == "unknown" and not card["judge"]["agreement"]


def test_card_counts_searches_and_pairs_apart_and_says_what_was_asked():
    """Pairs as a share of searches came to 101.9 %."""
    card = make_card(Searches(list(world_searches()), Counter({"x": 3})), made(), PLAIN, "world")
    assert sum(card["left_out"].values()) <= card["sources"]["searches"]
    assert any(reason.startswith("noisy: ") for reason in card["pairs_left_out"])
    page = as_markdown({**card, "files": {}})
    shares = [float(share) for share in re.findall(r"\| ([\d.]+)% \|", page)]
    assert shares and sum(shares) <= 100.0
    assert f"asked again for {HELD_BACK * PLAIN.depth} results of" in page
    elsewhere = make_pairs(plain_searches(), "answer", replace(PLAIN, depth=14), Pages())
    assert elsewhere.deeper_top_k == (14,)


def test_label_that_cannot_be_read_leaves_the_licence_unknown():
    """A label such as that of a class of one's own was an error after all the work."""
    searches = [replace(search, engine="{web: 1,") for search in plain_searches()]
    found = make_pairs(searches, "answer", PLAIN, "none")
    card = make_card(Searches(searches, Counter()), found, PLAIN, "answer")
    assert card["licence"] == "unknown"


def test_folder_loads_with_datasets(source, tmp_path):
    datasets = pytest.importorskip("datasets")
    write(source, tmp_path / "pairs", "--page-share", "0.1")
    loaded = datasets.load_dataset(str(tmp_path / "pairs"), cache_dir=str(tmp_path / "cache"))
    pairs = read_pairs(tmp_path / "pairs")
    assert set(loaded) == {"train", "held_out"}
    assert loaded["train"]["prompt"] == [pair.prompt for pair in pairs]
    assert loaded["train"]["completion"] == [pair.completion for pair in pairs]
    loaded = datasets.load_dataset(
        str(tmp_path / "pairs"), "trl", cache_dir=str(tmp_path / "cache")
    )
    prompts = [pair.prompt for pair in pairs if pair.label != "page"]
    assert [prompt for [prompt] in loaded["train"]["prompt"]] == [
        {"role": "user", "content": text} for text in prompts
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[:40], "not a line of JSON"),
        (lambda line: re.sub('"label": "', '"label": "x', line), "`label` must be"),
        (lambda line: re.sub('"prompt": "', '"prompt": "", "x": "', line), "needs a completion"),
        (lambda line: re.sub(r'answers": \[', 'answers": [1, ', line), "list of texts"),
        (lambda line: line.replace('"hop"', '"hops"'), "`hop` must be a text, got None"),
        (lambda line: re.sub(r'"world:\w+"', '"other:1"', line), "expected a prompt of the"),
    ],
)  # fmt: skip
def test_broken_line_of_pairs_is_named(change, message, source, tmp_path):
    write(source, tmp_path / "pairs")
    lines = (tmp_path / "pairs" / "train.jsonl").read_text().splitlines()
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*lines[:6], change(lines[6]), *lines[7:]]) + "\n")
    with pytest.raises(SimulationDataError, match=f"mine.jsonl:7: .*{message}"):
        read_pairs(path)


def test_file_of_another_template_or_of_one_label_is_refused(source, tmp_path):
    write(source, tmp_path / "pairs")
    with pytest.raises(SimulationDataError, match="train.jsonl:1: expected .*'fine-tuned:"):
        read_pairs(tmp_path / "pairs", "fine-tuned")
    own = tmp_path / "world.txt"
    own.write_text("{query} {quality}")
    assert template_id(str(own)).startswith("world:") and template_id(str(own)) != template_id(
        "world"
    )
    lines = (tmp_path / "pairs" / "train.jsonl").read_text().splitlines()
    path = tmp_path / "noisy.jsonl"
    path.write_text("\n".join(line for line in lines if '"label": "noisy"' in line))
    with pytest.raises(SimulationDataError, match="noisy.jsonl: no useful pairs among"):
        read_pairs(path)


def test_folder_that_was_changed_or_is_not_whole_is_refused(source, tmp_path):
    folder = tmp_path / "pairs"
    write(source, folder)
    content = (folder / "train.jsonl").read_bytes()
    (folder / "train.jsonl").write_bytes(content[:-200])
    with pytest.raises(SimulationDataError, match="train.jsonl is not the file that card.json"):
        read_pairs(folder)
    (folder / CARD).unlink()
    with pytest.raises(SimulationDataError, match="is no whole folder of pairs"):
        read_pairs(folder)


def test_full_disk_leaves_no_folder_that_is_taken_for_whole(source, tmp_path):
    folder = tmp_path / "pairs"
    write(source, folder)
    whole = (folder / CARD).read_bytes()
    with (
        largest_file(20_000),
        pytest.raises(SystemExit, match="pairs cannot be written.*not whole"),
    ):
        write(source, folder)
    with pytest.raises(SimulationDataError, match="is no whole folder"):
        read_pairs(folder)
    write(source, folder)
    assert (folder / CARD).read_bytes() == whole and read_pairs(folder)


def killed_while_writing(folder, number):
    """Write pairs, and kill the program at the file ``number``."""
    from zs_env.simulation import export

    replace_file = export.replace_file
    count = 0

    def kill(path, content):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(path, content)

    export.replace_file = kill
    write_pairs(folder, made().pairs, card_of())


def card_of():
    return make_card(Searches(list(world_searches()), Counter()), made(), PLAIN, "world")


@pytest.mark.slow
def test_killed_writing_leaves_no_folder_that_is_taken_for_whole(tmp_path):
    for number in (1, 2, 7, 9):
        code = (
            "from pathlib import Path; from tests.test_simulation_pairs import "
            f"killed_while_writing as f; f(Path({str(tmp_path)!r}), {number})"
        )
        process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment())
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(SimulationDataError, match="is no whole folder"):
            read_pairs(tmp_path)
    write_pairs(tmp_path, made().pairs, card_of())
    assert read_pairs(tmp_path) == made().pairs["train"]


def test_command_wants_judged_searches(tmp_path, source):
    bare = tmp_path / "bare.jsonl"
    write_searches(bare, [replace(search, verdicts={}) for search in world_searches()])
    with pytest.raises(SystemExit, match="the searches are not judged"):
        write(bare, tmp_path / "pairs")
    both = tmp_path / "both.jsonl"
    write_searches(both, judged(world_searches(), load_judge("answer")))
    with pytest.raises(SystemExit, match="--judge answer or world"):
        write(both, tmp_path / "pairs")
    with pytest.raises(SystemExit, match="did you mean 'world'"):
        write(both, tmp_path / "pairs", "--judge", "worl")
    write(both, tmp_path / "pairs", "--judge", "world")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_real_passages_become_pairs():
    corpus = DATA / "wikipedia_passages.jsonl"
    plan = Plan(model=one_search, questions=[str(DATA / "nq_open_dev.jsonl")],
                engines=[f"bm25,corpus={corpus}"], num_questions=2000)  # fmt: skip
    searches = judged(
        searches_of(evaluate(plan, show_progress=False)).searches, load_judge("answer")
    )
    found = make_pairs(searches, "answer", Recipe())
    labels = Counter(pair.label for pair in found.pairs["train"])
    assert labels["useful"] == labels["noisy"] > 20
    for pair in found.pairs["train"]:
        assert document_lines(documents_of(pair)) == pair.completion
        holds = holds_golden_answer(documents_of(pair), pair.golden_answers, pair.query)
        assert holds == (pair.label == "useful")
