"""Pairs of judged searches: made, freed of duplicates, balanced, and split."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import NamedTuple

from zs_env import keyed_random
from zs_env.documents import Document, SearchRequest
from zs_env.errors import SimulationDataError
from zs_env.keyed_random import Stream
from zs_env.prompts import document_lines, load_simulation_template, render_simulation
from zs_env.settings import Engine
from zs_env.simulation.deeper import AUTO, Deeper, find_deeper, place_of
from zs_env.simulation.entities import Entities, swapped, swapped_text
from zs_env.simulation.pair import (
    EARLIER,
    FINAL,
    HELD_OUT,
    NOISY,
    PAGE,
    TRAIN,
    UNKNOWN,
    USEFUL,
    Pair,
    template_id,
)
from zs_env.simulation.recipe import Recipe
from zs_env.simulation.searches import CollectedSearch
from zs_env.simulation.targets import Target, Targets
from zs_env.world import load_world
from zs_env.world.text import corpus

SWAPPED, CORPUS = "swapped", "corpus"

NOT_JUDGED = "no verdict"
NO_ANSWER = "no golden answer"
REPEATED = "the same query of the same question"
DUPLICATE = "the same prompt and documents"
IN_TRAINING = "held out, but the query is trained on"
FOR_BALANCE = "more than asked for, or than the balance of labels allows"


@dataclass
class Made:
    """Pairs, and what became none.

    Attributes:
        pairs: pairs by split, in random order.
        searches: number of searches that there were.
        left_out: number of searches that are left out, by reason.
        pairs_left_out: number of pairs that are left out or cannot be made, by reason.
        deeper: number of queries that an engine was asked again.
        deeper_failed: number of those on which it gave up.
        deeper_top_k: numbers of results that it was asked for.
    """

    pairs: dict[str, list[Pair]]
    searches: int
    left_out: Counter[str]
    pairs_left_out: Counter[str]
    deeper: int = 0
    deeper_failed: int = 0
    deeper_top_k: tuple[int, ...] = ()


def make_pairs(
    searches: Sequence[CollectedSearch],
    judge: str,
    recipe: Recipe,
    engine: Engine = AUTO,
    watch: Callable[[int, int], None] | None = None,
) -> Made:
    """Make pairs of searches that ``judge`` has judged.

    Args:
        searches: searches with verdicts.
        judge: name of the judge that says which are useful.
        recipe: options.
        engine: engine to ask for deeper results, see `zs_env.simulation.deeper.find_deeper`.
        watch: function that is shown how many queries engines were asked again, and of how many.

    Raises:
        SimulationDataError: no pairs of one label can be made, or the engine cannot be asked.
        ValueError: plain pages are asked for, but no search is about an embedded world.
    """
    searches_out: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    usable = list(_usable(searches, judge, searches_out))
    if not usable:
        raise SimulationDataError(f"no search can be used: {dict(searches_out)}.")
    deeper = find_deeper(usable, engine, recipe.depth, recipe.document_words, watch)
    maker = _Maker(recipe, judge, deeper, left_out)
    drafts: list[_Draft] = [draft for search in usable for draft in maker.drafts(search)]
    drafts = _different(drafts, left_out)
    train = [draft for draft in drafts if not draft.held_out]
    held_out = [draft for draft in drafts if draft.held_out]
    # Whatever the label: held-out queries are asked under both.
    trained = {draft.pair.query.lower() for draft in train}
    fresh = [draft for draft in held_out if draft.pair.query.lower() not in trained]
    left_out[IN_TRAINING] += len(held_out) - len(fresh)
    pages = _pages(usable, recipe, round(recipe.num_pairs * recipe.page_share))
    chosen = _balanced(train, recipe.num_pairs - len(pages), recipe, TRAIN, left_out)
    pairs = {
        TRAIN: _shuffled([*chosen, *_fitting(pages, len(chosen), recipe.page_share)], recipe),
        HELD_OUT: _balanced(fresh, recipe.num_held_out, recipe, HELD_OUT, left_out),
    }
    return Made(
        pairs, len(searches), +searches_out, +left_out, deeper.asked, deeper.failed, deeper.top_k
    )


class _Draft(NamedTuple):
    """A pair that may be chosen, the search that it is of, its verdict, and the split."""

    pair: Pair
    search: str
    useful: bool
    held_out: bool


@dataclass
class _Maker:
    """Makes the pairs of one search after the other."""

    recipe: Recipe
    judge: str
    deeper: Deeper
    left_out: Counter[str]
    _entities: dict[tuple[int, str], Entities] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._targets = Targets(self.recipe)
        self._template = load_simulation_template(self.recipe.template)
        self._template_id = template_id(self.recipe.template)

    def drafts(self, search: CollectedSearch) -> Iterator[_Draft]:
        """Yield useful pairs if the search is judged so, and noisy ones if there is noise."""
        entities = self._entities_of(search)
        unseen = entities is not None and entities.is_unseen_query(search.query)
        held_out = unseen or self._is_held_out(search)
        deeper = self.deeper.results.get(place_of(search), ())
        useful = search.verdicts[self.judge]
        judged = search.judged_top_k.get(self.judge)
        shown = search, deeper, entities, held_out
        useful_target = cache(partial(self._targets.useful, *shown, judged=judged))
        noise = self._targets.noise(*shown, useful, judged)
        for variant in range(1 if held_out else self.recipe.variants):
            draw = Stream("pair", self.recipe.seed, search.key, variant)
            top_k = draw.choice(self.recipe.top_k)
            targets = {NOISY: noise.target(top_k, draw if variant else None)}
            if useful:
                targets = {USEFUL: useful_target(top_k), **targets}
            for label, target in targets.items():
                if target.reason:
                    self.left_out[f"{label}: {target.reason}"] += 1
                    continue
                pair = self._pair(search, label, target, None if held_out else entities, draw)
                yield _Draft(replace(pair, unseen=unseen), search.key, useful, held_out)

    def _pair(
        self,
        search: CollectedSearch,
        label: str,
        target: Target,
        entities: Entities | None,
        draw: Stream,
    ) -> Pair:
        golden, documents, origin = search.golden_answers, target.documents, target.origin
        query, question, stated = search.query, search.question, target.stated
        told = golden
        if entities is not None and label == USEFUL and len(golden) == 1:
            texts = [search.query, search.question, *_texts(documents)]
            other = entities.another(golden[0], texts, draw)
            chance = draw.uniform()
            if other is not None and target.hop == FINAL and chance < self.recipe.swap_share:
                documents, origin = swapped(documents, golden[0], other), SWAPPED
                stated = tuple(other if name == golden[0] else name for name in stated)
                golden = told = (other,)
            elif other is not None and target.hop == EARLIER:
                told = (other,) if chance < self.recipe.random_answer_share else golden
            named = entities.named_in(query) if target.hop == FINAL else None
            if named is not None and draw.uniform() < self.recipe.rename_share:
                name = entities.invented(named, draw)
                if name is not None:
                    documents, origin = swapped(documents, named, name), SWAPPED
                    query = swapped_text(query, named, name)
                    question = swapped_text(question, named, name)
        request = SearchRequest(
            query,
            question,
            told,
            noisy=label == NOISY,
            turn=search.turn,
            top_k=len(documents),
            document_words=self.recipe.document_words,
        )
        return Pair(
            prompt=self._prompt(request),
            completion=document_lines(documents),
            label=label,
            hop=target.hop,
            origin=origin,
            query=query,
            question=question,
            golden_answers=golden,
            stated=stated,
            question_id=search.question_id,
            turn=search.turn,
            template=self._template_id,
        )

    def _prompt(self, request: SearchRequest) -> str:
        return render_simulation(
            self._template,
            request,
            self.recipe.search_engine,
            hide_answer_from_noisy=self.recipe.hide_answer_from_noisy,
        )

    def _entities_of(self, search: CollectedSearch) -> Entities | None:
        if search.world is None:
            return None
        if search.world not in self._entities:
            recipe = self.recipe
            self._entities[search.world] = Entities(
                load_world(*search.world), recipe.held_out_entities, recipe.test_pages, recipe.seed
            )
        return self._entities[search.world]

    def _is_held_out(self, search: CollectedSearch) -> bool:
        key = ("held-out question", self.recipe.seed, search.dataset, search.question_id)
        return keyed_random.uniform(*key) < self.recipe.held_out_share


def _usable(
    searches: Iterable[CollectedSearch], judge: str, left_out: Counter[str]
) -> Iterator[CollectedSearch]:
    seen: set[tuple[str, ...]] = set()
    for search in searches:
        key = search.dataset, search.engine, search.question_id, search.query
        if judge not in search.verdicts:
            left_out[NOT_JUDGED] += 1
        elif not any(answer.strip() for answer in search.golden_answers):
            left_out[NO_ANSWER] += 1
        elif key in seen:
            left_out[REPEATED] += 1
        else:
            seen.add(key)
            yield search


def _different(drafts: Iterable[_Draft], left_out: Counter[str]) -> list[_Draft]:
    found: dict[tuple[str, str], _Draft] = {}
    for draft in drafts:
        key = draft.pair.prompt, draft.pair.completion
        left_out[DUPLICATE] += key in found
        found.setdefault(key, draft)
    return list(found.values())


def _balanced(
    drafts: Sequence[_Draft], count: int, recipe: Recipe, split: str, left_out: Counter[str]
) -> list[Pair]:
    """Choose at most ``count`` pairs with the shares of the recipe, in random order.

    Noisy pairs are first of searches that are under both labels, and of those that are judged
    noisy, in the shares in which they come; but at least half of them are of the former, if there
    are so many.

    Raises:
        SimulationDataError: there is no pair of one label to train on, or none of a hop that
            the recipe wants a share of.
    """
    order = keyed_random.permutation(len(drafts), "pairs", recipe.seed, split).tolist()
    drafts = [drafts[number] for number in order]
    useful = [draft for draft in drafts if draft.pair.label == USEFUL]
    noisy = [draft for draft in drafts if draft.pair.label == NOISY]
    if split == TRAIN and not (useful and noisy):
        raise SimulationDataError(_one_label(useful, noisy, left_out))
    share = recipe.noisy_share
    take, limit = _with_hops(useful, recipe.final_hop_share)
    total = min(count, math.floor(limit / (1 - share)), math.floor(len(noisy) / share))
    if split == TRAIN and not total:
        raise SimulationDataError(_no_shares(useful, recipe))
    num_noisy = round(total * share)
    if split == HELD_OUT and not 0 < num_noisy < total:
        num_noisy = total = 0  # one label alone cannot be measured with
    chosen = take(total - num_noisy)
    both = {draft.search for draft in chosen}
    # A stable sort: otherwise in random order.
    noisy.sort(key=lambda draft: draft.useful and draft.search not in both)
    chosen += _with_both(noisy, both, num_noisy)
    left_out[FOR_BALANCE] += len(drafts) - len(chosen)
    return _shuffled([draft.pair for draft in chosen], recipe)


def _with_both(noisy: Sequence[_Draft], both: set[str], count: int) -> Sequence[_Draft]:
    """Return the first ``count`` of ``noisy``, at least half of them of the searches ``both``.

    Where most searches are noisy by themselves, the query would tell the label otherwise.
    """
    twins = [draft for draft in noisy if draft.search in both][: count // 2]
    first = noisy[:count]
    if sum(draft.search in both for draft in first) >= len(twins):
        return first
    others = [draft for draft in noisy if draft.search not in both]
    return [*twins, *others[: count - len(twins)]]


def _no_shares(useful: Sequence[_Draft], recipe: Recipe) -> str:
    final = sum(draft.pair.hop == FINAL for draft in useful)
    return (
        f"there are no pairs with the shares that are asked for: {len(useful)} useful pairs, "
        f"{final} of them of a final hop, with `final_hop_share` {recipe.final_hop_share} and "
        f"`noisy_share` {recipe.noisy_share}. Leave `final_hop_share` out to take hops as they "
        "come; the judge `answer` knows no earlier ones."
    )


def _with_hops(
    useful: Sequence[_Draft], final_share: float | None
) -> tuple[Callable[[int], list[_Draft]], float]:
    """Return a function that takes so many of ``useful``, and how many it can give."""
    if final_share is None:
        return lambda count: list(useful[:count]), len(useful)
    final = [draft for draft in useful if draft.pair.hop == FINAL]
    others = [draft for draft in useful if draft.pair.hop != FINAL]
    limits = [
        len(each) / share
        for each, share in ((final, final_share), (others, 1 - final_share))
        if share
    ]

    def take(count: int) -> list[_Draft]:
        num_final = min(round(count * final_share), len(final))
        return final[:num_final] + others[: count - num_final]

    return take, min(limits)


def _one_label(useful: Sequence[_Draft], noisy: Sequence[_Draft], left_out: Counter[str]) -> str:
    missing = " and no ".join(
        label for label, drafts in ((USEFUL, useful), (NOISY, noisy)) if not drafts
    )
    reasons = ", ".join(f"{count} × {reason}" for reason, count in (+left_out).most_common())
    return (
        f"there are no {missing} pairs, and a simulation LLM needs both labels. Left out: "
        f"{reasons or 'nothing'}. Look at the verdicts of the judge; noisy documents need an "
        "engine to ask for deeper results, or searches with more documents than `top_k`."
    )


def _pages(searches: Iterable[CollectedSearch], recipe: Recipe, count: int) -> list[Pair]:
    """Return ``count`` plain pages of the worlds that ``searches`` are about, in random order."""
    if not count:
        return []
    worlds = {search.world for search in searches if search.world is not None}
    if not worlds:
        raise ValueError("`page_share` needs searches about the embedded world, got none of them.")
    pages: dict[tuple[tuple[int, str], str], list[Document]] = defaultdict(list)
    for place in sorted(worlds):
        world = load_world(*place)
        entities = Entities(world, recipe.held_out_entities, recipe.test_pages, recipe.seed)
        for section in corpus(world):
            if entities.may_show(section.title, recipe.held_out_pages):
                pages[place, section.title].append(Document(section.text, section.title))
    found = []
    for (_, title), documents in pages.items():
        texts = dict.fromkeys(_page_texts(title, documents, recipe))
        found += [Pair("", text, PAGE, UNKNOWN, CORPUS, query=title) for text in texts]
    order = keyed_random.permutation(len(found), "pages", recipe.seed).tolist()
    return [found[number] for number in order[:count]]


def _page_texts(title: str, documents: Sequence[Document], recipe: Recipe) -> Iterator[str]:
    """Yield the page as it stands, and then in other orders and cuts, once for each variant."""
    for variant in range(recipe.variants):
        draw = Stream("page", recipe.seed, title, variant)
        top_k = draw.choice(recipe.top_k)
        yield document_lines((draw.shuffled(documents) if variant else documents)[:top_k])


def _fitting(pages: Sequence[Pair], others: int, share: float) -> Sequence[Pair]:
    """Return as many of ``pages`` as are ``share`` of all pairs, with ``others`` other ones."""
    return pages[: round(others * share / (1 - share))]


def _shuffled(pairs: Sequence[Pair], recipe: Recipe) -> list[Pair]:
    order = keyed_random.permutation(len(pairs), "order of pairs", recipe.seed)
    return [pairs[number] for number in order.tolist()]


def _texts(documents: Iterable[Document]) -> list[str]:
    return [text for each in documents for text in (each.title, each.text)]
