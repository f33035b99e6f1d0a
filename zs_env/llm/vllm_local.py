"""Language models in this process, run by vLLM."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from zs_env.errors import MissingDependencyError, SearchFailure
from zs_env.llm.base import ChatRequest, Completion
from zs_env.llm.local import LocalLanguageModel, Prompt, whole

try:
    import vllm
    from vllm.platforms import current_platform
    from vllm.sampling_params import StructuredOutputsParams
    from vllm.v1.engine.exceptions import EngineDeadError
except ImportError as error:
    raise MissingDependencyError.for_extra("A language model in vLLM", "vllm", "vllm") from error


class VLLMLanguageModel(LocalLanguageModel["_Engine"]):
    """Model that vLLM runs in its own processes, which end with this one.

    They import the main script, so a script must use the model under
    ``if __name__ == "__main__":``.

    Each request is sampled with its own seed. But the batch changes the rounding of logits, which
    can change a text where two tokens are almost equally likely. Unlike a vLLM server, this ignores
    sampling parameters in the model's ``generation_config.json``.

    Args:
        model: folder or hub name of the model.
        max_model_len: length of the context, in tokens; by default the model's.
        dtype: dtype of weights and activations: ``auto``, ``bfloat16``, ``float32``, …
        tensor_parallel_size: number of GPUs that share the model.
        gpu_memory_utilization: share of each GPU's memory that vLLM takes; by default vLLM's.
        chat_template_kwargs: additional variables of the chat template, such as
            ``{"enable_thinking": False}``.
        sampling_options: additional arguments of ``vllm.SamplingParams``, such as ``{"top_k": 20}``
            or ``{"structured_outputs": {"regex": "..."}}``.
        vllm_options: additional arguments of ``vllm.LLM``.
        max_batch_size: most requests of a batch.
        deadline_s: time limit of a batch, in seconds; vLLM is started again after it.

    Raises:
        TypeError: a sampling option is unknown.
        ValueError: a sampling option has a wrong value, or ``max_batch_size`` or ``deadline_s`` is
            not positive.
    """

    grammars = ("regex", "json")

    def __init__(
        self,
        model: str,
        max_model_len: int | None = None,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        sampling_options: Mapping[str, Any] | None = None,
        vllm_options: Mapping[str, Any] | None = None,
        max_batch_size: int = 256,
        deadline_s: float = 600.0,
    ) -> None:
        super().__init__(model, chat_template_kwargs, max_batch_size)
        if not deadline_s > 0:
            raise ValueError(f"`deadline_s` must be positive, got {deadline_s}.")
        self.deadline_s = deadline_s
        self.sampling_options = dict(sampling_options or {})
        sampling_params(self.sampling_options)
        self.vllm_options = {
            "max_model_len": max_model_len,
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            **(vllm_options or {}),
        }
        if gpu_memory_utilization is not None:
            self.vllm_options["gpu_memory_utilization"] = gpu_memory_utilization

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | SearchFailure]:
        """Continue a batch of chats; see `LocalLanguageModel.complete`."""
        with self._lock:
            loaded, prompts = self._prepare(requests)
            fitting = [prompt for prompt in prompts if isinstance(prompt, Prompt)]
            written = iter(self._generate(loaded, fitting))
            return [next(written) if isinstance(prompt, Prompt) else prompt for prompt in prompts]

    def identity(self) -> dict[str, Any]:
        """Return the model, and how it is loaded and asked."""
        return {
            "model": self.model,
            "chat_template_kwargs": self.chat_template_kwargs,
            **self.sampling_options,
            **self.vllm_options,
        }

    def _load(self) -> _Engine:
        return _Engine(self.model, self.vllm_options, self.sampling_options, self.deadline_s)

    def _generate(
        self, loaded: _Engine, prompts: Sequence[Prompt]
    ) -> Sequence[Completion | SearchFailure]:
        try:
            written = loaded.generate(prompts) if prompts else []
        except BaseException as error:
            # Unfinished prompts would show up among the answers to the next batch.
            self._free()
            if isinstance(error, SearchFailure):
                return [error] * len(prompts)
            raise
        return list(map(whole, prompts, written))


class _Engine:
    """Processes of vLLM."""

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any],
        sampling_options: Mapping[str, Any],
        deadline_s: float,
    ) -> None:
        self._llm = start_vllm(model, options)
        self._sampling_options = sampling_options
        self._deadline_s = deadline_s
        self.tokenizer = self._llm.get_tokenizer()
        config = self._llm.model_config
        self.max_length = config.max_model_len
        ends = config.try_get_generation_config().get("eos_token_id")
        self.end_ids: Sequence[int] = (
            ends if isinstance(ends, list) else [] if ends is None else [ends]
        )

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Continue prompts, in a thread: vLLM would wait for a killed process for ever.

        Raises:
            SearchFailure: vLLM has to be started again.
        """
        answers: list[list[Completion] | BaseException] = []
        ask = threading.Thread(target=self._ask, args=(prompts, answers), daemon=True)
        ask.start()
        ask.join(self._deadline_s)
        if not answers:
            raise SearchFailure(f"vLLM has not answered within {self._deadline_s:g} s.")
        [answer] = answers
        if isinstance(answer, EngineDeadError):
            raise SearchFailure(f"vLLM has died: {answer}") from answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End the processes."""
        self._llm.llm_engine.engine_core.shutdown()

    def _ask(self, prompts: Sequence[Prompt], answers: list[Any]) -> None:
        """Append the completions of ``prompts`` to ``answers``, or the error that was raised."""
        try:
            token_ids = [{"prompt_token_ids": prompt.token_ids} for prompt in prompts]
            params = [self._params_of(prompt) for prompt in prompts]
            outputs = self._llm.generate(token_ids, params, use_tqdm=False)
            answers.append([_completion(output) for output in outputs])
        except BaseException as error:
            answers.append(error)

    def _params_of(self, prompt: Prompt) -> vllm.SamplingParams:
        request = prompt.request
        grammar = request.grammar
        return sampling_params(
            {
                "structured_outputs": grammar and {grammar.kind: grammar.text},
                "seed": request.seed,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "max_tokens": prompt.max_tokens,
                "stop": list(request.stop),
                "stop_token_ids": list(request.end_ids),
                "skip_special_tokens": not request.stop,  # a tag may be one
                **self._sampling_options,
            }
        )


def start_vllm(model: str, options: Mapping[str, Any]) -> vllm.LLM:
    """Start vLLM in processes of its own.

    Args:
        model: folder or hub name of the model.
        options: further arguments of ``vllm.LLM``.
    """
    # A fork would copy the locks that other threads of this process hold.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if current_platform.is_cpu():
        # Chunked prefill with seeds, which every request has, ends vLLM 0.32 on a CPU with "CPU
        # Generator does not use offset".
        options = {"enable_chunked_prefill": False, **options}
    return vllm.LLM(model=model, **options)


def sampling_params(options: Mapping[str, Any]) -> vllm.SamplingParams:
    """Make vLLM's parameters from ``options``; ``structured_outputs`` may be a dict."""
    structured = options.get("structured_outputs")
    if isinstance(structured, Mapping):
        options = {**options, "structured_outputs": StructuredOutputsParams(**structured)}
    return vllm.SamplingParams(**options)


def _completion(output: vllm.RequestOutput) -> Completion:
    [written] = output.outputs
    stop = written.stop_reason  # a text, or the id of a token
    return Completion(
        written.text,
        len(output.prompt_token_ids or ()),
        len(written.token_ids),
        written.finish_reason == "length",
        written.finish_reason == "stop" and not isinstance(stop, str),
        stop if isinstance(stop, str) else None,
        tuple(written.token_ids),
    )
