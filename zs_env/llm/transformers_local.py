"""Language models in this process, run by transformers, on a CPU or a GPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from typing import Any

from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, in_thread
from zs_env.concurrency.mailbox import wait_for_thread
from zs_env.errors import MissingDependencyError, SearchFailure
from zs_env.llm.base import ChatRequest, Completion, first_stop
from zs_env.llm.bundled import find_model, model_identity
from zs_env.llm.local import LocalLanguageModel, Prompt, whole

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from zs_env.llm.sampling.causal_model import CausalModel
    from zs_env.llm.sampling.draft import Draft
    from zs_env.llm.sampling.generator import Generator
    from zs_env.llm.sampling.worker import Job, Worker
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "A language model in transformers", "transformers", "train"
    ) from error


LONGEST_STOP = 64
"""Tokens at the end of a text among which a stop text is looked for."""

_Answer = Future[Completion | SearchFailure | BaseException]
"""The text of a request, or why there is none; see `Job.answer`."""


class TransformersLanguageModel(LocalLanguageModel["_Model"]):
    """Causal language model of transformers, which writes the texts of many requests together.

    There are no batches to wait for: a request begins as soon as one of ``max_batch_size`` texts
    has ended. What prompts that come together begin with alike is read once, and so is what a
    prompt has in common with an earlier text: the turns of a conversation read only what is new.

    Each request is sampled with random numbers of its own, so its text follows from its seed and
    prompt, not from the other requests. But these change the rounding of logits, which can change
    a text where two tokens are almost equally likely. Sampling parameters in the model's
    ``generation_config.json`` are ignored.

    Args:
        model: folder or hub name of the model, or ``world``, the bundled simulation LLM.
        device: device, such as ``cpu`` or ``cuda:1``; by default the first GPU if there is one.
        dtype: dtype of the weights, such as ``bfloat16``; ``auto`` keeps the saved one.
        max_length: length of the context, in tokens; by default the model's.
        chat_template_kwargs: additional variables of the chat template, such as
            ``{"enable_thinking": False}``.
        max_batch_size: most requests that are written at the same time; the cache keeps the
            contexts of as many.
        base: folder or hub name of the model that the adapters in ``model`` are of; by default
            the one that they name.

    Raises:
        ValueError: ``dtype`` is unknown, or ``max_batch_size`` is not positive.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        dtype: str = "auto",
        max_length: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        max_batch_size: int = 64,
        base: str | None = None,
    ) -> None:
        super().__init__(model, chat_template_kwargs, max_batch_size)
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(
                f"`dtype` must be auto or one of torch, such as float32, got {dtype!r}."
            )
        self.dtype = dtype
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.max_length = max_length
        self.base = base

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | SearchFailure]:
        """Continue chats; see `LocalLanguageModel.complete`."""
        answers = self._begin(requests)
        try:
            outcomes = [answer.result() for answer in answers]
        except BaseException:  # an interrupt of the caller
            for answer in answers:
                answer.cancel()
            raise
        return [_checked(outcome) for outcome in outcomes]

    @property
    def contrasts(self) -> bool:  # type: ignore[override]
        """Whether it honours `ChatRequest.contrast`, which takes the room of two requests."""
        return self.max_batch_size > 1

    def identity(self) -> dict[str, Any]:
        """Return the model, and how it is loaded and asked."""
        return {
            "model": model_identity(self.model),
            "dtype": self.dtype,
            "max_length": self.max_length,
            "chat_template_kwargs": self.chat_template_kwargs,
            **({} if self.base is None else {"base": self.base}),  # records older than it hold
        }

    def _load(self) -> _Model:
        place = find_model(self.model)
        model = _load_weights(place, self.base, self.dtype).to(self.device).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
        return _Model(model, tokenizer, self.max_length, self.max_batch_size)

    def _load_once(self) -> _Model:
        if self._loaded is not None and self._loaded.worker.error is not None:
            self._free()
        return super()._load_once()

    def _begin(self, requests: Sequence[ChatRequest]) -> list[_Answer]:
        """Have the worker write the texts of ``requests``."""
        with self._lock:
            loaded, prompts = self._prepare(requests)
            return loaded.begin(prompts)

    async def _collect(self, request: ChatRequest) -> Completion:
        answer = await self._beginnings.get()(request)
        outcome = _checked(await wait_for_thread(answer))
        if isinstance(outcome, SearchFailure):
            raise outcome
        return outcome

    @cached_property
    def _beginnings(self) -> PerLoop[Batcher[ChatRequest, _Answer]]:
        return PerLoop(self._make_beginner)

    def _make_beginner(self) -> Batcher[ChatRequest, _Answer]:
        async def begin(requests: Sequence[ChatRequest]) -> list[_Answer]:
            return await in_thread(self._begin, requests)  # it may have to load the model

        return Batcher(begin, max_size=self.max_batch_size, max_in_flight=1)


