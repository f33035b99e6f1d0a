"""Language models in this process, run by transformers, on a CPU or a GPU."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from zs_env.errors import MissingDependencyError, SearchFailure
from zs_env.llm.base import Completion, first_stop
from zs_env.llm.local import LocalLanguageModel, Prompt

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from zs_env.llm.sampling.causal_model import CausalModel
    from zs_env.llm.sampling.draft import Draft
    from zs_env.llm.sampling.generator import Generator
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "A language model in transformers", "transformers", "train"
    ) from error


LONGEST_STOP = 64
"""Tokens at the end of a text among which a stop text is looked for."""


class TransformersLanguageModel(LocalLanguageModel):
    """Causal language model of transformers, which writes the texts of many requests together.

    What the prompts of a batch begin with alike is read once. Each request is sampled with random
    numbers of its own, so its text follows from its seed and prompt, not from the batch. But the
    batch changes the rounding of logits, which can change a text where two tokens are almost
    equally likely. Sampling parameters in the model's ``generation_config.json`` are ignored.

    Args:
        model: folder or hub name of the model.
        device: device, such as ``cpu`` or ``cuda:1``; by default the first GPU if there is one.
        dtype: dtype of the weights, such as ``bfloat16``; ``auto`` keeps the saved one.
        max_length: length of the context, in tokens; by default the model's.
        chat_template_kwargs: additional variables of the chat template, such as
            ``{"enable_thinking": False}``.
        max_batch_size: most requests that are written at the same time.

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
    ) -> None:
        super().__init__(model, chat_template_kwargs, max_batch_size)
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(
                f"`dtype` must be auto or one of torch, such as float32, got {dtype!r}."
            )
        self.dtype = dtype
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.max_length = max_length

    def identity(self) -> dict[str, Any]:
        """Return the model, and how it is loaded and asked."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            "max_length": self.max_length,
            "chat_template_kwargs": self.chat_template_kwargs,
        }

    def _load(self) -> _Model:
        return _Model(self.model, self.device, self.dtype, self.max_length, self.max_batch_size)


class _Model:
    """Weights and tokenizer."""

    def __init__(
        self, path: str, device: str, dtype: str, max_length: int | None, max_batch_size: int
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        model = model.to(device).eval()
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.max_length = max_length or context or sys.maxsize
        self.end_ids: Sequence[int] = _end_ids(model.generation_config, self.tokenizer)
        self._num_slots = max_batch_size
        num_tokens = max(self.tokenizer.get_vocab().values()) + 1
        self._generator = Generator(CausalModel(model, num_tokens))

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | SearchFailure]:
        """Continue prompts; as soon as one has ended, the next takes its slot."""
        written: dict[int, Completion | SearchFailure] = {}
        waiting = deque(enumerate(prompts))
        free = deque(range(self._num_slots))
        under_way: dict[int, Draft] = {}
        while waiting or under_way:
            while free and waiting:
                number, prompt = waiting.popleft()
                under_way[number] = self._begin(prompt, free.popleft())
            try:
                self._generator.step()
            except torch.OutOfMemoryError:
                self._generator.clear()
                failure = SearchFailure(
                    f"{len(under_way)} texts at a time do not fit in the memory of the GPU: lower "
                    "`max_batch_size`."
                )
                written |= dict.fromkeys(under_way, failure)
                free.extend(draft.slot for draft in under_way.values())
                under_way.clear()
            for number, draft in list(under_way.items()):
                if draft.finished:
                    written[number] = self._completion(prompts[number], draft.written)
                    free.append(under_way.pop(number).slot)
        return [written[number] for number in range(len(prompts))]

    def close(self) -> None:
        """Free the weights."""
        del self._generator
        torch.cuda.empty_cache()

    def _begin(self, prompt: Prompt, slot: int) -> Draft:
        """Have the generator begin the answer to ``prompt`` in ``slot``."""
        request = prompt.request
        draft = Draft(
            slot,
            request.seed,
            temperature=request.temperature or 1.0,
            top_p=request.top_p,
            greedy=request.temperature == 0,
        )
        draft.begin(prompt.token_ids, lambda written: self._is_over(prompt, written))
        self._generator.add(draft)
        return draft

    def _is_over(self, prompt: Prompt, written: Sequence[int]) -> bool:
        if written[-1] in self.end_ids or len(written) == prompt.max_tokens:
            return True
        stop = prompt.request.stop
        return bool(stop) and first_stop(self._decode(written[-LONGEST_STOP:]), stop) is not None

    def _completion(self, prompt: Prompt, token_ids: list[int]) -> Completion:
        text = self._decode(token_ids)
        stop = first_stop(text, prompt.request.stop)
        cut = stop is None and token_ids[-1] not in self.end_ids
        if stop is not None:
            text = text[: text.index(stop)]
        return Completion(text, len(prompt.token_ids), len(token_ids), cut, stop, tuple(token_ids))

    def _decode(self, token_ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


def _end_ids(generation_config: GenerationConfig, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a message, in order; some models have several."""
    named = generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return sorted({int(end) for end in [*ids, tokenizer.eos_token_id] if end is not None})
