"""Language models in this process: what a request gets follows from the request alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.chat_model import make_model
from zs_env import SearchFailure, SearchRequest
from zs_env.engines import checked_search, load_engine
from zs_env.engines.simulated import SimulatedEngine
from zs_env.errors import ServiceError
from zs_env.llm import ChatRequest, Completion, Grammar, Message, load_llm
from zs_env.llm.sampling.drawing import draw, keep_top_p
from zs_env.llm.transformers_local import TransformersLanguageModel

LENGTHS = (1, 40, 7, 100, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), max_length=256)


@pytest.fixture(scope="module")
def llm(folder):
    made = load_llm("transformers_local", {"model": str(folder)})
    yield made
    made.close()


def chat(text, **options):
    return ChatRequest((Message("user", text),), **{"max_tokens": 12, **options})


def chats(**options):
    """Prompts of several lengths."""
    return [chat("river " * length, seed=length, **options) for length in LENGTHS]


def by_hand(folder, request):
    """The prompt's ids, and the ids that `generate` continues it with greedily, alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    text = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in request.messages)
    ids = tokenizer(text + "<|im_start|>assistant\n", return_tensors="pt").input_ids
    output = model.generate(ids, do_sample=False, max_new_tokens=request.max_tokens)
    return ids[0].tolist(), output[0, ids.shape[1] :].tolist(), tokenizer


def test_greedy_text_and_usage_are_those_of_generate(llm, folder):
    system = Message("system", "You play the search engine.")
    requests = chats(temperature=0.0)
    requests.append(replace(requests[2], messages=(system, *requests[2].messages)))
    for request, completion in zip(requests, llm.complete(requests), strict=True):
        prompt, written, tokenizer = by_hand(folder, request)
        assert completion.text == tokenizer.decode(written, skip_special_tokens=True)
        assert completion.prompt_tokens == len(prompt)
        assert completion.completion_tokens == len(written) == 12


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3}, {"top_p": 0.7}])
def test_sampling_does_not_depend_on_the_batch(llm, options):
    requests = chats(**options)
    together = llm.complete(requests)
    alone = [llm.complete([request])[0] for request in requests]
    # Beside others that sample in another way, and in batches of other sizes.
    mixed = requests[::-1] + chats(temperature=0.0) + chats(top_p=0.5)
    llm.max_batch_size = 4
    small = llm.complete(mixed)[: len(requests)][::-1]
    llm.max_batch_size = 64
    assert together == alone == small
    assert len({completion.text for completion in together}) == len(requests)


def test_same_seed_same_text_other_seed_other_text(llm):
    [first, again, other] = llm.complete([chat("a", seed=1), chat("a", seed=1), chat("a", seed=2)])
    assert first == again
    assert first.text != other.text


def test_each_request_ends_at_its_own_max_tokens(llm):
    long, short = llm.complete([chat("a", seed=3, max_tokens=20), chat("a", seed=3, max_tokens=5)])
    assert (long.completion_tokens, short.completion_tokens) == (20, 5)
    assert long.text.startswith(short.text)


def test_message_ends_at_any_end_token_which_is_counted_and_sampling_defaults_are_ignored(
    folder, tmp_path
):
    _, written, tokenizer = by_hand(folder, chat("a"))
    place = next(i for i in range(1, 12) if written[i] not in written[:i])
    copy = shutil.copytree(folder, tmp_path / "model")
    file = copy / "generation_config.json"
    # A penalty below 1 makes the model repeat the prompt.
    defaults = {"eos_token_id": [0, written[place]], "repetition_penalty": 0.001}
    file.write_text(json.dumps(json.loads(file.read_text()) | defaults))
    requests = [chat("a", temperature=0.0), *chats()]
    completion, *others = TransformersLanguageModel(str(copy)).complete(requests)
    assert max(other.completion_tokens for other in others) == 12
    assert completion.completion_tokens == place + 1
    assert completion.text == tokenizer.decode(written[: place + 1])


