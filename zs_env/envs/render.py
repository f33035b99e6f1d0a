"""Transcripts for a terminal, coloured by author."""

from __future__ import annotations

from gymnasium.utils import colorize

from zs_env.episode import Episode, Role, Segment, Termination

_COLOURS = {Role.POLICY: "green", Role.INFORMATION: "cyan", Role.CORRECTION: "yellow"}
_NOISY_COLOUR = "magenta"
_OUTCOME_COLOUR = "blue"
_REASONS = {
    Termination.SEARCH_FAILED: "the search failed",
    Termination.CONTEXT_EXCEEDED: "the context is full",
    Termination.TURNS_SPENT: "no turns left",
}


def render_episode(episode: Episode, first_segment: int = 0, colour: bool = True) -> str:
    """Return the transcript from ``first_segment`` on, with the outcome once the episode has ended.

    Args:
        episode: episode to render.
        first_segment: number of segments to leave out.
        colour: whether to use ANSI colours: green for the policy, cyan for documents, magenta for
            noisy documents, yellow for corrections.
    """
    segments = episode.segments[first_segment:]
    text = "".join(_render_segment(segment, colour) for segment in segments)
    if episode.finished and segments:
        text += "\n" + _paint(_outcome(episode), _OUTCOME_COLOUR, colour) + "\n"
    return text


def _render_segment(segment: Segment, colour: bool) -> str:
    text = _printable(segment.text)
    name = _NOISY_COLOUR if segment.noisy else _COLOURS.get(segment.role)
    return _paint(text, name, colour) if name else text


def _printable(text: str) -> str:
    """Return ``text`` without characters that control a terminal; line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _paint(text: str, colour_name: str, colour: bool) -> str:
    return colorize(text, colour_name) if colour and text else text


def _outcome(episode: Episode) -> str:
    searches = f"{episode.num_searches} search{'' if episode.num_searches == 1 else 'es'}"
    golden = " / ".join(map(_printable, episode.question.golden_answers))
    if episode.termination is Termination.ANSWERED:
        return f"[answered: reward {episode.reward:.2f}, {searches}, golden answer: {golden}]"
    why = _REASONS[episode.termination or Termination.TURNS_SPENT]
    return f"[truncated: {why}, {searches}, golden answer: {golden}]"
