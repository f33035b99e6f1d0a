"""Audit of the tiers of world-v1, in the world of any seed: who earns what, and what gives it away.

Run by ``python -m benchmarks.world_audit --tier hard``; see there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from zs_env import Question, SearchRequest
from zs_env.documents import Document, SearchResult
from zs_env.engines import SearchEngine, load_engine
from zs_env.evaluation.benchmark_plans import plans_of
from zs_env.evaluation.benchmarks import WORLD_V1, Benchmark, Chosen, Tier
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.plan import Plan
from zs_env.evaluation.record import Record
from zs_env.evaluation.run import evaluate
from zs_env.rewards import substring_match
from zs_env.world import Fact, World, load_world
from zs_env.world.hard import DESCRIPTIONS
from zs_env.world.marks import inside
from zs_env.world.sizes import COMPARISON, NAMESAKE_QUESTION
from zs_env.world.text import all_versions, statements

NUM_QUESTIONS = 300
NOISE = (0.0, 0.25, 0.5, 0.75)
TURNS = (4, 5, 8, 15)
LIMITED_NOISE, LIMITED_TURNS = 0.5, 8


class Limit(NamedTuple):
    """Least and most that a figure may be."""

    least: float = 0.0
    most: float = 1.0

    def __str__(self) -> str:
        """Return the bound that binds."""
        if self.least > 0.0:
            return f">= {self.least:.0%}"
        return f"<= {self.most:.0%}" if self.most < 1.0 else ""


SOLVED, GUESSED, OVERCOME, FOOLED = Limit(0.95), Limit(0, 0.05), Limit(0.85), Limit(0, 0.5)
STATED, WITHHELD, NEVER, ANY = Limit(0.98), Limit(0, 0.01), Limit(0, 0), Limit()

AGENTS = {
    "easy": {"solver": SOLVED, "scripted-direct": GUESSED, "scripted-rag": ANY},
    "standard": {"solver": SOLVED, "scripted-direct": GUESSED, "scripted-rag": ANY},
    "hard": {
        "careful": OVERCOME,
        "solver": ANY,
        "careless": FOOLED,
        "scripted-direct": GUESSED,
        "scripted-rag": ANY,
    },
}
"""Scripted agents that each tier is played with, and what they may earn."""

BLIND = {"hard": ("benchmarks.blind_readers:Coin", "benchmarks.blind_readers:AnyDate")}
"""Readers that lack a skill which a tier asks for, to say what it is worth, kind by kind."""


class Figure(NamedTuple):
    """A measured share and its limit."""

    name: str
    share: float
    limit: Limit
    total: int

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        return self.limit.least <= self.share <= self.limit.most

    def __str__(self) -> str:
        """Return a line."""
        fails = "" if self.holds else "   FAILS"
        return f"  {self.name:<56}{self.share:>8.2%}   {self.limit!s:<9} of {self.total:,}{fails}"


def audit_tier(tier: Tier, seed: int) -> Iterator[Figure]:
    """Yield the figures of ``tier`` in the world of ``seed``: agents first, then documents."""
    benchmark = replace(WORLD_V1, num_questions={seed: NUM_QUESTIONS})
    for method, limit in AGENTS[tier.name].items():
        yield _earned(f"F1 of {method}", limit, _play(benchmark, tier, method))
    for method in BLIND.get(tier.name, ()):
        name = method.rpartition(":")[2]
        records = _play(benchmark, tier, method)
        yield _earned(f"F1 of {name}", ANY, records)
        for kind in sorted({record.metadata["kind"] for record in records}):
            own = [record for record in records if record.metadata["kind"] == kind]
            yield _earned(f"{name}, {kind}", ANY, own)
    yield from _documents(tier, load_world(seed, tier.world_size), seed)


def _play(benchmark: Benchmark, tier: Tier, method: str) -> list[Record]:
    [plan] = plans_of(Chosen(benchmark, (tier,)), method)
    return evaluate(replace(plan, benchmark=None), show_progress=False)  # other questions


def _earned(name: str, limit: Limit, records: Sequence[Record]) -> Figure:
    mean = sum(record.scores["f1"] for record in records) / len(records)
    return Figure(name, mean, limit, len(records))


def _documents(tier: Tier, world: World, seed: int) -> Iterator[Figure]:
    engine = load_engine(tier.engine, seed, tier.world_size)
    found = _Searches(engine)
    kinds = tier.kinds.split("+") if tier.kinds else None
    needs = [need for need in _needs(world) if kinds is None or need.kind in kinds]
    writes = engine.honours_noise  # a real engine finds what there is
    stated, withheld, never = (STATED, WITHHELD, NEVER) if writes else (ANY, ANY, ANY)
    yield found.share("searches that find what they ask for", stated, needs, _states, merge=any)
    changed = [need for need in needs if need.former]
    if changed:
        yield found.share("those of a fact that changed: also what held", ANY, changed,
                          _states_former, merge=any)  # fmt: skip
    if writes:
        yield found.share("noisy documents that state it", withheld, needs, _states, noisy=True)
    early = [need for need in needs if not need.is_last]
    # A comparison names both candidates, so the question as a query earns what it asks of both.
    compared = [need.whole() for need in early if need.kind.endswith(COMPARISON)]
    chains = [need.whole() for need in early if not need.kind.endswith(COMPARISON)]
    for noisy in (False, True) if writes else (False,):
        what = "noisy documents with the answer" if noisy else "documents with the answer"
        for asked, some, limit in (
            ("an earlier fact asked", early, never),
            ("the question asked", chains, never),
            ("a comparison asked", compared, ANY),
        ):
            if some:
                yield found.share(f"{what}: {asked}", limit, some, _gives_away, noisy=noisy)


class NeededFact(NamedTuple):
    """A fact that a question needs, and the queries that ask for it.

    Attributes:
        question: question.
        kind: kind of the question.
        queries: queries.
        sentences: sentences that state it, as it holds.
        former: sentences that state what held before.
        is_last: whether it gives the answer, which a query for it then earns.
    """

    question: Question
    kind: str
    queries: Sequence[str]
    sentences: Sequence[str]
    former: Sequence[str]
    is_last: bool

    def whole(self) -> NeededFact:
        """Return it with the question itself as the only query."""
        return self._replace(queries=[self.question.text])


def _needs(world: World) -> Iterator[NeededFact]:
    questions = world.questions("test")
    for index, question in enumerate(questions):
        facts = questions.facts(index)
        kind = question.metadata["kind"]
        for number, fact in enumerate(facts):
            inverse = kind == NAMESAKE_QUESTION and number == 0
            answer = world.names[fact.subject if inverse else fact.object]
            earned = substring_match(answer, question.golden_answers) > 0
            *former, now = (statements(world, each) for each in all_versions(world, fact))
            queries = _queries(world, fact, inverse)
            yield NeededFact(question, kind, queries, now, sum(former, []), earned)


def _queries(world: World, fact: Fact, inverse: bool) -> list[str]:
    subject, told = world.names[fact.subject], world.names[fact.object]
    if inverse:
        templates = DESCRIPTIONS[fact.relation.name]
        return [template.format(w=subject.split()[-1], o=told) for template in templates]
    return [
        template.format(s=subject) for template in fact.relation.phrases + fact.relation.questions
    ]


Property = Callable[[NeededFact, str], bool]


def _states(need: NeededFact, text: str) -> bool:
    return _contains(text, need.sentences)


def _states_former(need: NeededFact, text: str) -> bool:
    return _contains(text, need.former)


def _contains(text: str, sentences: Sequence[str]) -> bool:
    found = f" {text}"
    return any(f" {form}" in found for own in sentences for form in (own, inside(own)))


def _gives_away(need: NeededFact, text: str) -> bool:
    return substring_match(text, need.question.golden_answers) > 0


class _Searches:
    """Searches of an engine, as in the benchmark."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine = engine

    def share(
        self,
        name: str,
        limit: Limit,
        needs: Sequence[NeededFact],
        has: Property,
        merge: Callable[[Sequence[bool]], bool] | None = None,
        noisy: bool = False,
    ) -> Figure:
        """Return the share of documents, or of searches by ``merge``, with a property."""
        flags: list[bool] = []
        for need in needs:
            for result in self._engine.search(
                [self._request(need.question, query, noisy) for query in need.queries]
            ):
                own = [has(need, f"{d.title} {d.text}") for d in _documents_of(result)]
                flags += own if merge is None else [merge(own)]
        return Figure(name, sum(flags) / max(len(flags), 1), limit, len(flags))

    def _request(self, question: Question, query: str, noisy: bool) -> SearchRequest:
        return SearchRequest(
            query=query,
            question=question.text,
            golden_answers=question.golden_answers,
            noisy=noisy,
            top_k=WORLD_V1.top_k,
            document_words=WORLD_V1.document_words,
        )


