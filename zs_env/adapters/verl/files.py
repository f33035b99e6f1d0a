"""The files of a run: data sets, YAML of the agent loop, and the configuration that joins them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from zs_env.adapters.task import TrainingTask
from zs_env.adapters.verl.episodes import make_task
from zs_env.adapters.verl.names import (
    AGENT,
    AGENT_LOOP,
    CONFIG,
    HELD_OUT,
    MANAGER,
    QUESTION_ID,
    SAMPLER,
    check_version,
)
from zs_env.checks import as_integer
from zs_env.settings import TrainerArguments

DATA_SOURCE = "search"
"""Name of the data set in verl's log: ``val-aux/search/f1/mean@1``."""


def prepare(
    folder: str | Path,
    model: str,
    *,
    max_prompt_length: int = 1024,
    max_response_length: int = 3072,
    seed: int = 0,
    **arguments: Unpack[TrainerArguments],
) -> Path:
    """Write the files of a run, after a check of questions, engine, tokenizer and lengths.

    ``train.parquet`` and ``test.parquet`` hold a row for each question, ``agent_loop.yaml`` the
    agent loop with its arguments, and ``zero_search.yaml`` what verl needs to find them. Begin the
    run with ``--config-dir FOLDER --config-name zero_search`` of ``verl.trainer.main_ppo``; further
    options override those of the file.

    Args:
        folder: folder of the files. Every machine of a cluster reads it.
        model: name or folder of the policy, with its tokenizer.
        max_prompt_length: most tokens of a prompt.
        max_response_length: most tokens behind it, documents included; an episode keeps to it.
        seed: seed of the noise labels and documents.
        arguments: fields of `zs_env.settings.TrainerSettings`, as JSON could hold them.

    Returns:
        The path of the configuration.

    Raises:
        MissingDependencyError: verl is not installed.
        DependencyVersionError: it has another version than the tested one.
        ValueError: an option is out of its range, a question does not fit into the lengths, or
            there are no held-out questions.
        TypeError: an argument is unknown, has the wrong type, or cannot be written to a file.
        ZeroSearchError: questions, engine or tokenizer cannot be used.
    """
    check_version()
    from zs_env.tokens.tokenizers import read_tokenizer

    _check_plain(arguments)
    lengths = (
        as_integer("max_prompt_length", max_prompt_length, 1),
        as_integer("max_response_length", max_response_length, 1),
    )
    seed = as_integer("seed", seed, 0)
    task = make_task(arguments, read_tokenizer(model), *lengths)
    path = Path(folder).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    try:
        for name, held_out in (("train", False), ("test", True)):
            _write_rows(path / f"{name}.parquet", rows_of(task, held_out=held_out))
    finally:
        task.close()
    entry = {"name": AGENT, "_target_": AGENT_LOOP, "seed": seed, "arguments": dict(arguments)}
    where = str(Path(model).resolve()) if Path(model).is_dir() else model
    _write_yaml(path / "agent_loop.yaml", [entry])
    return _write_yaml(path / f"{CONFIG}.yaml", _config(path, where, *lengths))


def rows_of(task: TrainingTask, *, held_out: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of verl's data set, one for each question."""
    for index, row in enumerate(task.rows(held_out=held_out)):
        yield {
            "data_source": DATA_SOURCE,
            "agent_name": AGENT,
            "prompt": [{"role": "user", "content": row["question"]}],
            "ability": "search",
            "reward_model": {"style": "rule", "ground_truth": row["golden_answers"]},
            "extra_info": {
                "index": index,
                QUESTION_ID: row["question_id"],
                HELD_OUT: held_out,
            },
        }


def _config(folder: Path, model: str, prompt_length: int, response_length: int) -> dict[str, Any]:
    """Return the options of ``verl.trainer.main_ppo`` that search episodes need."""
    sampler_path, sampler_name = SAMPLER
    return {
        "defaults": ["ppo_trainer", "_self_"],
        "data": {
            "train_files": str(folder / "train.parquet"),
            "val_files": str(folder / "test.parquet"),
            "max_prompt_length": prompt_length,
            "max_response_length": response_length,
        },
        "actor_rollout_ref": {
            "model": {"path": model},
            "actor": {"use_dynamic_bsz": True},
            "rollout": {
                "name": "vllm",
                "calculate_log_probs": True,
                "agent": {
                    "agent_loop_config_path": str(folder / "agent_loop.yaml"),
                    "agent_loop_manager_class": MANAGER,
                },
            },
        },
        "trainer": {
            "logger": ["console"],  # verl's own default also logs to Weights & Biases
            "project_name": AGENT,
            "experiment_name": folder.name,
            "default_local_dir": str(folder / "checkpoints"),
            "v1": {
                "sampler": {
                    "custom_sampler": {"path": f"pkg://{sampler_path}", "name": sampler_name},
                    "sampler_kwargs": {"rollout_n": "${actor_rollout_ref.rollout.n}"},
                }
            },
        },
    }


def _check_plain(arguments: Any) -> None:
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except TypeError:
            raise TypeError(
                f"`{name}` must be something that a file can hold, because each worker loads its "
                f"own, such as 'bm25,corpus=passages.jsonl' or 'module:Class', got {value!r}."
            ) from None


def _write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def _write_yaml(path: Path, content: Any) -> Path:
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(content), path)
    return path
