"""The tokenizer in plain Python: the ids of the one that the bundled policy has."""

from __future__ import annotations

import copy
import string
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.tiny.tokenizer import make_tokenizer
from zs_env import prompts
from zs_env.engines.document_forms import parse_documents
from zs_env.tokens.encoder import TextEncoder
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver
from zs_env.world.text import corpus, vocabulary
from zs_env.world.tokenizer import SPECIAL_TOKENS, WorldTokenizer

WORLD = load_world()
TOKENIZER = WorldTokenizer()
REFERENCE = make_tokenizer()
TEXTS = [
    "",
    " \n",
    "Kafka's METAMORPHOSIS, 1915; naive_bayes <b>bold</b> <search >",
    "<think></think><search>birthplace of Ada Blake</search><information><answer></answer>",
    "<<search>>a<answer",
    prompts.render_prompt(prompts.PROMPT, "Where was Ada Blake born?"),
    prompts.render_correction("the query was empty"),
    *(question.text for question in islice(WORLD.questions("test"), 100)),
    *(passage.text for passage in islice(corpus(WORLD), 100)),
]


def reference_encode(text):
    return REFERENCE.encode(text, add_special_tokens=False, split_special_tokens=True)


@pytest.mark.parametrize("text", TEXTS)
def test_encode_and_decode_agree_with_transformers(text):
    ids = TOKENIZER.encode(text)
    assert ids == TOKENIZER.encode(text, add_special_tokens=False) == reference_encode(text)
    assert TOKENIZER.decode(ids) == REFERENCE.decode(ids)


@given(st.text(alphabet=string.printable) | st.lists(st.sampled_from(vocabulary())).map("".join))
def test_encode_agrees_with_transformers_on_any_printable_ascii(text):
    ids = TOKENIZER.encode(text)
    assert ids == reference_encode(text)
    assert TOKENIZER.decode(ids) == REFERENCE.decode(ids)


@pytest.mark.parametrize("ids", [[], [0, 1, 2], [2], [1175, 0]])
def test_decode_shows_special_tokens_as_transformers_does(ids):
    assert TOKENIZER.decode(ids) == REFERENCE.decode(ids)


def test_special_tokens_are_those_of_the_bundled_policy():
    for name in ("pad_token_id", "eos_token_id", "unk_token_id"):
        assert getattr(TOKENIZER, name) == getattr(REFERENCE, name)
    assert sorted(TOKENIZER.all_special_tokens) == sorted(REFERENCE.all_special_tokens)
    assert len(TOKENIZER) == len(REFERENCE) == 1176
    assert [TOKENIZER.token_id(token) for token in TOKENIZER.tokens] == list(range(1176))
    assert TOKENIZER.token_id("kafka") == TOKENIZER.unk_token_id


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_a_text_cannot_spell_a_special_token(size):
    tokenizer = WorldTokenizer(size)
    ids = tokenizer.encode(" ".join(SPECIAL_TOKENS))
    assert not {tokenizer.pad_token_id, tokenizer.eos_token_id} & set(ids)


def test_tiny_tokenizer_has_few_tokens_and_gives_a_transcript_back():
    tokenizer = WorldTokenizer("tiny")
    assert len(tokenizer) == len(vocabulary("tiny")) + 3 == 123
    assert repr(tokenizer) == "WorldTokenizer('tiny')"
    assert copy.deepcopy(tokenizer).tokens == tokenizer.tokens
    world = load_world(0, "tiny")
    question = prompts.render_prompt(prompts.TINY_PROMPT, world.questions("test")[0].text)
    turn = HopByHopSolver(world)(question)
    ids = tokenizer.encode(question + turn)
    assert max(ids) < 123 and tokenizer.unk_token_id not in ids
    plain = "".join((question + turn).split()).lower()
    assert "".join(tokenizer.decode(ids).split()) == plain


def test_decode_of_an_id_that_there_is_not_is_refused():
    for token_id in (-1, 123):
        with pytest.raises(ValueError, match=rf"must be in \[0, 123\), got {token_id}"):
            WorldTokenizer("tiny").decode([token_id])
    with pytest.raises(ValueError, match="`world_size` must be one of tiny, small"):
        WorldTokenizer("huge")


def test_tokenizer_serves_as_the_measure_of_an_episode():
    encoder = TextEncoder(TOKENIZER)
    text = "\n<information>\nDoc 1: [end] of Ada\n</information>\n"
    assert encoder(text) == 10  # the brackets and the word between them are unknown
    assert encoder.decode([TOKENIZER.token_id("doc"), TOKENIZER.eos_token_id]) == "doc"


WRITER = make_tokenizer(line_breaks=True)


def test_with_line_breaks_documents_come_back_as_they_were_but_in_lower_case():
    lines = [f"Doc {n} ({p.title}): {p.text}" for n, p in enumerate(islice(corpus(WORLD), 5), 1)]
    text = "\n".join(lines)
    ids = WRITER.encode(text, add_special_tokens=False)
    assert WRITER.unk_token_id not in ids and ids.count(TOKENIZER.token_id("\n")) == 4
    assert WRITER.decode(ids) == text.lower()
    documents = parse_documents(WRITER.decode(ids), 5)
    assert [f"Doc {n} ({d.title}): {d.text}" for n, d in enumerate(documents, 1)] == [
        line[0] + line[1:].lower() for line in lines
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_with_line_breaks_all_other_tokens_are_the_same(text):
    plain = reference_encode(text)
    ids = WRITER.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert [i for i in ids if i != TOKENIZER.token_id("\n")] == plain
    assert ids == WRITER.encode(WRITER.decode(ids), add_special_tokens=False) or 2 in ids


def test_with_line_breaks_a_message_is_passed_on_unchanged():
    message = {"role": "user", "content": "Query: the city\nAnswer:\n"}
    prompt = WRITER.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
    assert prompt == WRITER.encode(message["content"])
    assert WRITER.decode(WRITER.encode("a\n\n the city ,\n")) == "a\n\nthe city,\n"
