"""A pair: what a simulation LLM is told, and the documents that it is to write."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import SimulationDataError
from zs_env.files import check_file, parse_line, read_jsonl
from zs_env.prompts import SIMULATION_TEMPLATES, load_simulation_template

USEFUL, NOISY, PAGE = "useful", "noisy", "page"
LABELS = (USEFUL, NOISY, PAGE)

FINAL, EARLIER, UNKNOWN = "final", "earlier", "unknown"
HOPS = (FINAL, EARLIER, UNKNOWN)

TRAIN, HELD_OUT = "train", "held_out"
CARD = "card.json"


@dataclass(frozen=True)
class Pair:
    """A labelled search to tune on.

    Attributes:
        prompt: what the simulation LLM is told, as `zs_env.engines.simulated.SimulatedEngine`
            sends it; "" for a plain page.
        completion: documents, one a line, as `zs_env.engines.document_forms.parse_documents` reads
            them.
        label: ``useful``, ``noisy``, or ``page`` for a plain page of the corpus.
        hop: ``final`` if the documents give the golden answer, or the query asks for it;
            ``earlier`` if they help on the way to it; ``unknown`` if the query asks for nothing
            that is known.
        origin: where the documents come from: ``engine``, as the policy got them; ``deeper``,
            other results of the same query; ``swapped``, with another golden answer, or another
            name of what the query names; ``corpus``.
        query: query.
        question: question of the episode.
        golden_answers: golden answers that the documents go by: those of the question, or the one
            that took their place.
        stated: names that documents about the embedded world give as what the query asks for.
        question_id: question of the episode.
        turn: turn of the search, from 0.
        unseen: whether it is about an entity of the embedded world that no training pair is about.
        template: template of the prompt, see `template_id`; "" for a plain page.
    """

    prompt: str
    completion: str
    label: str
    hop: str
    origin: str
    query: str = ""
    question: str = ""
    golden_answers: tuple[str, ...] = ()
    stated: tuple[str, ...] = ()
    question_id: str = ""
    turn: int = 0
    unseen: bool = False
    template: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        lists = {"golden_answers": list(self.golden_answers), "stated": list(self.stated)}
        return {**vars(self), **lists}


def template_id(template: str) -> str:
    """Return the name of a template and a hash of its text, which pairs carry.

    Args:
        template: name of a template, or the path of a text file.

    Raises:
        ValueError: there is no such template.
    """
    text = load_simulation_template(template)
    name = template if template in SIMULATION_TEMPLATES else Path(template).stem
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_pairs(path: Path, template: str | None = None, split: str = TRAIN) -> list[Pair]:
    """Read the pairs of a file, or of a folder that `zs_env.simulation.export` wrote.

    Args:
        path: file of pairs, or the folder.
        template: template that their prompts must be of, by name or path; None for any one.
        split: ``train`` or ``held_out``, of a folder.

    Raises:
        SimulationDataError: there is no such file, the folder is not whole, a line is broken or of
            another template, or there are not both useful and noisy pairs.
        ValueError: there is no such template.
    """
    if path.is_dir():
        return read_pairs(_checked_file(path, split), template)
    check_file(path, SimulationDataError)
    wanted = None if template is None else template_id(template)
    pairs: list[Pair] = []
    for place, values in read_jsonl(path, SimulationDataError):
        pair = _pair(place, values)
        if pair.label != PAGE:
            wanted = wanted or pair.template
            if pair.template != wanted:
                raise SimulationDataError(
                    f"{place}: expected a prompt of the template {wanted!r}, got one of "
                    f"{pair.template!r}. The engine must send what was tuned on: make the pairs "
                    "again, or give their template."
                )
        pairs.append(pair)
    found = Counter(pair.label for pair in pairs)
    if missing := [label for label in (USEFUL, NOISY) if not found[label]]:
        raise SimulationDataError(
            f"{path}: no {' and no '.join(missing)} pairs among {len(pairs)} lines. A simulation "
            "LLM learns what the label means only from both."
        )
    return pairs


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a folder of pairs.

    Raises:
        SimulationDataError: it has none: it is no such folder, or was not written to the end.
    """
    path = folder / CARD
    if not path.is_file():
        raise SimulationDataError(
            f"{folder} is no whole folder of pairs: it has no {CARD}. Run `zs-env simulation "
            "pairs` again."
        )
    return parse_line(str(path), path.read_bytes(), SimulationDataError)


def file_hash(content: bytes) -> str:
    """Return the hash of a file that a card gives."""
    return hashlib.sha256(content).hexdigest()


def _checked_file(folder: Path, split: str) -> Path:
    """Return the file of a split, if it is the one that the card tells of."""
    files = read_card(folder).get("files", {})
    path = folder / f"{split}.jsonl"
    if path.name not in files or not path.is_file():
        raise SimulationDataError(f"{folder} has no {path.name}.")
    if file_hash(path.read_bytes()) != files[path.name]:
        raise SimulationDataError(
            f"{path} is not the file that {CARD} tells of: it was changed or cut. Run `zs-env "
            "simulation pairs` again, or give the file itself."
        )
    return path


_TEXTS = ("prompt", "completion", "label", "hop", "origin", "query", "question", "question_id")


def _pair(place: str, values: Mapping[str, Any]) -> Pair:
    wrong = [name for name in (*_TEXTS, "template") if not isinstance(values.get(name), str)]
    if wrong:
        raise SimulationDataError(
            f"{place}: not a pair: `{wrong[0]}` must be a text, got {values.get(wrong[0])!r:.40}."
        )
    for name, known in (("label", LABELS), ("hop", HOPS)):
        if values[name] not in known:
            raise SimulationDataError(
                f"{place}: `{name}` must be one of {', '.join(known)}, got {values[name]!r}."
            )
    lists = {name: values.get(name, []) for name in ("golden_answers", "stated")}
    for name, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise SimulationDataError(f"{place}: `{name}` must be a list of texts.")
    if not values["completion"].strip() or (values["label"] != PAGE) != bool(values["prompt"]):
        raise SimulationDataError(
            f"{place}: a pair needs a completion, and a prompt unless it is a plain page."
        )
    turn, unseen = values.get("turn", 0), values.get("unseen", False)
    if not isinstance(turn, int) or not isinstance(unseen, bool):
        raise SimulationDataError(f"{place}: `turn` must be an integer, `unseen` true or false.")
    texts = {name: values[name] for name in (*_TEXTS, "template")}
    return Pair(
        **texts,
        golden_answers=tuple(lists["golden_answers"]),
        stated=tuple(lists["stated"]),
        turn=turn,
        unseen=unseen,
    )


def count_pairs(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Return the number of pairs by label, hop and origin."""
    counts = Counter((pair.label, pair.hop, pair.origin) for pair in pairs)
    return [
        {"label": label, "hop": hop, "origin": origin, "pairs": count}
        for (label, hop, origin), count in sorted(counts.items())
    ]
