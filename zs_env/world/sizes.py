"""Blueprints of the worlds of each size: entities, names, relations, questions, prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from zs_env.prompts import PROMPT, TINY_PROMPT
from zs_env.world import words
from zs_env.world.hard import CHANGING, DESCRIPTIONS, NUMBER_RELATIONS
from zs_env.world.relations import BY_NAME, RELATIONS
from zs_env.world.schema import (
    BAND,
    CITY,
    COMPANY,
    COUNTRY,
    FILM,
    NOVEL,
    NUMBER,
    PERSON,
    TEAM,
    UNIVERSITY,
    YEAR,
    Relation,
)

COMPARISON, NUMBER_COMPARISON = "comparison", "number comparison"
"""Kinds of questions that compare two entities: their years, or their numbers."""

HISTORY_QUESTION, NAMESAKE_QUESTION = "history", "namesake"
"""Kinds of questions about a fact that changed, and about a person who is told by another fact."""

_ORDERED_NAMES = {YEAR: words.YEARS, NUMBER: words.NUMBERS}

NameForm = tuple[tuple[str, ...], ...]
"""Pools that the first word of a name is drawn from, the second, and so on."""


@dataclass(frozen=True)
class QuestionMixture:
    """Numbers and kinds of questions that are drawn at random.

    Attributes:
        num_train: number of questions of the train split.
        num_test: number of questions of the test split.
        shares: share of a split's questions by kind.
    """

    num_train: int
    num_test: int
    shares: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Blueprint:
    """Common structure of the worlds of one size, whatever their seed.

    Attributes:
        counts: number of entities by entity type. Types without relations come last.
        name_forms: forms of names by entity type; the first with enough names is used.
        relations: relations and their phrasings.
        mixture: questions that are drawn; None for all 1-hop questions: every fact of a split in
            each of its phrasings.
        changing: names of the relations whose facts changed once, and are stated with their dates.
        descriptions: noun phrases for the subject of a fact, which give a part of its name and the
            object, by name of the relation.
        prompt: template of the first observation; its words are part of the vocabulary.
        max_documents: largest number of a document that is part of the vocabulary.
    """

    counts: Mapping[str, int]
    name_forms: Mapping[str, tuple[NameForm, ...]]
    relations: tuple[Relation, ...]
    mixture: QuestionMixture | None
    changing: frozenset[str] = frozenset()
    descriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prompt: str = PROMPT
    max_documents: int = 20

    @cached_property
    def by_subject(self) -> dict[str, tuple[Relation, ...]]:
        """Relations by entity type; a relation's index is its slot in `FactGraph.facts`."""
        return {
            entity_type: tuple(r for r in self.relations if r.subject == entity_type)
            for entity_type in self.counts
        }

    @cached_property
    def slots(self) -> dict[str, int]:
        """Slot by relation name."""
        return {
            relation.name: slot
            for relations in self.by_subject.values()
            for slot, relation in enumerate(relations)
        }

    @property
    def num_slots(self) -> int:
        """Number of slots: the most relations of an entity type."""
        return max(map(len, self.by_subject.values()))

    @property
    def ordered(self) -> dict[str, tuple[str, ...]]:
        """Names of the entities that have an order, in it, by those of their types that occur."""
        objects = {relation.object for relation in self.relations}
        return {each: names for each, names in _ORDERED_NAMES.items() if each in objects}

    @property
    def num_subjects(self) -> int:
        """Number of entities that are subjects of facts."""
        return sum(self.counts[t] for t, relations in self.by_subject.items() if relations)

    def name_words(self) -> set[str]:
        """Return all words that names may have."""
        pools = [pool for forms in self.name_forms.values() for form in forms for pool in form]
        return {word for pool in [*pools, *self.ordered.values()] for word in pool}


_SMALL_COUNTS = {
    PERSON: 980, CITY: 240, COUNTRY: 50, COMPANY: 260, UNIVERSITY: 70,
    FILM: 140, NOVEL: 120, BAND: 70, TEAM: 70,
}  # fmt: skip

_NAME_FORMS: dict[str, tuple[NameForm, ...]] = {
    PERSON: ((words.FIRST, words.LAST), (words.FIRST, words.FIRST, words.LAST)),
    CITY: ((words.PLACE, words.PLACE), (words.PLACE, words.PLACE, words.PLACE)),
    COUNTRY: ((words.COUNTRY,), (words.COUNTRY, words.PLACE)),
    COMPANY: ((words.LAST, words.NOUN), (words.LAST, words.LAST, words.NOUN)),
    UNIVERSITY: ((words.LAST, words.PLACE), (words.LAST, words.LAST, words.PLACE)),
    FILM: ((words.ADJECTIVE, words.NOUN), (words.ADJECTIVE, words.ADJECTIVE, words.NOUN)),
    NOVEL: ((words.NOUN, words.NOUN), (words.NOUN, words.NOUN, words.NOUN)),
    BAND: ((words.ADJECTIVE, words.ANIMAL), (words.ADJECTIVE, words.ADJECTIVE, words.ANIMAL)),
    TEAM: ((words.PLACE, words.ANIMAL), (words.PLACE, words.PLACE, words.ANIMAL)),
}

_SHARES = {"1-hop": 0.25, "2-hop": 0.35, "3-hop": 0.2, "4-hop": 0.1, COMPARISON: 0.1}


def _full(times: int, num_train: int) -> Blueprint:
    """Make the blueprint of all types and relations, with ``times`` the entities of ``small``."""
    counts = {entity_type: times * count for entity_type, count in _SMALL_COUNTS.items()}
    return Blueprint(counts, _NAME_FORMS, RELATIONS, QuestionMixture(num_train, 500, _SHARES))


# Every pair of a first and a last name is a person, and the split of each is drawn. So a policy
# that learned to copy names on train questions has seen every word of test questions.
_TINY = Blueprint(
    counts={PERSON: 144, CITY: 16, COMPANY: 12},
    name_forms={
        PERSON: ((words.FIRST[::9][:12], words.LAST[::12][:12]),),
        CITY: ((words.PLACE[::6][:16],),),
        COMPANY: ((words.NOUN[::6][:12],),),
    },
    relations=tuple(BY_NAME[name].shortened(2) for name in ("birthplace", "residence", "employer")),
    mixture=None,
    prompt=TINY_PROMPT,
    max_documents=5,
)

_HARD = Blueprint(
    counts=_SMALL_COUNTS,
    name_forms=_NAME_FORMS,
    relations=RELATIONS + NUMBER_RELATIONS,
    mixture=QuestionMixture(
        num_train=10_000,
        num_test=500,
        shares={
            COMPARISON: 0.2, NUMBER_COMPARISON: 0.2,
            NAMESAKE_QUESTION: 0.25, HISTORY_QUESTION: 0.25,
            "5-hop": 0.06, "6-hop": 0.04,
        },
    ),
    changing=CHANGING,
    descriptions=DESCRIPTIONS,
)  # fmt: skip

SIZES = {
    "tiny": _TINY,
    "small": _full(1, 10_000),
    "medium": _full(10, 50_000),
    "large": _full(50, 200_000),
    "hard": _HARD,
}
"""Blueprint by size."""


def find_blueprint(size: str) -> Blueprint:
    """Return the blueprint of ``size``; raise ValueError if the size is unknown."""
    if size not in SIZES:
        raise ValueError(f"`world_size` must be one of {', '.join(SIZES)}, got {size!r}.")
    return SIZES[size]
