"""Simulated search engine: a language model writes the documents, useful or noisy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from zs_env.checks import suggestion
from zs_env.concurrency.event_loop import PerLoop
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.documents import Document, SearchRequest, SearchResult, clean_text
from zs_env.engines.base import SearchEngine
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure
from zs_env.keyed_random import derive_key
from zs_env.llm import ChatRequest, LanguageModel, Message, load_llm
from zs_env.prompts import SIMULATION_TEMPLATES, check_simulation_template, render_simulation

NUM_TRIES = 2
"""Most attempts, each with another seed, while the model writes too few documents."""

TOKENS_PER_WORD = 4
"""Tokens allowed for each word of a document."""

LEAST_TOKENS = 600
"""Tokens allowed for an answer at least, as in the paper (section 4.1)."""

OPTIONS = ("llm", "template", "search_engine", "temperature", "top_p", "max_tokens")
"""Options of the engine itself; all others are the language model's."""

THOUGHT_END = "</think>"
"""End of a reasoning model's thoughts; the text before it is not read."""

_DOCUMENT = re.compile(
    r"[\s*#>-]*doc(?:ument)?\s*#?\d{1,6}\s*"
    r"(?:\((?:title:)?([^()]{0,200})\)\s*)?[*_]{0,2}:[*_]{0,2}(.*)",
    re.IGNORECASE,
)


class SimulatedEngine(SearchEngine):
    """Engine played by a simulation LLM, as in ZeroSearch (section 3.2).

    The prompt and the seed depend only on the request, so it gets the same documents whatever else
    is asked. Equal requests that are under way at the same time are sent once.

    Args:
        llm: simulation LLM.
        template: ``prompt-based``, with a worked example, for instruct models; ``fine-tuned``,
            without an example; or the path of a text file with fields such as ``{query}``, for
            models that expect their own wording (`zs_env.prompts.check_simulation_template`).
        search_engine: name of the search engine that the LLM plays.
        temperature: temperature of sampling.
        top_p: probability that the tokens to sample from have together, in (0, 1].
        max_tokens: most tokens for all documents of a search; by default four for each word that
            is wanted, and at least 600.
        owns_llm: whether `close` closes the simulation LLM too.

    Raises:
        ValueError: the template is unknown or cannot be filled in, or a sampling parameter is out
            of its range.
        TypeError: a sampling parameter is not a number.

    Attributes:
        usage: counts of what searches have used, `Usage`.
    """

    def __init__(
        self,
        llm: LanguageModel,
        template: str = "prompt-based",
        search_engine: str = "Google",
        temperature: float = 0.8,
        top_p: float = 1.0,
        max_tokens: int | None = None,
        *,
        owns_llm: bool = False,
    ) -> None:
        ChatRequest((), 0, temperature, top_p, 1 if max_tokens is None else max_tokens)  # checks
        self.llm = llm
        self.template = _load_template(template)
        self.usage: Usage = Usage()
        self._owns_llm = owns_llm
        self._search_engine = search_engine
        self._sampling = {"temperature": temperature, "top_p": top_p}
        self._max_tokens = max_tokens
        self._flights: PerLoop[SingleFlight[SearchResult]] = PerLoop(SingleFlight)

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Have the LLM write the documents of one request."""
        flights = self._flights.get()
        with self.usage.counting():
            return await flights.run(self.cache_key(request), lambda: self._simulate(request))

    def identity(self) -> dict[str, Any]:
        """Return the model and how it is asked."""
        samples = [SearchRequest("", "", (), noisy=noisy) for noisy in (False, True)]
        return {
            "llm": self.llm.identity(),
            "template": self.template,
            "prompts": [
                render_simulation(self.template, sample, self._search_engine) for sample in samples
            ],
            "max_tokens": self._max_tokens or [LEAST_TOKENS, TOKENS_PER_WORD],
            **self._sampling,
        }

    def cache_key(self, request: SearchRequest) -> tuple[Any, ...]:
        """Return the request without its turn, which the model is not told."""
        return request._replace(turn=0)

    def check(self) -> None:
        """Check that the model can be used."""
        self.llm.check()

    def close(self) -> None:
        """Close the model, if this engine owns it."""
        if self._owns_llm:
            self.llm.close()

    async def _simulate(self, request: SearchRequest) -> SearchResult:
        prompt = render_simulation(self.template, request, self._search_engine)
        found: list[Document] = []
        text = ""
        for attempt in range(NUM_TRIES):
            try:
                text = await self._complete(prompt, request, attempt)
            except SearchFailure:
                if not found:
                    raise
                break  # the documents of the first attempt are better than a failure
            found = max(found, parse_documents(text, request.top_k), key=len)
            if len(found) == request.top_k:
                break
        if not found:
            raise SearchFailure(f"the simulation LLM wrote no line 'Doc 1: …', but {text[:80]!r}.")
        return SearchResult(tuple(found))

    async def _complete(self, prompt: str, request: SearchRequest, attempt: int) -> str:
        words = request.top_k * request.document_words
        completion = await self.llm.acomplete(
            ChatRequest(
                (Message("user", prompt),),
                seed=derive_key("simulation", request.key, request.query, attempt) >> 33,
                max_tokens=self._max_tokens or max(LEAST_TOKENS, TOKENS_PER_WORD * words),
                **self._sampling,
            )
        )
        self.usage.count_completion(completion.prompt_tokens, completion.completion_tokens)
        return completion.text


def parse_documents(text: str, top_k: int) -> list[Document]:
    """Return the first ``top_k`` documents of ``text``, cleaned; empty ones do not count.

    A line that begins with ``Doc 1:`` or ``Doc 1 (title):``, with any number, begins a document.
    The lines below belong to it, up to an empty one. ``Doc 1:`` within a line begins nothing. The
    thoughts of a reasoning model are left out.
    """
    text = text.rpartition(THOUGHT_END)[2]
    documents = (
        Document(clean_text(" ".join(lines)), clean_text(title)) for title, lines in _blocks(text)
    )
    return list(islice((document for document in documents if document.text), top_k))


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the lines of each document of ``text``."""
    title, lines, inside, filled = "", [""], False, False
    for line in text.splitlines():
        if match := _DOCUMENT.match(line):
            yield title, lines
            title, lines, inside = match[1] or "", [match[2]], True
            filled = bool(match[2].strip())
        elif line.strip() and inside:
            lines.append(line)
            filled = True
        elif filled:
            inside = False
    yield title, lines


