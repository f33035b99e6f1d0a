"""Language models in this process, run by transformers, on a CPU or a GPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from zs_env.errors import MissingDependencyError, SearchFailure
from zs_env.llm.base import Completion
from zs_env.llm.local import LocalLanguageModel, Prompt

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from zs_env.llm.keyed_sampling import EndOfEachRequest, KeyedSampling
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "A language model in transformers", "transformers", "train"
    ) from error


class TransformersLanguageModel(LocalLanguageModel):
    """Causal language model of transformers, run in padded batches.

    Each request is sampled with a generator of its own, so its text follows from its seed and
    prompt, not from the batch. But the batch changes the rounding of logits, which can change a
    text where two tokens are almost equally likely. Sampling parameters in the model's
    ``generation_config.json`` are ignored.

    Args:
        model: folder or hub name of the model.
        device: device, such as ``cpu`` or ``cuda:1``; by default the first GPU if there is one.
        dtype: dtype of the weights, such as ``bfloat16``; ``auto`` keeps the saved one.
        max_length: length of the context, in tokens; by default the model's.
        chat_template_kwargs: additional variables of the chat template, such as
            ``{"enable_thinking": False}``.
        max_batch_size: most requests of a batch.

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
        self._model: Any = model.to(device).eval()
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self.max_length = max_length or context or sys.maxsize
        self._max_batch_size = max_batch_size
        self._end_ids = _end_ids(self._model.generation_config, self.tokenizer)
        # generate() would take other parameters from it, such as a repetition penalty.
        self._model.generation_config = GenerationConfig()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | SearchFailure]:
        """Continue prompts in batches of about the same length, so that there is little padding."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        written: dict[int, Completion | SearchFailure] = {}
        for start in range(0, len(order), self._max_batch_size):
            chosen = order[start : start + self._max_batch_size]
            batch = self._generate_batch([prompts[i] for i in chosen])
            written.update(zip(chosen, batch, strict=True))
        return [written[i] for i in range(len(prompts))]

    def close(self) -> None:
        """Free the weights."""
        del self._model
        torch.cuda.empty_cache()

    def _generate_batch(self, prompts: Sequence[Prompt]) -> Sequence[Completion | SearchFailure]:
        try:
            return [
                self._completion(prompt, written)
                for prompt, written in zip(prompts, self._sample(prompts), strict=True)
            ]
        except torch.OutOfMemoryError:
            longest = len(prompts[-1].token_ids)  # prompts come in order of length
            failure = SearchFailure(
                f"{len(prompts)} prompts of up to {longest:,} tokens do not fit in the memory of "
                "the GPU: lower `max_batch_size`."
            )
            return [failure] * len(prompts)

    def _sample(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the token ids that continue each prompt, perhaps with more after its end."""
        width = max(len(prompt.token_ids) for prompt in prompts)
        pad_id = self._end_ids[0] if self._end_ids else 0
        padding = [width - len(prompt.token_ids) for prompt in prompts]
        ids = [
            [pad_id] * count + prompt.token_ids
            for count, prompt in zip(padding, prompts, strict=True)
        ]
        mask = [[0] * count + [1] * (width - count) for count in padding]
        device = self._model.device
        output: torch.Tensor = self._model.generate(
            torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=GenerationConfig(
                do_sample=False,  # `KeyedSampling` makes the likeliest token a sample
                max_new_tokens=max(prompt.max_tokens for prompt in prompts),
                eos_token_id=self._end_ids or None,
                pad_token_id=pad_id,
            ),
            logits_processor=[KeyedSampling([prompt.request for prompt in prompts], device)],
            stopping_criteria=[EndOfEachRequest(width, [prompt.max_tokens for prompt in prompts])],
        )
        written: list[list[int]] = output[:, width:].tolist()
        return written

    def _completion(self, prompt: Prompt, written: list[int]) -> Completion:
        """Return the completion: the written tokens up to the first end."""
        token_ids = written[: prompt.max_tokens]
        ends = (place for place, token in enumerate(token_ids, 1) if token in self._end_ids)
        token_ids = token_ids[: next(ends, None)]
        text = self.tokenizer.decode(
            token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Completion(str(text), len(prompt.token_ids), len(token_ids))


def _end_ids(generation_config: GenerationConfig, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a message, in order; some models have several."""
    named = generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return sorted({int(end) for end in [*ids, tokenizer.eos_token_id] if end is not None})
