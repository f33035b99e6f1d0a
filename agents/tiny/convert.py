"""Convert a policy of the embedded world that has an earlier vocabulary to the present one.

    python -m agents.tiny.convert OLD NEW

New words came behind the old ones, whose ids stayed. Each new one gets the mean of the embeddings
of the old words, and so no meaning of its own: what the policy does with texts of old words
stays as it was, and new words have to be learned. The rest of the policy is kept. The state of the
optimizer is not: a run cannot be resumed with other weights, but a new one can begin from NEW.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from agents.tiny.saving import save_model
from agents.tiny.tokenizer import make_tokenizer
from zs_env.errors import ZeroSearchError
from zs_env.evaluation.models import EPISODE
from zs_env.tokens.tokenizers import read_tokenizer
from zs_env.world.tokenizer import SPECIAL_TOKENS, is_outdated, token_list, tokens_of

ADAPTERS = "adapter_config.json"


def convert(old: Path, new: Path) -> tuple[int, int]:
    """Convert the policy in ``old``, and save it to ``new``.

    Returns:
        Number of tokens before, and after.

    Raises:
        ValueError: ``old`` holds no model with an earlier vocabulary, or adapters of one; or
            ``new`` is not empty.
    """
    if new.exists() and not (new.is_dir() and not any(new.iterdir())):
        raise ValueError(f"NEW must be a new or an empty folder, and {new} is neither.")
    tokenizer = read_tokenizer(old)
    tokens = tokens_of(tokenizer)
    present = token_list()
    if not is_outdated(tokens):
        raise ValueError(
            f"OLD must have an earlier vocabulary of the embedded world, and {old} has "
            f"{len(tokens):,} tokens that are not the first of its {len(present):,}: "
            "there is nothing to convert."
        )
    if (old / ADAPTERS).is_file():
        raise ValueError(
            f"{old} holds adapters, which fit the earlier weights of their base only: merge them "
            "into it and convert the whole model, or train again."
        )
    model: Any = AutoModelForCausalLM.from_pretrained(old, dtype=torch.float32)
    grow(model, len(tokens), len(present))
    converted = make_tokenizer(present[len(SPECIAL_TOKENS) :])
    converted.chat_template = tokenizer.chat_template
    save_model(model, converted, new, _dtype_of(old))
    if (old / EPISODE).is_file():  # how it is played
        shutil.copy(old / EPISODE, new / EPISODE)
    return len(tokens), len(present)


@torch.no_grad()
def grow(model: PreTrainedModel, count: int, size: int) -> None:
    """Give tokens ``count`` to ``size`` the mean embedding of the words before them, in place."""
    model.resize_token_embeddings(max(size, len(_embeddings(model)[0])), mean_resizing=False)
    for rows in _embeddings(model):
        rows[count:size] = rows[len(SPECIAL_TOKENS) : count].mean(0)


def _embeddings(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return what has a row for each token: input, output (perhaps the same), and its bias."""
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    tensors = [layer.weight for layer in layers] + [getattr(layers[1], "bias", None)]
    return [tensor for tensor in tensors if tensor is not None]


def _dtype_of(folder: Path) -> torch.dtype:
    """Return the dtype of the first weights in the folder of a model."""
    for path in sorted(folder.glob("*model*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (it is no mapping)
                dtype: torch.dtype = file.get_tensor(name).dtype
                return dtype
    return torch.float32


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        "python -m agents.tiny.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="folder of the policy")
    parser.add_argument("new", type=Path, metavar="NEW", help="folder to write to")
    options = parser.parse_args()
    try:
        before, after = convert(options.old, options.new)
    except (ZeroSearchError, ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from error
    print(f"{options.new}: {after:,} tokens, of which {after - before:,} are new.")


if __name__ == "__main__":
    main()
