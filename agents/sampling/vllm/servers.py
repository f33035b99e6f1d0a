"""vLLM behind one server or several, each with the whole model on GPUs of its own."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from agents.sampling.errors import SamplerError
from agents.sampling.vllm.requests import Answer
from agents.sampling.vllm.sampler import Asked
from agents.sampling.vllm.weights import Weights
from zs_env.concurrency.attempts import no_answer
from zs_env.concurrency.event_loop import caught, engine_loop
from zs_env.concurrency.http import Access, JsonServers
from zs_env.concurrency.servers import Patience
from zs_env.concurrency.urls import check_urls, public_url
from zs_env.errors import SearchFailure

KEY = "VLLM_API_KEY"
"""Environment variable of the servers' key, as vLLM calls it."""

CHECK_S = 10.0
"""Time limit of the first question to a server, in seconds."""

AGAIN = "Start the server again and go on with --resume."


class VLLMServers:
    """Connection to servers; each episode stays with one, whose prefix cache then serves it.

    Args:
        urls: URLs of the servers, with or without ``/v1``.
        num_requests: most requests under way at each server.
        max_length: largest number of tokens of an episode.
        timeout_s: longest time to wait for an answer or a transfer, in seconds.

    Raises:
        ServiceError: a URL is wrong.
    """

    def __init__(
        self, urls: Sequence[str], num_requests: int, max_length: int, timeout_s: float
    ) -> None:
        roots = [url.rstrip("/").removesuffix("/v1") for url in check_urls(urls)]
        patience = Patience(timeout_s, timeout_s, max_concurrency=num_requests)
        self._servers = [_Server(root, patience) for root in roots]
        self._max_length = max_length
        self._cancelled: list[Future[Any]] = []
        self._reset()

    def start(self) -> None:
        """Ask each server for its model, and compare the length of its context."""
        for server in self._servers:
            server.find_model(self._max_length)

    def send(self, requests: Sequence[Asked]) -> None:
        """Ask, without waiting."""
        for asked in requests:
            server = self._servers[asked.episode % len(self._servers)]
            future = server.ask(asked.token_ids, asked.options)
            self._under_way.add(future)
            future.add_done_callback(partial(_give, self._done, asked.place, server))

    def receive(self) -> list[tuple[int, Answer]]:
        """Wait until at least one answer has come."""
        answers: list[tuple[int, Answer]] = []
        while not answers or not self._done.empty():
            place, server, future = self._done.get()
            self._under_way.discard(future)
            answers.append((place, server.result(future)))
        return answers

    def cancel(self) -> None:
        """Give up what was asked."""
        for future in self._under_way:
            future.cancel()
        self._reset()

    def probe(self, token_ids: Sequence[int], options: dict[str, Any]) -> list[tuple[str, Answer]]:
        """Ask all servers at once."""
        futures = [(server, server.ask(token_ids, options)) for server in self._servers]
        return [(server.name, server.result(future)) for server, future in futures]

    def load(self, weights: Weights) -> None:
        """Have all servers load the weights, one after the other."""
        for server in self._servers:
            server.load(weights)

    def sleep(self) -> None:
        """Do nothing: servers have GPUs of their own."""

    def wake(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Disconnect."""
        self.cancel()
        for server in self._servers:
            server.close()

    def _reset(self) -> None:
        self._under_way: set[Future[Any]] = set()
        self._done: SimpleQueue[tuple[int, _Server, Future[Any]]] = SimpleQueue()


def _give(
    done: SimpleQueue[tuple[int, _Server, Future[Any]]],
    place: int,
    server: _Server,
    future: Future[Any],
) -> None:
    done.put((place, server, future))


class _Server:
    """One server.

    Attributes:
        name: for messages.
    """

    def __init__(self, root: str, patience: Patience) -> None:
        self.name = f"vLLM at {public_url(root)}"
        self._root = root
        self._timeout_s = patience.timeout_s
        self._client = JsonServers(root, patience, partial(Access.bearer, KEY))
        self._model = ""
        self._adapter: str | None = None

    def find_model(self, max_length: int) -> None:
        """Find the name of the model that is served; check the length of its context."""
        try:
            listed = json.loads(self._call("/v1/models", timeout_s=CHECK_S))["data"]
            [model, *_] = [m for m in listed if not m.get("parent")]
            self._model, longest = str(model["id"]), model.get("max_model_len")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise SamplerError(f"{self.name} does not list its model: is it vLLM?") from None
        if isinstance(longest, int) and longest < max_length:
            raise SamplerError(
                f"{self.name} has a context of {longest} tokens, and `max_context` is "
                f"{max_length}: start it with `--max-model-len {max_length}`, or lower "
                "`max_context`."
            )

    def ask(self, token_ids: Sequence[int], options: dict[str, Any]) -> Future[Any]:
        """Ask for a completion, on the loop of all engines; `result` reads the future."""
        body = {
            **options,
            "model": self._adapter or self._model,
            "prompt": [*token_ids],
            "return_token_ids": True,
        }
        question = self._client.ask(_read_answer, path="/v1/completions", payload=body)
        return asyncio.run_coroutine_threadsafe(caught(question), engine_loop())

    def result(self, future: Future[Any]) -> Answer:
        """Wait for the answer."""
        answer, error = future.result()
        if isinstance(error, SearchFailure):
            raise SamplerError(
                f"the sampler does not answer: {error} {AGAIN} If it refuses the request: does it "
                "serve the model that is trained, and is its vLLM new enough (0.10.2) for token "
                "ids and log-probabilities?"
            ) from error
        if error is not None:
            raise error
        assert isinstance(answer, Answer)  # without an error there is one
        return answer

    def load(self, weights: Weights) -> None:
        """Load weights, or adapters, which take the place of the last ones."""
        if weights.is_adapter:
            self._load_adapter(weights)
            return
        missing = "start it with the environment variable VLLM_SERVER_DEV_MODE=1"
        self._call("/pause?mode=wait", {}, missing=missing)
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(weights.folder)}}
        self._call("/collective_rpc", body, missing=missing, folder=True)
        self._call("/reset_prefix_cache", {}, missing=missing)
        self._call("/resume", {}, missing=missing)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _load_adapter(self, weights: Weights) -> None:
        # Under a new name: the prefix cache of vLLM tells adapters apart by name.
        missing = (
            "start it with --enable-lora and the environment variable "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
        )
        body = {"lora_name": weights.name, "lora_path": str(weights.folder)}
        self._call("/v1/load_lora_adapter", body, missing=missing, folder=True)
        old, self._adapter = self._adapter, weights.name
        if old is not None:
            self._call("/v1/unload_lora_adapter", {"lora_name": old}, missing=missing)

    def _call(
        self,
        path: str,
        body: Any = None,
        *,
        missing: str = "is it vLLM?",
        folder: bool = False,
        timeout_s: float | None = None,
    ) -> bytes:
        """Return the body of the answer to a GET, or a POST of ``body``."""
        shown = path.partition("?")[0]
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **Access.bearer(KEY).headers}
        request = urllib.request.Request(self._root + path, data, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s or self._timeout_s) as response:
                answer: bytes = response.read()
                return answer
        except urllib.error.HTTPError as error:
            text = " ".join(error.read().decode(errors="replace").split())[:300]
            # vLLM itself says "NotFoundError", of a folder.
            if error.code == 405 or "Not Found" in text:
                advice = f"{missing}, and see that its vLLM is new enough."
            elif folder:
                advice = (
                    "its log says why. Does it serve the model that is trained, and does it see "
                    "`sampler_folder` under the same path (a shared file system, if it runs on "
                    "another machine)?"
                )
            else:
                advice = "its log says why."
            raise SamplerError(
                f"{self.name} answers {shown} with HTTP {error.code} ({text}): {advice}"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise SamplerError(f"{self.name} does not answer {shown}: {reason}. {AGAIN}") from None


def _read_answer(answer: Any) -> Answer:
    """Return the tokens in a server's answer; raise Retry if there are none."""
    try:
        [choice] = answer["choices"]
        prompt = [_only(entry) for entry in (choice.get("prompt_logprobs") or [])[1:]]
        return Answer(
            [int(token) for token in choice["token_ids"]],
            [float(value) for value in choice["logprobs"]["token_logprobs"]],
            prompt,
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        raise no_answer("a completion with token ids and log-probabilities", answer) from None


def _only(entry: Any) -> float:
    """Return the log-probability of the prompt's token, the only one or the first in ``entry``."""
    return float(next(iter(entry.values()))["logprob"])