class _Model:
    """Weights and tokenizer."""

    def __init__(
        self, model: Any, tokenizer: Any, max_length: int | None, max_batch_size: int
    ) -> None:
        self.tokenizer = tokenizer
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.max_length = max_length or context or sys.maxsize
        self.end_ids: Sequence[int] = _end_ids(model.generation_config, self.tokenizer)
        num_tokens = max(self.tokenizer.get_vocab().values()) + 1
        generator = Generator(CausalModel(model, num_tokens))
        self.worker: Worker[Completion | SearchFailure] = Worker(generator, max_batch_size)

    def begin(self, prompts: Sequence[Prompt | SearchFailure]) -> list[_Answer]:
        """Have the worker continue prompts; a failure is its own answer."""
        answers: list[_Answer] = []
        jobs = []
        for prompt in prompts:
            if isinstance(prompt, Prompt):
                jobs.append(self._job(prompt))
                answers.append(jobs[-1].answer)
            else:
                answers.append(Future())
                answers[-1].set_result(prompt)
        self.worker.submit(jobs)
        return answers

    def close(self) -> None:
        """Free the weights, after all texts have ended."""
        self.worker.join()
        del self.worker
        torch.cuda.empty_cache()

    def _job(self, prompt: Prompt) -> Job[Completion | SearchFailure]:
        contrast = None
        if prompt.request.contrast is not None and prompt.contrast is not None:
            contrast = prompt.contrast, prompt.request.contrast.weight
        return Job(
            prompt.token_ids,
            partial(_draft, prompt.request),
            partial(self._is_over, prompt),
            lambda written: whole(prompt, self._completion(prompt, written)),
            contrast,
        )

    def _is_over(self, prompt: Prompt, written: Sequence[int]) -> bool:
        if self._ends(prompt, written[-1]) or len(written) == prompt.max_tokens:
            return True
        stop = prompt.request.stop
        if not stop:
            return False
        return first_stop(self._decode(prompt, written[-LONGEST_STOP:]), stop) is not None

    def _ends(self, prompt: Prompt, token: int) -> bool:
        return token in self.end_ids or token in prompt.request.end_ids

    def _completion(self, prompt: Prompt, token_ids: list[int]) -> Completion:
        ended = self._ends(prompt, token_ids[-1])
        # Without `stop`, special tokens are left out, and any other end is part of the text.
        is_apart = ended and bool(prompt.request.stop)
        text = self._decode(prompt, token_ids[:-1] if is_apart else token_ids)
        stop = first_stop(text, prompt.request.stop)
        if stop is not None:
            text = text[: text.index(stop)]
        # What a text is contrasted with reads its own prompt, and all that is written.
        contrast = 0 if prompt.contrast is None else len(prompt.contrast) + len(token_ids)
        return Completion(
            text,
            len(prompt.token_ids) + contrast,
            len(token_ids),
            stop is None and not ended,
            ended,
            stop,
            tuple(token_ids),
        )

    def _decode(self, prompt: Prompt, token_ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            list(token_ids),
            skip_special_tokens=not prompt.request.stop,  # a tag may be one
            clean_up_tokenization_spaces=False,
        )
        return str(text)


def _load_weights(path: str, base: str | None, dtype: str) -> Any:
    """Load the model in ``path``, or ``base`` with the adapters in ``path``."""
    model: Any = AutoModelForCausalLM.from_pretrained(base or path, dtype=dtype)
    if base is None:
        return model
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingDependencyError.for_extra("`base`", "peft", "lora") from error
    return PeftModel.from_pretrained(model, path)


def _draft(request: ChatRequest, slot: int, cached: Sequence[int]) -> Draft:
    return Draft(
        slot,
        request.seed,
        temperature=request.temperature or 1.0,
        top_p=request.top_p,
        greedy=request.temperature == 0,
        cached=cached,
    )


def _checked(outcome: Completion | SearchFailure | BaseException) -> Completion | SearchFailure:
    """Return ``outcome``, or raise the error that it is."""
    if isinstance(outcome, Completion | SearchFailure):
        return outcome
    raise outcome


def _end_ids(generation_config: GenerationConfig, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a message, in order; some models have several."""
    named = generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return sorted({int(end) for end in [*ids, tokenizer.eos_token_id] if end is not None})
