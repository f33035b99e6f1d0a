"""Measuring simulators: they are asked, judged, and put beside the real engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zs_env.errors import SimulationDataError
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.store import LOCK, lock_folder
from zs_env.evaluation.summary import Prices
from zs_env.settings import Engine
from zs_env.simulation.fidelity import figures
from zs_env.simulation.fidelity.asked import (
    AGAIN,
    BLIND_NOISY,
    BLIND_USEFUL,
    DEEP,
    NOISY,
    USEFUL,
    AskedSearch,
    Asking,
)
from zs_env.simulation.fidelity.asking import Answers, Asker, EngineGaveUp, Watch
from zs_env.simulation.fidelity.classifier import require_classifier
from zs_env.simulation.fidelity.costs import cost_figures
from zs_env.simulation.fidelity.definitions import FIGURES
from zs_env.simulation.fidelity.estimate import Figure
from zs_env.simulation.fidelity.figures import Column, Figures, Searches, Setting
from zs_env.simulation.fidelity.findings import Finder, by_hop, hops_of, is_free
from zs_env.simulation.fidelity.queries import Queries, World
from zs_env.simulation.fidelity.store import DocumentStore
from zs_env.simulation.judges import SearchJudge
from zs_env.world import load_world

SIMULATED = (USEFUL, NOISY, AGAIN)
BLIND = (BLIND_USEFUL, BLIND_NOISY)

REAL, SIMULATOR, WITHOUT_ANSWERS, PROGRAM, DEEPER = (
    "real", "simulated", "without answers", "program", "deeper results",
)  # fmt: skip
"""Roles of the columns of a report."""


@dataclass(frozen=True)
class Measured:
    """A column of a report.

    Attributes:
        name: name.
        role: what it is: ``real``, ``simulated``, ``without answers`` (the same simulator, which is
            not told golden answers), ``program`` or ``deeper results``, with which noise is
            compared.
        asked: number of searches that were asked.
        failed: number of those that the engine gave up on; they are in no figure.
        figures: figures by name, see `zs_env.simulation.fidelity.definitions.FIGURES`.
        gave_up: why the engine was not asked any more; "" if it was.
    """

    name: str
    role: str
    asked: int
    failed: int
    figures: Figures
    gave_up: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        shown = {n: None if f is None else f.as_json() for n, f in self.figures.items()}
        return {**asdict(self), "figures": shown}


@dataclass(frozen=True)
class Fidelity:
    """Simulators beside the real engine.

    Attributes:
        columns: what was measured, the real engine first.
        about: queries, judge, and how engines were asked, as objects of JSON.
    """

    columns: Sequence[Measured]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of searches that failed; those of the deeper results are the real engine's."""
        return sum(column.failed for column in self.columns if column.role != DEEPER)

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return {
            **self.about,
            "columns": [column.as_json() for column in self.columns],
            "definitions": {name: each.text for name, each in FIGURES.items()},
        }


@dataclass(frozen=True)
class Engines:
    """Engines that are compared.

    Attributes:
        real: real engine.
        simulated: simulators, by the name that tables give them.
        blind: whether each simulator is also asked without golden answers.
    """

    real: Engine
    simulated: dict[str, Engine]
    blind: bool = True

    def steps(self, queries: Queries, judge: SearchJudge) -> int:
        """Return the number of searches that all of them are asked, and of verdicts that cost."""
        each = len(SIMULATED) + len(BLIND) * self.blind
        program = int(program_of(queries.world) is not None)
        searches = 1 + each * len(self.simulated) + program
        verdicts = 0 if is_free(judge) else 1 + 2 * (1 + self.blind) * len(self.simulated)
        return len(queries.queries) * (searches + verdicts)


def program_of(world: World | None) -> str | None:
    """Return the program whose noise is compared; None outside the embedded world."""
    if world is None:
        return None
    return "world" if world[1] == "tiny" else "world,mixture=natural"


def measure_fidelity(
    engines: Engines,
    queries: Queries,
    asking: Asking,
    judge: SearchJudge,
    *,
    folder: Path | None = None,
    prices: Prices | None = None,
    watch: Watch | None = None,
) -> Fidelity:
    """Ask all engines, and compute all figures.

    The same arguments give the same figures, but for seconds. Documents and verdicts are kept in
    ``folder``: a second call asks only what is missing.

    Args:
        engines: engines.
        queries: held-out queries.
        asking: how engines are asked.
        judge: judge that says whether documents state what was asked for.
        folder: folder that keeps documents; None for none.
        prices: prices of tokens and of a search.
        watch: what is shown the progress.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        SimulationDataError: the real engine gave up on all searches of its first batch, or the
            judge does not know the queries. A simulator that does so has no figures.
        RecordError: another program uses the folder.
    """
    require_classifier()  # before hours of asking
    finder = Finder(queries, judge, folder, watch)
    if folder is None:
        return _measure(
            engines, queries, asking, finder, judge.name, DocumentStore(), prices, watch
        )
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder / LOCK):
        store = DocumentStore(folder)
        return _measure(engines, queries, asking, finder, judge.name, store, prices, watch)


