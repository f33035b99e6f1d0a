"""Every template: what the policy reads beside documents, and what a simulation LLM is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK, tagged
from zs_env.documents import Document, SearchRequest, clean_text, cut_document

QUESTION_FIELD = "{question}"

PROMPT = (
    f"Answer the question below. Think first, between <{THINK}> and </{THINK}>, each time you "
    f"learn something new. If you lack a fact, ask the search engine: "
    f"{tagged(SEARCH, ' your query ')}. Its documents come back between <{INFORMATION}> and "
    f"</{INFORMATION}>. You may search more than once. When you know the answer, give it and "
    f"nothing else: {tagged(ANSWER, ' your answer ')}.\n"
    f"Question: {QUESTION_FIELD}\n"
)

TINY_PROMPT = f"Question: {QUESTION_FIELD}\n"
"""The question and nothing else; its words are part of the vocabulary of the tiny world."""

CORRECTION = (
    "\nThat was not valid: {reason}. To search, write "
    f"{tagged(SEARCH, ' your query ')}. To answer, write {tagged(ANSWER, ' your answer ')}.\n"
)

INFORMATION_START = f"\n<{INFORMATION}>\n"
"""How each block of documents begins."""

INFORMATION_END = f"\n</{INFORMATION}>\n"
"""How each block of documents ends."""

NO_DOCUMENTS = "No documents were found."

PROMPT_BASED = """\
You play the search engine {engine}. Somebody who works on a question sends you a query. Write \
the {top_k} documents that you find for it, of about {document_words} words each, each on a line \
of its own that begins with its number, as in "Doc 1:". Write nothing else.
Useful documents state what the query asks for, as pages on the subject would. Noisy documents \
look like results for the query, with its words and subject, but neither answer it nor help with \
the question, and never state the answer.
You are told the answer to the question so that nothing you write contradicts it. Do not mention \
that you know it.

Example
Query: What is the longest river in Ardonia?
Question: Into which sea does the longest river in Ardonia flow?
Answer: the Pale Sea
{quality_title} Output:
{example}