def test_prompt_that_does_not_fit_fails_alone_and_one_that_fits_is_cut_at_the_context(llm, folder):
    tokens = len(by_hand(folder, chat("river", max_tokens=1))[0])
    fitting = "river" + " river" * (255 - tokens)
    requests = [chat("a"), chat(fitting + " river"), chat(fitting), chat("b")]
    first, too_long, cut, last = llm.complete(requests)
    assert (first, last) == tuple(llm.complete([requests[0], requests[3]]))
    assert isinstance(too_long, SearchFailure)
    assert "256 tokens, and the context" in str(too_long) and "only 256" in str(too_long)
    assert (cut.prompt_tokens, cut.completion_tokens) == (255, 1)
    with pytest.raises(SearchFailure, match="256 tokens"):
        asyncio.run(llm.acomplete(requests[1]))


def test_single_requests_are_answered_as_in_a_batch(llm):
    requests = chats()

    async def gather():
        return await asyncio.gather(*(llm.acomplete(request) for request in requests))

    assert asyncio.run(gather()) == asyncio.run(gather()) == llm.complete(requests)


def test_draws_are_as_frequent_as_the_probabilities_say():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    for top_p, temperature, expected in [
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (0.7, 1.0, [0.625, 0.375, 0.0, 0.0]),
        (1.0, 0.5, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
    ]:
        logits = probabilities.log().expand(4000, 4) + 3.0
        columns = torch.full((4000,), temperature), torch.full((4000,), top_p)
        tokens, log_probs = draw(logits, uniform, *columns, torch.zeros(4000, dtype=torch.bool))
        # Evenly spaced numbers hit each token as often as they can.
        counts = tokens.bincount(minlength=4)
        assert torch.allclose(counts / 4000, torch.tensor(expected), atol=0.001), (top_p, counts)
        among_all = (probabilities ** (1 / temperature)).log().log_softmax(-1)
        assert torch.allclose(log_probs, among_all[tokens], atol=1e-5)
    rows = torch.tensor([[0.1, 0.2, 0.7]] * 2).log()
    numbers = torch.tensor([0.05, 0.05], dtype=torch.float64)
    tokens, _ = draw(rows, numbers, torch.ones(2), torch.ones(2), torch.tensor([True, False]))
    assert tokens.tolist() == [2, 0]


def test_unlikely_tokens_of_a_large_vocabulary_are_drawn():
    size = 200_000
    logits = torch.zeros(1, size)
    logits[0, 0] = 25.0  # the others share about 1e-6 of the probability
    rest = float(logits.softmax(-1)[0, 1:].double().sum())
    for share in (0.25, 0.75):
        uniform = torch.tensor([1 - rest * (1 - share)], dtype=torch.float64)
        one = torch.ones(1)
        tokens, _ = draw(logits, uniform, one, one, torch.zeros(1, dtype=torch.bool))
        assert int(tokens) == pytest.approx(share * size, rel=0.05)


def test_keep_top_p_by_hand():
    scores = torch.tensor([[0.1, 0.6, 0.3]] * 4).log()
    kept = keep_top_p(scores, torch.tensor([[1.0], [0.7], [0.5], [0.0]])) > -torch.inf
    assert kept.int().tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 1, 0]]


def test_begun_message_is_continued_where_it_ends(llm, folder):
    """The chat is laid out by hand: the assistant's turn is open, and nothing stands behind it."""
    request = chat("river", temperature=0.0, prefill="Doc 1:")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    by_name = tokenizer.convert_tokens_to_ids
    expected = [
        by_name("<|im_start|>"), *tokenizer.encode("user\nriver"), by_name("<|im_end|>"),
        *tokenizer.encode("\n"),
        by_name("<|im_start|>"), *tokenizer.encode("assistant\nDoc 1:"),
    ]  # fmt: skip
    llm.check()
    assert llm._encode(llm._loaded, request.messages, "Doc 1:") == expected
    output = AutoModelForCausalLM.from_pretrained(folder).generate(
        torch.tensor([expected]), do_sample=False, max_new_tokens=12
    )
    ids = output[0, len(expected) :].tolist()
    written = tokenizer.decode(ids, skip_special_tokens=True)
    assert not written.startswith("Doc 1:") and ids[-1] != tokenizer.eos_token_id
    [completion, plain] = llm.complete([request, replace(request, prefill="")])
    assert completion == Completion(
        f"Doc 1:{written}", len(expected), 12, cut=True, token_ids=tuple(ids)
    )
    assert plain.text != completion.text and not plain.text.startswith("Doc 1:")


