"""Reading exercises: what the base policy knows of language, apart from how to search.

A few sentences, and short questions about them that are put in other words or answered. There is
no prompt, no thought and no second step in them: they teach what words mean, and to copy names.
"""

from __future__ import annotations

from zs_env.actions import ANSWER, SEARCH, tagged
from zs_env.keyed_random import Stream
from zs_env.world import World
from zs_env.world.solver import Lookup
from zs_env.world.text import state

MAX_SUBJECTS = 2
MAX_FACTS = 3
NUM_QUESTIONS = 3


def reading_exercise(world: World, draw: Stream) -> str:
    """Facts about a few subjects as documents, and questions about some of the facts."""
    facts = []
    for _ in range(1 + draw.integer(MAX_SUBJECTS)):
        about = world.facts_of(draw.integer(world.num_entities))
        facts += draw.shuffled(about)[: 1 + draw.integer(MAX_FACTS)]
    facts = draw.shuffled(facts)
    sentences = [state(world, fact, draw.integer(len(fact.relation.statements))) for fact in facts]
    middle = draw.integer(len(sentences))
    pages = [" ".join(part) for part in (sentences[:middle], sentences[middle:]) if part]
    lines = []
    for number, page in enumerate(pages, start=1):
        title = f" ({world.names[draw.choice(facts).subject]})" if draw.integer(3) == 0 else ""
        lines.append(f"Doc {number}{title}: {page}")
    for fact in draw.shuffled(facts)[:NUM_QUESTIONS]:
        wordings = Lookup(fact.relation, fact.subject).wordings(world)
        lines.append(f"Question: {draw.choice(wordings)}")
        if draw.integer(4) == 0:
            lines.append(tagged(SEARCH, draw.choice(wordings)))
        lines.append(tagged(ANSWER, world.names[fact.object]))
    return "\n".join(lines)
