"""Questions of the embedded world: chains of 1 to 6 hops, comparisons, namesakes, histories.

A question of a split uses only facts of that split: every subject on the way to the answer belongs
to it. So train and test share no fact, and nothing asked in one can be learned from the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from zs_env import keyed_random
from zs_env.questions import SPLITS, Question
from zs_env.world.graph import Fact, FactGraph
from zs_env.world.schema import NUMBER, PERSON, YEAR
from zs_env.world.sizes import (
    COMPARISON,
    HISTORY_QUESTION,
    NAMESAKE_QUESTION,
    NUMBER_COMPARISON,
    QuestionMixture,
)

CACHED_QUESTIONS = 16_384
"""Rendered questions that are kept, because the members of a group share one."""

MAX_HOPS = 6
HOPS = {f"{hops}-hop": hops for hops in range(1, MAX_HOPS + 1)}
COMPARED = {COMPARISON: YEAR, NUMBER_COMPARISON: NUMBER}
QUESTION_KINDS = (*HOPS, *COMPARED, NAMESAKE_QUESTION, HISTORY_QUESTION)

# A plan is a row of integers: kind; entity; second entity, or -1; whether the later of the two is
# meant; phrasing of the question, or -1 to draw it; slot of the fact that describes the entity, or
# -1 to name it; and the slots to follow, padded with -1. The first slot of a comparison is that of
# the year or number compared.
_KIND, _FIRST, _SECOND, _LATER, _PHRASING, _TOLD, _SLOTS = range(7)
_PLAN_WIDTH = _SLOTS + MAX_HOPS
_Plans = NDArray[np.int64]


class WorldQuestions:
    """Questions of one split, rendered on demand. A `QuestionSource`.

    Args:
        world: world that the questions are about.
        split: ``train`` or ``test``.
        plans: plan of each question, shape (questions, 13), int64.
    """

    def __init__(self, world: FactGraph, split: str, plans: _Plans) -> None:
        self.world = world
        self.split = split
        self._plans = plans
        self._cached = lru_cache(maxsize=CACHED_QUESTIONS)(self._render)
        self._prefix = f"world-{world.size}-{world.seed}-{split}-"

    def __reduce__(self) -> tuple[object, tuple[FactGraph, str]]:
        """Pickle as world and split."""
        return make_questions, (self.world, self.split)

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self._plans)

    def __iter__(self) -> Iterator[Question]:
        """Iterate over all questions, in order."""
        return (self[index] for index in range(len(self)))

    def get(self, question_id: str) -> Question:
        """Return the question with the id ``question_id``; raise KeyError if there is none."""
        number = question_id.removeprefix(self._prefix)
        if number.isdecimal() and int(number) < len(self):
            question = self[int(number)]
            if question.id == question_id:
                return question
        raise KeyError(question_id)

    def __getitem__(self, index: int) -> Question:
        """Return the question at ``index``, from 0; raise IndexError if there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"question {index} of {len(self)}")
        return self._cached(index)

    def _render(self, index: int) -> Question:
        facts = self.facts(index)
        draw = keyed_random.Stream("phrasing", self.world.seed, self.split, index)
        names = self.world.names
        plan = self._plans[index]
        subject = names[plan[_FIRST]]
        path = facts
        if plan[_TOLD] >= 0:
            phrases = self.world.blueprint.descriptions[facts[0].relation.name]
            told, last_name = names[facts[0].object], subject.split()[-1]
            subject = draw.choice(phrases).format(w=last_name, o=told)
            path = facts[1:]
        elif plan[_SECOND] >= 0:
            year_relation = facts[0].relation
            phrases = year_relation.later if plan[_LATER] else year_relation.earlier
            subject = draw.choice(phrases).format(a=subject, b=names[plan[_SECOND]])
            path = facts[2:]
        for fact in path[:-1]:
            subject = draw.choice(fact.relation.phrases).format(s=subject)
        templates = path[-1].relation.questions
        phrasing = plan[_PHRASING]
        template = draw.choice(templates) if phrasing < 0 else templates[phrasing]
        return Question(
            id=f"{self._prefix}{index}",
            text=template.format(s=subject),
            golden_answers=(names[path[-1].object],),
            metadata={"kind": QUESTION_KINDS[plan[_KIND]], "hops": len(facts)},
        )

    def facts(self, index: int) -> list[Fact]:
        """Return the facts that the answer needs, in the order of looking them up."""
        _, first, second, later, _, told, *slots = self._plans[index].tolist()
        world = self.world
        subject = first
        facts = []
        if told >= 0:
            facts.append(world.fact(first, world.relations_of(first)[told]))
        elif second >= 0:
            compared = world.relations_of(first)[slots.pop(0)]
            facts += [world.fact(first, compared), world.fact(second, compared)]
            # Years and numbers are numbered in order, so entity numbers compare as they do.
            subject = facts[int((facts[1].object > facts[0].object) == bool(later))].subject
        for slot in slots:
            if slot >= 0:
                facts.append(world.fact(subject, world.relations_of(subject)[slot]))
                subject = facts[-1].object
        return facts


