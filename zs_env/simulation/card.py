"""Card of a folder of pairs: what they are made of, how, and what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from zs_env.engines.document_forms import parse_documents
from zs_env.prompts import load_simulation_template
from zs_env.simulation.agreement import compare_judges, same_documents
from zs_env.simulation.deeper import engine_name
from zs_env.simulation.make_pairs import Made
from zs_env.simulation.pair import HELD_OUT, PAGE, count_pairs, template_id
from zs_env.simulation.recipe import Recipe
from zs_env.simulation.searches import CollectedSearch, Searches

UNKNOWN_LICENCE = "unknown"
WORLD_LICENCE = "apache-2.0"
"""Licence of pairs about the embedded world, which is part of this package."""

WORDS_APART = 1.5
"""Factor by which documents may be longer or shorter than prompts ask for."""

FORMS = (
    "`train.jsonl`, `held_out.jsonl` (configuration `default`): `prompt` and `completion` as "
    "texts, with all that is known of a pair; for `python -m agents.sft`, and for models that read "
    "prompts without a chat template.",
    "`trl_*.jsonl` (configuration `trl`): `prompt` and `completion` as messages, the "
    "conversational form of TRL; for models with a chat template.",
    "`chat_*.jsonl`: one list of `messages`.",
    "`alpaca_*.jsonl`, `dataset_info.json`: the form of LLaMA-Factory.",
)
"""Files of a folder, as its README lists them."""


def make_card(
    found: Searches,
    made: Made,
    recipe: Recipe,
    judge: str,
    licence: str | None = None,
    identity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what is to be said of pairs, as an object of JSON.

    Args:
        found: searches that they are made of.
        made: pairs.
        recipe: how they were made.
        judge: judge whose verdicts count.
        licence: licence of the pairs, such as ``cc-by-sa-4.0`` for passages of Wikipedia; None for
            that of this package if all is about the embedded world, else unknown.
        identity: what decides the verdicts of the judge, if it is known.
    """
    searches = found.searches
    others = sorted({name for s in searches for name in s.verdicts} - {judge})
    about = _only({search.world for search in searches})
    return {
        "licence": licence or _licence_of(searches),
        "sources": {
            "datasets": _counted(search.dataset for search in searches),
            "engines": _counted(search.engine for search in searches),
            "worlds": sorted({search.world for search in searches if search.world is not None}),
            "episodes": found.episodes or None,
            "questions": len({(search.dataset, search.question_id) for search in searches}),
            "searches": len(searches),
            "hash": _hash_of(searches),
            "left_out_before": dict(sorted(found.left_out.items())),
        },
        "judge": {
            "name": judge,
            "identity": identity,
            "top_k": sorted({s.judged_top_k[judge] for s in searches if judge in s.judged_top_k}),
            "useful": sum(search.verdicts.get(judge) is True for search in searches),
            "noisy": sum(search.verdicts.get(judge) is False for search in searches),
            "agreement": [_agreement(searches, other, judge) for other in others],
        },
        "recipe": asdict(recipe),
        "template": {
            "id": template_id(recipe.template),
            "text": load_simulation_template(recipe.template),
        },
        "pairs": {
            split: {
                "total": len(pairs),
                "unseen": sum(pair.unseen for pair in pairs),
                "counts": count_pairs(pairs),
            }
            for split, pairs in made.pairs.items()
        },
        "document_words": _median_words(made),
        "plain_pages": sum(p.label == PAGE for pairs in made.pairs.values() for p in pairs),
        "deeper_results": {
            "queries": made.deeper,
            "failed": made.deeper_failed,
            "top_k": list(made.deeper_top_k),
        },
        "left_out": dict(sorted(made.left_out.items())),
        "pairs_left_out": dict(sorted(made.pairs_left_out.items())),
        "test_pages": _test_pages(about, recipe),
    }


def warnings_of(card: Mapping[str, Any]) -> list[str]:
    """Return what a user should look at before tuning on the pairs of ``card``."""
    recipe, words = card["recipe"], card["document_words"]
    warnings = []
    asked = recipe["document_words"]
    if words is not None and not asked / WORDS_APART <= words <= asked * WORDS_APART:
        warnings.append(
            f"the documents have a median of {words} words, and prompts ask for about {asked}: a "
            f"model learns to write more or less than it is told. Give `--document-words {words}`, "
            "and the same to environments."
        )
    if recipe["num_held_out"] and not card["pairs"][HELD_OUT]["total"]:
        warnings.append(
            "no pairs are held out, so neither tuning nor fidelity can be measured with them: "
            f"raise `--held-out-share`, which is {recipe['held_out_share']}, or collect more."
        )
    return warnings


