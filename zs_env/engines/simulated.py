"""Simulated search engine: a language model writes the documents, useful or noisy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zs_env.checks import as_integer, check_choice, suggestion
from zs_env.concurrency.event_loop import PerLoop
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.engines.document_forms import (
    FIRST_DOCUMENT,
    GRAMMARS,
    check_prefill,
    keeps_to,
    make_grammar,
    parse_documents,
    parse_json_documents,
)
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure, ServiceError
from zs_env.keyed_random import derive_key
from zs_env.llm import (
    ChatRequest,
    Completion,
    Contrast,
    Grammar,
    LanguageModel,
    Message,
    bundled,
    load_llm,
)
from zs_env.llm.base import check_number
from zs_env.prompts import (
    JSON_FORM,
    load_simulation_template,
    render_simulation,
)
from zs_env.rewards import golden_answer_in

NUM_TRIES = 2
"""Most attempts, each with another seed, while the model writes too few documents."""

TOKENS_PER_WORD = 4
"""Tokens allowed for each word of a document."""

LEAST_TOKENS = 600
"""Tokens allowed for an answer at least, as in the paper (section 4.1)."""

CHECK_TOKENS = 8
"""Tokens of the message by which `SimulatedEngine.check` sees whether the form is kept to."""

OPTIONS = (
    "llm",
    "template",
    "search_engine",
    "temperature",
    "top_p",
    "max_tokens",
    "prefill",
    "grammar",
    "contrast",
    "hide_answer_from_noisy",
    "retry_leaks",
)
"""Options of the engine itself; all others are the language model's."""