def _load_template(template: str) -> str:
    known = SIMULATION_TEMPLATES.get(template)
    if known is not None:
        return known
    path = Path(template)
    if not path.is_file():
        raise ValueError(
            f"`template` must be one of {', '.join(SIMULATION_TEMPLATES)} or the path of a text "
            f"file, got {template!r}."
        )
    return check_simulation_template(path.read_text(encoding="utf-8"), str(path))


def load(
    llm: str | LanguageModel = "openai_api",
    template: str = "prompt-based",
    search_engine: str = "Google",
    temperature: float = 0.8,
    top_p: float = 1.0,
    max_tokens: int | None = None,
    **llm_options: Any,
) -> SimulatedEngine:
    """Make the engine that a language model plays.

    Args:
        llm: simulation LLM: a name of `zs_env.llm.LLMS`, ``"module:Class"``, or an object.
        template: see `SimulatedEngine`.
        search_engine: see `SimulatedEngine`.
        temperature: see `SimulatedEngine`.
        top_p: see `SimulatedEngine`.
        max_tokens: see `SimulatedEngine`.
        llm_options: arguments of the language model, such as ``base_url`` and ``model``.

    Raises:
        TypeError: neither engine nor language model has an option; the message names the nearest.
    """
    made = not isinstance(llm, LanguageModel)
    try:
        model = load_llm(llm, llm_options)
    except TypeError as error:
        for option in llm_options:
            if near := suggestion(option, OPTIONS):
                raise TypeError(f"engine 'simulated' has no option {option!r}{near}.") from error
        raise
    return SimulatedEngine(
        model, template, search_engine, temperature, top_p, max_tokens, owns_llm=made
    )