def as_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as the README of a data set, which the Hugging Face hub reads."""
    sources, judge, recipe = card["sources"], card["judge"], card["recipe"]
    total = sources["searches"]
    lines = [
        "---",
        f"license: {card['licence']}",
        "configs:",
        *_data_files(card, "default", ""),
        *_data_files(card, "trl", "trl_"),
        "---",
        "# Pairs to tune a simulation LLM on",
        "",
        "Each line has a prompt, as the engine `simulated` of zs-env sends it, and the documents "
        "that the model is to write.",
        "",
        *(f"- {text}" for text in FORMS),
        "",
        "| split | label | hop | documents from | pairs |",
        "|---|---|---|---|---|",
    ]
    for split, told in card["pairs"].items():
        for row in told["counts"]:
            lines.append(
                f"| {split} | {row['label']} | {row['hop']} | {row['origin']} | {row['pairs']:,} |"
            )
        lines.append(f"| **{split}** | | | | **{told['total']:,}** |")
    lines += [
        "",
        "## Sources",
        f"{total:,} searches of {sources['questions']:,} questions: "
        + _listed(sources["datasets"])
        + ". Engines: "
        + _listed(sources["engines"])
        + f". Licence: {card['licence']}. Hash: `{sources['hash'][:16]}`.",
        "",
        f"The judge `{judge['name']}` took {judge['useful']:,} of them for useful and "
        f"{judge['noisy']:,} for noisy.",
    ]
    for agreement in judge["agreement"]:
        if agreement.get("agreement"):
            kappa = agreement["kappa"]
            lines.append(
                f"Agreement with `{agreement['first']}` on {agreement['searches']:,} searches: "
                f"{_estimate(agreement['agreement'])}, Cohen's kappa "
                f"{'not defined' if kappa is None else _estimate(kappa)}."
            )
    if card["document_words"] is not None:
        lines += [
            "",
            f"Prompts ask for documents of about {recipe['document_words']} words; their median is "
            f"{card['document_words']}.",
        ]
    lines += ["", card["test_pages"], "", "## Left out", ""]
    lines += ["| reason | searches | of all searches |", "|---|---|---|"]
    everything = total + sum(sources["left_out_before"].values())
    for reason, count in {**sources["left_out_before"], **card["left_out"]}.items():
        lines.append(f"| {reason} | {count:,} | {count / everything:.1%} |")
    lines += [
        "",
        f"A search gives up to {2 * card['recipe']['variants']} pairs.",
        "",
        "| reason | pairs |",
        "|---|---|",
    ]
    lines += [f"| {reason} | {count:,} |" for reason, count in card["pairs_left_out"].items()]
    deeper = card["deeper_results"]
    results = " or ".join(f"{number} results" for number in deeper["top_k"]) or "deeper results"
    lines += [
        "",
        f"Engines were asked again for {results} of {deeper['queries']:,} queries, and failed on "
        f"{deeper['failed']:,}.",
        "",
        "## Recipe",
        "",
        "| option | value |",
        "|---|---|",
        *(f"| `{name}` | {value} |" for name, value in recipe.items()),
        "",
        f"Template `{card['template']['id']}`:",
        "",
        "````text",
        card["template"]["text"].rstrip("\n"),
        "````",
        "",
        "## Files",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| `{name}` | `{digest}` |" for name, digest in card["files"].items()),
    ]
    return "\n".join(lines) + "\n"


def _data_files(card: Mapping[str, Any], name: str, form: str) -> list[str]:
    """Return the lines that name the files of one form, for `datasets.load_dataset`."""
    splits = [split for split, told in card["pairs"].items() if told["total"]]
    files = [f"  - {{split: {split}, path: {form}{split}.jsonl}}" for split in splits]
    return [f"- config_name: {name}", "  data_files:", *files]


def _agreement(searches: Sequence[CollectedSearch], other: str, judge: str) -> dict[str, Any]:
    if not any(
        other in search.verdicts
        and judge in search.verdicts
        and same_documents(search, other, judge)
        for search in searches
    ):
        return {"first": other, "second": judge, "searches": 0}
    return compare_judges(searches, other, judge).as_json()


def _test_pages(about: bool, recipe: Recipe) -> str:
    if not about:
        return "Nothing is held out but questions: what test questions need may be among the pairs."
    share = f"{recipe.held_out_entities:.0%} of the other entities"
    if recipe.held_out_pages:
        held_out = f"No query about {share} is trained on, but their pages are plain pages:"
    else:
        held_out = f"Pages of {share} are held out:"
    held_out += " `unseen` tells the held-out pairs about them."
    if recipe.test_pages:
        return f"Pages that only test questions need ARE among the documents. {held_out}"
    return f"No document is of a page that only test questions need. {held_out}"


def _median_words(made: Made) -> int | None:
    """Return the median number of words of the documents of all pairs, without titles."""
    texts = [
        document.text
        for pairs in made.pairs.values()
        for pair in pairs
        if pair.label != PAGE
        for document in parse_documents(pair.completion, len(pair.completion))
    ]
    return round(median(len(text.split()) for text in texts)) if texts else None


def _only(worlds: set[tuple[int, str] | None]) -> bool:
    return bool(worlds) and None not in worlds


def _licence_of(searches: Sequence[CollectedSearch]) -> str:
    engines = {engine_name(search.engine) for search in searches if search.engine}
    corpora = any("corpus" in search.engine for search in searches)
    if all(search.world for search in searches) and engines <= {"bm25", "world"} and not corpora:
        return WORLD_LICENCE
    return UNKNOWN_LICENCE


def _hash_of(searches: Iterable[CollectedSearch]) -> str:
    return hashlib.sha256("".join(search.key for search in searches).encode()).hexdigest()


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` ({count:,})" for name, count in counts.items())


def _estimate(values: Mapping[str, Any]) -> str:
    low, high = values["interval"] or (None, None)
    shown = f"{values['value']:.3f}"
    return shown if low is None else f"{shown} ({low:.3f} – {high:.3f})"
