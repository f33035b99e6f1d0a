"""Tuning on pairs: what is read and learned, losses and gradients by hand, packing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agents.sampling.policy import load_model
from agents.supervised.losses import NO_LABEL
from agents.tiny.tokenizer import make_tokenizer
from agents.training.distributed import Processes
from agents.tuning.config import SFTConfig
from agents.tuning.encoding import EncodedPair, answer_spans, encode_pair, encode_pairs
from agents.tuning.pairs import Example, PairsError, held_out_of, read_examples
from agents.tuning.plan import Plan
from agents.tuning.rows import collate, in_parts, length_of
from agents.tuning.scorer import Scorer, check_attention, check_packing
from agents.tuning.tokenizer import end_id, writing_tokenizer
from agents.tuning.tuner import Tuner
from tests import chat_model
from tests.helpers import tiny_model
from tests.pairs import make_pairs, write_pairs
from zs_env.errors import SimulationDataError, TokenizerError
from zs_env.simulation.export import SPLITS
from zs_env.simulation.pair import CARD, file_hash
from zs_env.tokens.chat import check_variables

TOKENIZER = make_tokenizer(line_breaks=True)
CONFIG = SFTConfig(device="cpu", precision="float32", max_grad_norm=1e9, warmup_steps=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), make_tokenizer())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twelve pairs of different lengths."""
    path = write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", make_pairs(12))
    return encode_pairs(read_examples(path), TOKENIZER, 2048, 0.0)[0]


def hand_made_model():
    """Without layers: of the tokens 0, 1, 2 only the one before counts.

    After 0, their probabilities are 1/4, 1/2, 1/4; after 1, they are 1/6, 1/6, 2/3.
    """
    config = LlamaConfig(
        vocab_size=4, hidden_size=2, intermediate_size=2, num_hidden_layers=0,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=False,
        rms_norm_eps=0.0, pad_token_id=None, bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    half, one = math.log(2) / 2, math.log(2)
    with torch.no_grad():
        # Root mean squares of 1, which the last norm leaves.
        model.model.embed_tokens.weight.copy_(
            torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, 1.0]])
        )
        model.lm_head.weight.copy_(
            torch.tensor([[0.0, 0.0], [half, half], [one, -one], [-200.0, 0.0]])
        )
    return model


NO_ANSWER = [False, False, False]
PAIR = EncodedPair([0, 1, 2], [NO_LABEL, 1, 2], [False, True, False], NO_ANSWER, "useful")
"""Prompt 0, completion 1, which is a golden answer, and end 2."""


@pytest.mark.parametrize(
    ("answer_weight", "loss", "weights"),
    [(1.0, math.log(3) / 2, (1 / 2, 1 / 2)), (3.0, math.log(12) / 4, (3 / 4, 1 / 4))],
)
def test_loss_and_gradients_of_completions_by_hand(answer_weight, loss, weights):
    model = hand_made_model()
    tuner = Tuner(model, replace(CONFIG, answer_weight=answer_weight), Processes("cpu"))
    figures = tuner.learn([[PAIR]], 0, 1)
    assert figures["loss"] == pytest.approx(loss)
    assert figures["tokens"] == 3
    # Probabilities minus targets, times what is read: (1, 1) before token 1, (1, -1) before 2.
    first, second = weights
    expected = [
        [first / 4 + second / 6, first / 4 - second / 6],
        [-first / 2 + second / 6, -first / 2 - second / 6],
        [first / 4 - second / 3, first / 4 + second / 3],
    ]
    assert torch.allclose(model.lm_head.weight.grad[:3], torch.tensor(expected), atol=1e-6)


