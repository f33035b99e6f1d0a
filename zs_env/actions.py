"""Policy text -> action. The only module that knows the tags.

Closed ``<think>`` blocks are ignored. In what remains, the first element to be complete, a
``<search>`` or an ``<answer>``, is the action; what stands after it does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

THINK, SEARCH, INFORMATION, ANSWER = "think", "search", "information", "answer"
TAG_NAMES = (THINK, SEARCH, INFORMATION, ANSWER)
POLICY_TAGS = tuple(f"<{s}{name}>" for name in (THINK, SEARCH, ANSWER) for s in ("", "/"))

STOP = (f"</{SEARCH}>", f"</{ANSWER}>")
"""Texts at which a sampler should stop: the tags that complete an action."""

NO_ACTION = "there was no search and no answer"
EMPTY_QUERY = "the query was empty"

ANY_TAG = re.compile(f"</?(?:{'|'.join(TAG_NAMES)})>")
"""Finds the tags of a text, those of documents included."""

_POLICY_TAG = re.compile(f"<(/?)({THINK}|{SEARCH}|{ANSWER})>")
# The usual turn, matched at once: a closed thought or none, then an element without any "<" in it.
_USUAL_TURN = re.compile(
    rf"(?:[^<]*<{THINK}>[^<]*</{THINK}>)?[^<]*<({SEARCH}|{ANSWER})>([^<]*)</\1>"
)
_THINK_START, _THINK_END = f"<{THINK}>", f"</{THINK}>"


@dataclass(frozen=True, slots=True)
class Search:
    """The policy asks the search engine."""

    query: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The policy answers; this ends the episode."""

    text: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The text holds no action: it costs a turn. ``reason`` is a clause, for the policy to read."""

    reason: str


Action = Search | Answer | Invalid


def tagged(name: str, content: str) -> str:
    """Return ``content`` between the opening and the closing tag ``name``."""
    return f"<{name}>{content}</{name}>"


def find_action(text: str) -> tuple[Action, int]:
    """Find the action in the text of one turn.

    Args:
        text: what the policy wrote in this turn, and nothing else. Time is linear in its length.

    Returns:
        The action, and the index just behind it: ``len(text)`` for `Invalid`.
    """
    if usual := _USUAL_TURN.match(text):
        return _make_action(*usual.groups()), usual.end()
    return _scan(text)


def parse_action(text: str) -> Action:
    """Return the action of ``text``: `Search`, `Answer` or `Invalid`. Never raises.

    >>> parse_action("<think>Is it <answer>?</think><search>capital of Peru</search>")
    Search(query='capital of Peru')
    """
    return find_action(text)[0]


def ends_turn(text: str) -> bool:
    """Return whether ``text`` holds an action that nothing written after it could change.

    What a sampler asks after each tag: an action inside a thought that is still open does not end
    the turn, for the thought may yet be closed and hide it.

    >>> ends_turn("<think>or <search>Peru</search>"), ends_turn("<search>Peru</search>")
    (False, True)
    """
    action, end = find_action(text)
    if action == Invalid(NO_ACTION):
        return False
    return not _has_open_thought(text, end)


def _has_open_thought(text: str, stop: int) -> bool:
    """Return whether ``text[:stop]`` leaves a thought open. Time is linear."""
    start = text.find(_THINK_START, 0, stop)
    while start >= 0:
        end = text.find(_THINK_END, start, stop)
        if end < 0:
            return True
        start = text.find(_THINK_START, end, stop)
    return False


def without_thoughts(text: str) -> str | None:
    """Return ``text`` without its closed thoughts; None if a thought is left open.

    >>> without_thoughts("<think>Peru ...</think> Lima")
    ' Lima'
    """
    pieces, stop = [], 0
    while (start := text.find(_THINK_START, stop)) >= 0:
        pieces.append(text[stop:start])
        end = text.find(_THINK_END, start)
        if end < 0:
            return None
        stop = end + len(_THINK_END)
    return "".join([*pieces, text[stop:]])


def close_turn(text: str) -> str:
    """Complete a turn whose stop text was stripped, as OpenAI-compatible servers do.

    Call it where the server says that a stop text ended the turn: a turn that was cut by its
    length must stay open.

    Args:
        text: what the policy wrote in this turn. Time is linear in its length.

    Returns:
        ``text`` with the closing tag of the ``<search>`` or ``<answer>`` that was opened last
        outside of closed thoughts; ``text`` itself if it holds an action already, or if neither
        was opened.

    >>> close_turn("<think>hm</think><search>Peru"), close_turn("<answer>Lima</answer>")
    ('<think>hm</think><search>Peru</search>', '<answer>Lima</answer>')
    """
    if find_action(text)[0] != Invalid(NO_ACTION):
        return text
    opened = [tag[2] for tag in _tags_outside_thoughts(text, []) if not tag[1]]
    return f"{text}</{opened[-1]}>" if opened else text


def _scan(text: str) -> tuple[Action, int]:
    """Do `find_action` for any text, tag by tag."""
    thoughts: list[tuple[int, int]] = []
    opened: dict[str, int] = {}
    for tag in _tags_outside_thoughts(text, thoughts):
        start, end = tag.span()
        closing, name = tag.groups()
        if not closing:
            opened[name] = end
        elif name in opened:
            return _make_action(name, _without(text, thoughts, opened[name], start)), end
    return Invalid(NO_ACTION), len(text)


def _tags_outside_thoughts(text: str, thoughts: list[tuple[int, int]]) -> Iterator[re.Match[str]]:
    """Yield the tags of searches and answers, with groups slash and name.

    The spans of the closed thoughts before each tag are appended to ``thoughts``.
    """
    last_think_end = text.rfind(_THINK_END)
    resume = 0
    for tag in _POLICY_TAG.finditer(text):
        if tag.start() < resume:
            continue
        if tag[2] != THINK:
            yield tag
        elif not tag[1] and tag.end() <= last_think_end:
            resume = text.find(_THINK_END, tag.end()) + len(_THINK_END)
            thoughts.append((tag.start(), resume))


def _without(text: str, spans: list[tuple[int, int]], start: int, stop: int) -> str:
    """Cut the ``spans``, in order and without overlap, out of ``text[start:stop]``."""
    if not spans or spans[-1][0] < start:
        return text[start:stop]
    pieces = []
    for span_start, span_stop in spans:
        if span_start >= start:
            pieces.append(text[start:span_start])
            start = span_stop
    return "".join([*pieces, text[start:stop]])


def _make_action(name: str, content: str) -> Action:
    if "<" in content:
        content = ANY_TAG.sub(" ", content)
    content = " ".join(content.split())
    if name == ANSWER:
        return Answer(content)
    return Search(content) if content else Invalid(EMPTY_QUERY)
