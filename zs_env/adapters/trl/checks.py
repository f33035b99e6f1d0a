"""What can be wrong about a `GRPOTrainer`, said before its first step."""

from __future__ import annotations

from typing import Any

from zs_env.adapters.task import TrainingTask

PROMPT = "prompt"
"""Column of a data set of TRL; it holds the id of a question."""

PLAIN: dict[str, tuple[Any, ...]] = {
    "top_p": (1.0,),
    "top_k": (0, None),
    "min_p": (None, 0.0),
    "repetition_penalty": (1.0,),
    "generation_kwargs": (None, {}),
    "use_vllm": (False,),
    "use_transformers_continuous_batching": (False,),
}
"""Options of `GRPOConfig` that the sampler of this package does not follow: what they may be."""


def check_config(args: Any, *, own_sampler: bool) -> None:
    """Check the `GRPOConfig` of a run.

    Args:
        args: options of the trainer.
        own_sampler: whether this package samples the tokens, not a sampler of the user's.

    Raises:
        ValueError: an option does not go with search episodes.
    """
    if args.mask_truncated_completions:
        raise ValueError(
            "`mask_truncated_completions` must be False, got True: the turns of a search agent end "
            "at a tag, without end-of-text, and TRL would leave nearly all episodes out."
        )
    for name, allowed in PLAIN.items() if own_sampler else ():
        value = getattr(args, name)
        if value not in allowed:
            raise ValueError(
                f"`{name}` of GRPOConfig must be {allowed[0]!r}, got {value!r}: tokens are drawn "
                "at `temperature` from all tokens, as the trainer's log-probabilities suppose. "
                "Leave it out, or give SearchRollouts a `sampler` that follows it."
            )


def check_rows(task: TrainingTask, dataset: Any, *, held_out: bool = False) -> None:
    """Check that each row of ``dataset`` has the id of a question; a stream is not read.

    Raises:
        ValueError: one has not.
    """
    names = getattr(dataset, "column_names", None)
    if names is not None and PROMPT not in names:
        maker = "test_dataset" if held_out else "train_dataset"
        raise ValueError(
            f"expected a data set with the id of a question as `{PROMPT}`, got the columns "
            f"{', '.join(names)}: make it with SearchRollouts.{maker}()."
        )
    if names is not None and hasattr(dataset, "__len__"):
        task.check_ids(dataset[PROMPT], held_out=held_out)


def check_trainer(task: TrainingTask, trainer: Any, *, own_sampler: bool) -> None:
    """Check a trainer that asks for its first episodes.

    Raises:
        ValueError: its options, its rows, its tokenizer or the context of its model do not fit the
            episodes.
    """
    args, limit = trainer.args, task.source.rules.max_response
    check_config(args, own_sampler=own_sampler)
    if args.max_completion_length != limit:
        raise ValueError(
            f"SearchRollouts was made with `max_completion_length` {limit}, and the trainer has "
            f"{args.max_completion_length}: give both the same GRPOConfig."
        )
    if own_sampler and trainer.is_fsdp_enabled:
        raise ValueError(
            "the model is sharded by FSDP, with which the sampler of this package was not tried: "
            "give SearchRollouts a `sampler`, or train with DDP or DeepSpeed."
        )
    check_rows(task, trainer.train_dataset)
    for dataset in _as_list(trainer.eval_dataset):
        check_rows(task, dataset, held_out=True)
    _check_tokenizer(task.encoder.tokenizer, trainer.processing_class)
    longest = getattr(trainer.model.config.get_text_config(), "max_position_embeddings", None)
    prompt = task.source.longest_prompt()
    if longest is not None and prompt + args.max_completion_length > longest:
        raise ValueError(
            f"the longest question has a prompt of {prompt} tokens, which with "
            f"`max_completion_length` {args.max_completion_length} is more than the {longest} that "
            "the model reads: lower `max_completion_length`, or leave out long questions."
        )


def _as_list(datasets: Any) -> list[Any]:
    """Return the data sets of an evaluation: none, one, or several by name."""
    if datasets is None:
        return []
    return list(datasets.values()) if isinstance(datasets, dict) else [datasets]


def _check_tokenizer(ours: Any, theirs: Any) -> None:
    if ours is not theirs and ours.get_vocab() != theirs.get_vocab():
        raise ValueError(
            f"SearchRollouts has a tokenizer of {len(ours):,} tokens, and the trainer another one, "
            f"of {len(theirs):,}: give both the same, the trainer as `processing_class`."
        )