class SimulatedEngine(SearchEngine):
    """Engine played by a simulation LLM, as in ZeroSearch (section 3.2).

    The prompt and the seed depend only on the request, so it gets the same documents whatever else
    is asked. Equal requests that are under way at the same time are sent once.

    Args:
        llm: simulation LLM.
        template: ``prompt-based``, with a worked example, for instruct models; ``fine-tuned``,
            without an example; ``world``, for models of the embedded world; or the path of a text
            file with fields such as ``{query}``, for models that expect their own wording
            (`zs_env.prompts.check_simulation_template`).
        search_engine: name of the search engine that the LLM plays.
        temperature: temperature of sampling.
        top_p: probability that the tokens to sample from have together, in (0, 1].
        max_tokens: most tokens for all documents of a search; by default four for each word that
            is wanted, and at least 600.
        prefill: beginning of each message, from which the model goes on; true stands for
            ``Doc 1:``. Small models write documents more often then. A reasoning model does not
            think.
        grammar: what each message is held to: ``regex``, lines ``Doc 1: …``, with vLLM; ``json``, a
            JSON list, with servers that know ``response_format`` and with vLLM. It cannot be
            combined with ``prefill``.
        contrast: weight with which noisy documents avoid what the model would write as useful ones,
            at least 0: a tuned model often states the answer in a noisy document all the same. Only
            with ``transformers_local``; each token of a noisy document costs two. The paper has
            none.
        hide_answer_from_noisy: whether the model is not told the golden answers where it is to
            write noisy documents. A departure from the paper, whose models leak them: it fits
            models that were tuned on such prompts (`zs_env.simulation.recipe.Recipe`).
        retry_leaks: most times that noisy documents are written again because one of them holds a
            golden answer that the query does not name (`zs_env.rewards.golden_answer_in`); what
            still does then is left out. ``usage`` counts all documents that were thrown away. A
            departure from the paper, for servers that cannot contrast. It cannot see what gives
            away an earlier step of the question.
        owns_llm: whether `close` closes the simulation LLM too.

    Raises:
        ValueError: the template is unknown or cannot be filled in, a sampling parameter is out of
            its range, the grammar is unknown or cannot go on from ``prefill``, or the model honours
            neither, or cannot contrast.
        TypeError: a sampling parameter is not a number, or ``prefill`` is not a text.

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
        prefill: str | bool = "",
        grammar: str | None = None,
        contrast: float = 0.0,
        *,
        hide_answer_from_noisy: bool = False,
        retry_leaks: int = 0,
        owns_llm: bool = False,
    ) -> None:
        ChatRequest((), 0, temperature, top_p, 1 if max_tokens is None else max_tokens)  # checks
        if not isinstance(hide_answer_from_noisy, bool):
            raise TypeError(
                f"`hide_answer_from_noisy` must be true or false, got {hide_answer_from_noisy!r}."
            )
        if grammar is not None:
            check_choice("grammar", grammar, GRAMMARS)
        self._prefill = check_prefill(prefill, grammar)
        self._grammar = grammar
        self._contrast = check_number("contrast", contrast)
        llm.check_form(self._prefill, grammar, contrast > 0)
        self._retry_leaks = as_integer("retry_leaks", retry_leaks, 0)
        self.llm = llm
        self.template = load_simulation_template(template)
        self.usage: Usage = Usage()
        self._owns_llm = owns_llm
        self._search_engine = search_engine
        self._hide_answer = hide_answer_from_noisy
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
        form = {
            "prefill": self._prefill,
            "grammar": self._grammar_of(samples[0]),
            "contrast": self._contrast,
            "hide_answer_from_noisy": self._hide_answer,
            "retry_leaks": self._retry_leaks,
        }
        return {
            "llm": self.llm.identity(),
            "template": self.template,
            "prompts": [self._prompt(sample) for sample in samples],
            "max_tokens": self._max_tokens or [LEAST_TOKENS, TOKENS_PER_WORD],
            **self._sampling,
            **{name: value for name, value in form.items() if value},  # records older than it hold
        }

    def cache_key(self, request: SearchRequest) -> tuple[Any, ...]:
        """Return the request without its turn, which the model is not told."""
        return request._replace(turn=0)

    def check(self) -> None:
        """Check that the model can be used, with ``prefill`` and ``grammar`` by a short message.

        Raises:
            ServiceError: it cannot be used, or refuses one of them or does not keep to it.
        """
        self.llm.check()
        if self._prefill or self._grammar:
            self._check_form()

    def close(self) -> None:
        """Close the model, if this engine owns it."""
        if self._owns_llm:
            self.llm.close()

    def _check_form(self) -> None:
        sample = self._chat(SearchRequest("?", "?", ("?",), top_k=1), seed=0)
        [outcome] = self.llm.complete([replace(sample, max_tokens=CHECK_TOKENS)])
        if isinstance(outcome, SearchFailure):
            raise ServiceError(f"the simulation LLM cannot be asked in this form: {outcome}")
        if self._grammar and not keeps_to(self._grammar, outcome.text, self._prefill):
            raise ServiceError(
                f"the simulation LLM does not keep to `grammar` {self._grammar}, and wrote "
                f"{outcome.text!r}: the server does not know it. Use another, or leave it out."
            )

    async def _simulate(self, request: SearchRequest) -> SearchResult:
        parse = parse_json_documents if self._grammar == "json" else parse_documents
        found: list[Document] = []
        written: list[Document] = []
        text = ""
        for attempt in range(max(NUM_TRIES, 1 + self._retry_leaks)):
            try:
                text = (await self._complete(request, attempt)).text
            except SearchFailure:
                if not found:
                    raise
                break  # the documents of the first attempt are better than a failure
            written = parse(text, request.top_k)
            kept = self._without_leaks(request, written)
            found = max(found, kept, key=len)
            if len(found) == request.top_k:
                break
            if attempt + 1 >= NUM_TRIES and len(kept) == len(written):
                break  # it is only too short
        if written and not found:
            raise SearchFailure("the simulation LLM gave the golden answer away in all documents.")
        if not found:
            wanted = "JSON list" if self._grammar == "json" else f"line '{FIRST_DOCUMENT} …'"
            raise SearchFailure(f"the simulation LLM wrote no {wanted}, but {text[:80]!r}.")
        return SearchResult(tuple(found))

    def _without_leaks(self, request: SearchRequest, written: list[Document]) -> list[Document]:
        """Return the documents that may be shown; without ``retry_leaks`` all of them."""
        if not (self._retry_leaks and request.noisy):
            return written
        golden, query = request.golden_answers, request.query
        kept = [d for d in written if not golden_answer_in([f"{d.title} {d.text}"], golden, query)]
        self.usage.leaks += len(written) - len(kept)
        return kept

    async def _complete(self, request: SearchRequest, attempt: int) -> Completion:
        seed = derive_key("simulation", request.key, request.query, attempt) >> 33
        completion = await self.llm.acomplete(self._chat(request, seed))
        self.usage.count_completion(completion.prompt_tokens, completion.completion_tokens)
        return completion

    def _chat(self, request: SearchRequest, seed: int) -> ChatRequest:
        """Return what the model is asked for ``request``."""
        words = request.top_k * request.document_words
        return ChatRequest(
            (Message("user", self._prompt(request)),),
            seed=seed,
            max_tokens=self._max_tokens or max(LEAST_TOKENS, TOKENS_PER_WORD * words),
            prefill=self._prefill,
            grammar=self._grammar_of(request),
            contrast=self._contrast_of(request),
            temperature=self._sampling["temperature"],
            top_p=self._sampling["top_p"],
        )

    def _grammar_of(self, request: SearchRequest) -> Grammar | None:
        if self._grammar is None:
            return None
        return make_grammar(self._grammar, request, self._prefill)

    def _contrast_of(self, request: SearchRequest) -> Contrast | None:
        if not (self._contrast and request.noisy):
            return None
        useful = Message("user", self._prompt(request._replace(noisy=False)))
        return Contrast((useful,), self._contrast)

    def _prompt(self, request: SearchRequest) -> str:
        prompt = render_simulation(
            self.template,
            request,
            self._search_engine,
            hide_answer_from_noisy=self._hide_answer,
        )
        return prompt + JSON_FORM if self._grammar == "json" else prompt


def load(
    llm: str | LanguageModel | None = None,
    template: str | None = None,
    search_engine: str = "Google",
    temperature: float = 0.8,
    top_p: float = 1.0,
    max_tokens: int | None = None,
    prefill: str | bool = "",
    grammar: str | None = None,
    contrast: float | None = None,
    hide_answer_from_noisy: bool | None = None,
    retry_leaks: int = 0,
    **llm_options: Any,
) -> SimulatedEngine:
    """Make the engine that a language model plays.

    With the model ``world`` it is the bundled one, in this process, and asked as it was tuned
    (`zs_env.llm.bundled`): other values of ``template``, ``contrast``, ``hide_answer_from_noisy``
    and ``max_batch_size`` must then be given.

    Args:
        llm: simulation LLM: a name of `zs_env.llm.LLMS`, ``"module:Class"``, or an object; by
            default ``openai_api``.
        template: see `SimulatedEngine`.
        search_engine: see `SimulatedEngine`.
        temperature: see `SimulatedEngine`.
        top_p: see `SimulatedEngine`.
        max_tokens: see `SimulatedEngine`.
        prefill: see `SimulatedEngine`.
        grammar: see `SimulatedEngine`.
        contrast: see `SimulatedEngine`.
        hide_answer_from_noisy: see `SimulatedEngine`.
        retry_leaks: see `SimulatedEngine`.
        llm_options: arguments of the language model, such as ``base_url`` and ``model``.

    Raises:
        TypeError: neither engine nor language model has an option; the message names the nearest.
    """
    form: dict[str, Any] = {}
    if bundled.is_bundled(llm, llm_options.get("model")):
        llm, form = bundled.LLM, bundled.ASKED
        llm_options = {**bundled.MADE, **llm_options}
    given = {
        "template": template,
        "contrast": contrast,
        "hide_answer_from_noisy": hide_answer_from_noisy,
    }
    form = {**form, **{name: value for name, value in given.items() if value is not None}}
    made = not isinstance(llm, LanguageModel)
    try:
        model = load_llm("openai_api" if llm is None else llm, llm_options)
    except TypeError as error:
        for option in llm_options:
            if near := suggestion(option, OPTIONS):
                raise TypeError(f"engine 'simulated' has no option {option!r}{near}.") from error
        raise
    return SimulatedEngine(
        model,
        search_engine=search_engine,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        prefill=prefill,
        grammar=grammar,
        retry_leaks=retry_leaks,
        owns_llm=made,
        **form,
    )