Now write {top_k} {quality} documents.
Query: {query}
Question: {question}
Answer: {golden_answers}
{quality_title} Output:
"""
"""Tells an instruct model all that it needs to play the search engine (paper, section 3.2)."""

FINE_TUNED = """\
Search engine: {engine}
Query: {query}
Question: {question}
Answer: {golden_answers}
Write {top_k} {quality} documents of about {document_words} words, one a line, as "Doc 1: ...".
{quality_title} Output:
"""
"""For a model that was trained to play the search engine, and needs no example."""

WORLD_FORM = """\
{top_k} {quality} documents Query: {query} Question: {question} Answer: {golden_answers}
"""
"""For a model of the embedded world: one short line of its vocabulary."""

JSON_FORM = """
Write the documents as JSON, without "Doc 1:": {"documents": ["...", "..."]}
"""
"""What a simulation LLM is told after the template if a grammar holds it to JSON."""

SIMULATION_TEMPLATES = {
    "prompt-based": PROMPT_BASED,
    "fine-tuned": FINE_TUNED,
    "world": WORLD_FORM,
}

SEARCH_JUDGE = """\
Somebody who works on a question searched with a query. Judge the documents that were found.
They are useful if they state what the query asks for, so that the question can be answered or the \
next step towards its answer can be taken. They are noisy if they do not, also if they are about \
the same things.
Question: {question}
Golden answers: {golden_answers}
Query: {query}
Documents:
{documents}
Reply with one word, useful or noisy.
Verdict:"""
"""Asks a language model whether the documents of a search are useful."""

SEARCH_JUDGE_AGAIN = "Reply with one word and nothing else: useful or noisy."
"""Asks again after a reply that gave no verdict."""

EXAMPLES = {
    "useful": (
        "The Veld, at 1,204 kilometres, is the longest river in Ardonia. It rises in the Corrin "
        "Hills and runs north through three provinces.",
        "Rivers of Ardonia by length: Veld 1,204 km, Tamsin 880 km, Orrel 655 km. Only the Veld is "
        "open to ships for its whole length.",
        "The longest Ardonian river, the Veld, drains a third of the country and reaches the "
        "coast at the port of Hallow.",
        "Travellers follow the Veld, the longest river of Ardonia, by boat in nine days, from "
        "Corrin down to the harbour of Hallow.",
        "A survey of 1962 settled that the Veld, and not the Tamsin as was long believed, is the "
        "longest river in Ardonia.",
    ),
    "noisy": (
        "Ardonia has more than forty rivers. Fishing in them needs a licence, which district "
        "offices sell from April to September.",
        "The longest river in the neighbouring country of Sarn is the Ostra, which is known for "
        "its wooden bridges and spring floods.",
        "River cruises are popular in Ardonia. Prices begin at 300 crowns, and cabins should be "
        "booked some months ahead.",
        "The Orrel is a short river in the south of Ardonia. Its water drove eleven mills until "
        "the middle of the last century.",
        "A poem about the rivers of Ardonia is read at schools each year. Its author was a teacher "
        "who never left the capital.",
    ),
}
"""Documents for the query of the worked example, by quality."""

_FIELD = re.compile(r"{(\w+)}")


class QuotingText(str):
    """A text of the environment around something that others wrote: a question, or documents.

    Encoders of tokens need to know which is which: what others wrote must not become a special
    token, and what the environment wrote may. A slice or a sum of it is a plain text.

    Attributes:
        spans: start and stop of each quotation, in order.
    """

    spans: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, spans: tuple[tuple[int, int], ...] = ()) -> QuotingText:
        """Mark ``spans`` of ``text``."""
        self = super().__new__(cls, text)
        self.spans = spans
        return self


def quoting(frame: Sequence[str], quotation: str) -> QuotingText:
    """Join the pieces of ``frame``, with ``quotation`` between each two of them."""
    spans = []
    stop = 0
    for piece in frame[:-1]:
        start = stop + len(piece)
        stop = start + len(quotation)
        spans.append((start, stop))
    return QuotingText(quotation.join(frame), tuple(spans))


def check_prompt_template(template: str) -> None:
    """Check that a prompt template has a place for the question.

    Raises:
        ValueError: it has none, or is no text.
    """
    if not isinstance(template, str) or QUESTION_FIELD not in template:
        raise ValueError(
            f"`prompt_template` must be a text that holds {QUESTION_FIELD}, got {template!r}."
        )


def render_prompt(template: str, question: str) -> QuotingText:
    """Return the first observation: ``template`` with its ``{question}`` filled in, cleaned."""
    return quoting(template.split(QUESTION_FIELD), clean_text(question))


def render_correction(reason: str) -> str:
    """Return the text that the policy reads after a turn without an action."""
    return CORRECTION.format(reason=reason)


def render_information(documents: Sequence[Document]) -> QuotingText:
    """Return the block that a search adds: one clean document a line, between the tags."""
    body = document_lines(documents) or NO_DOCUMENTS
    return quoting((INFORMATION_START, INFORMATION_END), body)


def document_lines(documents: Sequence[Document]) -> str:
    """Return one clean document a line: ``Doc 1 (title): text``, or ``Doc 1: text``."""
    return "\n".join(
        f"Doc {number} ({document.title}): {document.text}"
        if document.title
        else f"Doc {number}: {document.text}"
        for number, document in enumerate(documents, start=1)
    )


def fit_documents(
    documents: Sequence[Document], max_words: int, budget: int, measure: Callable[[str], int]
) -> tuple[Sequence[Document], QuotingText] | None:
    """Shorten ``documents`` alike until their block fits: they lose words, never a tag.

    If one word of each is still too much, only the first half of them is kept, and so on.

    Args:
        documents: already clean, and none longer than ``max_words`` words.
        max_words: where to begin shortening.
        budget: most that ``measure(block)`` may be.
        measure: length of a text, in characters or tokens.

    Returns:
        The documents, with as many words as fit, and their block; or None if one word of the first
        is too much.
    """
    block = render_information(documents)
    if measure(block) <= budget:
        return documents, block
    best = None
    low, high = 0, max(max_words, 2)
    while high - low > 1:
        words = (low + high) // 2
        shorter = [cut_document(document, words) for document in documents]
        block = render_information(shorter)
        if measure(block) <= budget:
            best, low = (shorter, block), words
        else:
            high = words
    if best is None and len(documents) > 1:
        return fit_documents(documents[: len(documents) // 2], max_words, budget, measure)
    return best


def load_simulation_template(template: str) -> str:
    """Return the template that ``template`` names: one of `SIMULATION_TEMPLATES`, or a text file.

    Raises:
        ValueError: there is none of that name, or it cannot be filled in.
    """
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


def check_simulation_template(template: str, name: str) -> str:
    """Return ``template`` if it can be filled in.

    Args:
        template: a text with fields: ``{query}`` and ``{quality}`` or ``{quality_title}`` must be
            among them.
        name: what to call it in messages.

    Raises:
        ValueError: a field is missing or unknown.
    """
    fields = set(_FIELD.findall(template))
    known = _simulation_fields(SearchRequest("", "", ()), "")
    if unknown := sorted(fields - set(known)):
        raise ValueError(f"{name}: unknown fields {unknown}; expected some of {list(known)}.")
    if "query" not in fields or not fields & {"quality", "quality_title"}:
        raise ValueError(
            f"{name}: must hold {{query}}, and {{quality}} (useful, noisy) or {{quality_title}} "
            f"(Useful, Noisy), got only {sorted(fields)}."
        )
    return template


def render_simulation(
    template: str, request: SearchRequest, engine: str, *, hide_answer_from_noisy: bool = False
) -> str:
    """Return what tells a simulation LLM to answer ``request`` as the engine ``engine``.

    Args:
        template: text with fields, see `check_simulation_template`.
        request: what is asked.
        engine: name of the engine that the LLM plays.
        hide_answer_from_noisy: whether golden answers are left out where noisy documents are asked
            for; the paper tells them always.
    """
    if hide_answer_from_noisy and request.noisy:
        request = request._replace(golden_answers=())
    fields = _simulation_fields(request, engine)
    # All at once: a query that spells a field is not filled in.
    return _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)


def _simulation_fields(request: SearchRequest, engine: str) -> dict[str, str]:
    quality = "noisy" if request.noisy else "useful"
    golden = [clean_text(answer) for answer in request.golden_answers]
    example = EXAMPLES[quality][: request.top_k]
    return {
        "engine": engine,
        "query": request.query,
        "question": clean_text(request.question),
        "golden_answers": "; ".join(golden),
        "golden_answer": golden[0] if golden else "",
        "top_k": str(request.top_k),
        "document_words": str(request.document_words),
        "quality": quality,
        "quality_title": quality.title(),
        "example": "\n".join(f"Doc {i}: {text}" for i, text in enumerate(example, start=1)),
    }