def _documents_of(result: SearchResult) -> tuple[Document, ...]:
    if result.failure is not None:
        raise result.failure
    return result.documents


def print_readers(size: str, seed: int, options: PlayOptions, num_questions: int = 150) -> bool:
    """Print what care is worth: F1 of the readers by noise and turns, with natural noise.

    Args:
        size: size of the world.
        seed: seed of the world.
        options: options of playing; noise and turns are replaced.
        num_questions: number of test questions.

    Returns:
        Whether the careful reader overcomes half noise in `LIMITED_TURNS`, and the careless one is
        fooled. Only the small world has these limits.
    """
    print(
        f"F1 in the world {size!r}, seed {seed}: natural noise, {options.top_k} documents", end=""
    )
    print(f" of {options.document_words} words")
    print(f"  {'':<24}" + "".join(f"{turns:>4} turns" for turns in TURNS))
    limited = {}
    for method in ("careful", "careless"):
        for noise in NOISE:
            scores = [
                reader_f1(method, size, seed, replace(options, noise=noise, max_turns=turns),
                          num_questions)
                for turns in TURNS
            ]  # fmt: skip
            if noise == LIMITED_NOISE:
                limited[method] = scores[TURNS.index(LIMITED_TURNS)]
            print(f"  {method:<10} noise {noise:<7}" + "".join(f"{s:>10.3f}" for s in scores))
    if size != "small":
        return True
    figures = [
        Figure(f"F1 of {method}, noise {LIMITED_NOISE}, {LIMITED_TURNS} turns", limited[method],
               limit, num_questions)
        for method, limit in (("careful", OVERCOME), ("careless", FOOLED))
    ]  # fmt: skip
    print(*figures, sep="\n")
    return all(figure.holds for figure in figures)


