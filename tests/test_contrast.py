"""Contrastive decoding: what a model writes avoids what it would write after another prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from tests.chat_model import make_model
from zs_env.documents import SearchRequest
from zs_env.engines.simulated import SimulatedEngine
from zs_env.llm import ChatRequest, Contrast, Message
from zs_env.llm.sampling.drawing import PLAUSIBLE_NATS, contrasted
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.llm.transformers_local import TransformersLanguageModel

WEIGHT = 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), max_length=1024)


@pytest.fixture(scope="module")
def llm(folder):
    made = TransformersLanguageModel(str(folder), max_batch_size=6)
    made.load()
    yield made
    made.close()


def chat(number, **options):
    def message(quality):
        return (Message("user", f"{quality} documents for query number {number} " + "x " * number),)

    contrast = Contrast(message("Useful"), WEIGHT)
    asked = ChatRequest(message("Noisy"), seed=number, max_tokens=12, contrast=contrast)
    return replace(asked, **options)


def by_hand(llm, request):
    """The greedy tokens, by whole forward passes of both prompts."""
    loaded = llm.load()
    model = loaded.worker._generator._model._model
    contexts = [
        llm._encode(loaded, messages) for messages in (request.messages, request.contrast.messages)
    ]
    written = []
    while len(written) < request.max_tokens and not set(written) & set(loaded.end_ids):
        p, q = (
            model(torch.tensor([[*ids, *written]])).logits[0, -1].double().log_softmax(-1)
            for ids in contexts
        )
        score = p + request.contrast.weight * (p - q)
        score[p < p.max() - PLAUSIBLE_NATS] = -torch.inf
        written.append(int(score.argmax()))
    return tuple(written)


def test_contrasted_logits_by_hand():
    p = torch.tensor([[0.5, 0.3, 0.195, 0.005]]).log()
    q = torch.tensor([[0.9, 0.05, 0.04, 0.01]]).log()
    [scores] = contrasted(p + 7.0, q - 3.0, torch.tensor([1.0])).exp()
    # p squared over q; the last is less likely than the first by more than 4 nats.
    expected = torch.tensor([0.25 / 0.9, 0.09 / 0.05, 0.195**2 / 0.04, 0.0])
    torch.testing.assert_close(scores, expected)


def test_text_is_that_of_two_whole_passes_whatever_is_written_beside_it(llm):
    requests = [chat(number, temperature=0.0) for number in range(5)]
    plain = [replace(request, contrast=None) for request in requests]
    mixed = [each for pair in zip(requests, plain, strict=True) for each in pair]
    completions = llm.complete(mixed)
    assert [c.token_ids for c in completions[::2]] == [by_hand(llm, each) for each in requests]
    assert completions[1::2] == llm.complete(plain)
    assert [c.token_ids for c in completions[::2]] != [c.token_ids for c in completions[1::2]]
    for request, with_contrast, without in zip(
        requests, completions[::2], completions[1::2], strict=True
    ):
        other = len(llm._encode(llm.load(), request.contrast.messages))
        read = without.prompt_tokens + other + len(with_contrast.token_ids)
        assert with_contrast.prompt_tokens == read


def test_sampled_text_follows_from_the_request_alone(llm):
    requests = [chat(number) for number in range(5)]
    together = llm.complete(requests)
    assert [llm.complete([each])[0] for each in requests] == together


def test_one_place_is_not_enough_and_two_are(folder):
    requests = [chat(number, temperature=0.0) for number in range(2)]
    with pytest.raises(ValueError, match="`max_batch_size` of at least 2"):
        TransformersLanguageModel(str(folder), max_batch_size=1).complete(requests)
    llm = TransformersLanguageModel(str(folder), max_batch_size=2)
    assert [c.token_ids for c in llm.complete(requests)] == [by_hand(llm, r) for r in requests]
    llm.close()


def test_engine_contrasts_noisy_documents_only():
    asked = []

    class Recording(ScriptedLanguageModel):
        contrasts = True

    def script(request):
        asked.append(request)
        return "Doc 1: a page"

    engine = SimulatedEngine(Recording(script), contrast=WEIGHT)
    request = SearchRequest("who", "Who?", ("Ada",), top_k=1)
    engine.search([request, request._replace(noisy=True)])
    useful, noisy = sorted(asked, key=lambda each: each.contrast is not None)
    assert useful.contrast is None
    assert noisy.contrast == Contrast(useful.messages, WEIGHT)


@pytest.mark.parametrize(
    ("contrast", "error", "message"),
    [
        (0.5, ValueError, "ScriptedLanguageModel cannot contrast"),
        (-1.0, ValueError, "`contrast` must be a number of at least 0, got -1.0"),
        ("much", TypeError, "`contrast` must be a number of at least 0, got 'much'"),
    ],
)
def test_engine_refuses_a_contrast_that_cannot_be(contrast, error, message):
    with pytest.raises(error, match=message):
        SimulatedEngine(ScriptedLanguageModel(str), contrast=contrast)
