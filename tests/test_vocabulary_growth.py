"""A policy with an earlier vocabulary of the world: refused, and converted; weights in bfloat16."""

from __future__ import annotations

import re
import sys

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from agents.ppo import PPOConfig, train
from agents.sampling.policy import add_adapters, load_model, load_policy
from agents.tiny import MODEL
from agents.tiny.convert import convert, main
from agents.tiny.saving import save_model
from agents.tiny.tokenizer import make_tokenizer
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate
from tests.helpers import ByteTokenizer, tiny_model
from zs_env.episodes import EpisodeSource
from zs_env.errors import TokenizerError
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.run import Plan
from zs_env.evaluation.run import evaluate as evaluate_plan
from zs_env.rules import Limits
from zs_env.settings import ChatSettings
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.tokenizers import read_tokenizer
from zs_env.world import tokenizer as world_tokenizer
from zs_env.world.tokenizer import SPECIAL_TOKENS, WorldTokenizer, check_vocabulary, token_list

NEW_WORDS = ("zyx", "[line]", "zyxwv")
SMALL = {
    "updates": 1,
    "questions_per_update": 4,
    "num_test_questions": 4,
    "test_engines": ("world",),
    "minibatches": 1,
    "max_turns": 2,
    "max_context": 400,
}
MESSAGE = (
    r"the policy in {} has the vocabulary of an earlier version: 1,\d\d\d tokens of the .*, "
    r"which has 1,\d\d\d now.*python -m agents.tiny.convert {} NEW.*cannot be resumed"
)


def grow_vocabulary(monkeypatch):
    """As an update of the package does that brings new words."""
    vocabulary = world_tokenizer.vocabulary

    def grown(size="small"):
        return (*vocabulary(size), *(NEW_WORDS if size != "tiny" else ()))

    monkeypatch.setattr(world_tokenizer, "vocabulary", grown)