def _measure(
    engines: Engines,
    queries: Queries,
    asking: Asking,
    finder: Finder,
    judge: str,
    store: DocumentStore,
    prices: Prices | None,
    watch: Watch | None,
) -> Fidelity:
    asker = Asker(queries, asking, store, watch)
    # Written forms may hold secrets, as in a URL: names of engines are written instead.
    name_of_real = label_of("engine", engines.real)
    deep = asker.ask(name_of_real, engines.real, [DEEP])[DEEP]
    first, rest = _cut(deep, 0, asking.top_k), _cut(deep, asking.top_k, asking.depth)
    found = finder.find(REAL, first)
    hops = hops_of(queries, first, found)
    setting = Setting(
        queries.queries, hops, asking.top_k, figures.words_of(first), asking.seed, prices
    )
    real = Column(name_of_real, first, found_useful=found)
    measured = [_measured(REAL, real, setting, {DEEP: deep}, real)]
    for name, engine in engines.simulated.items():
        kinds = [*SIMULATED, *(BLIND if engines.blind else ())]
        try:
            answers = asker.ask(name, engine, kinds)
        except EngineGaveUp as error:
            asked = len(kinds) * len(queries.queries)
            nothing = {"failed": Figure(1.0, None, None, asked)}
            measured.append(Measured(name, SIMULATOR, asked, asked, nothing, str(error)))
            continue
        measured += _simulator(name, answers, finder, setting, real, queries.world)
    program = program_of(queries.world)
    if program is not None and queries.world is not None:
        answers = asker.ask(program, program, [NOISY])
        world = load_world(*queries.world)
        for name, role, searches in (
            (f"noise of {program}", PROGRAM, answers[NOISY]),
            (f"results {asking.top_k + 1} to {asking.depth} of {real.name}", DEEPER, rest),
        ):
            shares = figures.kind_figures(searches, hops, world)
            failed = searches.count(None)
            measured.append(Measured(name, role, len(searches), failed, shares))
    about = {
        "queries": {
            "asked": len(queries.queries),
            "in_source": queries.total,
            "hops": by_hop(hops),
            "unseen": sum(query.unseen is True for query in queries.queries),
            "world": queries.world,
        },
        "asking": asdict(asking),
        "judge": judge,
        "words": list(setting.words),
        "real": name_of_real,
        "simulated": {n: label_of("engine", engine) for n, engine in engines.simulated.items()},
    }
    return Fidelity(measured, about)


def _simulator(
    name: str,
    answers: Answers,
    finder: Finder,
    setting: Setting,
    real: Column,
    world: World | None,
) -> list[Measured]:
    """Return the columns of a simulator: with golden answers in the request, and without."""
    measured = []
    names = {SIMULATOR: SIMULATED, WITHOUT_ANSWERS: BLIND}
    for role, kinds in names.items():
        if kinds[0] not in answers:
            continue
        useful, noisy = answers[kinds[0]], answers[kinds[1]]
        label = name if role == SIMULATOR else f"{name} {WITHOUT_ANSWERS}"
        column = Column(
            label,
            useful,
            noisy,
            answers[AGAIN] if role == SIMULATOR else (),
            finder.find(f"{label} {USEFUL}", useful),
            finder.find(f"{label} {NOISY}", noisy),
        )
        own = {kind: answers[kind] for kind in kinds}
        measured.append(_measured(role, column, setting, own, real, world))
    return measured


def _measured(
    role: str,
    column: Column,
    setting: Setting,
    answers: Answers,
    real: Column,
    world: World | None = None,
) -> Measured:
    parts: list[Callable[[], Figures]] = [
        lambda: figures.failed_figures([s for kind in answers.values() for s in kind]),
        lambda: figures.form_figures(column, setting),
        lambda: figures.useful_figures(column, setting),
        lambda: figures.noisy_figures(column, setting),
        lambda: figures.noise_figures(column, setting),
        lambda: figures.wording_figures(column, setting),
        lambda: figures.seed_figures(column),
        lambda: cost_figures(column, setting, real=role == REAL),
    ]
    if role != REAL:
        parts.append(lambda: figures.classifier_figures(real, column, setting))
    if world is not None and column.noisy:
        graph = load_world(*world)
        parts.append(lambda: figures.kind_figures(column.noisy, setting.hops, graph))
    computed = {name: figure for part in parts for name, figure in part().items()}
    searches = [search for kind in answers.values() for search in kind]
    ordered = {name: computed[name] for name in FIGURES if name in computed}
    return Measured(column.name, role, len(searches), searches.count(None), ordered)


def _cut(searches: Searches, start: int, stop: int) -> list[AskedSearch | None]:
    return [
        None
        if search is None
        else AskedSearch(search.query, search.documents[start:stop], search.cost)
        for search in searches
    ]


def check_names(names: Sequence[str]) -> None:
    """Refuse names of simulators that are not different.

    Raises:
        SimulationDataError: two are the same.
    """
    if len(set(names)) < len(names):
        raise SimulationDataError(f"simulators need different names, got {', '.join(names)}.")
