"""The generator: one cache, a slot for each sequence, and one call of the model for all of them.

Sequences begin and end at any time; all that are being written get their next tokens together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zs_env.llm.sampling.cache import SPARE, SlotCache, Window
from zs_env.llm.sampling.causal_model import LEAST_PREFIX, CausalModel
from zs_env.llm.sampling.draft import Draft
from zs_env.llm.sampling.drawing import contrasted, draw

READ_TOKENS = 16384
"""Largest number of context tokens, padding included, that one call of the model reads."""

PATIENCE = 8
"""Largest ratio of drafts being written to waiting ones at which new context is read.

Reading delays the drafts being written, so waiting ones are gathered into one call.
"""

WINDOW_ROWS = 256
"""Largest number of drafts that one call of the model writes on a CPU; a GPU gets all.

It bounds the copy of keys and values that a call reads. Fewer rows make more calls: the tokens of
256 episodes took as long in two windows as in one.
"""

PREFIX_SLOT = -1
"""Slot of what contexts share; drafts have slots from 0."""


class Generator:
    """Writer of many drafts at once.

    Args:
        model: model that writes.
        value_head: function of hidden states (B, H) that gives values (B,); the value before each
            token is kept in its draft.
    """

    def __init__(
        self,
        model: CausalModel,
        value_head: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._model = model
        self._value_head = value_head
        self._cache = SlotCache()
        self._prefix: list[int] = []
        self._waiting: list[Draft] = []
        self._writing: list[Draft] = []
        self._groups: list[_Group] = []

    def add(self, draft: Draft) -> None:
        """Take a draft whose turn has begun; no other may be under way in its slot."""
        self._waiting.append(draft)

    @torch.inference_mode()
    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy what the cache holds of the first ``length`` tokens in one slot to another."""
        self._cache.copy(_row(source), torch.tensor([_row(slot)]), length)

    def clear(self) -> None:
        """Forget all drafts, and free the cache. Call it when the weights have changed."""
        self._waiting, self._writing, self._groups, self._prefix = [], [], [], []
        self._cache.clear()

    @torch.inference_mode()
    def step(self) -> int:
        """Read the context of waiting drafts, or write a token of all that have read it.

        Returns:
            Number of tokens written: 0 if no draft is under way.
        """
        if self._waiting and PATIENCE * len(self._waiting) >= len(self._writing):
            drafts = self._next_to_read()
            rows = [row for draft in drafts for row in draft.rows]
            self._share_prefix(rows)
            groups = [self._make_group(rows)]
            self._groups += groups
            self._writing += rows
        elif not self._writing:
            return 0
        else:
            groups = self._groups = self._regrouped()
        states = [self._advance(group) for group in groups]
        rows = [draft for group in groups for draft in group.drafts if not draft.finished]
        hidden, logits = (torch.cat(parts) for parts in zip(*states, strict=True))
        count = self._draw(rows, hidden, logits)
        self._writing = [draft for draft in self._writing if not draft.finished]
        for group in groups:
            group.forget_finished()
        return count

    def _next_to_read(self) -> list[Draft]:
        """Return the waiting drafts for one call of the model, those with least to read first."""

        def longest(draft: Draft) -> int:
            return max(len(row.unread) for row in draft.rows)

        self._waiting.sort(key=longest)
        count = rows = 0
        for draft in self._waiting:
            rows += len(draft.rows)
            # Sorted, so this draft is the longest, to which the others are padded.
            if count and longest(draft) * rows > READ_TOKENS:
                break
            count += 1
        drafts, self._waiting = self._waiting[:count], self._waiting[count:]
        return drafts

    def _share_prefix(self, drafts: Sequence[Draft]) -> None:
        """Take what new contexts have in common from the slot of the prefix."""
        new = [draft for draft in drafts if draft.num_cached == 0]
        self._read_prefix(new)
        sharing: dict[int, list[int]] = {}
        for draft in new:
            # The last token is always read, since the next one is drawn after it.
            shared = min(_num_shared([draft.unread, self._prefix]), len(draft.unread) - 1)
            if shared >= LEAST_PREFIX:
                sharing.setdefault(shared, []).append(draft.slot)
                draft.skip(shared)
        for shared, slots in sharing.items():
            self._cache.copy(_row(PREFIX_SLOT), torch.tensor(list(map(_row, slots))), shared)

    def _read_prefix(self, new: Sequence[Draft]) -> None:
        """Read what all of ``new`` begin with, if that is more than the prefix read before."""
        if len(new) < 2:
            return
        shared = _num_shared([draft.unread for draft in new])
        prefix = new[0].unread[:shared]
        if shared - _num_shared([prefix, self._prefix]) < LEAST_PREFIX:
            return
        reader = Draft(PREFIX_SLOT, key=0)
        reader.begin(prefix, is_over=bool)
        self._advance(_Group([reader]))
        self._prefix = prefix

    def _regrouped(self) -> list[_Group]:
        """Return the groups of the drafts being written, new ones if the old are no longer good."""
        groups = [group for group in self._groups if group.drafts]
        rows = sum(len(group.rows) for group in groups)
        count = -(-len(self._writing) // self._most_rows)
        wasteful = 3 * rows > 4 * len(self._writing) or len(groups) > count
        if not wasteful and all(group.has_room for group in groups):
            return groups
        drafts = sorted(self._writing, key=lambda draft: draft.num_cached)
        bounds = np.linspace(0, len(drafts), count + 1).astype(int)
        return [self._make_group(drafts[i:j]) for i, j in zip(bounds, bounds[1:], strict=False)]

    def _make_group(self, drafts: Sequence[Draft]) -> _Group:
        return _Group(drafts, windowed=self._model.device.type == "cpu")

    @property
    def _most_rows(self) -> int:
        return WINDOW_ROWS if self._model.device.type == "cpu" else sys.maxsize

    def _advance(self, group: _Group) -> tuple[Tensor, Tensor]:
        """Have the model read the unread tokens of the drafts of ``group``.

        Returns:
            Hidden state (B, H) and logits (B, V) after the last token of each draft.
        """
        device = self._model.device
        token_ids, starts, counts = group.unread()
        offsets = torch.arange(token_ids.shape[1])
        positions = starts[:, None] + offsets  # (B, T)
        length = int((starts + counts).max())
        real = offsets < counts[:, None]  # False for padding and for drafts that are over, (B, T)
        self._cache.select(
            group.cache_rows, positions.where(real, SPARE).to(device), length, group.window
        )
        visible = torch.arange(length) <= positions[:, :, None]  # (B, T, length)
        # Drafts differ in length, so attention needs an explicit additive mask.
        dtype = self._model.dtype
        bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(
            ~visible, torch.finfo(dtype).min
        )
        last = offsets == counts[:, None] - 1
        return self._model.at(
            token_ids.to(device),
            last.to(device),
            attention_mask=bias[:, None].to(device),
            position_ids=positions.to(device),
            past_key_values=self._cache,
            use_cache=True,
        )

    def _draw(self, rows: Sequence[Draft], hidden: Tensor, logits: Tensor) -> int:
        """Append a token to each draft of ``rows``, and to its shadow; return how many."""
        row_of = {draft: row for row, draft in enumerate(rows)}
        shadows = {draft.shadow.draft for draft in rows if draft.shadow is not None}
        drafts = [draft for draft in rows if draft not in shadows]
        if shadows:
            logits = _contrasted(drafts, row_of, logits.float())
            hidden = hidden[[row_of[draft] for draft in drafts]]

        def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=logits.device)

        tokens, log_probs = draw(
            logits.float(),
            column([draft.uniform() for draft in drafts], torch.float64),
            column([draft.temperature for draft in drafts], torch.float32),
            column([draft.top_p for draft in drafts], torch.float32),
            column([draft.greedy for draft in drafts], torch.bool),
        )
        values: Sequence[float | None] = [None] * len(drafts)
        if self._value_head is not None:
            values = self._value_head(hidden).tolist()
        for draft, *new in zip(drafts, tokens.tolist(), log_probs.tolist(), values, strict=True):
            draft.append(*new)
        return len(drafts)


