"""Policies of several families: heads, start and end tokens, padding, vocabularies, damage."""

from __future__ import annotations

import copy
import json

import pytest

pytest.importorskip("torch")

import torch
import transformers
from tokenizers.processors import TemplateProcessing

from agents.grpo import GRPOConfig
from agents.sampling.player import Player
from agents.sampling.policy import load_policy
from agents.training.config import Config
from tests.helpers import QUESTION, SMALL_SIZES, EchoEngine, bpe_tokenizer
from zs_env.episodes import EpisodeSource
from zs_env.errors import TokenizerError
from zs_env.rules import Limits
from zs_env.settings import Settings

START, END, PAD = "[start]", "[end]", "[pad]"
SIZES = {**SMALL_SIZES, "max_position_embeddings": 512, "initializer_range": 0.3}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "initializer_range": 0.3}
FAMILIES = {
    "Llama": {**SIZES, "tie_word_embeddings": False},
    "Llama, tied": {**SIZES, "tie_word_embeddings": True},
    "Qwen2": {**SIZES, "tie_word_embeddings": False},
    "Qwen3": SIZES,
    "Gemma2": SIZES,  # caps its logits
    "GPT2": GPT2_SIZES,  # learned positions
    "GPTNeoX": SIZES,
}
TIED = ("Llama, tied", "Gemma2", "GPT2")


def make_tokenizer(*, starts, pad):
    tokenizer = copy.deepcopy(bpe_tokenizer(START, PAD, "[stop]"))
    tokenizer.add_special_tokens({"bos_token": START, "pad_token": pad})
    if starts:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, tokenizer.bos_token_id)]
        )
    return tokenizer


def make_model(folder, family, tokenizer, *, extra_rows=0, **changes):
    """Save a small random model whose ends are those of two tokens."""
    name = family.partition(",")[0]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **{
            **FAMILIES[family],
            "vocab_size": len(tokenizer) + extra_rows,
            "eos_token_id": [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("[stop]")],
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **changes,
        }
    )
    model = getattr(transformers, f"{name}ForCausalLM", None) or transformers.GPT2LMHeadModel
    model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def play(policy, count=8):
    limits = Limits(max_context=320, turn_reserve=24, measure=policy.encoder)
    settings = Settings(
        questions=[QUESTION], engine=EchoEngine(), prompt_template="{question}\n", max_turns=3
    )
    source = EpisodeSource(settings, limits)
    player = Player(policy.eval(), source.engine, source.rules, count)
    return player.play([source.assign(0, member=member) for member in range(count)])


@pytest.mark.parametrize("extra_rows", [0, 200])
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_policy_of_any_family_plays_as_it_is_trained(family, starts, extra_rows, tmp_path):
    tokenizer = make_tokenizer(starts=starts, pad=END if starts else PAD)
    policy = load_policy(make_model(tmp_path, family, tokenizer, extra_rows=extra_rows))
    embedding, head = policy.model.get_input_embeddings(), policy.model.get_output_embeddings()
    assert (embedding.weight is head.weight) == (family in TIED)
    stop = tokenizer.convert_tokens_to_ids("[stop]")
    assert policy.encoder.end_ids == (tokenizer.eos_token_id, stop)
    prompt = tokenizer.encode(QUESTION.text + "\n")
    assert (prompt[0] == tokenizer.bos_token_id) == starts
    for trajectory in play(policy):
        assert trajectory.token_ids[: len(prompt)].tolist() == prompt
        assert trajectory.segments[0].stop == len(prompt)
        ids = torch.from_numpy(trajectory.token_ids).long()[None]
        mask = torch.from_numpy(trajectory.response_mask)[None]
        with torch.no_grad():
            scores = policy(ids, mask).log_probs[0]
        trajectory.verify(scores.numpy(), tolerance=1e-3)


def test_turn_of_a_sampled_policy_ends_at_each_of_its_end_tokens(tmp_path):
    tokenizer = make_tokenizer(starts=False, pad=END)
    policy = load_policy(make_model(tmp_path, "Llama", tokenizer))
    bias = torch.zeros(policy.model.config.vocab_size)
    ends = policy.encoder.end_ids
    bias[list(ends)] = 12.0
    policy.model.lm_head.bias = torch.nn.Parameter(bias)
    turns = [
        trajectory.token_ids[segment.start : segment.stop]
        for trajectory in play(policy, 16)
        for segment in trajectory.segments
        if segment.role.value == "policy"
    ]
    assert {int(turn[-1]) for turn in turns} == set(ends)
    assert not any(set(turn[:-1].tolist()) & set(ends) for turn in turns)


def test_ids_beyond_the_tokenizer_are_never_sampled(tmp_path):
    tokenizer = make_tokenizer(starts=False, pad=PAD)
    policy = load_policy(make_model(tmp_path, "Qwen2", tokenizer, extra_rows=200))
    bias = torch.zeros(policy.model.config.vocab_size)
    bias[len(tokenizer) :] = 6.0
    policy.model.lm_head.bias = torch.nn.Parameter(bias)
    assert all(t.verify().token_ids.max() < len(tokenizer) for t in play(policy))


# peft asks transformers by a name that is going out of use.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_folder_with_adapters_has_the_ends_of_its_base(tmp_path):
    peft = pytest.importorskip("peft")
    tokenizer = make_tokenizer(starts=False, pad=END)
    base = make_model(tmp_path / "base", "Llama", tokenizer)
    policy = load_policy(base)
    options = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(policy.model, options).save_pretrained(tmp_path / "adapters")
    tokenizer.save_pretrained(tmp_path / "adapters")
    assert load_policy(tmp_path / "adapters").encoder.end_ids == policy.encoder.end_ids
    assert len(policy.encoder.end_ids) == 2


