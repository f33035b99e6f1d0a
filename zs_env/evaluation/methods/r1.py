"""R1 (DeepSeek-AI 2025, arXiv 2501.12948): reasons between tags and answers, without a search.

The baseline "R1" of arXiv 2505.04588: a policy trained so, or, zero-shot, any model. Departure: its
prompt is ours, in the tags of the other methods.
"""

from __future__ import annotations

from zs_env.evaluation.methods.chain_of_thought import ChainOfThought
from zs_env.evaluation.prompts import REASONING


class R1(ChainOfThought):
    """Reasoning between tags, and an answer, without a search."""

    prompt = REASONING
