"""What all runs have in common: a folder with a lock, metrics and checkpoints, and interrupts."""

from __future__ import annotations

import json
import signal
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

import torch
from typing_extensions import Self

from agents.sampling.errors import SamplerError
from agents.training import checkpoint as checkpoints
from agents.training.display import Display
from agents.training.distributed import Processes
from agents.training.errors import CheckpointError, TrainingError
from agents.training.folder import check_folder, open_folder
from agents.training.metrics import Metrics, MetricsLog
from agents.training.resume import check_options


class RunOptions(Protocol):
    """Options that all runs have: fields of a dataclass."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""

    @property
    def resume(self) -> bool:
        """Whether the run continues from the last checkpoint in the folder."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def device(self) -> str:
        """Device to compute on."""

    @property
    def save_every(self) -> int:
        """Rounds between checkpoints."""

    @property
    def keep_checkpoints(self) -> int:
        """Number of checkpoints that are kept."""

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON types."""


O = TypeVar("O", bound=RunOptions)  # noqa: E741


class FolderRun(Generic[O]):
    """Run of numbered iterations in a folder of its own, to be used as a context manager.

    A subclass loads its model, sets `total` and `num_done`, and says what happens before the first
    iteration, after each one, and what a checkpoint and the report hold.

    Args:
        config: options of the run.

    Raises:
        CheckpointError: the folder holds a run that is not to be resumed, or one with other
            options; a file in it is damaged; or another run writes to it.

    Attributes:
        counter: what an iteration is called in metrics, messages and checkpoints.
        processes: processes that take part.
        checkpoint: checkpoint that the run goes on from, or None.
        total: number of iterations.
        num_done: number of iterations done, those before the checkpoint included.
        metrics: metrics of the present iteration.
    """

    counter = "update"

    def __init__(self, config: O) -> None:
        self.config = config
        self.processes = Processes(config.device)
        self.total = 0
        self.num_done = 0
        self.metrics: Metrics = {}
        self._saved: dict[str, Any] = {}
        self._ignored: list[str] = []
        torch.manual_seed(config.seed)
        # The folder is checked first, since loading a model takes long.
        self.processes.on_main(lambda: check_folder(config.folder))
        self.checkpoint = self._find_checkpoint()
        self._interrupted = False
        self._log: MetricsLog | None = None
        self._display: Display | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the folder, and handle interrupts."""
        with ExitStack() as stack:
            stack.callback(self.processes.close)
            stack.callback(self._close)
            self.processes.on_main(lambda: self._open_folder(stack))
            self._ready(stack)
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, self._interrupt))
            self._open = stack.pop_all()  # closed here only if something above failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close files, and write the report unless an unexpected error ended the run."""
        self._open.__exit__(kind, error, trace)

    def iterations(self) -> Iterator[int]:
        """Yield the number of each iteration, from 0; in between, write metrics and checkpoints."""
        if self.num_done == 0:
            self._before_first()
        for number in range(self.num_done, self.total):
            yield number
            self.num_done = number + 1
            is_last = self.num_done == self.total
            self._after_iteration(is_last)
            stop = self.processes.agree(self._interrupted)
            if is_last or stop or self.num_done % self.config.save_every == 0:
                self._save()
            if stop and not is_last:
                self._say(f"stopped after {self.counter} {self.num_done}; go on with --resume")
                raise SystemExit(130)  # the status of a program ended by Ctrl-C

    @abstractmethod
    def _before_first(self) -> None:
        """Evaluate, and write the first metrics."""

    @abstractmethod
    def _after_iteration(self, is_last: bool) -> None:
        """Evaluate and write metrics, where it is time to."""

    @abstractmethod
    def _write_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint with ``state``, in the main process."""

    @abstractmethod
    def _write_report(self) -> None:
        """Write the report."""

    @abstractmethod
    def _describe(self, metrics: Metrics) -> str:
        """Return the line that the display shows of ``metrics``."""

    def _ready(self, stack: ExitStack) -> None:
        """Start what the iterations need, and have ``stack`` close it."""

    def _close(self) -> None:
        """Free what belongs to the group of processes."""

    def _memory(self) -> dict[str, Any]:
        """Return what checkpoints hold of this kind of run, JSON-able."""
        return {}

    def _open_folder(self, stack: ExitStack) -> None:
        """Open files and display, which ``stack`` closes."""
        folder = self.config.folder
        stack.enter_context(open_folder(folder))
        # A run may have written to the folder since this one looked for a checkpoint.
        if checkpoints.last_checkpoint(folder / "checkpoints") != self.checkpoint:
            raise CheckpointError(f"another run has just written to {folder}: start again.")
        self._log = MetricsLog(folder, self.num_done if self.checkpoint else None, self.counter)
        (folder / "config.json").write_text(json.dumps(self.config.to_json(), indent=1))
        stack.push(self._report)
        stack.callback(self._log.close)
        self._display = Display(folder, self.total, self.num_done)
        stack.callback(self._display.close)
        if self._ignored:
            self._say(f"ignored options that no longer exist: {', '.join(self._ignored)}")

    def _report(self, kind: type[BaseException] | None, *_: object) -> None:
        expected = kind is None or issubclass(kind, SystemExit | TrainingError | SamplerError)
        if expected and self._log is not None and self._log.written:
            self._write_report()

    def _find_checkpoint(self) -> Path | None:
        found = checkpoints.last_checkpoint(self.config.folder / "checkpoints")
        if found is None:
            return None
        if not self.config.resume:
            raise CheckpointError(
                f"{self.config.folder} holds a run already: go on with --resume, choose another "
                "--folder, or delete it."
            )
        saved = self._saved = checkpoints.load_state(found)
        with checkpoints.reading(found):
            self._ignored = check_options(self.config, saved["config"])
            if saved["processes"] != self.processes.size:
                raise CheckpointError(
                    f"{self.config.folder} was begun with {saved['processes']} processes, and now "
                    f"there are {self.processes.size}: resume with as many."
                )
        return found

    def _restore_random_state(self) -> None:
        state = self._saved["random_state"]
        torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))

    def _save(self) -> None:
        state = {
            self.counter: self.num_done,
            **self._memory(),
            "random_state": torch.get_rng_state().tolist(),
            "processes": self.processes.size,
            "config": self.config.to_json(),
        }
        self.processes.on_main(lambda: self._write_checkpoint(state))

    def _write_metrics(self) -> None:
        if self._log is not None and self._display is not None:
            self._log.write(self.metrics)
            self._display.show(self._describe(self.metrics), int(self.metrics[self.counter]))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._say(f"finishing this {self.counter} and saving; interrupt again to stop at once")

    def _say(self, text: str) -> None:
        if self._display is not None:
            self._display.say(text)
