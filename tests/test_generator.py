"""The generator and its model: what is left out, shared and kept changes no figure."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("torch")

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.helpers import SMALL_SIZES
from zs_env.llm.sampling import cache, generator
from zs_env.llm.sampling.causal_model import LEAST_PREFIX, CausalModel
from zs_env.llm.sampling.draft import Draft
from zs_env.llm.sampling.generator import Generator

VOCABULARY = 64
SIZES = {
    **SMALL_SIZES,
    "vocab_size": VOCABULARY,
    "initializer_range": 0.4,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
FAMILIES = {
    "Llama": SIZES,
    "Qwen3": SIZES,
    "Gemma2": SIZES,
    "GPT2": {
        **{"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 2},
        **{"bos_token_id": None, "eos_token_id": None, "initializer_range": 0.4},
    },
    # No keys and values: nothing can be shared.
    "Mamba": {**SIZES, "state_size": 4},
}
PREFIX = [(7 * place) % 61 + 1 for place in range(LEAST_PREFIX + 4)]


def make(family="Llama", **changes):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**FAMILIES[family], **changes})
    return AutoModelForCausalLM.from_config(config).eval()


def sequences():
    """Rows that begin alike, and positions to choose."""
    torch.manual_seed(1)
    rows = torch.randint(1, VOCABULARY, (3, LEAST_PREFIX + 12))
    rows[:, : len(PREFIX)] = torch.tensor(PREFIX)
    chosen = torch.zeros_like(rows, dtype=torch.bool)
    chosen[0, 22:25] = chosen[1, 21:] = chosen[2, 27] = True
    return rows, chosen


def plain(model, rows, chosen):
    """Last hidden states and logits by the whole model, without anything left out."""
    output = model(rows, output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1][chosen], output.logits[chosen]


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_at_chosen_positions_gives_outputs_and_gradients_of_the_model(family):
    rows, chosen = sequences()
    found, expected = [], []
    for values, function in (
        (expected, lambda model: plain(model, rows, chosen)),
        (found, lambda model: CausalModel(model, VOCABULARY).read(rows, chosen)),
    ):
        model = make(family)
        hidden, logits = function(model)
        (logits.log_softmax(-1)[:, 3].sum() + hidden.square().mean()).backward()
        values += [hidden, logits, *(p.grad for p in model.parameters() if p.grad is not None)]
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def widths(model, monkeypatch):
    """A list that gets the number of columns of each call of ``model``."""
    seen, forward = [], model.base_model.forward

    def noting(input_ids, **kwargs):
        seen.append(tuple(input_ids.shape))
        return forward(input_ids, **kwargs)

    monkeypatch.setattr(model.base_model, "forward", noting)
    return seen


def test_what_rows_begin_with_alike_is_read_once_up_to_the_first_chosen(monkeypatch):
    model = make()
    causal, (rows, chosen) = CausalModel(model, VOCABULARY), sequences()
    seen = widths(model, monkeypatch)
    causal.read(rows, chosen)
    assert seen == [(1, 20), (3, 8)]
    seen.clear()
    chosen[2, 18] = True
    causal.read(rows, chosen)
    assert seen == [(1, 18), (3, 10)]
    seen.clear()
    causal.read(rows[:1], chosen[:1])
    chosen[2, 10] = True
    causal.read(rows, chosen)
    assert seen == [(1, 28), (3, 28)]  # one row; too little in common


def test_activations_that_are_computed_again_allow_no_shortcut(monkeypatch):
    rows, chosen = sequences()
    model = make().train()
    # Newer versions of transformers have renamed it.
    name = "activation_checkpointing_enable"
    (getattr(model, name, None) or model.gradient_checkpointing_enable)()
    model.enable_input_require_grads()
    causal = CausalModel(model, VOCABULARY)
    seen = widths(model, monkeypatch)
    hidden, logits = causal.read(rows, chosen)
    logits.sum().backward()
    assert seen == [(3, 28)]
    torch.testing.assert_close(logits, plain(model.eval(), rows, chosen)[1], rtol=1e-4, atol=1e-5)


def test_last_mlp_reads_chosen_positions_only():
    model = make()
    causal, (rows, chosen) = CausalModel(copy.deepcopy(model), VOCABULARY), sequences()
    read = []
    first, last = (layer.mlp for layer in causal._model.model.layers)
    first.gate_proj.register_forward_hook(lambda _, args, output: read.append(output.shape[:-1]))
    last.gate_proj.register_forward_hook(lambda _, args, output: read.append(output.shape[:-1]))
    causal.at(rows, chosen)
    assert read == [(3, 28), (1, int(chosen.sum()))]
    # A copy of the model has hooks of its own.
    other = copy.deepcopy(causal)
    with causal._last_mlp.only(chosen):
        torch.testing.assert_close(other.at(rows, chosen), plain(model, rows, chosen))


def write(contexts, max_tokens=12, *, causal=None, begin=None):
    """What greedy drafts of ``contexts`` get, which begin together or at the steps ``begin``."""
    causal = causal or CausalModel(make(), VOCABULARY)
    writer = Generator(causal)
    drafts = [Draft(slot, key=slot, greedy=True) for slot in range(len(contexts))]
    begin = begin or [0] * len(contexts)
    step = 0
    while step <= max(begin) or not all(draft.finished for draft in drafts):
        for draft, context, start in zip(drafts, contexts, begin, strict=True):
            if start == step:
                draft.begin(context, lambda written: len(written) == max_tokens)
                writer.add(draft)
        writer.step()
        step += 1
    return [draft.written for draft in drafts]


def alone(context, max_tokens=12):
    model = make()
    ids = torch.tensor([context])
    output = model.generate(ids, do_sample=False, max_new_tokens=max_tokens, use_cache=False)
    return output[0, len(context) :].tolist()


CONTEXTS = [[*PREFIX, *range(1, 2 + length)] for length in (0, 3, 17, 5, 40)] + [[7, 8, 9]]


def test_drafts_that_share_a_prefix_are_written_as_if_alone(monkeypatch):
    expected = [alone(context) for context in CONTEXTS]
    assert write(CONTEXTS) == expected
    # In windows of few rows, which are made anew as drafts come and go.
    monkeypatch.setattr(generator, "WINDOW_ROWS", 2)
    assert write(CONTEXTS, begin=[0, 5, 2, 9, 1, 7]) == expected


def test_cache_grows_with_slots_and_lengths(monkeypatch):
    expected = [alone(context, 30) for context in CONTEXTS]
    monkeypatch.setattr(cache, "COLUMNS", 1)
    assert write(CONTEXTS, 30, begin=[20, 0, 11, 3, 3, 3]) == expected


def test_prefix_is_read_once_and_again_after_the_weights_change(monkeypatch):
    model = make()
    causal = CausalModel(model, VOCABULARY)
    seen = widths(model, monkeypatch)
    writer = Generator(causal)

    def first_tokens(key):
        drafts = [Draft(slot, key=key, greedy=True) for slot in range(2)]
        for draft, context in zip(drafts, CONTEXTS, strict=False):
            draft.begin(context, is_over=bool)
            writer.add(draft)
        writer.step()
        return [draft.written for draft in drafts]

    before = first_tokens(0)
    assert seen == [(1, 21), (2, 3)]
    assert first_tokens(1) == before
    assert seen[2:] == [(2, 3)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    writer.clear()
    expected = [model(torch.tensor([c])).logits[0, -1].argmax().item() for c in CONTEXTS[:2]]
    seen.clear()
    assert [token for [token] in first_tokens(2)] == expected
    assert seen == [(1, 21), (2, 3)]


def test_a_draft_knows_what_it_has_read():
    draft = Draft(0, key=1)
    draft.begin([5, 6, 7], lambda written: len(written) == 2)
    draft.append(8, -0.5, None)
    assert (draft.num_cached, draft.unread, draft.finished) == (3, [8], False)
    draft.append(9, -0.25, None)
    assert (draft.written, draft.log_probs, draft.finished) == ([8, 9], [-0.5, -0.25], True)
    draft.begin([5, 6, 7, 8, 9, 10], bool)
    assert (draft.num_cached, draft.unread) == (4, [9, 10])
    draft.begin([5, 4], bool)  # nothing that was read
    assert (draft.num_cached, draft.unread) == (0, [5, 4])


def test_model_without_its_head_in_a_known_place_is_asked_as_a_whole():
    """Gemma 2 caps its logits."""
    model = make("Gemma2", final_logit_softcapping=2.0)
    causal, (rows, chosen) = CausalModel(model, VOCABULARY), sequences()
    logits = causal.at(rows, chosen)[1]
    assert logits.abs().max() <= 2.0
    torch.testing.assert_close(logits, plain(model, rows, chosen)[1], rtol=1e-4, atol=1e-5)


def test_logits_beyond_the_tokenizer_are_cut_off():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    rows, chosen = sequences()
    assert CausalModel(model, 50).read(rows % 50, chosen)[1].shape == (int(chosen.sum()), 50)