def reader_f1(method: str, size: str, seed: int, options: PlayOptions, num_questions: int) -> float:
    """Return the mean F1 of a scripted reader on test questions, with natural noise."""
    plan = Plan(
        method=method,
        questions=[f"world,world_seed={seed},world_size={size},sample={num_questions}"],
        engines=["world,mixture=natural"],
        options=options,
    )
    records = evaluate(plan, show_progress=False)
    return sum(record.scores["f1"] for record in records) / len(records)


def audit(names: Sequence[str], seeds: Sequence[int]) -> bool:
    """Print the audit of the tiers of ``names`` in the worlds of ``seeds``.

    With one seed, it prints all figures and the readers, whose limits count, too; with several,
    whether the limits hold.

    Returns:
        Whether all figures are within their limits.
    """
    holds = True
    tiers = [tier for tier in WORLD_V1.tiers if tier.name in names]
    for tier in tiers:
        print(f"{WORLD_V1.part(tier)}: engine {tier.engine}, noise {tier.noise}")
        for seed in seeds:
            figures = list(audit_tier(tier, seed))
            failing = [figure for figure in figures if not figure.holds]
            holds &= not failing
            if len(seeds) == 1:
                print(*figures, sep="\n")
            else:
                shown = ", ".join(f"{f.name.removeprefix('F1 of ')} {f.share:.3f}"
                                  for f in figures if f.name.startswith("F1"))  # fmt: skip
                print(f"  world seed {seed}: {'fails' if failing else 'holds'}; {shown}")
                print("".join(f"  {figure}\n" for figure in failing), end="")
    if len(seeds) == 1:
        options = PlayOptions(top_k=WORLD_V1.top_k, document_words=WORLD_V1.document_words)
        for size in dict.fromkeys(tier.world_size for tier in tiers if tier.noise):
            holds &= print_readers(size, seeds[0], options)
    return holds
