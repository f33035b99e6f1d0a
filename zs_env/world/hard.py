"""What the hard world has beside the other worlds: what search agents fail at.

- Numbers, which questions compare, as they compare years.
- Facts that changed: a page says since when they hold, and another says what held before.
- Namesakes: a question gives a person's last name and a second fact.
"""

from __future__ import annotations

from zs_env.world.schema import CITY, COMPANY, FILM, NOVEL, NUMBER, TEAM, UNIVERSITY, Relation

# Columns as in `zs_env.world.relations.RELATIONS`.
NUMBER_RELATIONS = (
    Relation(
        "population", CITY, NUMBER,
        ("{s} has {o} thousand inhabitants.", "The population of {s} is {o} thousand.",
         "{o} thousand inhabitants fill {s}."),
        ("How many thousand inhabitants does {s} have?", "What is the population of {s}?",
         "How many thousand inhabitants fill {s}?"),
        ("the population of {s}", "the number of inhabitants of {s}",
         "the number of people in {s}"),
        ("the smaller of {a} and {b}", "whichever of {a} and {b} has fewer inhabitants",
         "the one of {a} and {b} with the smaller population"),
        ("the larger of {a} and {b}", "whichever of {a} and {b} has more inhabitants",
         "the one of {a} and {b} with the larger population"),
        cues="many people live size populous smaller larger fewer more",
    ),
    Relation(
        "staff", COMPANY, NUMBER,
        ("{s} pays {o} workers.", "The staff of {s} numbers {o}.", "{o} workers serve {s}."),
        ("How many workers does {s} pay?", "What does the staff of {s} number?",
         "How many workers serve {s}?"),
        ("the number of workers of {s}", "the size of the staff of {s}",
         "the number of workers whom {s} pays"),
        ("the smaller of {a} and {b}", "whichever of {a} and {b} pays fewer workers",
         "the one of {a} and {b} with the smaller staff"),
        ("the larger of {a} and {b}", "whichever of {a} and {b} pays more workers",
         "the one of {a} and {b} with the larger staff"),
        cues="many employees people smaller larger fewer more",
    ),
    Relation(
        "enrolment", UNIVERSITY, NUMBER,
        ("{s} teaches {o} students.", "The enrolment of {s} is {o}.", "{o} students attend {s}."),
        ("How many students does {s} teach?", "What is the enrolment of {s}?",
         "How many students attend {s}?"),
        ("the enrolment of {s}", "the number of students of {s}",
         "the number of students who attend {s}"),
        ("the smaller of {a} and {b}", "whichever of {a} and {b} teaches fewer students",
         "the one of {a} and {b} with the smaller enrolment"),
        ("the larger of {a} and {b}", "whichever of {a} and {b} teaches more students",
         "the one of {a} and {b} with the larger enrolment"),
        cues="many size people smaller larger fewer more",
    ),
    Relation(
        "length", FILM, NUMBER,
        ("{s} lasts {o} minutes.", "The length of {s} is {o} minutes.",
         "{s} ends after {o} minutes."),
        ("How many minutes does {s} last?", "What is the length of {s}?",
         "After how many minutes does {s} end?"),
        ("the length of {s}", "the number of minutes of {s}", "the minutes that {s} lasts"),
        ("the shorter of {a} and {b}", "whichever of {a} and {b} lasts fewer minutes",
         "the one of {a} and {b} that ends earlier"),
        ("the longer of {a} and {b}", "whichever of {a} and {b} lasts more minutes",
         "the one of {a} and {b} that ends later"),
        cues="many duration long shorter fewer more",
    ),
    Relation(
        "pages", NOVEL, NUMBER,
        ("{s} has {o} pages.", "The story of {s} fills {o} pages.", "{s} ends on page {o}."),
        ("How many pages does {s} have?", "How many pages does the story of {s} fill?",
         "On which page does {s} end?"),
        ("the number of pages of {s}", "the last page of {s}", "the pages that {s} fills"),
        ("the shorter of {a} and {b}", "whichever of {a} and {b} has fewer pages",
         "the one of {a} and {b} that fills fewer pages"),
        ("the longer of {a} and {b}", "whichever of {a} and {b} has more pages",
         "the one of {a} and {b} that fills more pages"),
        cues="many length long shorter fewer more",
    ),
    Relation(
        "seats", TEAM, NUMBER,
        ("The stadium of {s} seats {o} guests.", "{s} plays before {o} guests.",
         "{o} guests see {s} at home."),
        ("How many guests does the stadium of {s} seat?", "Before how many guests does {s} play?",
         "How many guests see {s} at home?"),
        ("the number of seats of {s}", "the size of the stadium of {s}",
         "the number of guests of {s}"),
        ("the one of {a} and {b} with the smaller stadium",
         "whichever of {a} and {b} plays before fewer guests",
         "the one of {a} and {b} with fewer seats"),
        ("the one of {a} and {b} with the larger stadium",
         "whichever of {a} and {b} plays before more guests",
         "the one of {a} and {b} with more seats"),
        cues="many capacity spectators people fewer more",
    ),
)  # fmt: skip

CHANGING = frozenset(
    "residence employer rival mayor leader exporter headquarters chief owner rector label coach "
    "captain sponsor".split()
)
"""Names of the relations whose facts changed once."""

DESCRIPTIONS = {
    "birthplace": ("the {w} who was born in {o}", "the {w} from {o} by birth",
                   "the {w} whose birthplace is {o}"),
    "alma_mater": ("the {w} who studied at {o}", "the {w} with a degree from {o}",
                   "the {w} to whom {o} gave a degree"),
}  # fmt: skip
"""Noun phrases for the subject of a fact, by relation; ``{w}`` is the subject's last name."""