def test_text_ends_before_a_stop_text_and_its_tokens_hold_all_of_it(llm, folder):
    _, written, tokenizer = by_hand(folder, chat("a"))
    text = tokenizer.decode(written)
    # The end of the fifth token: what comes before it is not empty.
    stop = tokenizer.decode(written[:5])[-3:]
    length = next(n for n in range(1, 13) if stop in tokenizer.decode(written[:n]))
    [completion] = llm.complete([chat("a", temperature=0.0, stop=("no such text", stop))])
    assert (completion.text, completion.stop) == (text[: text.index(stop)], stop)
    assert completion.token_ids == tuple(written[:length])
    assert (completion.completion_tokens, completion.cut) == (length, False)
    [whole] = llm.complete([chat("a", temperature=0.0, stop=("no such text",))])
    assert (whole.text, whole.stop, whole.cut) == (text, None, True)


def continued(folder, ids):
    output = AutoModelForCausalLM.from_pretrained(folder).generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=12
    )
    return tuple(output[0, len(ids) :].tolist())


def test_plain_text_is_continued_without_a_chat_template(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode("The river Doc 1:")
    written = continued(folder, ids)
    request = ChatRequest((), prefill="The river Doc 1:", temperature=0.0, max_tokens=12)
    [completion] = TransformersLanguageModel(str(copy)).complete([request])
    text = "The river Doc 1:" + tokenizer.decode(written, skip_special_tokens=True)
    assert completion == Completion(text, len(ids), 12, cut=True, token_ids=written)


def test_token_ids_are_read_as_they_are(llm, folder):
    """Other tokens than those of their text, and a special one among them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.convert_tokens_to_ids(t) for t in ("r", "i", "v", "<|im_start|>", "e", "r")]
    assert tokenizer.encode(tokenizer.decode(ids)) != ids
    written = continued(folder, ids)
    request = ChatRequest((), token_ids=tuple(ids), temperature=0.0, max_tokens=12)
    [completion] = llm.complete([request])
    text = tokenizer.decode(written, skip_special_tokens=True)
    assert completion == Completion(text, 6, 12, cut=True, token_ids=written)


def with_template(folder, tmp_path, change):
    copy = shutil.copytree(folder, tmp_path / "model")
    file = copy / "chat_template.jinja"
    file.write_text(change(file.read_text()))
    return TransformersLanguageModel(str(copy))


CONTENT = "message['content']"


def test_template_that_trims_takes_a_beginning_without_blanks_at_its_end(folder, tmp_path):
    """Else the model would go on from another text than the engine reads."""
    llm = with_template(folder, tmp_path, lambda text: text.replace(CONTENT, f"{CONTENT} | trim"))
    [completion] = llm.complete([chat("a", prefill="Doc 1:")])
    assert completion.text.startswith("Doc 1:")
    with pytest.raises(ServiceError, match="cannot continue a message that begins with 'Doc 1: '"):
        llm.complete([chat("a", prefill="Doc 1: ")])


@pytest.mark.parametrize("instead", ["{{ 'Yes.' }}", "{{ raise_exception('no assistant') }}"])
def test_template_that_cannot_continue_a_message_is_one_clear_error(folder, tmp_path, instead):
    shown = f"{{{{ {CONTENT} }}}}"
    if_assistant = "{% if message['role'] == 'assistant' %}"
    content = f"{if_assistant}{instead}{{% else %}}{shown}{{% endif %}}"
    llm = with_template(folder, tmp_path, lambda text: text.replace(shown, content))
    engine = SimulatedEngine(llm, template="fine-tuned", prefill=True)
    with pytest.raises(ServiceError, match="begins with 'Doc 1:': .* Leave out `prefill`") as error:
        engine.check()
    assert "Search engine" not in str(error.value)  # the prompt, with golden answers


def test_grammar_is_refused_here(llm):
    with pytest.raises(ValueError, match="TransformersLanguageModel cannot be held to a grammar"):
        SimulatedEngine(llm, grammar="regex")
    with pytest.raises(ValueError, match="kind 'json', expected none: leave out `grammar`"):
        llm.complete([chat("a", grammar=Grammar("json", "{}"))])


def test_simulated_engine_with_a_begun_message_always_has_a_document(folder):
    """A random model writes none by itself: `test_simulated_engine_counts_what_the_model_used`."""
    options = {"llm": "transformers_local", "model": str(folder), "max_tokens": 8}
    requests = [SearchRequest(f"q{i}", "?", ("x",), key=i) for i in range(3)]
    spec = {"name": "simulated", "template": "fine-tuned", "prefill": True, **options}
    with contextlib.closing(load_engine(spec)) as engine:
        assert all(len(result.documents) >= 1 for result in checked_search(engine, requests))


@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder", "."])
def test_unknown_model_is_refused_at_the_start(model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceError, match=f"must be a folder or hub name .*'{model}' cannot be"):
        load_engine({"name": "simulated", "llm": "transformers_local", "model": model})


def test_model_without_chat_template_is_refused_at_the_start(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "chat_template.jinja").unlink()
    llm = TransformersLanguageModel(str(copy))
    with pytest.raises(ServiceError, match="has no chat template .* Choose an instruct model"):
        llm.check()
    with pytest.raises(ServiceError, match="has no chat template"):
        llm.complete([chat("a")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float23"}, "`dtype` must be auto or one of torch"),
        ({"max_batch_size": 0}, "`max_batch_size` must be at least 1, got 0"),
    ],
)
def test_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TransformersLanguageModel("any", **options)


def test_missing_transformers_names_the_extra():
    code = (
        "import sys; sys.modules['transformers'] = None; from zs_env.llm import load_llm; "
        "load_llm('transformers_local', {'model': 'any'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingDependencyError" in result.stderr
    assert "pip install '.[train]'" in result.stderr


def test_missing_vllm_names_the_extra():
    code = (
        "import sys; sys.modules['vllm'] = None; from zs_env.llm import load_llm; "
        "load_llm('vllm_local', {'model': 'any'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingDependencyError" in result.stderr
    assert "pip install '.[vllm]'" in result.stderr


def test_model_is_loaded_when_needed_and_again_after_close_or_pickling(folder):
    llm = TransformersLanguageModel(str(folder), dtype="float32")
    assert llm._loaded is None
    [before] = llm.complete([chat("a")])
    copy = pickle.loads(pickle.dumps(llm))
    assert copy._loaded is None and copy.identity() == llm.identity()
    llm.close()
    llm.close()
    assert llm._loaded is None
    assert llm.complete([chat("a")]) == copy.complete([chat("a")]) == [before]


def test_batch_that_does_not_fit_in_memory_fails_and_says_what_to_do(folder, monkeypatch):
    llm = TransformersLanguageModel(str(folder), max_batch_size=4)
    llm.check()
    model = llm._loaded.worker._generator._model
    at = model.at

    def out_of_memory(ids, chosen, **options):
        if len(ids) == 4:
            raise torch.OutOfMemoryError
        return at(ids, chosen, **options)

    monkeypatch.setattr(model, "at", out_of_memory)
    *failures, last = llm.complete(chats())
    assert isinstance(last, Completion)
    assert len(failures) == 4
    assert all("4 texts at a time do not fit in the memory" in str(failure) for failure in failures)
    assert all("lower `max_batch_size`" in str(failure) for failure in failures)
    monkeypatch.undo()
    assert llm.complete(chats())[-1] == last


def test_simulated_engine_counts_what_the_model_used(folder, tmp_path):
    """A random model writes no documents: each search fails after two tries, and is counted."""
    options = {"llm": "transformers_local", "model": str(folder), "max_tokens": 8}
    engine = load_engine({"name": "simulated", "template": "fine-tuned", **options})
    results = checked_search(engine, [SearchRequest(f"q{i}", "?", ("x",), key=i) for i in range(3)])
    assert all("wrote no line 'Doc 1: …'" in str(result.failure) for result in results)
    usage = engine.usage
    assert (usage.searches, usage.failed_searches, usage.completions) == (3, 3, 6)
    assert usage.completion_tokens <= 6 * 8 < usage.prompt_tokens
    engine.close()


def test_replay_loads_no_model(folder, tmp_path):
    pytest.importorskip("diskcache")
    from zs_env.engines.cached import CachedEngine

    engine = SimulatedEngine(TransformersLanguageModel(str(folder)))
    recorded = CachedEngine(load_engine("world"), tmp_path)
    checked_search(recorded, [SearchRequest("q", "?", ("x",))])
    recorded.close()
    cached = CachedEngine(engine, tmp_path, mode="replay")
    cached.check()
    [result] = checked_search(cached, [SearchRequest("q", "?", ("x",))])
    assert "no record" in str(result.failure)
    assert engine.llm._loaded is None
    cached.close()