def error_of(folder):
    return MESSAGE.replace("{}", re.escape(str(folder)))


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of the bundled policy, which lacks the new words."""
    folder = tmp_path / "old"
    policy = load_policy("tiny")
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    grow_vocabulary(monkeypatch)
    return folder


def test_training_of_a_policy_with_an_old_vocabulary_is_refused(old, tmp_path):
    with pytest.raises(TokenizerError, match=error_of(old)):
        train(PPOConfig(folder=tmp_path / "run", model=str(old), **SMALL))
    assert not (tmp_path / "run").exists()


def test_run_with_an_old_vocabulary_is_not_resumed(tmp_path, monkeypatch):
    config = {"folder": tmp_path / "run", **SMALL, "test_engines": ()}
    train(PPOConfig(**config))
    grow_vocabulary(monkeypatch)
    checkpoint = tmp_path / "run" / "checkpoints" / "000001"
    with pytest.raises(TokenizerError, match=error_of(checkpoint)):
        train(PPOConfig(**config, resume=True))


@pytest.mark.parametrize("questions", ["world", "world,sample=3", '{"name": "world", "sample": 3}'])
def test_evaluation_of_a_policy_with_an_old_vocabulary_is_refused(old, questions):
    plan = Plan(model=str(old), questions=[questions], num_questions=2)
    with pytest.raises(TokenizerError, match=error_of(old)):
        evaluate_plan(plan, show_progress=False)


def test_old_vocabulary_may_be_used_elsewhere(old, tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "who?", "answers": ["me"]}\n')
    plan = Plan(model=str(old), questions=[str(file)], engines=["empty"])
    assert len(evaluate_plan(plan, show_progress=False)) == 1


@pytest.mark.parametrize(
    "tokenizer",
    [
        WorldTokenizer(),
        WorldTokenizer("tiny"),
        make_tokenizer(),
        make_tokenizer(("born", "person")),  # of a world of one's own
        make_tokenizer(()),
        ByteTokenizer(),
    ],
    ids=["world", "tiny world", "present", "other words", "no words", "bytes"],
)
def test_vocabularies_that_are_no_earlier_ones_are_accepted(tokenizer):
    check_vocabulary(tokenizer)
    check_vocabulary(tokenizer, "tiny")


@pytest.mark.parametrize(
    "asked",
    [{"world_size": "small"}, {"world_size": "tiny", "questions": "world,world_size=hard"}],
)
def test_vocabulary_that_is_the_beginning_of_the_present_one_is_refused(asked):
    words = token_list()[len(SPECIAL_TOKENS) : -1]
    source = ChatSettings(**asked)
    limits = Limits(640, 64, measure=TextEncoder(make_tokenizer(words)))
    with pytest.raises(
        TokenizerError, match=f"{len(words) + 3:,} tokens .* {len(words) + 4:,} now"
    ):
        EpisodeSource(source, limits)


@pytest.mark.parametrize("asked", [{"world_size": "tiny"}, {"questions": "world,world_size=tiny"}])
def test_old_vocabulary_has_all_words_of_the_tiny_world(asked):
    """It was refused there, where no word is new."""
    words = token_list()[len(SPECIAL_TOKENS) : -1]
    EpisodeSource(
        ChatSettings(**asked), Limits(640, 64, measure=TextEncoder(make_tokenizer(words)))
    )


def test_converted_policy_has_the_new_words_and_keeps_the_rest(old, tmp_path):
    (old / "episode.json").write_text('{"max_turns": 3}')
    new = tmp_path / "new"
    before = load_policy(old)
    count = len(before.tokenizer)
    assert convert(old, new) == (count, count + 3)
    after = load_policy(new)
    assert (new / "episode.json").read_text() == '{"max_turns": 3}'
    assert after.model.config.vocab_size == count + 3
    assert after.tokenizer.get_vocab() == before.tokenizer.get_vocab() | {
        word: count + number for number, word in enumerate(NEW_WORDS)
    }
    check_vocabulary(after.tokenizer)
    weights, wanted = after.state_dict(), before.state_dict()
    assert weights.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(
            weights[name][:count] if tensor.dim() > 1 and len(tensor) == count else weights[name],
            tensor,
        ), name
    rows = after.model.get_input_embeddings().weight
    assert torch.allclose(rows[count:], rows[len(SPECIAL_TOKENS) : count].mean(0).expand(3, -1))
    # It writes what it wrote before.
    ids = torch.tensor([before.encoder.encode("<search> the rival of Ada Blake")])
    logits = [policy.model(ids).logits[..., :count] for policy in (before, after)]
    assert torch.allclose(*logits, atol=1e-6)


def test_converted_policy_trains(old, tmp_path):
    convert(old, tmp_path / "new")
    train(PPOConfig(folder=tmp_path / "run", model=str(tmp_path / "new"), **SMALL))
    assert (tmp_path / "run" / "checkpoints" / "000001").is_dir()


def test_conversion_keeps_untied_embeddings_rows_without_a_token_and_dtype(tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    count = len(tokenizer)
    options = {"tie_word_embeddings": False, "vocab_size": count + 2}
    old, new = tmp_path / "old", tmp_path / "new"
    tiny_model(old, tokenizer, **options)
    save_model(load_model(old), tokenizer, old)
    grow_vocabulary(monkeypatch)
    convert(old, new)
    before, after = (load_file(folder / "model.safetensors") for folder in (old, new))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert len(before[name]) == count + 2 and len(after[name]) == count + 3
        assert torch.equal(after[name][:count], before[name][:count])
        mean = before[name][3:count].float().mean(0).bfloat16()
        assert torch.equal(after[name][count:], mean.expand(3, -1))


def test_conversion_of_what_has_no_earlier_vocabulary_is_one_line(tmp_path, monkeypatch):
    for old, message in (
        (MODEL, "error: OLD must have an earlier vocabulary of the embedded world"),
        (tmp_path / "missing", "error: expected the name or folder of a tokenizer"),
    ):
        monkeypatch.setattr(sys, "argv", ["convert", str(old), str(tmp_path / "new")])
        with pytest.raises(SystemExit) as end:
            main()
        assert str(end.value).startswith(message) and "\n" not in str(end.value)


def test_conversion_prints_what_is_new(old, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convert", str(old), str(tmp_path / "new")])
    main()
    assert capsys.readouterr().out.endswith(" tokens, of which 3 are new.\n")


def test_conversion_into_a_folder_in_use_is_refused(old, tmp_path):
    with pytest.raises(ValueError, match="NEW must be a new or an empty folder"):
        convert(old, old)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_conversion_of_adapters_is_refused(old, tmp_path):
    pytest.importorskip("peft")
    adapters = tmp_path / "adapters"
    add_adapters(load_model(old), 2).save_pretrained(adapters)
    read_tokenizer(old).save_pretrained(adapters)
    with pytest.raises(ValueError, match="holds adapters, which fit the earlier weights"):
        convert(adapters, tmp_path / "new")


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """The bundled policy with weights in bfloat16."""
    folder = tmp_path_factory.mktemp("halved")
    policy = load_policy("tiny")
    save_model(policy.model, policy.tokenizer, folder)
    return folder


def test_weights_of_half_the_bytes_are_the_rounded_ones(halved):
    stored = load_file(halved / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert (halved / "model.safetensors").stat().st_size < 2.0e6
    loaded, full = load_policy(halved).state_dict(), load_policy("tiny").state_dict()
    assert loaded.keys() == full.keys()
    for name, tensor in full.items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.bfloat16().float())


def test_whoever_loads_them_computes_in_float32(halved):
    policy = load_policy(halved, with_values=True)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    # As `transformers_local` and vLLM read the dtype by default.
    assert AutoConfig.from_pretrained(halved).dtype == torch.float32
    model = AutoModelForCausalLM.from_pretrained(halved, dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_evaluation_and_training_write_the_same_with_them(halved):
    """In bfloat16 they would not: its rounding depends on what is computed at the same time."""
    config = Config(num_test_questions=40)
    policy = load_policy(halved)
    source = config.make_test_source(policy, "world")
    trained = evaluate(policy, source, config, Processes("cpu"))
    played = PlayOptions(max_turns=5, top_k=2, document_words=12, max_turn_tokens=64)
    plan = Plan(model=str(halved), num_questions=40, options=played)
    evaluated = {r.question_id: r for r in evaluate_plan(plan, show_progress=False)}
    firsts = [(r.segments[1].text, evaluated[r.question_id].segments[1].text) for r in trained]
    assert len(set(firsts)) > 20 and all(ours == theirs for ours, theirs in firsts)


def test_run_from_them_keeps_float32(halved, tmp_path):
    train(PPOConfig(folder=tmp_path / "run", model=str(halved), **SMALL))
    checkpoint = tmp_path / "run" / "checkpoints" / "000001" / "model.safetensors"
    assert {tensor.dtype for tensor in load_file(checkpoint).values()} == {torch.float32}
