"""Judges: whether what a search found is useful. By name, by function, or as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zs_env.errors import SimulationDataError
from zs_env.loading import Spec, find_callable, make_by_name, parse_spec
from zs_env.simulation.searches import CollectedSearch
from zs_env.simulation.truth import holds_golden_answer, stated_facts
from zs_env.world import load_world

Verdict = bool | None
"""True for useful, False for noisy; None where the judge gives neither."""

Keep = Callable[[int, Verdict], None]
"""Function that takes the number of a search in the sequence, and the verdict on it."""


class SearchJudge:
    """Judge of searches. Write `judge_one`, or `judge` if many searches can be judged at once.

    Attributes:
        name: what its verdicts are called.
        unread: last thing it said that was no verdict; "" if there was none.
        failure: why it could not judge a search; "" if it could.
    """

    name: str = "judge"
    unread: str = ""
    failure: str = ""

    def judge(
        self, searches: Sequence[CollectedSearch], keep: Keep, *, has_spoken: bool = False
    ) -> None:
        """Judge all ``searches``, and pass on each verdict as it comes.

        A search that could not be judged for reasons outside, such as a server, has no verdict and
        is not passed on: it is judged by the next call.

        Args:
            searches: searches.
            keep: function that takes the verdicts.
            has_spoken: whether the judge gave verdicts in an earlier call: one that never does is
                given up.

        Raises:
            ServiceError: the judge cannot be used.
        """
        for number, search in enumerate(searches):
            keep(number, self.judge_one(search))

    def judge_one(self, search: CollectedSearch) -> Verdict:
        """Return the verdict on one search."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Return what decides the verdicts. JSON, no secrets."""
        return {"judge": f"{type(self).__module__}:{type(self).__qualname__}"}

    def close(self) -> None:
        """Free what the judge holds."""


class WorldJudge(SearchJudge):
    """The embedded world: useful if a document states a fact that the query asks for. Exact.

    A query that asks for no fact, or cannot be read, finds nothing useful.
    """

    def __init__(self, name: str = "world") -> None:
        self.name = name

    def judge_one(self, search: CollectedSearch) -> Verdict:
        """Look the facts up.

        Raises:
            SimulationDataError: the search is not about an embedded world.
        """
        if search.world is None:
            raise SimulationDataError(
                f"the judge `world` knows the embedded world alone, and question "
                f"{search.question_id!r} of {search.dataset or 'the file'} is not about it: use "
                "another judge, such as `answer` or `llm`."
            )
        return stated_facts(load_world(*search.world), search.query, search.documents).useful


class AnswerJudge(SearchJudge):
    """Occurrence of a golden answer in the documents, as consecutive words.

    It cannot see that documents help with an earlier hop, nor that an answer occurs by chance. No
    verdict where the occurrence says nothing: questions without golden answers or about yes and no,
    and queries that name the answer (`zs_env.rewards.golden_answer_in`).
    """

    def __init__(self, name: str = "answer") -> None:
        self.name = name

    def judge_one(self, search: CollectedSearch) -> Verdict:
        """Look for the golden answers."""
        return holds_golden_answer(search.documents, search.golden_answers, search.query)


class FunctionJudge(SearchJudge):
    """A function of yours, from a `CollectedSearch` to true (useful), false (noisy) or None.

    Args:
        function: the function.
        name: what its verdicts are called; by default as the function.
    """

    def __init__(self, function: Callable[[CollectedSearch], Verdict], name: str = "") -> None:
        self._function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def judge_one(self, search: CollectedSearch) -> Verdict:
        """Call the function.

        Raises:
            TypeError: it returns something else.
        """
        verdict = self._function(search)
        if verdict is not None and not isinstance(verdict, bool):
            raise TypeError(
                f"the judge {self.name!r} must return true, false or None, got {verdict!r:.40}."
            )
        return verdict

    def identity(self) -> dict[str, Any]:
        """Return the place of the function."""
        function = self._function
        named = function if hasattr(function, "__qualname__") else type(function)
        return {"judge": f"{named.__module__}:{named.__qualname__}"}


_HERE = "zs_env.simulation"
JUDGES = {
    "world": f"{_HERE}.judges:WorldJudge",
    "answer": f"{_HERE}.judges:AnswerJudge",
    "llm": f"{_HERE}.llm_judge:LLMJudge",
}
"""Classes of judges as ``module:class``, by name."""


def load_judge(
    judge: Spec | SearchJudge | Callable[[CollectedSearch], Verdict],
) -> SearchJudge:
    """Make the judge that ``judge`` names; a function becomes one, a judge is returned.

    Args:
        judge: a name of `JUDGES` with options, as in ``"llm,llm=openai_api,model=NAME"``;
            ``"module:function"`` or ``"module:Class"``, with the option ``name``; an object.

    Raises:
        ValueError: there is no such judge.
        TypeError: an option is unknown.
    """
    if isinstance(judge, SearchJudge):
        return judge
    if callable(judge):
        return FunctionJudge(judge)
    name, options = parse_spec("judge", judge)
    if ":" not in name:
        return make_by_name("judge", judge, {}, JUDGES, SearchJudge)
    found = find_callable("judge", name)
    if isinstance(found, type):
        made = found(**options)
        return made if isinstance(made, SearchJudge) else FunctionJudge(made)
    if unknown := sorted(set(options) - {"name"}):
        raise TypeError(f"a judge that is a function has no options {', '.join(unknown)}.")
    return FunctionJudge(found, **options)