def _contrasted(drafts: Sequence[Draft], row_of: Mapping[Draft, int], logits: Tensor) -> Tensor:
    """Return the logits (B, V) of ``drafts``, those with a shadow in contrast to it.

    Args:
        drafts: the B drafts.
        row_of: row of each draft, and of each shadow, in ``logits``.
        logits: logits of all rows, (rows, V), float32.
    """
    chosen = logits[[row_of[draft] for draft in drafts]]
    pairs = [(row, draft.shadow) for row, draft in enumerate(drafts) if draft.shadow is not None]
    rows = [row for row, _ in pairs]
    others = logits[[row_of[shadow.draft] for _, shadow in pairs]]
    weights = torch.tensor([shadow.weight for _, shadow in pairs], device=logits.device)
    chosen[rows] = contrasted(chosen[rows], others, weights)
    return chosen


class _Group:
    """Drafts that one call of the model serves, each in a row.

    Args:
        drafts: the drafts.
        windowed: whether their cache is kept side by side from call to call.

    Attributes:
        rows: draft of each row; None once its turn has ended.
        cache_rows: row of each draft in the cache, (B,), int64.
        window: keys and values of the rows; None if they are gathered for each call.
    """

    def __init__(self, drafts: Sequence[Draft], *, windowed: bool = False) -> None:
        self.rows: list[Draft | None] = [*drafts]
        self.cache_rows = torch.tensor([_row(draft.slot) for draft in drafts])
        self.window = None
        if windowed:
            self.window = Window(max(draft.num_cached + len(draft.unread) for draft in drafts))

    @property
    def drafts(self) -> list[Draft]:
        """Drafts whose turn has not ended."""
        return [draft for draft in self.rows if draft is not None]

    @property
    def has_room(self) -> bool:
        """Whether the window has room for a token of each draft."""
        longest = max((draft.num_cached for draft in self.drafts), default=0)
        return self.window is None or longest < self.window.columns

    def unread(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return token ids padded on the right (B, T), their first positions (B,), counts (B,)."""
        unread = [[] if draft is None else draft.unread for draft in self.rows]
        counts = [len(tokens) for tokens in unread]
        width = max(counts)
        token_ids = [tokens + [0] * (width - len(tokens)) for tokens in unread]
        starts = [0 if draft is None else draft.num_cached for draft in self.rows]
        return torch.tensor(token_ids), torch.tensor(starts), torch.tensor(counts)

    def forget_finished(self) -> None:
        """Leave the rows of drafts whose turn has ended empty."""
        self.rows = [None if draft is None or draft.finished else draft for draft in self.rows]


def _row(slot: int) -> int:
    """Return the row of ``slot`` in the cache."""
    return slot - PREFIX_SLOT


def _num_shared(sequences: list[list[int]]) -> int:
    """Return the number of tokens that all sequences begin with."""
    return len(os.path.commonprefix(sequences))
