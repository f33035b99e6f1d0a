"""Data sets that have a name: what they are and where the Hugging Face hub has them.

One entry of `DATASETS` is one data set; `zs_env.dataset_loading` loads it. All seven sets of the
paper's evaluation (arXiv 2505.04588, section 4.1) are in one repository of the hub, in one shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FLASHRAG = "RUC-NLPIR/FlashRAG_datasets"

HopRule = Callable[[str, Mapping[str, Any]], int | None]
"""Tells the hops of a question from its id and its other fields; None if they do not say."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with a name.

    Attributes:
        name: name in ``questions``.
        splits: number of questions of each split, as published.
        licence: licence of the questions, as their authors state it.
        link: where they are described.
        hops: numbers of facts that its questions need.
        hop_rule: tells how many one of them needs; not needed if all need as many.
        in_domain: whether the paper trains on it.
        parts: data sets of which it is the union, with their splits; empty if it is none.
        hub: repository of the hub.
        config: configuration in that repository; None for its default.
        revision: branch, tag or commit of that repository.
        id: column of the ids.
        question: column of the questions.
        golden_answers: column of the golden answers.
    """

    name: str
    splits: Mapping[str, int]
    licence: str
    link: str
    hops: tuple[int, ...] = ()
    hop_rule: HopRule | None = None
    in_domain: bool = False
    parts: tuple[tuple[str, str], ...] = ()
    hub: str = FLASHRAG
    config: str | None = None
    revision: str = "main"
    id: str = "id"
    question: str = "question"
    golden_answers: str = "golden_answers"
    aliases: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note how its columns are called here."""
        columns = {name: getattr(self, name) for name in ("id", "question", "golden_answers")}
        aliases = {column: name for name, column in columns.items() if column != name}
        object.__setattr__(self, "aliases", aliases)  # the class is frozen

    @property
    def evaluation_split(self) -> str:
        """Split that results are reported on: test where there is one, else dev."""
        return next((name for name in ("test", "dev") if name in self.splits), [*self.splits][0])

    def count_hops(self, question_id: str, fields: Mapping[str, Any]) -> int | None:
        """Return how many facts a question needs; None if that is not known."""
        if len(self.hops) == 1:
            return self.hops[0]
        return self.hop_rule(question_id, fields) if self.hop_rule else None


def _hops_of_musique(question_id: str, fields: Mapping[str, Any]) -> int | None:
    # The authors' ids begin with the hops, as in 3hop1__140786_2053573; FlashRAG's do not.
    if match := re.match(r"(\d)hop", question_id):
        return int(match[1])
    steps = fields.get("question_decomposition")
    return len(steps) if isinstance(steps, list) and steps else None


def _hops_of_2wiki(question_id: str, fields: Mapping[str, Any]) -> int | None:
    kind = fields.get("type")
    if not isinstance(kind, str):
        return None
    return 4 if kind.replace("-", "_") == "bridge_comparison" else 2


# Sizes are those of FlashRAG's list of data sets. No commit of its repository is pinned: none was
# seen that is known to hold all seven.
_ENTRIES = (
    Dataset(
        name="nq",
        config="nq",
        splits={"train": 79_168, "dev": 8_757, "test": 3_610},
        licence="CC BY-SA 3.0",
        link="https://github.com/google-research-datasets/natural-questions",
        hops=(1,),
        in_domain=True,
    ),
    Dataset(
        name="triviaqa",
        config="triviaqa",
        splits={"train": 78_785, "dev": 8_837, "test": 11_313},
        licence="unknown",  # so its card on the hub says
        link="https://nlp.cs.washington.edu/triviaqa/",
        hops=(1,),
    ),
    Dataset(
        name="popqa",
        config="popqa",
        splits={"test": 14_267},
        licence="MIT",  # of the authors' repository; the card on the hub names none
        link="https://github.com/AlexTMallen/adaptive-retrieval",
        hops=(1,),
    ),
    Dataset(
        name="hotpotqa",
        config="hotpotqa",
        splits={"train": 90_447, "dev": 7_405},
        licence="CC BY-SA 4.0",
        link="https://hotpotqa.github.io",
        hops=(2,),
        in_domain=True,
    ),
    Dataset(
        name="2wikimultihopqa",
        config="2wikimultihopqa",
        splits={"train": 15_000, "dev": 12_576},
        licence="Apache-2.0",
        link="https://github.com/Alab-NII/2wikimultihop",
        hops=(2, 4),
        hop_rule=_hops_of_2wiki,
    ),
    Dataset(
        name="musique",
        config="musique",
        splits={"train": 19_938, "dev": 2_417},
        licence="CC BY 4.0",
        link="https://github.com/StonyBrookNLP/musique",
        hops=(2, 3, 4),
        hop_rule=_hops_of_musique,
    ),
    Dataset(
        name="bamboogle",
        config="bamboogle",
        splits={"test": 125},
        licence="MIT",
        link="https://github.com/ofirpress/self-ask",
        hops=(2,),
    ),
    Dataset(
        name="zerosearch-train",  # what the paper trains on
        splits={"train": 169_615},
        licence="CC BY-SA 3.0, CC BY-SA 4.0",
        link="https://arxiv.org/abs/2505.04588",
        hops=(1, 2),
        in_domain=True,
        parts=(("nq", "train"), ("hotpotqa", "train")),
    ),
)

DATASETS: Mapping[str, Dataset] = {dataset.name: dataset for dataset in _ENTRIES}
