"""``zs-env simulation``: collect, judge and make pairs to tune a simulation LLM; its fidelity."""

from __future__ import annotations

import argparse

from zs_env.commands import (
    simulation_collect,
    simulation_fidelity,
    simulation_judge,
    simulation_pairs,
)

NAME = "simulation"
DESCRIPTION = (
    "Make what a simulation LLM is tuned on: collect searches, judge them, make pairs; measure it."
)

EXAMPLES = """\
examples:
  zs-env simulation collect --method explorer --engine bm25 --folder runs/searches
  zs-env simulation judge runs/searches --judge world
  zs-env simulation pairs runs/searches --template world --folder runs/pairs
  zs-env simulation fidelity --simulated world --queries runs/pairs --folder runs/fidelity

`zs-env simulation COMMAND --help` tells more of each.
"""

COMMANDS = (simulation_collect, simulation_judge, simulation_pairs, simulation_fidelity)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of the group to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.NAME, help=command.DESCRIPTION, description=command.DESCRIPTION
        )
        subparser.set_defaults(run=command.run)
        command.add_arguments(subparser)


def run(options: argparse.Namespace) -> None:
    """Never called: a command of the group is required, and is run instead."""
    raise AssertionError("a command of the group is required")