def test_held_out_losses_by_hand():
    tuner = Tuner(hand_made_model(), CONFIG, Processes("cpu"))
    noisy = EncodedPair([0, 0], [NO_LABEL, 0], NO_ANSWER[:2], NO_ANSWER[:2], "noisy")
    # A name of an earlier hop is no golden answer: once both were one figure.
    earlier = EncodedPair([1, 2], [NO_LABEL, 2], NO_ANSWER[:2], [False, True], "useful")
    found = tuner.evaluate([[PAIR], [noisy], [earlier]])
    assert found == pytest.approx(
        {
            "held_out/loss": (math.log(3) + math.log(4) + math.log(3 / 2)) / 4,
            "held_out/useful_loss": (math.log(3) + math.log(3 / 2)) / 3,
            "held_out/noisy_loss": math.log(4),
            "held_out/golden_loss": math.log(2),
            "held_out/stated_loss": math.log(3 / 2),
        }
    )
    assert set(tuner.evaluate([[replace(noisy, label="other")]])) == {"held_out/loss"}


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_unpacked_in_loss_and_gradients(folder, pairs, attention):
    found = []
    for rows in ([[pair] for pair in pairs], [pairs[:5], pairs[5:6], pairs[6:]]):
        model = load_model(folder)
        model.set_attn_implementation(attention)
        config = replace(CONFIG, answer_weight=3.0, micro_batch_tokens=900, packing=True)
        tuner = Tuner(model, config, Processes("cpu"))
        assert collate(rows).is_packed == (len(rows) == 3)
        held_out = tuner.evaluate(rows)
        found.append((held_out, tuner.learn(rows, 0, 10)["loss"], gradients(model)))
    (held_out, loss, wanted), (packed_held_out, packed_loss, got) = found
    assert packed_held_out == pytest.approx(held_out, abs=1e-5)
    assert packed_loss == pytest.approx(loss, abs=1e-5)
    for name, gradient in wanted.items():
        assert torch.allclose(got[name], gradient, atol=1e-5), name
        assert gradient.any(), name


def test_attention_that_takes_no_mask_is_refused(folder):
    model = load_model(folder)
    check_attention(model, 512)
    model.config.sliding_window = 100
    with pytest.raises(ValueError, match="`row_tokens` at most 100, .*got 512"):
        check_attention(model, 512)
    model.config._attn_implementation = "flash_attention_2"
    config = replace(CONFIG, packing=True)
    with pytest.raises(ValueError, match="`packing` needs attention eager or sdpa.*--no-packing"):
        Tuner(model, config, Processes("cpu"))


def test_pairs_may_not_be_packed_where_they_see_one_another(folder, monkeypatch):
    scorer = Scorer(load_model(folder))
    check_packing(scorer)
    monkeypatch.setattr(Scorer, "_attending", lambda self, batch: {})
    with pytest.raises(ValueError, match="pairs in one row influence one another"):
        check_packing(scorer)


def test_parts_hold_what_fits_with_its_padding(pairs):
    rows = [[pair] for pair in pairs]
    parts = list(in_parts(rows, 200))
    assert [row for part in parts for row in part] == rows
    assert all(collate(part).token_ids.numel() <= 200 for part in parts)
    assert list(in_parts([], 200)) == [[]]
    assert (collate([]).labels == NO_LABEL).all()


@pytest.mark.parametrize("packing", [False, True])
def test_plan_shows_each_pair_once_an_epoch_in_an_order_of_its_own(pairs, packing):
    config = replace(CONFIG, packing=packing, batch_tokens=256, row_tokens=128, epochs=2)
    plan = Plan(pairs, config)
    steps = [plan.step(number) for number in range(plan.total)]
    assert steps == [Plan(pairs, config).step(number) for number in range(plan.total)]
    shown = [id(pair) for step in steps for row in step for pair in row]
    assert sorted(shown) == sorted(2 * [id(pair) for pair in pairs])
    assert shown[:12] != shown[12:] and {id(pair) for pair in pairs} == set(shown[:12])
    for step in steps:
        length = max(map(length_of, step))
        assert (length <= 128 and len(step) <= 2) if packing else length * len(step) <= 256
    assert Plan(pairs, replace(config, steps=50)).total == 50
    assert Plan(pairs, replace(config, steps=50)).step(49)


def test_pair_is_encoded_as_prompt_completion_and_end():
    pair = Example(({"role": "user", "content": "query: the city\n"},), "Doc 1: the city.")
    encoded = encode_pair(pair, TOKENIZER)
    prompt = TOKENIZER.encode("query: the city\n")
    learned = [*TOKENIZER.encode("Doc 1: the city."), TOKENIZER.eos_token_id]
    assert encoded.token_ids == prompt + learned
    assert encoded.labels == [NO_LABEL] * len(prompt) + learned
    assert encoded.num_learned == len(learned) == encoded.weight(7.0)


