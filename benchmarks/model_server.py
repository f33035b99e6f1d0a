"""An inference server of a small model in this process, as verl asks vLLM. Needs neither."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from zs_env import keyed_random
from zs_env.llm.sampling.causal_model import CausalModel
from zs_env.llm.sampling.draft import Draft
from zs_env.llm.sampling.generator import Generator
from zs_env.llm.sampling.worker import Job, Worker
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.tokenizers import read_tokenizer

SLOTS = 64


class Written(NamedTuple):
    """Tokens that continue a context, and the log-probability of each."""

    token_ids: list[int]
    log_probs: list[float]


class ModelServer:
    """Server of the model in the folder ``path``.

    Args:
        path: folder of the model, with its tokenizer.
        seed: seed of the draws.
    """

    def __init__(self, path: str, seed: int = 0) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.encoder = TextEncoder(read_tokenizer(path))
        self._seed = seed
        self._count = itertools.count()
        self._worker = self._make_worker()

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take new weights; nothing may be under way."""
        self._worker.join()
        missing = self.model.load_state_dict(dict(weights), strict=False)
        if missing.unexpected_keys:
            raise ValueError(f"weights of another model: {missing.unexpected_keys[:3]}")
        self._worker = self._make_worker()  # what the cache holds is of the old weights

    async def write(self, token_ids: Sequence[int], params: Mapping[str, Any]) -> Written:
        """Continue ``token_ids`` with the sampling parameters of verl and vLLM."""
        drafts: list[Draft] = []
        temperature = float(params.get("temperature", 1.0))
        key = keyed_random.derive_key("server", self._seed, next(self._count))

        def make_draft(slot: int, cached: Sequence[int]) -> Draft:
            greedy = temperature == 0
            drafts.append(
                Draft(slot, key, temperature=temperature or 1.0, greedy=greedy, cached=cached)
            )
            return drafts[-1]

        def is_over(written: Sequence[int]) -> bool:
            return self._is_over(written, params["max_tokens"], params.get("stop") or ())

        def finish(written: list[int]) -> Written:
            return Written(list(written), list(drafts[-1].log_probs))

        job: Job[Written] = Job(list(token_ids), make_draft, is_over, finish)
        self._worker.submit([job])
        answer = await asyncio.wrap_future(job.answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _make_worker(self) -> Worker[Written]:
        return Worker(Generator(CausalModel(self.model, self.encoder.num_ids)), SLOTS)

    def _is_over(self, written: Sequence[int], max_tokens: int, stop: Sequence[str]) -> bool:
        """Return whether a text ends, as vLLM does: at a stop text wherever it stands."""
        if written[-1] in self.encoder.end_ids or len(written) >= max_tokens:
            return True
        if not self.encoder.may_close(written[-1]):
            return False
        text = self.encoder.decode(written)
        return any(each in text for each in stop)
