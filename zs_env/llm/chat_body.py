"""Body of a request to an OpenAI-compatible server."""

from __future__ import annotations

import json
from typing import Any

from zs_env.llm.base import ChatRequest, Grammar

CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
"""Fields that let vLLM and SGLang continue the last message instead of beginning another."""


def chat_body(model: str, request: ChatRequest) -> dict[str, Any]:
    """Return the body that asks ``model`` to answer ``request``."""
    return {
        "model": model,
        **_context_fields(request),
        "seed": request.seed,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        **({"stop": list(request.stop)} if request.stop else {}),
        **(_grammar_fields(request.grammar) if request.grammar else {}),
    }


def _context_fields(request: ChatRequest) -> dict[str, Any]:
    if not request.messages:
        # A field of vLLM and SGLang, without which they add begin-of-text.
        plain = {} if request.special_tokens else {"add_special_tokens": False}
        return {"prompt": _encodable(request.prefill), **plain}
    begun = [("assistant", request.prefill)] if request.prefill else []
    messages = [
        {"role": role, "content": _encodable(content)}
        for role, content in (*request.messages, *begun)
    ]
    return {"messages": messages, **(CONTINUE if begun else {})}


def _encodable(text: str) -> str:
    """Return ``text`` without lone surrogates, which would make the request fail."""
    return text.encode(errors="replace").decode()


def refusal_hint(request: ChatRequest) -> str:
    """Return what to do if a server refuses the fields that not all servers know, or ""."""
    hints = []
    if request.prefill:
        fields = " and ".join(f"`{field}`" for field in CONTINUE)
        hints.append(f" If the server does not know {fields}, leave out `prefill`.")
    if request.grammar:
        [field] = _grammar_fields(request.grammar)
        hints.append(f" If the server does not know `{field}`, leave out `grammar`.")
    return "".join(hints)


def _grammar_fields(grammar: Grammar) -> dict[str, Any]:
    """Return the field of vLLM (0.11 or later) for a regular expression, or OpenAI's for JSON."""
    if grammar.kind == "regex":
        return {"structured_outputs": {"regex": grammar.text}}
    schema = {"name": "documents", "strict": True, "schema": json.loads(grammar.text)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