@pytest.fixture
def folder(tmp_path):
    return make_model(tmp_path / "model", "Llama", make_tokenizer(starts=False, pad=END))


def test_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"`model` must be a folder .* cannot be loaded: .*model"):
        load_policy(folder)


def test_folder_that_lacks_a_part_of_its_weights_is_refused(folder):
    """The missing ones were once random."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of its weights, such as model\.layers\.1\.mlp"):
        load_policy(folder)


def test_folder_with_weights_of_other_shapes_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(ValueError, match="`model` must be a folder .* cannot be loaded"):
        load_policy(folder)


def test_tokenizer_of_another_model_is_refused(folder):
    """Its ids were once looked up beyond the embeddings, in the middle of a run."""
    size = len(make_tokenizer(starts=False, pad=END))
    tokenizer = copy.deepcopy(bpe_tokenizer(*(f"[extra {i}]" for i in range(50))))
    tokenizer.save_pretrained(folder)
    expected = f"has {len(tokenizer)} token ids, and the model embeds only {size}: it is the"
    with pytest.raises(TokenizerError, match=expected):
        load_policy(folder)


def test_context_shorter_than_the_prompt_is_refused_with_both_lengths(folder):
    policy = load_policy(folder)
    config = Config(model=str(folder), max_context=40, max_turn_tokens=24)
    with pytest.raises(ValueError, match=r"only 40 is allowed \(\d+ for the prompt, 24 for the"):
        config.make_source(policy)


CHAT = (
    "{{ strftime_now('%Y') }} {% for m in messages %}[start]{{ m.role }}\n{{ m.content }}[stop]"
    "{% endfor %}{% if add_generation_prompt %}[start]assistant\n{% endif %}"
)


def run_of(folder, tmp_path, **changes):
    """Options of a short run with a chat template that writes the year."""
    (folder / "chat_template.jinja").write_text(CHAT)
    return GRPOConfig(
        **{
            "folder": tmp_path / "run",
            "model": str(folder),
            "system_prompt": "Be brief.",
            "updates": 1,
            "questions_per_update": 4,
            "minibatches": 1,
            "num_test_questions": 2,
            "test_engines": ("world",),
            "max_context": 512,
            "max_turns": 2,
            "max_turn_tokens": 8,
            "prompt_template": "{question}\n",
            "save_every": 1,
            **changes,
        }
    )


def test_run_keeps_the_prompt_that_its_policy_reads(folder, tmp_path):
    """Another year, and a resumed run or an evaluation would read another prompt."""
    from agents.grpo import train
    from agents.training.checkpoint import STATE, last_checkpoint
    from agents.training.run import Run
    from zs_env.evaluation.models import EPISODE
    from zs_env.evaluation.run import Plan, evaluate, make_options

    config = run_of(folder, tmp_path)
    train(config)
    kept = json.loads((config.folder / "config.json").read_text())
    year = kept["policy_prompt"]["template"][:4]
    behind = "[start]system\nBe brief.[stop][start]user\n{question}[stop][start]assistant\n"
    assert kept["policy_prompt"] == {"template": f"{year} {behind}", "chat": True}
    assert (kept["chat_template"], kept["system_prompt"]) == ("auto", "Be brief.")
    checkpoint = last_checkpoint(config.folder / "checkpoints")
    state = json.loads((checkpoint / STATE).read_text())
    assert state["config"]["policy_prompt"] == kept["policy_prompt"]

    state["config"]["policy_prompt"]["template"] = f"1999 {behind}"
    (checkpoint / STATE).write_text(json.dumps(state))
    with Run(run_of(folder, tmp_path, resume=True)) as run:
        assert run.collector.source.rules.prompt_template == f"1999 {behind}"
    options = json.loads((checkpoint / EPISODE).read_text())
    assert options["policy_prompt"] == kept["policy_prompt"]
    options["policy_prompt"]["template"] = f"1999 {behind}"
    (checkpoint / EPISODE).write_text(json.dumps(options))
    for changes, begin in (({}, "1999 "), ({"system_prompt": "Hm."}, f"{year} ")):
        made = make_options(str(checkpoint), changes)
        plan = Plan(model=str(checkpoint), num_questions=1, options=made)
        [record] = evaluate(plan, show_progress=False)
        expected = begin + behind.replace("Be brief.", changes.get("system_prompt", "Be brief."))
        assert record.segments[0].text == expected.replace("{question}", record.question)


def test_run_with_options_of_a_chat_that_is_not_there_is_refused(folder, tmp_path):
    from agents.training.run import Run

    config = run_of(folder, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="`system_prompt` needs a tokenizer with a chat template"):
        Run(config)


def test_options_of_the_chat_are_read_from_a_command_line(monkeypatch):
    from agents.training.cli import parse

    arguments = ["--chat-template", "on", "--system-prompt", "Be brief."]
    arguments += ["--chat-template-kwargs", '{"enable_thinking": false}']
    monkeypatch.setattr("sys.argv", ["program", *arguments])
    config = parse(Config)
    assert config.chat == {
        "chat_template": "on",
        "system_prompt": "Be brief.",
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_tiny_model_reads_what_it_always_read():
    policy = load_policy("tiny")
    source = Config().make_source(policy)
    assert source.prompt.template == Config().prompt_template and not source.prompt.chat
    assert policy.encoder.end_ids == (policy.tokenizer.eos_token_id,)
