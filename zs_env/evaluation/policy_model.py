"""A language model as the policy: how it reads an unfinished transcript, and goes on with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from zs_env.episode import Role
from zs_env.errors import ContextExceeded, SearchFailure
from zs_env.evaluation.options import PlayOptions
from zs_env.llm import ChatRequest, Completion, LanguageModel, Message
from zs_env.llm.local import LocalLanguageModel
from zs_env.prompts import QUESTION_FIELD
from zs_env.rules import Limits
from zs_env.tokens.chat import PolicyPrompt, policy_prompt
from zs_env.tokens.encoder import TextEncoder

MAX_CONTEXT_CHARS = 2**17
"""Largest length of a transcript whose tokens cannot be counted, in characters."""

RESERVED_CHARS = 2**12
"""Characters of it that are kept free for a turn."""

MOST_CONTEXT_TOKENS = 2**15
"""Largest length of a transcript, in tokens, for models with a longer context."""


class Piece(NamedTuple):
    """A stretch of the transcript with one author; ``token_ids`` are what a model wrote in it."""

    role: Role
    text: str
    noisy: bool = False
    token_ids: tuple[int, ...] = ()


class ModelFailure(SearchFailure):
    """The model of the policy gave up on a request."""


class TranscriptTooLong(Exception):
    """The transcript does not fit the context of the policy: its own doing, and no failure."""


class PolicyModel:
    """The policy LLM and how it is asked.

    A model in this process continues the token ids of the transcript: what it sampled is never
    encoded again, and no text of others becomes a special token. Any other model is asked in a
    chat, or continues a plain text (``chat_template="off"``, and checkpoints).

    Args:
        llm: the model.
        options: options of the run.

    Attributes:
        llm: the model.
        encoder: encoder of its tokens, for models in this process; None before `check`, and for
            others.
    """

    def __init__(self, llm: LanguageModel, options: PlayOptions) -> None:
        self.llm = llm
        self.encoder: TextEncoder | None = None
        self._options = options
        self._max_length = MAX_CONTEXT_CHARS
        self._prompts: dict[str, PolicyPrompt] = {}

    def check(self) -> None:
        """Check that the model can be used; load it if it runs in this process.

        Raises:
            ServiceError: it cannot be used.
            ValueError: an option of the chat has no effect on it.
        """
        if isinstance(self.llm, LocalLanguageModel):
            loaded = self.llm.load()
            self.encoder = TextEncoder(loaded.tokenizer, loaded.end_ids)
            self._max_length = min(loaded.max_length, MOST_CONTEXT_TOKENS)
        else:
            self._check_options()
            self.llm.check()

    def _check_options(self) -> None:
        options = self._options
        if options.policy_prompt is None and options.chat_template_kwargs:
            raise ValueError(
                "`chat_template_kwargs` is for models in this process. A server takes it in the "
                'options of its model: {"name": "openai_api", …, "extra_body": '
                '{"chat_template_kwargs": {…}}}.'
            )
        if options.chat_template == "off" and options.system_prompt is not None:
            raise ValueError("`system_prompt` needs a chat, and `chat_template` is 'off'.")

    @property
    def limits(self) -> Limits:
        """Limits of an episode: in tokens, if they can be counted."""
        if self.encoder is None:
            return Limits(MAX_CONTEXT_CHARS, RESERVED_CHARS)
        return Limits(
            max_context=self._options.max_context or self._max_length,
            turn_reserve=self._options.max_turn_tokens,
            max_action_chars=sys.maxsize,
            measure=self.encoder,
        )

    def prompt(self, template: str) -> str:
        """Return ``template`` as the model reads it: in its chat template, where that is ours."""
        if self.encoder is None:
            return template
        options = self._options
        if template not in self._prompts:
            self._prompts[template] = policy_prompt(
                self.encoder.tokenizer,
                template,
                chat_template=options.chat_template,
                system_prompt=options.system_prompt,
                chat_template_kwargs=options.chat_template_kwargs,
                asks_question=False,  # a prompt apart may be about documents alone
            )
        return self._prompts[template].template

    async def write(
        self, pieces: Sequence[Piece], *, stop: Sequence[str], seed: int, max_tokens: int
    ) -> Completion:
        """Have the model continue the transcript.

        Args:
            pieces: the transcript; it begins with the prompt.
            stop: texts that end what it writes.
            seed: seed of sampling.
            max_tokens: most tokens to write.

        Returns:
            What it wrote, without the transcript.

        Raises:
            ModelFailure: it gave up.
            TranscriptTooLong: its context does not hold the transcript.
        """
        sampling: dict[str, Any] = {
            "seed": seed,
            "temperature": self._options.temperature,
            "top_p": self._options.top_p,
            "max_tokens": max_tokens,
            "stop": tuple(stop),
        }
        request = self._request(pieces, sampling)
        try:
            completion = await self.llm.acomplete(request)
        except ContextExceeded as failure:
            raise TranscriptTooLong(str(failure)) from None
        except SearchFailure as failure:
            # The hint is that of an engine with a simulation LLM.
            said = str(failure).replace("leave out `prefill`", "choose `dialogue` 'messages'")
            raise ModelFailure(said) from None
        # A server may repeat what was begun, or leave it out.
        return replace(completion, text=completion.text.removeprefix(request.prefill))

    def _request(self, pieces: Sequence[Piece], sampling: dict[str, Any]) -> ChatRequest:
        if self.encoder is not None:
            ends = self.encoder.end_ids  # those of training
            return ChatRequest((), end_ids=ends, token_ids=self._token_ids(pieces), **sampling)
        text = "".join(piece.text for piece in pieces)
        if self._is_trained_prompt(text):
            return ChatRequest((), prefill=text, special_tokens=False, **sampling)
        if self._options.chat_template == "off":
            return ChatRequest((), prefill=text, **sampling)
        system = self._options.system_prompt
        messages = [] if system is None else [Message("system", system)]
        messages.append(Message("user", str(pieces[0].text).strip()))
        if self._options.dialogue == "messages":
            messages += _as_messages(pieces[1:])
            return ChatRequest(tuple(messages), **sampling)
        # Chat templates may strip a message, so a begun one must not end in a blank.
        begun = "".join(piece.text for piece in pieces[1:]).rstrip()
        return ChatRequest(tuple(messages), prefill=begun, **sampling)

    def _is_trained_prompt(self, text: str) -> bool:
        """Return whether ``text`` begins as what a checkpoint was trained to read."""
        trained = self._options.policy_prompt
        return trained is not None and text.startswith(trained.template.split(QUESTION_FIELD)[0])

    def _token_ids(self, pieces: Sequence[Piece]) -> tuple[int, ...]:
        assert self.encoder is not None
        ids: list[int] = []
        for piece in pieces:
            ids += piece.token_ids or self.encoder.encode(piece.text)
        return tuple(ids)


def _as_messages(pieces: Sequence[Piece]) -> list[Message]:
    """Return the turns as messages of the assistant, and what stands between them as the user's."""
    messages: list[Message] = []
    for piece in pieces:
        role = "assistant" if piece.role is Role.POLICY else "user"
        if messages and messages[-1].role == role:
            messages[-1] = Message(role, messages[-1].content + piece.text)
        else:
            messages.append(Message(role, str(piece.text)))
    return [Message(role, text.strip()) for role, text in messages]
