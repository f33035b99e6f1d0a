"""The types of entities of the embedded world, and what a relation between two of them is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

PERSON, CITY, COUNTRY, COMPANY, UNIVERSITY = "person", "city", "country", "company", "university"
FILM, NOVEL, BAND, TEAM, YEAR = "film", "novel", "band", "team", "year"


@dataclass(frozen=True)
class Relation:
    """One relation and its phrasings; ``{s}`` is the subject, ``{o}`` the object.

    Attributes:
        name: unique; relations are equal if their names are.
        subject: entity type of subjects.
        object: entity type of objects, or ``YEAR``.
        statements: sentences that state a fact.
        questions: questions for the object.
        phrases: noun phrases that stand for the object.
        earlier: for a year, phrases that stand for the one of ``{a}`` and ``{b}`` with the lower.
        later: the same for the higher year.
        cues: further words by which a query may mean the relation.
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
        """Every phrasing."""
        return self.statements + self.questions + self.phrases + self.earlier + self.later

    def shortened(self, count: int) -> Relation:
        """The relation with only the first ``count`` statements, questions and phrases."""
        return replace(
            self,
            statements=self.statements[:count],
            questions=self.questions[:count],
            phrases=self.phrases[:count],
        )
