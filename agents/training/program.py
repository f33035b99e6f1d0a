"""Command line of an algorithm: its options, a file of options, and the dry run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from agents.training.cli import one_line_errors, parse
from agents.training.config import Config
from agents.training.config_file import find_config, read_config
from agents.training.dry_run import dry_run

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Start:
    """How a program starts. These are no options of the run, and are not kept.

    Raises:
        ValueError: ``card_gib`` is not positive.
    """

    config: Path | None = None
    """File of options, as JSON, such as the config.json of a run; or a name.

    A name without .json means a file of agents/configs, as qwen2.5-3b-base does. Options of the
    command line come before those of the file.
    """
    dry_run: bool = False
    """Whether to check everything, compute sizes and play a tiny update, instead of training."""
    check_servers: bool = False
    """Whether the dry run asks the engines, and what is behind them, if they can be used."""
    card_gib: float = 79.0
    """Memory of the GPU that the dry run computes for, in units of 2**30 bytes.

    torch reports about 79 for a card of 80 GB.
    """

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.card_gib > 0:
            raise ValueError(f"`card_gib` must be greater than 0, got {self.card_gib}.")


def run_algorithm(train: Callable[[C], object], kind: type[C]) -> None:
    """Run an algorithm, or its dry run, with the options of the command line.

    Errors that the user can correct are printed as one line, and end the program with status 1, as
    a dry run does that finds what would stop the run.
    """
    with one_line_errors():
        start, config = parse_start(kind)
        if not start.dry_run:
            train(config)
        elif not dry_run(train, config, start.card_gib, check_servers=start.check_servers):
            raise SystemExit(1)


def parse_start(kind: type[C], arguments: Sequence[str] | None = None) -> tuple[Start, C]:
    """Parse how to start, and the options of the run, of the class ``kind``.

    Args:
        kind: class of the options.
        arguments: the command line; by default that of this program.

    Raises:
        ValueError: an option is wrong, in the file or on the command line.
        SystemExit: the command line cannot be parsed, or help was asked for.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", nargs="?")
    named = before.parse_known_args(arguments)[0].config
    # tyro takes the defaults from an object: that of the file.
    defaults = kind() if named is None else read_config(find_config(named), kind)
    annotated: Any = Annotated
    flat = tyro.conf.arg(name="")
    command = make_dataclass(
        "Command",
        [
            ("start", annotated[Start, flat], field(default=Start())),
            ("options", annotated[kind, flat], field(default=defaults)),
        ],
    )
    command.__doc__ = kind.__doc__
    parsed: Any = parse(command, arguments)
    return parsed.start, parsed.options
