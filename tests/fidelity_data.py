"""Queries about the embedded world, and a simulator with known faults, to test fidelity."""

from __future__ import annotations

from zs_env import Document, SearchEngine
from zs_env.documents import SearchResult
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure
from zs_env.simulation.fidelity.queries import HeldOutQuery, Queries
from zs_env.simulation.searches import CollectedSearch
from zs_env.simulation.truth import asked_facts
from zs_env.world import load_world
from zs_env.world.text import statements

WORLD = load_world()
LEAK, MISS = 0.2, 0.1
REPEATED = "It is a long day today and a long day it was."


def world_queries(count, unseen=None):
    """Queries for the birthplaces of people, of a final hop and of an earlier one in turns."""
    queries = []
    for person in range(count):
        query = f"the birthplace of {WORLD.names[person]}"
        [fact] = asked_facts(WORLD, query)
        # Of an earlier hop the golden answer is something that the query does not ask for.
        golden = fact.object if person % 2 == 0 else WORLD.fact(fact.object, COUNTRY).object
        queries.append(
            HeldOutQuery(
                query,
                f"Question {person}?",
                (WORLD.names[golden],),
                f"q{person}",
                unseen=unseen(person) if unseen else None,
            )  # fmt: skip
        )
    return Queries(tuple(queries), (0, "small"), count)


COUNTRY = next(relation for relation in WORLD.relations_of(WORLD.spans["city"].start))


def sentence(query):
    """The sentence that states what ``query`` asks for."""
    [fact] = asked_facts(WORLD, query)
    return statements(WORLD, fact)[0]


class FaultySimulator(SearchEngine):
    """Leaks in 20 % of noisy searches, misses in 10 % of useful ones, and ignores the seed.

    So it does of each hop of `world_queries`.

    Its documents repeat a sentence. It fails for queries about ``fails``.
    """

    def __init__(self, fails=""):
        self.usage = Usage()
        self.fails = fails
        self.asked = []

    def search(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        self.asked.append(request)
        if self.fails and self.fails in request.query:
            return SearchResult(failure=SearchFailure("no answer"))
        with self.usage.counting():
            self.usage.count_completion(100, 50)
        number = int(request.question.removeprefix("Question ").rstrip("?"))
        states = number % 10 in (1, 6) if request.noisy else number % 20 not in (3, 14)
        first = sentence(request.query) if states else "Nothing is known of it."
        texts = [f"{first} {REPEATED}", *[REPEATED] * (request.top_k - 1)]
        return SearchResult(tuple(map(Document, texts)))

    def identity(self):
        return {"faulty": 1}


class DeadSimulator(FaultySimulator):
    """Fails always."""

    def __init__(self):
        super().__init__(fails="the")


def write_answer(request):
    """A simulation LLM that knows nothing, and copies the golden answer from its prompt."""
    [message] = request.messages
    golden = message.content.partition("Answer: ")[2].strip()
    return "\n".join(f"Doc {n} (Page): Perhaps {golden or 'it'} is meant." for n in range(1, 6))


def collected(queries):
    """The queries as searches of `zs-env simulation collect`."""
    return [
        CollectedSearch(q.question_id, q.question, q.golden_answers, q.turn, q.query,
                        (Document(sentence(q.query), "Page"),), engine="bm25",
                        dataset="world,split=train", world=(0, "small"))
        for q in queries.queries
    ]  # fmt: skip
