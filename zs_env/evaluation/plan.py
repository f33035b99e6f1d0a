"""What a run of an evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.checks import as_integer
from zs_env.evaluation.methods import Method
from zs_env.evaluation.models import Model, trained_options
from zs_env.evaluation.options import PlayOptions
from zs_env.loading import Spec
from zs_env.settings import Engine, Questions


@dataclass(frozen=True)
class Plan:
    """What a run asks.

    Attributes:
        method: method, see `zs_env.evaluation.methods`.
        model: model of the policy, see `zs_env.evaluation.models.load_model`; None for a method
            that asks none.
        questions: sets of questions, each as drivers take them; the embedded world gives its test
            questions.
        engines: search engines, each as drivers take them, or ``random``: what the first engine
            finds for other questions.
        repeats: number of times that each question is played.
        seed: seed of noise, documents and sampling.
        num_questions: number of first questions of each set to play; None for all.
        options: how questions are played.
        benchmark: written form of the tier of a benchmark that this is the plan of, which records
            then carry; None if it is of none.
    """

    method: Spec | Method = "search"
    model: Model | None = None
    questions: Sequence[Questions] = ("world",)
    engines: Sequence[Engine] = ("world",)
    repeats: int = 1
    seed: int = 0
    num_questions: int | None = None
    options: PlayOptions = PlayOptions()
    benchmark: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        as_integer("repeats", self.repeats, 1)
        as_integer("seed", self.seed, 0)
        if self.num_questions is not None:
            as_integer("num_questions", self.num_questions, 1)
        for name in ("questions", "engines"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"`{name}` must be a list, got {getattr(self, name)!r}.")
            if not getattr(self, name):
                raise ValueError(f"`{name}` must name at least one.")


def make_options(
    model: Model | None, given: dict[str, Any], episode: str | Path | None = None
) -> PlayOptions:
    """Return the options of a run: those given, or those that the model was trained with.

    Args:
        model: model of the policy; the folder of a checkpoint has options.
        given: fields of `PlayOptions` by name.
        episode: folder of a checkpoint, or its ``episode.json``, for a model from elsewhere.

    Raises:
        ValueError: ``episode`` has no options.
    """
    trained = trained_options(model if episode is None else episode)
    if episode is not None and not trained:
        raise ValueError(f"`episode` must be the folder of a checkpoint, got {str(episode)!r}.")
    options = {**trained, **given}
    chat = {"prompt_template", "chat_template", "system_prompt", "chat_template_kwargs"}
    if chat & set(given):  # what the policy reads is to be made anew
        options["policy_prompt"] = given.get("policy_prompt")
    return PlayOptions(**options)
