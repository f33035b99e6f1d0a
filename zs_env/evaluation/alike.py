"""Whether runs were asked alike: only then can their records be compared in pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zs_env.errors import RecordError
from zs_env.evaluation.record import Record, RecordKey
from zs_env.evaluation.results import check_keys

Records = Mapping[RecordKey, Record]

_SHOWN = 5  # examples in a message
_ENGINE_OPTIONS = ("engine", "engines")


@dataclass(frozen=True)
class Run:
    """A run to compare.

    Attributes:
        name: name of the run, for tables.
        records: its records.
        options: those of its options that decide what was asked, such as ``max_turns`` and
            ``top_k``. Method and model do not belong here.
    """

    name: str
    records: Sequence[Record]
    options: Mapping[str, Any] = field(default_factory=dict)


def matched(runs: Sequence[Run], any_engine: bool = False) -> list[Records]:
    """Return the records of each run by key, after a check that all were asked alike.

    Datasets, questions, golden answers, repeats and options must be the same. So must engines and
    noise, unless ``any_engine``: then keys have the engine "", and the options ``engine`` and
    ``engines`` may differ.

    Raises:
        RecordError: something was not asked alike; the message lists what.
    """
    found: list[Records] = [_by_key(run, any_engine) for run in runs]
    unlike = [
        difference
        for run, records in zip(runs[1:], found[1:], strict=True)
        for difference in (
            *_unlike_options(runs[0], run, any_engine),
            *_unlike_keys((runs[0].name, found[0]), (run.name, records)),
            *_unlike_questions((runs[0].name, found[0]), (run.name, records), any_engine),
        )
    ]
    if unlike:
        raise RecordError("the runs were not asked alike: " + "; ".join(unlike) + ".")
    return found


def _by_key(run: Run, any_engine: bool) -> dict[RecordKey, Record]:
    check_keys(run.records)
    found: dict[RecordKey, Record] = {}
    for record in run.records:
        key = record.key._replace(engine="") if any_engine else record.key
        if key in found:
            raise RecordError(
                f"run {run.name!r} asked the same on {found[key].engine!r} and {record.engine!r}; "
                "where engines may differ, a run must have one for each dataset."
            )
        found[key] = record
    return found


def _unlike_options(first: Run, second: Run, any_engine: bool) -> list[str]:
    skipped = _ENGINE_OPTIONS if any_engine else ()
    names = sorted({*first.options, *second.options} - set(skipped))
    # As JSON: a tuple that was written and read again is a list.
    pairs = [(name, _option(first, name), _option(second, name)) for name in names]
    return [
        f"option {name} is {one} in {first.name!r} and {other} in {second.name!r}"
        for name, one, other in pairs
        if one != other
    ]


def _option(run: Run, name: str) -> str:
    if name not in run.options:
        return "missing"
    return json.dumps(run.options[name], sort_keys=True, default=repr)


def _unlike_keys(first: tuple[str, Records], second: tuple[str, Records]) -> list[str]:
    return [
        f"only {name!r} has {_listed([_key_text(key) for key in sorted(missing)])}"
        for name, missing in (
            (first[0], first[1].keys() - second[1].keys()),
            (second[0], second[1].keys() - first[1].keys()),
        )
        if missing
    ]


def _unlike_questions(
    first: tuple[str, Records], second: tuple[str, Records], any_engine: bool
) -> list[str]:
    what = ["question", "golden_answers", *([] if any_engine else ["noise_probability"])]
    found = []
    for name in what:
        keys = [
            _key_text(key)
            for key in sorted(first[1].keys() & second[1].keys())
            if getattr(first[1][key], name) != getattr(second[1][key], name)
        ]
        if keys:
            found.append(f"{first[0]!r} and {second[0]!r} have another {name} in {_listed(keys)}")
    return found


def _key_text(key: RecordKey) -> str:
    engine = f" on {key.engine!r}" if key.engine else ""
    return f"{key.dataset!r}{engine} question {key.question_id!r} repeat {key.repeat}"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{len(items)} records: {', '.join(items[:_SHOWN])}{more}"
