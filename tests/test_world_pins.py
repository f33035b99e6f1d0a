"""The worlds that runs, weights and published numbers were made in: they must stay as they are."""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice

import pytest

from zs_env.documents import SearchRequest
from zs_env.engines import load_engine
from zs_env.world import load_world
from zs_env.world.text import corpus, vocabulary

PINS = {
    "small": "eb07a98d34fb6dcc3a1855a91b7071d3",
    "medium": "d6cf7810da989d2e69d32dfff0a21d9c",
    "large": "2766c029eb56f0369c87aaaa4050b49e",
}
"""Size -> `fingerprint` of the world of seed 0, as it was before there was a size ``tiny``."""


def requests(world):
    """200 searches: half of whole questions, the others of names or of phrasings; half noisy."""
    for index in range(200):
        questions = world.questions("train" if index % 3 else "test")
        question, fact = questions[index], questions.facts(index)[-1]
        name = world.names[fact.subject]
        phrase = fact.relation.phrases[index % 3].format(s=name)
        query = (question.text, phrase, name[:-1], phrase.lower().replace("city", "place"))
        yield SearchRequest(
            query[index % 4], question.text, question.golden_answers, bool(index % 2), key=index
        )


def fingerprint(size):
    """A hash of all names and facts, and of 200 questions of each split, documents and passages."""
    world = load_world(0, size)
    content = blake2b(digest_size=16)

    def add(thing):
        content.update(repr(thing).encode())

    add((world.names, world.types, world.spans))
    add((world.facts.shape, world.facts.dtype, world.is_test.shape))
    content.update(world.facts.tobytes() + world.is_test.tobytes())
    for split in ("train", "test"):
        questions = world.questions(split)
        add(len(questions))
        for question in islice(questions, 200):
            add((question.id, question.text, question.golden_answers, question.metadata))
    for passage in islice(corpus(world), 200):
        add(tuple(passage))
    for result in load_engine("world", {}, 0, size).search(list(requests(world))):
        add([document.text for document in result.documents])
    return content.hexdigest()


@pytest.mark.parametrize("size", PINS)
def test_world_of_each_size_is_what_it_was(size):
    assert fingerprint(size) == PINS[size]


def test_vocabulary_and_its_order_are_what_they_were():
    """The weights of the bundled policy are rows in this order."""
    assert blake2b(" ".join(vocabulary()).encode(), digest_size=16).hexdigest() == (
        "f5b293612f118a98aefaf72a7433aeb6"
    )
