"""What is true of searches: whether they state what was asked, and hold a golden answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zs_env.errors import SimulationDataError
from zs_env.simulation.fidelity.asked import AskedSearch
from zs_env.simulation.fidelity.asking import Watch
from zs_env.simulation.fidelity.queries import HeldOutQuery, Queries, World
from zs_env.simulation.judges import AnswerJudge, SearchJudge, Verdict, WorldJudge
from zs_env.simulation.pair import EARLIER, FINAL, UNKNOWN
from zs_env.simulation.searches import CollectedSearch
from zs_env.simulation.truth import asked_facts, holds_golden_answer, is_final
from zs_env.simulation.verdicts import VerdictLog
from zs_env.world import load_world


@dataclass(frozen=True)
class Finding:
    """What is true of a search.

    Attributes:
        states: whether its documents state what was asked for: True or False by the world or by
            a judge; None if the query asks for nothing that is known, or there is no verdict.
        golden: whether a golden answer occurs in them; None if that would say nothing: the query
            names it, or it is yes or no.
    """

    states: bool | None
    golden: bool | None

    @property
    def leaks(self) -> bool | None:
        """Whether noisy documents give away what they should not; None if nobody can say."""
        if self.states is None and self.golden is None:
            return None
        return bool(self.states) or bool(self.golden)


Findings = list[Finding | None]
"""Findings in the order of the queries; None where a search failed."""


class Finder:
    """Finds out what is true of searches.

    Args:
        queries: queries that the searches are of.
        judge: judge of what documents state; the judge `world` knows the embedded world alone.
        folder: folder that keeps the verdicts of a judge that costs something; None for none.
        watch: what is shown the progress of such a judge.

    Raises:
        SimulationDataError: the judge is `world`, but the queries are not about it.
    """

    def __init__(
        self,
        queries: Queries,
        judge: SearchJudge,
        folder: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._queries = queries
        self._judge = judge
        self._folder = folder
        self._watch = watch
        self._has_spoken = False
        if isinstance(judge, WorldJudge) and queries.world is None:
            raise SimulationDataError(
                "the judge `world` knows the embedded world alone, and the queries are not said to "
                "be about it: use another judge, such as `answer` or `llm`."
            )

    def find(self, name: str, searches: Sequence[AskedSearch | None]) -> Findings:
        """Return the findings of ``searches``.

        Args:
            name: name of what answered, which tells the verdicts apart.
            searches: searches, in the order of the queries.
        """
        kept = [search for search in searches if search is not None]
        verdicts = iter(self._verdicts(name, kept))
        return [
            None if search is None else Finding(next(verdicts), golden_answer_in(search))
            for search in searches
        ]

    def _verdicts(self, name: str, searches: Sequence[AskedSearch]) -> list[Verdict]:
        world = self._queries.world
        collected = [_as_collected(name, search, world) for search in searches]
        if isinstance(self._judge, WorldJudge) and world is not None:
            graph = load_world(*world)
            return [
                self._judge.judge_one(search) if asked_facts(graph, search.query) else None
                for search in collected
            ]
        if isinstance(self._judge, AnswerJudge):
            return [self._judge.judge_one(search) for search in collected]
        return self._ask(f"verdicts on {name}", collected)

    def _ask(self, name: str, searches: Sequence[CollectedSearch]) -> list[Verdict]:
        judge = self._judge
        if self._folder is None:
            verdicts: dict[str, Verdict] = {}
            self._judge_all(name, searches, 0, lambda key, said: verdicts.update({key: said}))
            return [verdicts.get(search.key) for search in searches]
        with VerdictLog(self._folder, judge.name, judge.identity()) as log:
            missing = [search for search in searches if search.key not in log.verdicts]
            self._has_spoken |= any(said is not None for said in log.verdicts.values())
            self._judge_all(name, missing, len(searches) - len(missing), log.write)
            return [log.verdicts.get(search.key) for search in searches]

    def _judge_all(
        self,
        name: str,
        searches: Sequence[CollectedSearch],
        before: int,
        write: Callable[[str, Verdict], None],
    ) -> None:
        watch = self._watch or (lambda name, answered, failed: None)
        watch(name, before, 0)

        def keep(number: int, verdict: Verdict) -> None:
            write(searches[number].key, verdict)
            self._has_spoken |= verdict is not None
            watch(name, 1, 0)

        if searches:
            self._judge.judge(searches, keep, has_spoken=self._has_spoken)


def is_free(judge: SearchJudge) -> bool:
    """Return whether the verdicts of ``judge`` cost nothing, and are not kept."""
    return isinstance(judge, WorldJudge | AnswerJudge)


def golden_answer_in(search: AskedSearch) -> bool | None:
    """Return whether a golden answer occurs in a document; None if that would say nothing."""
    query = search.query
    return holds_golden_answer(search.documents, query.golden_answers, query.query)


def hops_of(queries: Queries, real: Sequence[AskedSearch | None], findings: Findings) -> list[str]:
    """Return the hop of each query: final, earlier, or unknown.

    In the embedded world: final if a fact that it asks for has a golden answer as its object,
    earlier if it asks for another fact, unknown if it asks for none. Elsewhere what the real engine
    found says so: final if that holds a golden answer, earlier if the judge takes it for useful all
    the same, else unknown.

    Args:
        queries: queries.
        real: searches of the real engine.
        findings: what is true of them.
    """
    if queries.world is not None:
        world = load_world(*queries.world)
        asked = [asked_facts(world, query.query) for query in queries.queries]
        return [
            UNKNOWN if not facts else FINAL if is_final(facts, world, q.golden_answers) else EARLIER
            for facts, q in zip(asked, queries.queries, strict=True)
        ]
    return [_hop_of(search, found) for search, found in zip(real, findings, strict=True)]


def _hop_of(search: AskedSearch | None, found: Finding | None) -> str:
    if search is None or found is None:
        return UNKNOWN
    if found.golden:
        return FINAL
    return EARLIER if found.states else UNKNOWN


def _as_collected(name: str, search: AskedSearch, world: World | None) -> CollectedSearch:
    query: HeldOutQuery = search.query
    return CollectedSearch(
        query.question_id, query.question, query.golden_answers, query.turn, query.query,
        search.documents, engine=name, dataset="fidelity", world=world,
    )  # fmt: skip


def by_hop(hops: Sequence[str]) -> Mapping[str, int]:
    """Return the number of queries of each hop."""
    return {hop: list(hops).count(hop) for hop in (FINAL, EARLIER, UNKNOWN)}
