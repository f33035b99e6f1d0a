"""Tokenizers by name, by folder and as objects."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from agents.tiny.tokenizer import make_tokenizer
from tests.helpers import ByteTokenizer, bpe_tokenizer
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.errors import MissingDependencyError, TokenizerError
from zs_env.tokens.tokenizers import load_tokenizer, read_tokenizer
from zs_env.world.tokenizer import WorldTokenizer


def test_world_is_the_tokenizer_of_that_size():
    assert load_tokenizer("world", "tiny").tokens == WorldTokenizer("tiny").tokens
    assert len(load_tokenizer("world")) == 1176


def test_object_is_taken_as_it_is():
    tokenizer = ByteTokenizer()
    assert load_tokenizer(tokenizer) is tokenizer


@pytest.mark.parametrize("kind", [str, lambda folder: folder])
def test_folder_of_a_tokenizer_is_read(tmp_path, kind):
    tokenizer = bpe_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    env = ZeroSearchTokenEnv(
        tokenizer=kind(tmp_path), masking="vocabulary", context_length=4096, world_size="tiny"
    )
    assert env.action_space.n == len(tokenizer)
    observation, _ = env.reset(seed=0)
    tokens = observation["tokens"][: observation["length"][0]]
    assert tokenizer.decode(tokens) == env.episode.transcript
    assert np.array_equal(observation["tokens"][len(tokens) :], [0] * (4096 - len(tokens)))


def test_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match=f"the name or folder .* got '{tmp_path}'"):
        load_tokenizer(tmp_path)


def test_folder_of_another_model_type_is_split_as_its_files_say(tmp_path):
    """Some model types bring a class that ignores how the tokenizer in the folder splits text."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    text = "<search>birthplace of Ada Blake</search>"
    expected = tokenizer.encode(text, add_special_tokens=False)
    for read in (load_tokenizer, read_tokenizer):
        assert read(tmp_path).encode(text, add_special_tokens=False) == expected


def test_environments_and_policies_refuse_a_folder_alike(tmp_path):
    """There were two loaders, with an error each."""
    policy = pytest.importorskip("agents.sampling.policy")
    messages = set()
    for read in (load_tokenizer, read_tokenizer, policy.load_policy):
        with pytest.raises(TokenizerError) as raised:
            read(tmp_path)
        messages.add(str(raised.value))
    assert len(messages) == 1
    bpe_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    for read in (load_tokenizer, read_tokenizer, policy.load_policy):
        with pytest.raises(TokenizerError, match="no end-of-text .*: set `eos_token` in"):
            read(tmp_path)


def test_missing_transformers_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"'\.\[train\]'"):
        load_tokenizer(tmp_path)


def test_tokenizer_without_end_of_text_is_refused():
    class Endless(ByteTokenizer):
        eos_token_id = None

    with pytest.raises(TokenizerError, match="no end-of-text"):
        ZeroSearchTokenEnv(tokenizer=Endless(), masking="none")


@pytest.mark.parametrize("tokenizer", [None, 5])
def test_what_is_no_tokenizer_is_refused(tokenizer):
    with pytest.raises(TypeError, match=r"`tokenizer` must be .* which has no encode, decode"):
        ZeroSearchTokenEnv(tokenizer=tokenizer)


class Spacing(ByteTokenizer):
    """Puts spaces around brackets, as the tokenizer of BERT does."""

    def decode(self, token_ids):
        return super().decode(token_ids).replace("<", "< ").replace(">", " >")


class Lossy(ByteTokenizer):
    """Knows no brackets."""

    def encode(self, text, *, add_special_tokens=False):
        return super().encode(text.replace("<", "?"), add_special_tokens=add_special_tokens)


@pytest.mark.parametrize(("kind", "read"), [(Spacing, "< think >"), (Lossy, "?think>")])
@pytest.mark.parametrize("masking", ["none", "vocabulary", "tags"])
def test_tokenizer_that_cannot_write_the_tags_is_refused(kind, read, masking):
    """Such an environment was once made, and no policy could search or answer in it."""
    with pytest.raises(ValueError, match=re.escape(f"<think>: its tokens are read as '{read}'")):
        ZeroSearchTokenEnv(tokenizer=kind(), masking=masking)
