"""Every text the policy reads that neither it nor a search engine wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK, tagged
from zs_env.documents import Document, cut_document

QUESTION_FIELD = "{question}"

PROMPT = (
    f"Answer the question below. Think first, between <{THINK}> and </{THINK}>, each time you "
    f"learn something new. If you lack a fact, ask the search engine: "
    f"{tagged(SEARCH, ' your query ')}. Its documents come back between <{INFORMATION}> and "
    f"</{INFORMATION}>. You may search more than once. When you know the answer, give it and "
    f"nothing else: {tagged(ANSWER, ' your answer ')}.\n"
    f"Question: {QUESTION_FIELD}\n"
)

CORRECTION = (
    "\nThat was not valid: {reason}. To search, write "
    f"{tagged(SEARCH, ' your query ')}. To answer, write {tagged(ANSWER, ' your answer ')}.\n"
)

INFORMATION_START = f"\n<{INFORMATION}>\n"
"""How each block of documents begins."""

NO_DOCUMENTS = "No documents were found."


def render_prompt(template: str, question: str) -> str:
    """The first observation: ``template`` with its ``{question}`` filled in."""
    return template.replace(QUESTION_FIELD, question)


def render_correction(reason: str) -> str:
    """What the policy reads after a turn without an action."""
    return CORRECTION.format(reason=reason)


def render_information(documents: Sequence[Document]) -> str:
    """The block that a search adds: one document a line, already clean, between the tags."""
    lines = [
        f"Doc {number} ({document.title}): {document.text}"
        if document.title
        else f"Doc {number}: {document.text}"
        for number, document in enumerate(documents, start=1)
    ]
    body = "\n".join(lines) if lines else NO_DOCUMENTS
    return f"{INFORMATION_START}{body}\n</{INFORMATION}>\n"


def fit_documents(
    documents: Sequence[Document], max_words: int, budget: int, measure: Callable[[str], int]
) -> tuple[Sequence[Document], str] | None:
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
