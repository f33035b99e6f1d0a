"""The small base policy: a million parameters that know the embedded world's words."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The folder of the base policy, in the format of transformers."""
