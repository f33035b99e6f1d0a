"""Make the bundled simulation LLM, `simulated,model=world`: searches, pairs, three times tuning.

    python -m studies.bundled [--folder runs/bundled] [--install]

Each pass of tuning takes half an hour to an hour of one core. Stages that have ended are skipped,
and one that was stopped goes on. Each pass has other variants of the searches; in the third, some
entities get names that nothing has, so that names are copied from the query. `--install` puts the
model in the place of the bundled one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from studies.simulator import Pass, pairs_stage, search_stages, tune_stage
from studies.stage import Stage, ending_as_program, run_stages
from zs_env.llm.bundled import FOLDER


@dataclass(frozen=True)
class Options:
    """Options of the command."""

    folder: Path = Path("runs/bundled")
    """Folder of the stages."""
    install: bool = False
    """Whether the model takes the place of the bundled one."""
    num_questions: int = 10_000
    """Train questions that are played to collect searches of the real engine."""
    num_pairs: int = 100_000
    """Pairs of each pass."""
    processes: int = 1
    """Processes that tune side by side."""
    seed: int = 0
    """Seed of all draws."""


def stages_of(options: Options) -> list[list[Stage]]:
    """Return the stages, one after the other."""
    folder, seed = options.folder, options.seed
    first = Pass(variants=5, batch_tokens=2048, learning_rate=3e-3, muon_learning_rate=5e-3)
    second = Pass(
        variants=10,
        batch_tokens=4096,
        learning_rate=2e-3,
        muon_learning_rate=4e-3,
        model=folder / "tuned-1" / "model",
    )
    third = Pass(
        variants=15,
        batch_tokens=4096,
        learning_rate=1.5e-3,
        muon_learning_rate=3e-3,
        steps=2200,
        rename_share=0.4,
        model=folder / "tuned-2" / "model",
    )
    stages = [*search_stages(folder, options.num_questions, seed)]
    for number, planned in enumerate((first, second, third), start=1):
        pairs, tuned = f"pairs-{number}", f"tuned-{number}"
        stages += [
            pairs_stage(pairs, folder, options.num_pairs, seed, planned),
            tune_stage(
                f"tune-{number}", folder / pairs, folder / tuned, seed, planned, options.processes
            ),
        ]
    return [[stage] for stage in stages]


def main(options: Options) -> None:
    """Run all stages that have not ended, and install the model if that is asked for."""
    with ending_as_program():
        run_stages(stages_of(options), options.folder)
    model = options.folder / "tuned-3" / "model"
    print(f"model: {model}")
    if options.install:
        shutil.copytree(model, FOLDER, dirs_exist_ok=True)
        print(f"installed: {FOLDER}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