class Letters:
    """Tokenizer of the letters a, b, and of an end, with a chat template that adds nothing."""

    is_fast, chat_template, eos_token_id, unk_token_id = True, "", 2, None
    all_special_ids, added_tokens_decoder = (2,), {}

    def apply_chat_template(self, chats, **options):
        return self(["".join(each["content"] for each in chat) for chat in chats])["input_ids"]

    def __call__(self, texts, **options):
        return {
            "input_ids": [["ab".index(letter) for letter in text] for text in texts],
            "offset_mapping": [[(n, n + 1) for n in range(len(text))] for text in texts],
        }


def test_first_token_of_a_page_is_not_counted_in_its_loss(monkeypatch):
    """It was once in the divisor of the mean, but nothing predicts it."""
    monkeypatch.setattr("agents.tuning.encoding.end_id", lambda tokenizer: 2)
    page = Example(({"role": "user", "content": ""},), "ab", "page", golden_answers=("ab",))
    encoded = encode_pair(page, Letters())
    assert encoded.token_ids == [0, 1, 2]
    assert encoded.labels == [NO_LABEL, 1, 2] and encoded.num_learned == 2
    assert encoded.golden == [False, True, False]
    assert encoded.weight(3.0) == 4
    # -log 1/2 of the second token, -log 2/3 of the end.
    figures = Tuner(hand_made_model(), CONFIG, Processes("cpu")).learn([[encoded]], 0, 1)
    assert figures["loss"] == pytest.approx(math.log(3) / 2)


def test_answers_are_found_as_whole_words_in_any_case():
    text = "Ada Barlow was born in Brim.\nADA  barlow is not Ada Barlows, nor 19345 but 1934."
    spans = answer_spans(text, ["ada barlow", "1934", ""])
    assert [text[slice(*span)] for span in spans] == ["Ada Barlow", "ADA  barlow", "1934"]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, chat_model.make_tokenizer()])
def test_tokens_of_answers_are_marked_in_completions_only(tokenizer):
    prompt = ({"role": "user", "content": "answer: the city"},)
    text = "Doc 1: the year 1934 in the city."
    pair = Example(prompt, text, golden_answers=("The City",), stated=("1934", "1936"))
    encoded = encode_pair(pair, tokenizer)

    def shown(marks):
        ids = [i for i, is_answer in zip(encoded.token_ids, marks, strict=True) if is_answer]
        return tokenizer.decode(ids).strip()

    assert (shown(encoded.golden), shown(encoded.stated)) == ("the city", "1934")
    assert encoded.weight(4.0) == encoded.num_learned + 3 * sum(encoded.stated)
    encoded = encode_pair(replace(pair, stated=("1936",)), tokenizer)
    assert not any(encoded.stated)
    assert encoded.weight(4.0) == encoded.num_learned + 3 * sum(encoded.golden)


def test_completion_ends_as_the_chat_template_ends_a_message():
    tokenizer = chat_model.make_tokenizer()
    assert end_id(tokenizer) == tokenizer.convert_tokens_to_ids(chat_model.END)
    pair = Example(({"role": "user", "content": "query"},), "Doc 1: x")
    text = tokenizer.decode(encode_pair(pair, tokenizer).token_ids)
    assert text == "<|im_start|>user\nquery<|im_end|>\n<|im_start|>assistant\nDoc 1: x<|im_end|>"


def test_variables_of_the_chat_template_are_those_that_the_engine_sends():
    tokenizer = chat_model.make_tokenizer()
    tokenizer.chat_template += "{% if enable_thinking is false %}closed{% endif %}"
    pair, variables = pair_of("query"), {"enable_thinking": False}
    kept, _ = encode_pairs([pair], tokenizer, 2048, 0.0, variables)
    assert tokenizer.decode(kept[0].token_ids) == (
        "<|im_start|>user\nquery<|im_end|>\n<|im_start|>assistant\nclosedDoc 1: the city.<|im_end|>"
    )
    assert "closed" not in tokenizer.decode(encode_pair(pair, tokenizer).token_ids)
    check_variables(tokenizer, variables)
    with pytest.raises(ValueError, match="has no variable 'enable_thinkng'"):
        check_variables(tokenizer, {"enable_thinkng": False})


