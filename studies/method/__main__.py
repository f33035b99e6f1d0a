"""The method end to end, on two cores: collect, judge, pair, tune, measure, train, judge.

    python -m studies.method [--folder runs/method]

Plays training questions on a real engine (BM25 over the embedded world), tunes a small simulation
LLM on what it returned, measures its fidelity, trains a policy on it with a curriculum of noise and
one on BM25 itself, and judges both on BM25. Writes report.md, its pictures and results.json to the
folder. Stages that have ended are skipped, and one that was stopped goes on, so the same command
can be called until it is done.
"""

from __future__ import annotations

import sys

import tyro

from studies.method.chain import MethodConfig, stages_of
from studies.method.report import write_report
from studies.method.results import results_of, write_results
from studies.stage import ending_as_program, run_stages


def main(config: MethodConfig) -> None:
    """Run all stages that have not ended, and write the report."""
    with ending_as_program():
        run_stages(stages_of(config), config.folder)
        results = results_of(config)
    write_results(config.folder, results)
    print(f"report: {write_report(config, results)}")


if __name__ == "__main__":
    sys.path.append("")
    main(tyro.cli(MethodConfig, description=__doc__))
