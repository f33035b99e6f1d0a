"""The prompt as a policy reads it: in its chat template, or behind its begin-of-text token."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.actions import THINK
from zs_env.checks import check_choice
from zs_env.errors import TokenizerError
from zs_env.prompts import QUESTION_FIELD, check_prompt_template

CHAT_TEMPLATES = ("auto", "on", "off")
RESERVED = (
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "messages",
    "return_dict",
    "return_tensors",
    "tokenize",
)
"""Arguments of ``apply_chat_template`` that `render` sets, or that would change what it returns."""

_OPENED_THOUGHT = re.compile(rf"<{THINK}>\s*\Z")

Message = dict[str, str]


@dataclass(frozen=True)
class PolicyPrompt:
    """Prompt template as a policy reads it.

    Attributes:
        template: text from the first token on, markers of the chat included; holds ``{question}``.
        chat: whether it is in the chat template of the tokenizer.
    """

    template: str
    chat: bool


def policy_prompt(
    tokenizer: Any,
    template: str,
    *,
    chat_template: str = "auto",
    system_prompt: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    asks_question: bool = True,
) -> PolicyPrompt:
    """Return ``template`` as the policy of ``tokenizer`` reads it.

    A chat model reads it as the message of a user, and writes its turns, with the documents between
    them, in one message of the assistant, which the returned text begins. Any other model reads it
    behind the begin-of-text token, if the tokenizer writes one.

    A thought that the chat template has opened for the model is left out: the model opens it
    itself, and learns to. One that it has opened and closed (``enable_thinking=False``) stays.

    Args:
        tokenizer: tokenizer of the policy.
        template: prompt template, which holds ``{question}``.
        chat_template: ``auto`` for a chat if the tokenizer has a chat template, ``on`` or ``off``.
        system_prompt: system message; None leaves it to the chat template.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.
        asks_question: whether ``template`` must hold ``{question}``.

    Raises:
        ValueError: an option is wrong, or needs a chat and there is none.
        TokenizerError: the chat template cannot take the messages, or changes the prompt.
    """
    if asks_question:
        check_prompt_template(template)
    check_choice("chat_template", chat_template, CHAT_TEMPLATES)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if chat_template == "on" and not has_template:
        raise ValueError(
            "`chat_template` is 'on', and the tokenizer has no chat template: choose an instruct "
            "model, put a chat_template.jinja beside its tokenizer, or choose 'off'."
        )
    variables = _check_names(chat_template_kwargs)
    if chat_template == "off" or not has_template:
        refuse_chat_options(system_prompt, variables, "there is no chat here")
        return PolicyPrompt(_begin_of_text(tokenizer, template) + template, chat=False)
    _check_known(tokenizer, variables)
    return PolicyPrompt(_in_chat(tokenizer, template, system_prompt, variables), chat=True)


def refuse_chat_options(
    system_prompt: str | None, chat_template_kwargs: Mapping[str, Any] | None, why: str
) -> None:
    """Refuse options of a chat where there is none.

    Raises:
        ValueError: one is given; the message names it.
    """
    for name, value in (
        ("system_prompt", system_prompt),
        ("chat_template_kwargs", chat_template_kwargs),
    ):
        if value is not None and value != {}:
            raise ValueError(
                f"`{name}` needs a tokenizer with a chat template, and `chat_template` 'auto' or "
                f"'on': {why}. Leave it out."
            )


def render(tokenizer: Any, messages: Sequence[Message], **variables: Any) -> str:
    """Return the text of ``messages`` in the chat template of ``tokenizer``."""
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, **variables)
    return text


def _in_chat(
    tokenizer: Any, template: str, system_prompt: str | None, variables: Mapping[str, Any]
) -> str:
    body = template.strip()  # the markers of the chat stand where its last line break did
    messages = [{"role": "user", "content": body}]
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    variables = {**variables, "add_generation_prompt": True}
    try:
        text = render(tokenizer, system + messages, **variables)
    except Exception as error:  # templates are programs, which raise what they like
        raise TokenizerError(_why_refused(tokenizer, messages, system, variables, error)) from error
    if text.count(body) != 1:
        raise TokenizerError(
            f"the chat template must show the prompt once, unchanged, and shows it "
            f"{text.count(body)} times: repair the template, or set `chat_template` to 'off'."
        )
    if (system_prompt or "").strip() not in text:
        raise TokenizerError(
            "`system_prompt` does not appear in what the chat template makes of it: leave it out, "
            "and put its text into `prompt_template`."
        )
    asked = sum(message["content"].count(QUESTION_FIELD) for message in system + messages)
    if text.count(QUESTION_FIELD) != asked:
        raise TokenizerError(
            f"the chat template itself holds {QUESTION_FIELD}, which stands for the question in a "
            "prompt: repair the template, or set `chat_template` to 'off'."
        )
    return _OPENED_THOUGHT.sub("", text)


def _why_refused(
    tokenizer: Any,
    messages: Sequence[Message],
    system: Sequence[Message],
    variables: Mapping[str, Any],
    error: Exception,
) -> str:
    if system:
        try:
            render(tokenizer, messages, **variables)
        except Exception as other:
            error = other
        else:
            return (
                f"`system_prompt`: the chat template takes no system message ({error}). Leave it "
                "out, and put its text into `prompt_template`."
            )
    return (
        f"the chat template cannot render the prompt as a user's message: {error}. Set what it "
        "needs in `chat_template_kwargs`, repair the template, or set `chat_template` to 'off'."
    )


def check_variables(tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None) -> None:
    """Check that the chat template of ``tokenizer`` has the variables ``chat_template_kwargs``.

    Raises:
        TypeError: they are no mapping of names to values.
        ValueError: the template has no such variable, or the program sets it.
    """
    _check_known(tokenizer, _check_names(chat_template_kwargs))


def _check_names(variables: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise TypeError(
            "`chat_template_kwargs` must be a mapping of names to values, as in "
            f'{{"enable_thinking": False}}, got {variables!r}.'
        )
    if taken := sorted(set(variables) & set(RESERVED)):
        raise ValueError(
            f"`chat_template_kwargs` holds variables of the chat template, and {', '.join(taken)} "
            "is set by the program: leave it out."
        )
    return variables


def _check_known(tokenizer: Any, variables: Mapping[str, Any]) -> None:
    template = str(tokenizer.chat_template)
    for name in variables:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ValueError(
                f"`chat_template_kwargs`: the chat template has no variable {name!r}, so it would "
                "have no effect. Correct its name, or leave it out."
            )


def _begin_of_text(tokenizer: Any, template: str) -> str:
    """Return the begin-of-text token, if the tokenizer writes one and ``template`` does not."""
    start = getattr(tokenizer, "bos_token", None)
    if start is None or template.startswith(start):
        return ""
    begins = tokenizer.encode("", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    return str(start) if begins else ""