def test_tokenizer_of_a_policy_gets_line_breaks_and_a_chat_template(folder, tmp_path):
    tokenizer = writing_tokenizer(folder)
    assert (
        tokenizer.encode("a\nb") == TOKENIZER.encode("a\nb") and len(tokenizer.encode("a\nb")) == 3
    )
    tokenizer.save_pretrained(tmp_path)
    assert writing_tokenizer(tmp_path).encode("a\nb") == TOKENIZER.encode("a\nb")
    other = chat_model.make_tokenizer()
    other.chat_template = None
    other.save_pretrained(tmp_path / "other")
    template = writing_tokenizer(tmp_path / "other").chat_template
    assert template == TOKENIZER.chat_template


def test_messages_are_read_as_a_chat(tmp_path):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]
    lines = [
        {"messages": messages, "label": "useful", "other": 1},
        {"prompt": messages[:2], "completion": messages[2:], "label": "useful"},
    ]
    for pair in read_examples(write_pairs(tmp_path / "chat.jsonl", lines)):
        assert pair.messages == tuple(messages[:2])
        assert (pair.completion, pair.label) == ("a", "useful")


def test_golden_answers_and_names_that_documents_state_are_kept_apart(tmp_path):
    line = {"prompt": "a", "completion": "b", "golden_answers": ["c"], "stated": ["d", "e"]}
    lines = [line, {**line, "stated": None}]
    first, second = read_examples(write_pairs(tmp_path / "pairs.jsonl", lines))
    assert (first.golden_answers, first.stated) == (("c",), ("d", "e"))
    assert (second.golden_answers, second.stated) == (("c",), ())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", r"pairs\.jsonl:2: not a line of JSON"),
        ("[1]", r"pairs\.jsonl:2: expected a JSON object"),
        ('{"prompt": "a"}', r"pairs\.jsonl:2: expected a text as `completion`, found only \['pr"),
        ('{"prompt": 1, "completion": "b"}', r"pairs\.jsonl:2: expected a text as `prompt`, got 1"),
        ('{"prompt": "a", "completion": " "}', r"pairs\.jsonl:2: the completion is empty"),
        ('{"prompt": "a", "completion": "b", "label": 1}', r"`label` must be a text, got 1"),
        ('{"prompt": "a", "completion": "b", "golden_answers": "c"}', "`golden_answers` must be a"),
        ('{"prompt": "a", "completion": "b", "stated": [1]}', "`stated` must be a list of texts"),
        ('{"messages": [{"role": "user"}]}', "`messages` must be a list of objects"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "must be the assistant's"),
    ],
)
def test_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n")
    with pytest.raises(PairsError, match=message):
        read_examples(path)


def test_file_without_pairs_or_no_file_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(PairsError, match=r"empty\.jsonl holds no pairs"):
        read_examples(tmp_path / "empty.jsonl")
    with pytest.raises(PairsError, match="there is no such file"):
        read_examples(tmp_path / "none.jsonl")


KNOWN = {"hop": "final", "origin": "engine", "query": "q", "question": "?", "question_id": "1",
         "golden_answers": ["c"], "stated": ["d"], "template": "world:1"}  # fmt: skip
"""What the lines of an exported file also have."""


def exported(label, **changes):
    return {**KNOWN, "prompt": "a", "completion": label, "label": label, **changes}


BOTH = [exported("useful"), exported("noisy")]


def folder_of_pairs(folder, train, held_out):
    """A folder with a card, as it is exported."""
    files = [
        write_pairs(folder / f"{n}.jsonl", x)
        for n, x in zip(SPLITS, (train, held_out), strict=True)
    ]
    hashes = {file.name: file_hash(file.read_bytes()) for file in files}
    (folder / CARD).write_text(json.dumps({"files": hashes}))
    return folder


