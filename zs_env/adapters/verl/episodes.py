"""The episodes of a process: questions, engine and tokenizer are loaded once for all loops."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zs_env.adapters.task import TrainingTask
from zs_env.settings import TrainerSettings, make_settings

_tasks: dict[tuple[str, int, int, int], tuple[Any, TrainingTask]] = {}


def task_of(
    arguments: Mapping[str, Any], tokenizer: Any, prompt_length: int, response_length: int
) -> TrainingTask:
    """Return the episodes of ``arguments``, the same object for the same arguments.

    verl makes an agent loop for each episode.

    Args:
        arguments: fields of `zs_env.settings.TrainerSettings`, as JSON could hold them.
        tokenizer: tokenizer of the policy.
        prompt_length: most tokens of a prompt.
        response_length: most tokens behind it, documents included.

    Raises:
        ValueError: an argument is out of its range, or a question does not fit into the lengths.
        TypeError: an argument is unknown, or has the wrong type.
        ZeroSearchError: questions, engine or tokenizer cannot be used.
    """
    text = json.dumps(dict(arguments), sort_keys=True)
    key = (text, id(tokenizer), prompt_length, response_length)
    if key not in _tasks:
        task = make_task(arguments, tokenizer, prompt_length, response_length)
        _tasks[key] = (tokenizer, task)  # an id is free again once its object is gone
    return _tasks[key][1]


def make_task(
    arguments: Mapping[str, Any], tokenizer: Any, prompt_length: int, response_length: int
) -> TrainingTask:
    """Make the episodes of ``arguments``; see `task_of`."""
    task = TrainingTask(
        make_settings(TrainerSettings, arguments),
        tokenizer,
        max_context=prompt_length + response_length,
        max_response=response_length,
    )
    longest = task.source.longest_prompt()
    if longest > prompt_length:
        task.close()
        raise ValueError(
            f"the longest question has a prompt of {longest} tokens, and `data.max_prompt_length` "
            f"is {prompt_length}: a question is never cut. Raise it, or leave the question out."
        )
    return task


def what_is_wrong(
    arguments: Mapping[str, Any], tokenizer: Any, prompt_length: int, response_length: int
) -> str | None:
    """Return why this process cannot make the episodes of ``arguments``; None if it can."""
    try:
        task = make_task(arguments, tokenizer, prompt_length, response_length)
        try:
            task.held_out  # noqa: B018  # makes them
        finally:
            task.close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