@lru_cache(maxsize=8)
def make_questions(world: FactGraph, split: str) -> WorldQuestions:
    """Make the questions of ``split``, each once, in random order, by the world's blueprint.

    They are made once for a shared world and all its environments.

    Raises:
        ValueError: ``split`` is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    mixture = world.blueprint.mixture
    if mixture is None:
        plans = _all_single_hops(world, split)
    else:
        plans = _draw_mixture(world, split, mixture)
    order = keyed_random.permutation(len(plans), "questions", world.seed, split)
    return WorldQuestions(world, split, plans[order])


def _in_split(world: FactGraph, split: str) -> NDArray[np.bool_]:
    """Return whether each entity has facts of ``split``, shape (entities,), bool."""
    in_split = world.is_test if split == "test" else ~world.is_test
    return in_split & (np.arange(len(in_split)) < world.num_entities)


def _all_single_hops(world: FactGraph, split: str) -> _Plans:
    """Make plans that ask for every fact of ``split`` in each phrasing of its relation."""
    rows = [
        (entity, phrasing, slot)
        for entity in np.flatnonzero(_in_split(world, split)).tolist()
        for slot, relation in enumerate(world.relations_of(entity))
        for phrasing in range(len(relation.questions))
    ]
    plans = _empty_plans(len(rows))
    plans[:, [_FIRST, _PHRASING, _SLOTS]] = rows
    return plans


def _empty_plans(count: int) -> _Plans:
    plans: _Plans = np.full((count, _PLAN_WIDTH), -1, dtype=np.int64)
    plans[:, [_KIND, _LATER]] = 0
    return plans


def _draw_mixture(world: FactGraph, split: str, mixture: QuestionMixture) -> _Plans:
    """Draw plans of all kinds, kind by kind."""
    total = mixture.num_test if split == "test" else mixture.num_train
    plans = [
        _draw_plans(world, split, kind, round(total * share))
        for kind, share in mixture.shares.items()
    ]
    return np.concatenate(plans)


def _draw_plans(world: FactGraph, split: str, kind: str, count: int) -> _Plans:
    """Draw ``count`` different plans of one kind at random among those of the split."""
    in_split = _in_split(world, split)
    plans = _empty_plans(0)
    for attempt in range(1000):
        source = ("plans", world.seed, split, kind, attempt)
        size = 4 * count + 4096  # many draws are invalid or repeat another
        if kind in COMPARED:
            drawn = _draw_comparisons(world, in_split, COMPARED[kind], size, source)
        elif kind == NAMESAKE_QUESTION:
            drawn = _draw_namesakes(world, in_split, size, source)
        elif kind == HISTORY_QUESTION:
            drawn = _draw_histories(world, in_split, size, source)
        else:
            drawn = _draw_chains(world, in_split, HOPS[kind], size, source)
        drawn[:, _KIND] = QUESTION_KINDS.index(kind)
        plans = np.concatenate([plans, drawn])
        _, first_seen = np.unique(plans, axis=0, return_index=True)
        plans = plans[np.sort(first_seen)]
        if len(plans) >= count:
            return plans[:count]
    raise RuntimeError(f"{world!r} has too few {kind} questions for the {split} split.")


def _draw_chains(
    world: FactGraph,
    in_split: NDArray[np.bool_],
    hops: int,
    size: int,
    source: tuple[int | str, ...],
) -> _Plans:
    """Draw random walks of ``hops`` facts that stay in the split and have no shortcut.

    They meet no entity twice, and only the last subject has a fact about the answer.
    """
    starts = np.flatnonzero(in_split)
    entity = starts[keyed_random.integers(len(starts), size, *source, "start")]
    plans = _empty_plans(size)
    plans[:, _FIRST] = entity
    path = [entity]
    valid: NDArray[np.bool_] = np.ones(size, dtype=np.bool_)
    for hop in range(hops):
        valid &= in_split[entity]
        slot = _draw_slots(world, entity, (*source, hop))
        plans[:, _SLOTS + hop] = slot
        entity = world.facts[entity, slot].astype(np.int64)
        valid &= np.all([entity != earlier for earlier in path], axis=0)
        path.append(entity)
    for earlier in path[:-2]:
        valid &= np.all(world.facts[earlier] != entity[:, None], axis=1)
    return plans[valid]


def _draw_histories(
    world: FactGraph, in_split: NDArray[np.bool_], size: int, source: tuple[int | str, ...]
) -> _Plans:
    """Draw chains of two facts, of which the last changed."""
    plans = _draw_chains(world, in_split, 2, size, source)
    subjects = world.facts[plans[:, _FIRST], plans[:, _SLOTS]]
    changed = np.zeros((len(world.spans), world.blueprint.num_slots), dtype=np.bool_)
    for code, entity_type in enumerate(world.spans):
        for slot, relation in enumerate(world.blueprint.by_subject.get(entity_type, ())):
            changed[code, slot] = relation.name in world.blueprint.changing
    chosen: NDArray[np.bool_] = changed[_type_codes(world)[subjects], plans[:, _SLOTS + 1]]
    return plans[chosen]


def _draw_namesakes(
    world: FactGraph, in_split: NDArray[np.bool_], size: int, source: tuple[int | str, ...]
) -> _Plans:
    """Draw people whom last name and a fact tell, but not the name alone, and 1 or 2 facts."""
    span = world.spans[PERSON]
    _, names = np.unique(
        [world.names[person].split()[-1] for person in span], return_inverse=True
    )  # (people,)
    people = np.flatnonzero(in_split[span.start : span.stop])
    first = people[keyed_random.integers(len(people), size, *source, "start")]
    relations = world.blueprint.by_subject[PERSON]
    described = [slot for slot, r in enumerate(relations) if r.name in world.blueprint.descriptions]
    told = np.array(described)[keyed_random.integers(len(described), size, *source, "told")]
    facts = world.facts[span.start : span.stop].astype(np.int64)  # (people, slots)
    # Name and told object, as one number for each person and slot.
    pairs = names[:, None] * len(world.names) + facts
    num_alike = np.stack([_multiplicity(pairs[:, slot]) for slot in range(facts.shape[1])], axis=1)
    valid: NDArray[np.bool_] = num_alike[first, told] == 1
    valid &= np.bincount(names[people], minlength=len(names))[names[first]] > 1
    first += span.start
    told_object = world.facts[first, told]
    slot = _draw_slots(world, first, (*source, "slot"))
    answer = world.facts[first, slot].astype(np.int64)
    valid &= (slot != told) & (answer != told_object) & in_split[told_object]
    plans = _empty_plans(size)
    plans[:, _FIRST] = first
    plans[:, _TOLD] = told
    plans[:, _SLOTS] = slot
    # Half of them go on, where a fact of the split leads.
    goes_on = in_split[answer] & (keyed_random.integers(2, size, *source, "longer") == 1)
    next_slot = _draw_slots(world, answer, (*source, "next slot"))
    last = world.facts[answer, next_slot]
    plans[goes_on, _SLOTS + 1] = next_slot[goes_on]
    shortcut = np.any(world.facts[first] == last[:, None], axis=1) | (last == first)
    valid &= ~(goes_on & shortcut)
    return plans[valid]


def _multiplicity(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each value occurs, shape (N,)."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[index], dtype=np.int64)


def _draw_comparisons(
    world: FactGraph,
    in_split: NDArray[np.bool_],
    compared: str,
    size: int,
    source: tuple[int | str, ...],
) -> _Plans:
    """Draw pairs of one type with different years or numbers, and a relation where they differ."""
    codes = _type_codes(world)
    year_slots = _slots_of(world, compared)
    candidates = np.flatnonzero(in_split & (year_slots >= 0)[codes])
    first = candidates[keyed_random.integers(len(candidates), size, *source, "first")]
    second = candidates[keyed_random.integers(len(candidates), size, *source, "second")]
    year_slot = year_slots[codes[first]]
    slot = _draw_slots(world, first, (*source, "slot"))
    first_object, second_object = world.facts[first, slot], world.facts[second, slot]
    valid: NDArray[np.bool_] = codes[first] == codes[second]
    valid &= world.facts[first, year_slot] != world.facts[second, year_slot]
    valid &= slot != year_slot
    valid &= first_object != second_object
    for asked in (first_object, second_object):
        valid &= (asked != first) & (asked != second)
    plans = _empty_plans(size)
    plans[:, _FIRST] = first
    plans[:, _SECOND] = second
    plans[:, _LATER] = keyed_random.integers(2, size, *source, "later")
    plans[:, _SLOTS] = year_slot
    plans[:, _SLOTS + 1] = slot
    return plans[valid]


def _draw_slots(
    world: FactGraph, entity: NDArray[np.int64], source: tuple[int | str, ...]
) -> NDArray[np.int64]:
    """Draw one slot of each entity; slot 0, which is empty, for a year, which has none."""
    by_subject = world.blueprint.by_subject
    num_slots = np.array([len(by_subject.get(entity_type, ())) for entity_type in world.spans])
    draws = keyed_random.integers(1 << 16, len(entity), *source, "slot")
    slots: NDArray[np.int64] = draws * num_slots[_type_codes(world)[entity]] >> 16
    return slots


def _slots_of(world: FactGraph, kind: str) -> NDArray[np.int64]:
    """Return the first slot of each entity type whose objects are of ``kind``, -1 if none is."""
    by_subject = world.blueprint.by_subject
    objects = [[r.object for r in by_subject.get(entity_type, ())] for entity_type in world.spans]
    return np.array([given.index(kind) if kind in given else -1 for given in objects])


def _type_codes(world: FactGraph) -> NDArray[np.int64]:
    """Return the index of each entity's type among the types of ``world``."""
    sizes = [len(span) for span in world.spans.values()]
    return np.asarray(np.repeat(np.arange(len(sizes)), sizes), dtype=np.int64)