def test_folder_of_pairs_is_read_and_brings_held_out_ones(tmp_path):
    page = exported("page", prompt="", template="")
    folder = folder_of_pairs(tmp_path, [*BOTH, page], BOTH[::-1])
    examples = read_examples(folder)
    assert [example.completion for example in examples] == ["useful", "noisy", "page"]
    assert examples[0].messages == ({"role": "user", "content": "a"},)
    assert examples[1].place == f"{folder / 'train.jsonl'}:2"
    assert read_examples(folder / "train.jsonl") == examples
    assert held_out_of(folder, None) == folder
    assert [example.label for example in read_examples(folder, "held_out")] == ["noisy", "useful"]
    other = Path("other.jsonl")
    assert held_out_of(folder, other) == other and held_out_of(other, None) is None
    assert held_out_of(folder_of_pairs(tmp_path, BOTH, []), None) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*BOTH, exported("useful", template="other:1")], r"train\.jsonl:3: expected a prompt of"),
        ([*BOTH, {"prompt": "a", "completion": "b"}], r"train\.jsonl:3: not a pair: `label`"),
        (BOTH[:1], "no noisy pairs among 1 lines"),
    ],
)
def test_pairs_that_name_their_template_are_checked_in_folder_and_file(tmp_path, lines, message):
    for path in (folder_of_pairs(tmp_path, lines, []), tmp_path / "train.jsonl"):
        with pytest.raises(SimulationDataError, match=message):
            read_examples(path)


def test_folder_that_was_changed_or_has_no_card_is_refused(tmp_path):
    folder = folder_of_pairs(tmp_path, BOTH, BOTH)
    write_pairs(folder / "train.jsonl", BOTH * 2)
    with pytest.raises(SimulationDataError, match="not the file that card.json tells of"):
        read_examples(folder)
    (folder / CARD).unlink()
    with pytest.raises(SimulationDataError, match="no whole folder of pairs"):
        read_examples(folder)
    with pytest.raises(SimulationDataError, match="no whole folder of pairs"):
        held_out_of(folder, None)


def pair_of(prompt, completion="Doc 1: the city."):
    return Example(({"role": "user", "content": prompt},), completion, place="file:7")


def test_pairs_that_are_too_long_are_left_out_and_all_of_them_an_error():
    pairs = [pair_of("query"), pair_of("query " * 50)]
    kept, left_out = encode_pairs(pairs, TOKENIZER, 20, 0.0)
    assert (len(kept), left_out) == (1, 1)
    with pytest.raises(
        PairsError, match="all 2 pairs are longer than 5 tokens, the shortest has 8"
    ):
        encode_pairs(pairs, TOKENIZER, 5, 0.0)


def test_tokenizer_that_does_not_know_the_words_is_refused():
    pairs = [pair_of("query"), pair_of("Zaphod Beeblebrox")]
    with pytest.raises(TokenizerError, match=r"1\d\.\d% of the tokens .* most are in file:7"):
        encode_pairs(pairs, TOKENIZER, 100, 0.1)
    assert len(encode_pairs(pairs, TOKENIZER, 100, 0.2)[0]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be greater than 0"),
        ({"answer_weight": -1.0}, "`answer_weight` must not be negative"),
        ({"optimizer": "sgd"}, "`optimizer` must be one of adamw, muon"),
        ({"optimizer": "muon", "lora_rank": 4}, "`optimizer` muon is for all weights"),
        ({"packing": True, "row_tokens": 8192}, "must not be greater than `batch_tokens`"),
        ({"packing": True, "max_length": 600}, "must not be greater than `row_tokens`"),
        ({"max_unknown": 2.0}, "`max_unknown`"),
        ({"seed": -1}, "`seed` must be from 0"),
    ],
)
def test_options_that_are_wrong_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SFTConfig(**options)


def test_longest_pair_follows_from_context_and_rows():
    assert SFTConfig().longest(2048) == 2048
    assert SFTConfig(packing=True).longest(2048) == 512
    assert SFTConfig(max_length=100).longest(2048) == 100
    with pytest.raises(ValueError, match="at most the context of the model, 64 tokens, got 100"):
        SFTConfig(max_length=100).longest(64)
    assert json.dumps(SFTConfig().to_json())


def test_folder_that_is_not_whole_is_told_of_before_its_lines(tmp_path):
    (tmp_path / "train.jsonl").write_text("broken")
    with pytest.raises(
        SimulationDataError, match=r"no whole folder of pairs: it has no card\.json"
    ):
        read_examples(tmp_path)
