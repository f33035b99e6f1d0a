r"""How often a simulation LLM writes documents in the asked form, and which hold the answer.

    python -m benchmarks.simulation_form --questions questions.jsonl \
        --engine simulated,base_url=http://127.0.0.1:8000/v1,model=qwen

Searches for the text of each question, useful and noisy, without help, with `prefill`, with a
grammar and with both. Prints, as a table, the share of searches with a document and with all that
were asked for, the share that was asked a second time for want of documents, and the share of
useful and of noisy documents in which a golden answer stands, with 95 % intervals (Wilson 1927).
The intervals take documents as independent, and those of one search are not quite.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from zs_env import Question, SearchRequest, SearchResult, keyed_random
from zs_env.engines import SearchEngine, checked_asearch, load_engine
from zs_env.engines.simulated import OPTIONS
from zs_env.evaluation.share import Share
from zs_env.llm import LanguageModel, load_llm
from zs_env.loading import parse_spec
from zs_env.question_sources import QuestionOrder, load_questions
from zs_env.rewards import substring_match

VARIANTS: dict[str, dict[str, str | bool]] = {
    "plain": {},
    "prefill": {"prefill": True},
    "regex": {"grammar": "regex"},
    "prefill+regex": {"prefill": True, "grammar": "regex"},
    "json": {"grammar": "json"},
}
"""Options of the engine by name."""

Searches = list[tuple[SearchRequest, SearchResult]]


def requests_of(
    questions: Sequence[Question], top_k: int, document_words: int, seed: int
) -> list[SearchRequest]:
    """Return two requests a question, useful and noisy."""
    return [
        SearchRequest(
            query=question.text,
            question=question.text,
            golden_answers=question.golden_answers,
            noisy=noisy,
            top_k=top_k,
            document_words=document_words,
            key=keyed_random.derive_key("form", seed, question.id),
        )
        for question in questions
        for noisy in (False, True)
    ]


async def search_all(engine: SearchEngine, requests: Sequence[SearchRequest]) -> Searches:
    """Ask for everything at the same time, and show how far it is."""
    num_done = 0

    async def search(request: SearchRequest) -> tuple[SearchRequest, SearchResult]:
        nonlocal num_done
        result = await checked_asearch(engine, request)
        if result.failure is not None and "wrote no" not in str(result.failure):
            raise result.failure
        num_done += 1
        print(f"\r{num_done}/{len(requests)} searches", end="", file=sys.stderr, flush=True)
        return request, result

    return await asyncio.gather(*map(search, requests))


def in_form(searches: Searches, least: int) -> Share:
    """Return the share of searches with at least ``least`` documents."""
    return Share(sum(len(result.documents) >= least for _, result in searches), len(searches))


def with_answer(searches: Searches, noisy: bool) -> Share:
    """Return the share of useful or noisy documents in which a golden answer stands."""
    held = [
        substring_match(f"{document.title} {document.text}", request.golden_answers) == 1.0
        for request, result in searches
        for document in result.documents
        if request.noisy == noisy
    ]
    return Share(sum(held), len(held))


def measure(
    llm: LanguageModel,
    options: dict[str, object],
    variant: str,
    requests: Sequence[SearchRequest],
) -> str:
    """Return the row of the table for ``variant``."""
    engine = load_engine({"name": "simulated", "llm": llm, **options, **VARIANTS[variant]})
    searches = asyncio.run(search_all(engine, requests))
    assert engine.usage is not None
    asked_again = Share(engine.usage.completions - len(requests), len(requests))
    shares = (
        in_form(searches, 1),
        in_form(searches, requests[0].top_k),
        asked_again,
        with_answer(searches, noisy=False),
        with_answer(searches, noisy=True),
    )
    tokens = engine.usage.completion_tokens / len(requests)
    return f"| {variant} | {' | '.join(map(str, shares))} | {tokens:.0f} |"


def main() -> None:
    """Measure each variant, and print its row when it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--questions", required=True, help="a .jsonl or .parquet file, or `world`: see docs"
    )
    parser.add_argument("--engine", required=True, help="engine `simulated` with its options")
    parser.add_argument("--num-questions", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--top-k", type=int, default=5, help="documents; default: %(default)s")
    parser.add_argument(
        "--document-words", type=int, default=30, help="words of each; default: %(default)s"
    )
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, help="default: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws questions and texts")
    arguments = parser.parse_args()
    name, options = parse_spec("engine", arguments.engine)
    if name != "simulated":
        parser.error(f"--engine must be simulated with its options, got {name!r}")
    engine_options = {key: options.pop(key) for key in OPTIONS if key in options and key != "llm"}
    order = QuestionOrder(load_questions(arguments.questions), arguments.seed)
    questions = [order[number] for number in range(arguments.num_questions)]
    requests = requests_of(questions, arguments.top_k, arguments.document_words, arguments.seed)
    llm = load_llm(options.pop("llm", "openai_api"), options)
    print("| | a document | all | asked again | useful with answer | noisy with answer | tokens |")
    print("|---|---|---|---|---|---|---|", flush=True)
    try:
        for variant in arguments.variants:
            row = measure(llm, engine_options, variant, requests)
            print(f"\r{' ' * 40}\r", end="", file=sys.stderr)
            print(row, flush=True)
    finally:
        llm.close()


if __name__ == "__main__":
    main()
