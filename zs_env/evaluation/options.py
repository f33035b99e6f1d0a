"""How questions are played: limits, sampling, and what the policy reads. Options of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zs_env.checks import as_integer, as_share, check_choice
from zs_env.prompts import PROMPT, check_prompt_template
from zs_env.settings import ChatTemplate
from zs_env.tokens.chat import CHAT_TEMPLATES, PolicyPrompt

DIALOGUES = ("message", "messages")


@dataclass(frozen=True)
class PlayOptions:
    """Options of playing a question.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value has the wrong type.
    """

    max_turns: int = 5
    """Turns of an episode; the answer's turn counts."""
    top_k: int = 5
    """Documents for each search."""
    document_words: int = 30
    """Words of a document, approximately; it is cut at four times as many."""
    noise: float = 0.0
    """Noise probability: the chance that a search gets noisy documents; real engines ignore it."""
    max_turn_tokens: int = 500
    """Most tokens that the model writes in a turn."""
    max_context: int | None = None
    """Largest length of an episode, in tokens, for models in this process; default: the model's."""
    temperature: float = 0.0
    """Temperature of sampling; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Probability that the likeliest tokens to sample from have together."""
    prompt_template: str = PROMPT
    """Template of the first observation of the method `search`, which must hold `{question}`."""
    policy_prompt: PolicyPrompt | None = None
    """The same as a trained policy reads it, markers of its chat included; a checkpoint has it."""
    dialogue: str = "message"
    """Form of a chat over several turns: `message`, all turns and documents stand in one message of the assistant, which the server must be able to continue; or `messages`, documents come as messages of the user."""  # noqa: E501
    chat_template: ChatTemplate = "auto"
    """Chat template of the model: `auto`, on if it has one; `on`; or `off`, it continues a text."""
    system_prompt: str | None = None
    """System message of the chat; `None` leaves it to the chat template."""
    chat_template_kwargs: Mapping[str, Any] | None = None
    """Variables of the chat template, for models in this process."""

    def __post_init__(self) -> None:
        """Check the values."""
        as_integer("max_turns", self.max_turns, 2)
        for name in ("top_k", "document_words", "max_turn_tokens"):
            as_integer(name, getattr(self, name), 1)
        if self.max_context is not None:
            as_integer("max_context", self.max_context, 1)
        as_share("noise", self.noise)
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"`temperature` must be at least 0, got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1], got {self.top_p}.")
        check_choice("dialogue", self.dialogue, DIALOGUES)
        check_choice("chat_template", self.chat_template, CHAT_TEMPLATES)
        check_prompt_template(self.prompt_template)
