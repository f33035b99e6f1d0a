"""The episode of this package: think, search, answer, over several turns (arXiv 2505.04588).

Zero-shot or trained: checkpoints of ZeroSearch and Search-R1 are this with their prompts. The
rules are those of `zs_env.episode.Episode`, as in training.
"""

from __future__ import annotations

from zs_env.actions import STOP
from zs_env.documents import SearchRequest
from zs_env.episode import Episode, Role
from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.play import Play
from zs_env.evaluation.policy_model import Piece, TranscriptTooLong
from zs_env.prompts import render_prompt
from zs_env.rules import Limits, Rules
from zs_env.tokens.token_episode import TokenEpisode


class Search(Method):
    """The episode of `ZeroSearch-v0`."""

    async def play(self, play: Play) -> None:
        """Play the episode."""
        assert play.policy is not None
        options = play.options
        given = options.policy_prompt
        template = play.policy.prompt(options.prompt_template) if given is None else given.template
        episode = begin_episode(play, template, play.policy.limits)
        if play.policy.encoder is None:
            await play_text(play, episode)
        else:
            await play_tokens(play, episode)
        play.take_outcome(episode)


def begin_episode(play: Play, template: str, limits: Limits) -> Episode:
    """Begin the episode of a question, and show its prompt.

    Raises:
        TranscriptTooLong: the prompt and one turn do not fit the context.
    """
    options = play.options
    prompt = render_prompt(template, play.question.text)
    if limits.measure(prompt) + limits.turn_reserve > limits.max_context:
        play.add(Piece(Role.PROMPT, prompt))
        raise TranscriptTooLong(f"the prompt of question {play.question.id!r} is too long.")
    rules = Rules(
        max_turns=options.max_turns,
        top_k=options.top_k,
        document_words=options.document_words,
        max_action_chars=limits.max_action_chars,
        max_context=limits.max_context,
        turn_reserve=limits.turn_reserve,
        prompt_template=template,
    )
    episode = Episode(
        play.question,
        rules,
        key=play.episode_key,
        noise_probability=play.noise_probability,
        measure=limits.measure,
    )
    play.add_segment(episode.segments[0])
    return episode


async def play_text(play: Play, episode: Episode) -> None:
    """Play with a model whose tokens are not known."""
    while not episode.finished:
        await act(play, episode, str((await play.compose(STOP)).text))


async def act(play: Play, episode: Episode, text: str) -> None:
    """Take the policy's turn in ``episode``, and show what follows from it."""
    num_shown = len(play.pieces)
    request = episode.act(text)
    if request is not None:
        episode.observe(await play.find(request))
    for segment in episode.segments[num_shown:]:
        play.add_segment(segment)


async def play_tokens(play: Play, episode: Episode) -> None:
    """Play with a model in this process, whose tokens stay as they were sampled."""
    assert play.policy is not None and play.policy.encoder is not None
    tokens = TokenEpisode(
        episode, play.policy.encoder, max_turn_tokens=play.options.max_turn_tokens
    )
    while not tokens.finished:
        num_shown = len(play.pieces)
        request = tokens.request
        if isinstance(request, SearchRequest):
            tokens.observe(await play.find(request))
        else:
            context = [Piece(Role.PROMPT, "", token_ids=tuple(request.token_ids))]
            piece = await play.sample(context, request.stop, request.max_tokens)
            tokens.write(piece.token_ids, [0.0] * len(piece.token_ids))
        for segment in episode.segments[num_shown:]:
            play.add_segment(segment)
