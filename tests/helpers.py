"""What several tests share: engines that do one odd thing, and policies without a model."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from zs_env import (
    Document,
    Episode,
    Question,
    SearchEngine,
    SearchFailure,
    SearchRequest,
    SearchResult,
)
from zs_env.engines import checked_search, load_engine
from zs_env.keyed_random import Stream
from zs_env.world import Fact, World

QUESTION = Question("q", "Where was Ada Blake born?", ("Jarrow Corvale",))


def search(query: str) -> str:
    """A turn that searches."""
    return f"<think>hm</think><search>{query}</search>"


def answer(text: str) -> str:
    """A turn that answers."""
    return f"<think>aha</think><answer>{text}</answer>"


def end_while_waiting(program: str, number: int, is_waiting: Callable[[], bool]) -> str:
    """Run ``program`` until it has printed "waits" and waits, send it a signal; what it wrote last.

    It must end within half a minute, by that signal.
    """
    # Under a shell that runs tests in the background, SIGINT would be ignored.
    start = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-c", start + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "waits\n"
            while not is_waiting():
                time.sleep(0.01)
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == -number, errors
    return errors


def free_port() -> int:
    """Return a port that nothing listens on, and that is given only to a program that names it.

    One that the system chose could be given to another test that runs at the same time.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # Linux chooses from 32,768 on
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def all_facts(world: World) -> Iterator[Fact]:
    """Return every fact of ``world``, by subject."""
    for entity in range(world.num_entities):
        yield from world.facts_of(entity)


class ByteTokenizer:
    """A token for each byte of a text, and one for its end."""

    eos_token_id = 256

    def __len__(self) -> int:
        return 257

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return [*text.encode(), *([self.eos_token_id] if add_special_tokens else [])]

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token for token in token_ids if token < 256).decode(errors="replace")


@cache
def bpe_tokenizer(*added: str) -> Any:
    """A tokenizer of transformers whose tokens cross the borders of tags; ``added`` are tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = ("birthplace of Ada Blake", "Jarrow Corvale", "I need the fact.")
    texts = [search(text) + answer(text) for text in words]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["[end]"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts * 20, trainer)
    tokenizer.add_tokens([*added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="[end]", clean_up_tokenization_spaces=False
    )


class FixedEngine(SearchEngine):
    """Gives every request the same result, and keeps the requests and the sizes of batches."""

    def __init__(self, *texts: str, failure: str | None = None) -> None:
        self.result = SearchResult(
            tuple(Document(text) for text in texts),
            SearchFailure(failure) if failure else None,
        )
        self.requests: list[SearchRequest] = []
        self.batch_sizes: list[int] = []

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        self.requests += requests
        self.batch_sizes.append(len(requests))
        return [self.result] * len(requests)


class MoodyEngine(SearchEngine):
    """The engine of the world, of which one search in eight fails, always the same ones."""

    def __init__(self) -> None:
        self._engine = load_engine("world")

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return [
            SearchResult(failure=SearchFailure("no luck")) if request.key % 8 == 0 else result
            for request, result in zip(requests, self._engine.search(requests), strict=True)
        ]


class EchoEngine(SearchEngine):
    """Writes down what it was asked: any mix-up of requests shows in the transcript."""

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return [
            SearchResult(
                (Document(f"{r.query} / {r.question} / {r.noisy} {r.turn} {r.key % 1000}"),)
            )
            for r in requests
        ]


def mixed_policy(observation: str) -> str:
    """Searches, answers, and errs, as the observation has it: the same text, the same turn."""
    draw = Stream("policy", observation)
    words = observation.replace("?", " ").split()[-12:]
    turns: list[str] = [
        search(" ".join(draw.shuffled(words)[:4])),
        search("birthplace of Ada Blake"),
        answer(" ".join(words[-2:])),
        "I do not know what to do.",
        "<search></search>",
        search("first") + answer("second"),
    ]
    return draw.choice(turns)


def play(episode: Episode, policy: Callable[[str], str], engine: SearchEngine) -> Episode:
    """Drive one episode to its end."""
    while not episode.finished:
        request = episode.act(policy(episode.transcript))
        if request is not None:
            episode.observe(checked_search(engine, [request])[0])
    return episode


SMALL_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
"""Sizes of a model of two layers, as most families of transformers call them."""


def tiny_model(folder: Path, tokenizer: Any, **changes: Any) -> Path:
    """A random Llama of a few thousand weights with ``tokenizer``, saved to ``folder``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    options = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    LlamaForCausalLM(LlamaConfig(**{**options, **changes})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def program_that_serves(*command):
    """The process of a server that ``command`` starts, and the address that it prints."""
    root, pipe = Path(__file__).parent.parent, subprocess.PIPE
    with subprocess.Popen(
        list(map(str, command)), cwd=root, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving at http://127.0.0.1:"), line or process.stderr.read()
            yield process, line.removeprefix("serving at ").strip()
        finally:
            process.kill()
