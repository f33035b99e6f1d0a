"""Entity types of the embedded world, and the class of relations between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

PERSON, CITY, COUNTRY, COMPANY, UNIVERSITY = "person", "city", "country", "company", "university"
FILM, NOVEL, BAND, TEAM = "film", "novel", "band", "team"
YEAR, NUMBER = "year", "number"


@dataclass(frozen=True)
class Relation:
    """Relation and its phrasings; ``{s}`` is the subject, ``{o}`` the object.

    Attributes:
        name: unique name; relations with equal names are equal.
        subject: entity type of subjects.
        object: entity type of objects, perhaps ``YEAR`` or ``NUMBER``, which are ordered.
        statements: sentences that state a fact.
        questions: questions for the object.
        phrases: noun phrases for the object.
        earlier: noun phrases for the one of ``{a}`` and ``{b}`` with the earlier year or smaller
            number; empty unless objects are ordered.
        later: noun phrases for the one with the later year or the greater number.
        cues: additional words by which a query may mean the relation, separated by spaces.
    """

    name: str
    subject: str = field(compare=False)
    object: str = field(compare=False)
    statements: tuple[str, ...] = field(compare=False)
    questions: tuple[str, ...] = field(compare=False)
    phrases: tuple[str, ...] = field(compare=False)
    earlier: tuple[str, ...] = field(default=(), compare=False)
    later: tuple[str, ...] = field(default=(), compare=False)
    cues: str = field(default="", compare=False)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """All phrasings."""
        return self.statements + self.questions + self.phrases + self.earlier + self.later

    def shortened(self, count: int) -> Relation:
        """Return the relation with only the first ``count`` statements, questions and phrases."""
        return replace(
            self,
            statements=self.statements[:count],
            questions=self.questions[:count],
            phrases=self.phrases[:count],
        )
