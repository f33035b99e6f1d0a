"""A language model as judge of searches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.actions import without_thoughts
from zs_env.concurrency.event_loop import run_to_end, work_together
from zs_env.documents import Document, clean_text
from zs_env.errors import SearchFailure, ServiceError
from zs_env.evaluation.identity import identity_of, weights_of
from zs_env.evaluation.models import load_model
from zs_env.llm import ChatRequest, LanguageModel, Message
from zs_env.prompts import SEARCH_JUDGE, SEARCH_JUDGE_AGAIN, document_lines
from zs_env.simulation.judges import Keep, SearchJudge, Verdict
from zs_env.simulation.searches import CollectedSearch

NUM_TRIES = 2
"""Times that the model is asked about a search which it gives no verdict on."""

PATIENCE = 32
"""Searches without any verdict after which a judge is given up that never gave one."""

SHOWN_CHARS = 80
"""Characters of a reply without a verdict that messages show."""

NOTHING = "(nothing)"
"""What messages show of an empty reply."""

_VERDICT = re.compile(r"\W*(?:verdict\W+)?(useful|noisy)\W*", re.IGNORECASE)
_FIELD = re.compile(r"{(\w+)}")


class LLMJudge(SearchJudge):
    """Judge that asks a language model, at temperature 0.

    It can be wrong, and is worth what its agreement with a judge that knows, or with people, is
    worth (`zs_env.simulation.agreement`).

    Args:
        llm: model that judges: a name of `zs_env.llm.LLMS`, a folder, or an object; see
            `zs_env.evaluation.models.load_model`.
        template: path of a text file with ``{query}`` and ``{documents}``, and perhaps
            ``{question}`` and ``{golden_answers}``, which must ask for one word, useful or noisy;
            by default `zs_env.prompts.SEARCH_JUDGE`.
        name: what its verdicts are called.
        max_tokens: most tokens of its reply, thoughts included.
        max_concurrency: most searches that are judged at the same time.
        options: options of a model given by name.

    Raises:
        ValueError: the template cannot be read or filled in.
        TypeError: options come with a model that is not given by its name alone.
    """

    def __init__(
        self,
        llm: str | Mapping[str, Any] | LanguageModel,
        template: str | None = None,
        name: str = "llm",
        max_tokens: int = 512,
        max_concurrency: int = 64,
        **options: Any,
    ) -> None:
        if options and not isinstance(llm, str):
            raise TypeError(f"options come only with the name of a model, got {', '.join(options)}")
        self.name = name
        self._template = SEARCH_JUDGE if template is None else _read_template(template)
        self._llm = load_model({"name": llm, **options} if options else llm)
        self._owned = self._llm is not llm
        self._max_tokens = max_tokens
        self._max_concurrency = max_concurrency

    def judge(
        self, searches: Sequence[CollectedSearch], keep: Keep, *, has_spoken: bool = False
    ) -> None:
        """Ask about all ``searches``, many at a time.

        Raises:
            ServiceError: the model cannot be asked, or gives no verdict at all.
        """
        self._llm.check()
        run_to_end(_Asking(self, searches, keep, has_spoken).run())

    def identity(self) -> dict[str, Any]:
        """Return the model and the template."""
        return {
            "judge": "llm",
            "llm": identity_of(self._llm),
            "weights": weights_of(self._llm),
            "template": self._template,
            "max_tokens": self._max_tokens,
        }

    def close(self) -> None:
        """Close the model, if it was given by name."""
        if self._owned:
            self._llm.close()

    def prompt(self, search: CollectedSearch) -> str:
        """Return what the model is asked about a search, each text of others on one line."""
        fields = {
            "question": clean_text(search.question),
            "golden_answers": "; ".join(map(clean_text, search.golden_answers)),
            "query": clean_text(search.query),
            "documents": document_lines(
                [Document(clean_text(d.text), clean_text(d.title)) for d in search.documents]
            ),
        }
        # All at once: a query that spells a field is not filled in.
        return _FIELD.sub(lambda match: fields.get(match[1], match[0]), self._template)

    async def ask(self, search: CollectedSearch) -> tuple[Verdict, str]:
        """Return the verdict on a search, and the last reply of the model.

        Raises:
            SearchFailure: the model could not be asked.
        """
        messages = [Message("user", self.prompt(search))]
        reply = ""
        for attempt in range(NUM_TRIES):
            request = ChatRequest(
                tuple(messages), seed=attempt, temperature=0.0, max_tokens=self._max_tokens
            )
            reply = (await self._llm.acomplete(request)).text
            verdict = read_verdict(reply)
            if verdict is not None:
                return verdict, reply
            # The same request would get the same reply.
            messages += [Message("assistant", reply), Message("user", SEARCH_JUDGE_AGAIN)]
        return None, reply


class _Asking:
    """One pass of a judge over searches, which gives up one that never says anything."""

    def __init__(
        self,
        judge: LLMJudge,
        searches: Sequence[CollectedSearch],
        keep: Keep,
        has_spoken: bool,
    ) -> None:
        self._judge = judge
        self._has_spoken = has_spoken
        self._left = iter(enumerate(searches))
        self._keep = keep
        self._verdicts = self._silent = self._failed = 0

    async def run(self) -> None:
        await work_together(self._work, self._judge._max_concurrency)
        self._check(0)

    async def _work(self) -> None:
        for number, search in self._left:
            try:
                verdict, reply = await self._judge.ask(search)
            except SearchFailure as failure:
                self._failed += 1
                self._judge.failure = str(failure)
            else:
                self._verdicts += verdict is not None
                self._silent += verdict is None
                if verdict is None:
                    self._judge.unread = reply[:SHOWN_CHARS] or NOTHING
                self._keep(number, verdict)
            self._check(PATIENCE)

    def _check(self, patience: int) -> None:
        """Give up a judge that has given no verdict on more than ``patience`` searches.

        One that has spoken before may be left with searches that it cannot judge.
        """
        if self._has_spoken or self._verdicts:
            return
        if self._silent + self._failed <= patience:
            return
        if self._judge.failure and not self._silent:
            raise ServiceError(
                f"the judge {self._judge.name!r} cannot be asked: {self._judge.failure}"
            )
        raise ServiceError(
            f"the judge {self._judge.name!r} gave no verdict, but wrote {self._judge.unread!r}: "
            "choose another model or template, or a larger `max_tokens` if it reasons."
        )


def read_verdict(text: str) -> Verdict:
    """Return True for a reply of useful, False for noisy, None for anything else.

    Thoughts are left out. The reply must be the one word, perhaps after "Verdict:", in any case
    and with any punctuation: a reply that says more may have taken something back.
    """
    match = _VERDICT.fullmatch(without_thoughts(text) or "")
    return None if match is None else match[1].lower() == "useful"


def _read_template(template: str) -> str:
    path = Path(template)
    if not path.is_file():
        raise ValueError(f"`template` must be the path of a text file, got {template!r}.")
    text = path.read_text(encoding="utf-8")
    known = {"query", "documents", "question", "golden_answers"}
    fields = set(_FIELD.findall(text))
    if unknown := sorted(fields - known):
        raise ValueError(f"{path}: unknown fields {unknown}; expected some of {sorted(known)}.")
    if not fields >= {"query", "documents"}:
        raise ValueError(f"{path}: must hold {{query}} and {{documents}}, got {sorted(fields)}.")
    return text
