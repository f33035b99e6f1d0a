"""A plan with all its parts, ready to play: sets of questions, their engines, the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from zs_env.checks import as_integer
from zs_env.concurrency.event_loop import run_to_end, work_together
from zs_env.engines import KNOWS_THE_WORLD, SearchEngine, load_engine
from zs_env.engines.empty import EmptyEngine
from zs_env.episode import Termination
from zs_env.errors import SearchFailure
from zs_env.evaluation.identity import fingerprint, identity_of, weights_of
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.methods import load_method
from zs_env.evaluation.models import load_model
from zs_env.evaluation.plan import Plan
from zs_env.evaluation.play import Play, Task, Watch
from zs_env.evaluation.policy_model import ModelFailure, PolicyModel, TranscriptTooLong
from zs_env.evaluation.probes import RandomEngine
from zs_env.evaluation.record import Record, RecordKey
from zs_env.loading import parse_spec
from zs_env.question_sources import are_about_the_world, load_questions, world_of
from zs_env.questions import QuestionSource
from zs_env.settings import Engine
from zs_env.world.tokenizer import check_vocabulary

MODEL_FAILED = "model_failed"
"""Termination of a question whose model gave up."""

NO_ENGINE = "none"
"""Name of the engine in records of methods that do not search."""

RANDOM = "random"
"""Name of the probe that finds documents of other questions."""


class Cell(NamedTuple):
    """A set of questions, the world they are about if any, and the engine to play them with."""

    dataset: str
    engine_label: str
    world: tuple[int, str] | None
    questions: QuestionSource
    size: int
    engine: SearchEngine


class Evaluation:
    """A plan with all its parts, ready to play. Close it, or use it in a ``with`` statement.

    A model in this process is loaded by `check` or by `play`.

    Args:
        plan: what to ask.
        watch: function that is shown each segment of each transcript.

    Raises:
        ValueError: a part of the plan does not exist, or does not fit the others.
        ZeroSearchError: a file, a server or a package that the plan needs is not there.

    Attributes:
        plan: what is asked.
        asked: the same, JSON-able, for `RecordStore`.
    """

    def __init__(self, plan: Plan, watch: Watch | None = None) -> None:
        self.plan = plan
        self._watch = watch
        self._stack = ExitStack()
        self._engines: dict[tuple[str, tuple[int, str] | None], SearchEngine] = {}
        self._checked = False
        try:
            self._method = load_method(plan.method)
            self._policy = self._load_policy()
            self._cells = list(self._load_cells())
            self.asked = self._describe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Evaluation:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the model and the engines that were given by name."""
        self._stack.close()

    def tasks(self) -> Iterator[tuple[Task, SearchEngine]]:
        """Yield what there is to play: set by set, and within a set question by question."""
        for cell in self._cells:
            for number in range(cell.size):
                question = cell.questions[number]
                for repeat in range(self.plan.repeats):
                    key = RecordKey(cell.dataset, cell.engine_label, question.id, repeat)
                    yield Task(key, question, self.plan.seed, cell.world), cell.engine

    def __len__(self) -> int:
        """Return the number of records of the whole run."""
        return sum(cell.size for cell in self._cells) * self.plan.repeats

    def check(self) -> None:
        """Check that the model can be asked; load it if it runs in this process. `play` does so.

        Raises:
            ServiceError: it cannot be used.
            TokenizerError: it has an earlier vocabulary of the embedded world, and is asked there.
        """
        if self._policy is not None and not self._checked:
            self._policy.check()
            if self._policy.encoder is not None:
                for questions in filter(are_about_the_world, self.plan.questions):
                    check_vocabulary(self._policy.encoder.tokenizer, world_of(questions)[1])
            self._checked = True

    def play(
        self,
        tasks: Iterable[tuple[Task, SearchEngine]],
        keep: Callable[[Record], None],
        max_concurrency: int = 256,
    ) -> None:
        """Play ``tasks``, many at a time, and pass on the record of each as it ends.

        Args:
            tasks: what to play.
            keep: function that takes a record.
            max_concurrency: most questions under way at the same time.
        """
        as_integer("max_concurrency", max_concurrency, 1)
        self.check()
        # On the loop of engines and models: no question has to change threads to ask them.
        run_to_end(self._play_all(iter(tasks), keep, max_concurrency))

    async def _play_all(
        self,
        tasks: Iterator[tuple[Task, SearchEngine]],
        keep: Callable[[Record], None],
        max_concurrency: int,
    ) -> None:
        async def work() -> None:
            for task, engine in tasks:
                keep(await self.play_one(task, engine))

        await work_together(work, max_concurrency)

    async def play_one(self, task: Task, engine: SearchEngine) -> Record:
        """Play one question; failures of model and engine are noted in its record."""
        play = Play(task, self._policy, engine, self.plan.options, self._watch)
        start = time.perf_counter()
        try:
            await self._method.play(play)
        except TranscriptTooLong:
            play.exceed_context()
        except ModelFailure as failure:
            play.fail(MODEL_FAILED, failure)
        except SearchFailure as failure:
            play.fail(Termination.SEARCH_FAILED.value, failure)
        record = play.record(round(time.perf_counter() - start, 3))
        return replace(record, benchmark=self.plan.benchmark)

    def _load_policy(self) -> PolicyModel | None:
        if not self._method.needs_model:
            return None
        if self.plan.model is None:
            raise ValueError(
                f"the method {label_of('method', self.plan.method)!r} asks a language model: give "
                "`model`, such as 'openai_api,base_url=http://127.0.0.1:8000/v1,model=NAME' or the "
                "folder of a checkpoint."
            )
        llm = load_model(self.plan.model)
        if llm is not self.plan.model:
            self._stack.callback(llm.close)
        return PolicyModel(llm, self.plan.options)

    def _load_cells(self) -> Iterator[Cell]:
        labels: set[tuple[str, str]] = set()
        for spec in self.plan.questions:
            world = world_of(spec)
            questions = load_questions(spec, "test", *world)
            limit = self.plan.num_questions
            count = len(questions) if limit is None else min(limit, len(questions))
            dataset = label_of("questions", spec)
            for label, engine in self._load_engines(questions, world):
                if (dataset, label) in labels:
                    raise ValueError(f"{dataset} is to be played twice with {label}.")
                labels.add((dataset, label))
                about = world if are_about_the_world(spec) else None
                yield Cell(dataset, label, about, questions, count, engine)

    def _load_engines(
        self, questions: QuestionSource, world: tuple[int, str]
    ) -> Iterator[tuple[str, SearchEngine]]:
        if not self._method.searches:
            yield NO_ENGINE, EmptyEngine()
            return
        made: list[SearchEngine] = []
        for spec in sorted(self.plan.engines, key=lambda spec: spec == RANDOM):
            if spec == RANDOM:
                if not made:
                    raise ValueError(
                        "the engine 'random' finds what another engine finds for other questions: "
                        "name that engine, too."
                    )
                yield RANDOM, RandomEngine(made[0], questions)
                continue
            engine = self._load_engine(spec, world)
            if not isinstance(engine, EmptyEngine):
                made.append(engine)
            yield label_of("engine", spec), engine

    def _load_engine(self, spec: Engine, world: tuple[int, str]) -> SearchEngine:
        """Return an engine: the same one for all questions, if it does not know their world."""
        if isinstance(spec, SearchEngine):
            return spec
        knows = parse_spec("engine", spec).name in KNOWS_THE_WORLD
        key = (label_of("engine", spec), world if knows else None)
        if key not in self._engines:
            self._engines[key] = load_engine(spec, *world)
            self._stack.callback(self._engines[key].close)
        return self._engines[key]

    def _describe(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "method": label_of("method", plan.method),
            "model": None if self._policy is None else identity_of(self._policy.llm),
            "weights": None if self._policy is None else weights_of(self._policy.llm),
            "questions": {
                cell.dataset: fingerprint(cell.questions, cell.size) for cell in self._cells
            },
            "engines": {cell.engine_label: identity_of(cell.engine) for cell in self._cells},
            "repeats": plan.repeats,
            "seed": plan.seed,
            "options": asdict(plan.options),
        }
