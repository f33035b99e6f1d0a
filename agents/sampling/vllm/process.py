"""vLLM in processes of this program, on the same GPU; it sleeps while the learner works."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import torch

from agents.sampling.errors import SamplerError
from agents.sampling.vllm.requests import Answer
from agents.sampling.vllm.sampler import Asked
from agents.sampling.vllm.weights import Weights
from zs_env.errors import MissingDependencyError

T = TypeVar("T")

LOOK_S = 1.0
"""Seconds between looks at whether vLLM's processes are alive."""

GRACE_S = 10.0
"""Seconds that vLLM has to say itself that one of them died."""


class VLLMProcess:
    """vLLM, started by this program. The main script must be guarded by ``__name__``.

    Args:
        model: folder or hub name of the model, or of the base model of adapters.
        options: arguments of ``vllm.LLM``.
        timeout_s: longest time to wait for an answer, a transfer or the start, in seconds.
        on_gpu: whether it shares a GPU with the learner.
    """

    def __init__(
        self, model: str, options: Mapping[str, Any], timeout_s: float, *, on_gpu: bool
    ) -> None:
        self._model = model
        self._options = options
        self._timeout_s = timeout_s
        self._on_gpu = on_gpu
        self._asleep = False
        self._under_way: dict[str, int] = {}
        self._count = 0
        self._adapter: Any = None
        self._vllm: Any = None
        self._engine: Any = None
        self._work: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]] = SimpleQueue()

    def start(self) -> None:
        """Start the processes and load the model."""
        try:
            import vllm

            from zs_env.llm.vllm_local import start_vllm
        except ImportError as error:
            raise MissingDependencyError.for_extra(
                "`sampler` 'vllm' without `sampler_url`", "vllm", "vllm"
            ) from error
        self._vllm = vllm
        threading.Thread(target=self._serve, name="vllm", daemon=True).start()
        options = {"enable_sleep_mode": self._on_gpu, **self._options}
        self._engine = self._call(lambda: start_vllm(self._model, options).llm_engine)

    def send(self, requests: Sequence[Asked]) -> None:
        """Add the requests."""
        if requests:
            self._call(lambda: self._add(requests))

    def receive(self) -> list[tuple[int, Answer]]:
        """Compute until at least one turn has ended."""
        return [
            (self._under_way.pop(name), answer)
            for name, answer in self._call(self._step)
            if name in self._under_way
        ]

    def cancel(self) -> None:
        """Abort the requests."""
        names = [*self._under_way]
        self._under_way.clear()
        if self._alive():
            self._call(lambda: self._engine.abort_request(names))

    def probe(self, token_ids: Sequence[int], options: dict[str, Any]) -> list[tuple[str, Answer]]:
        """Ask and wait."""
        self.send([Asked(0, 0, token_ids, options)])
        [(_, answer)] = self.receive()
        return [("vLLM", answer)]

    def load(self, weights: Weights) -> None:
        """Load weights, or adapters under a new id."""
        if weights.is_adapter:
            from vllm.lora.request import LoRARequest

            self._adapter = LoRARequest(weights.name, weights.number, str(weights.folder))
            return
        path = {"weights_path": str(weights.folder)}
        self._call(lambda: self._engine.collective_rpc("reload_weights", kwargs=path))
        self._call(lambda: self._engine.reset_prefix_cache())

    def sleep(self) -> None:
        """Move the weights to the CPU's memory, and free the cache; a CPU has nothing to free."""
        if self._on_gpu and not self._asleep:
            self._call(lambda: self._engine.sleep(level=1))
            self._asleep = True

    def wake(self) -> None:
        """Take the GPU's memory again, which the learner has left."""
        if self._asleep:
            torch.cuda.empty_cache()
            self._call(lambda: self._engine.wake_up())
            self._asleep = False

    def close(self) -> None:
        """End the processes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()

    def _add(self, requests: Sequence[Asked]) -> None:
        from vllm.sampling_params import RequestOutputKind

        for asked in requests:
            name = str(self._count)
            self._count += 1
            self._under_way[name] = asked.place
            params = self._vllm.SamplingParams(
                **asked.options, output_kind=RequestOutputKind.FINAL_ONLY
            )
            prompt = {"prompt_token_ids": [*asked.token_ids]}
            self._engine.add_request(name, prompt, params, lora_request=self._adapter)

    def _step(self) -> list[tuple[str, Answer]]:
        finished: list[tuple[str, Answer]] = []
        while not finished and self._engine.has_unfinished_requests():
            outputs = self._engine.step()
            finished = [(o.request_id, _read_output(o)) for o in outputs if o.finished]
        if not finished:
            raise SamplerError("vLLM has lost requests.")
        return finished

    def _serve(self) -> None:
        """Do the work, in a thread: vLLM might wait for a killed process for ever."""
        # Its processes inherit this: Ctrl-C is for this program, which finishes its update.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while True:
            function, results = self._work.get()
            try:
                results.put((function(), None))
            except BaseException as error:
                results.put((None, error))

    def _call(self, function: Callable[[], T]) -> T:
        results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._work.put((function, results))
        result, error = self._wait(results)
        if error is None:
            return result
        if isinstance(error, SamplerError | TypeError | KeyboardInterrupt):
            raise error
        if self._engine is None:
            raise SamplerError(
                f"vLLM does not start: {error} What it printed above says why. If memory is short, "
                "change `sampler_memory`, or lower `max_context` or `concurrent_episodes`; a model "
                "too large for one GPU belongs to verl, see docs/training.md."
            ) from error
        raise SamplerError(
            f"vLLM has failed: {type(error).__name__}: {error} What it printed above says why. "
            "Go on with --resume; if memory was short, with a lower `sampler_memory` in a new run."
        ) from error

    def _wait(self, results: SimpleQueue[Any]) -> tuple[Any, BaseException | None]:
        waited, dead = 0.0, 0.0
        while waited < self._timeout_s:
            try:
                return results.get(timeout=LOOK_S)
            except Empty:
                waited += LOOK_S
                dead = 0.0 if self._alive() else dead + LOOK_S
                if dead >= GRACE_S:
                    break
        # What still hangs keeps the thread: nothing can be asked any more.
        reason = "has died" if dead else f"has not answered within {self._timeout_s:g} s"
        raise SamplerError(
            f"vLLM {reason}. What it printed above says why; the system's log does, if it ran out "
            "of memory. Go on with --resume."
        )

    def _alive(self) -> bool:
        if self._engine is None:
            return True
        manager = self._engine.engine_core.resources.engine_manager
        return manager is None or all(process.is_alive() for process in manager.processes)


def _read_output(output: Any) -> Answer:
    [written] = output.outputs
    ids = list(written.token_ids)
    log_probs = [entry[token].logprob for token, entry in zip(ids, written.logprobs, strict=True)]
    prompt: list[float] = []
    if output.prompt_logprobs:
        given = list(zip(output.prompt_token_ids, output.prompt_logprobs, strict=True))[1:]
        prompt = [entry[token].logprob for token, entry in given]
    return Answer(ids, log_probs, prompt)
