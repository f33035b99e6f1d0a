"""A random Qwen2 of about a million parameters, with a tokenizer and a chat template."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from zs_env.prompts import EXAMPLES, SIMULATION_TEMPLATES
from zs_env.world import load_world
from zs_env.world.text import corpus

END, START = "<|im_end|>", "<|im_start|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(vocab_size: int = 4000) -> Any:
    """A byte-pair tokenizer that knows the words of the prompts.

    It has no token for a byte beyond ASCII: a random model would write broken UTF-8, which those
    who decode token by token show in another way than those who decode at once.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END, START], show_progress=False
    )
    tokenizer.train_from_iterator(_lines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=AddedToken(END, special=True, normalized=False),
        pad_token=END,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(folder: Path, max_length: int = 2048) -> Path:
    """Save the model and its tokenizer to ``folder``."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_length,
        # Larger than usual, so that the likeliest token leads by more than rounding.
        initializer_range=0.2,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _lines() -> list[str]:
    """Text like that of the prompts, in ASCII."""
    # Without that of the embedded world: other texts would make another tokenizer.
    templates = [SIMULATION_TEMPLATES[name] for name in ("prompt-based", "fine-tuned")]
    examples = [text for texts in EXAMPLES.values() for text in texts]
    pages = [page.text for page in islice(corpus(load_world()), 300)]
    alphabet = "".join(map(chr, range(0x20, 0x7F)))
    return [text.encode("ascii", "ignore").decode() for text in templates + examples + pages] + [
        alphabet,
        "\n",
    ]
