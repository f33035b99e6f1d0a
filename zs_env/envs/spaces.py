"""A space for free text: any Unicode, bounded in length only.

`gymnasium.spaces.Text` enumerates its characters: checking 20,000 characters takes milliseconds,
an all-Unicode charset takes seconds to build, and shared memory garbles characters outside it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from copy import deepcopy
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space, Text, Tuple
from gymnasium.spaces.utils import (
    flatdim,
    flatten,
    flatten_space,
    is_space_dtype_shape_equiv,
    unflatten,
)
from gymnasium.vector.utils import (
    batch_differing_spaces,
    create_empty_array,
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)
from numpy.typing import NDArray

from zs_env.actions import ANSWER, SEARCH, THINK, tagged

MAX_CODE_POINT = 0x10FFFF
PADDING = -1

_SAMPLE_WORDS = "who what where when is the of first city author river music year".split()
_CHARACTERS = Text(1, charset=frozenset(map(chr, range(32, 127))))


class UnicodeText(Text):
    """Space of all strings of at most ``max_length`` characters, lone surrogates included.

    Samples are short well-formed actions, so that a random agent searches and answers. `sample`
    with a mask or probabilities draws from printable ASCII, as `Text` does.

    Args:
        max_length: largest length, in characters.
        min_length: smallest length, in characters.
        seed: seed of `sample`.

    Raises:
        ValueError: the lengths are negative, or ``min_length`` is the larger one.
    """

    def __init__(
        self, max_length: int, *, min_length: int = 0, seed: int | np.random.Generator | None = None
    ) -> None:
        if not 0 <= min_length <= max_length:
            raise ValueError(
                "the lengths must satisfy 0 <= min_length <= max_length, "
                f"got {min_length} and {max_length}."
            )
        self.min_length = int(min_length)
        self.max_length = int(max_length)
        Space.__init__(self, dtype=str, seed=seed)

    @property
    def character_set(self) -> frozenset[str]:
        """Characters that the masks of `sample` are about; strings may hold any others."""
        return _CHARACTERS.character_set

    @property
    def character_list(self) -> tuple[str, ...]:
        """Characters that the masks of `sample` are about, in order."""
        return _CHARACTERS.character_list

    @property
    def characters(self) -> str:
        """Characters that the masks of `sample` are about, as one string."""
        return _CHARACTERS.characters

    def character_index(self, char: str) -> np.int32:
        """Return the position of ``char`` in a mask."""
        return _CHARACTERS.character_index(char)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a thought and a search or an answer; with a mask, characters that it allows."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        words = self.np_random.choice(_SAMPLE_WORDS, size=6)
        name = SEARCH if self.np_random.random() < 0.75 else ANSWER
        text = tagged(THINK, " ".join(words[:2])) + tagged(name, " ".join(words[2:]))
        return text[: self.max_length].ljust(self.min_length)

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a string of allowed length."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def __repr__(self) -> str:
        """Return the name with both lengths."""
        return f"UnicodeText({self.min_length}, {self.max_length})"

    def __eq__(self, other: object) -> bool:
        """Return whether the lengths are the same."""
        return (
            isinstance(other, UnicodeText)
            and self.min_length == other.min_length
            and self.max_length == other.max_length
        )

    __hash__ = None  # type: ignore[assignment]  # as for Text: compared by value, and mutable


# UTF-32 holds one code point in each int32, lone surrogates included.


def _encode(text: str) -> NDArray[np.int32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.int32)


def _decode(code_points: NDArray[np.int32]) -> str:
    return code_points.tobytes().decode("utf-32-le", "surrogatepass")


@flatdim.register(UnicodeText)
def _flatdim(space: UnicodeText) -> int:
    return space.max_length


@flatten_space.register(UnicodeText)
def _flatten_space(space: UnicodeText) -> Box:
    return Box(PADDING, MAX_CODE_POINT, (space.max_length,), np.int32)


@flatten.register(UnicodeText)
def _flatten(  # type: ignore[misc]  # the space is generic in Gymnasium
    space: UnicodeText, x: str
) -> NDArray[np.int32]:
    flat = np.full(space.max_length, PADDING, dtype=np.int32)
    flat[: len(x)] = _encode(x)
    return flat


@unflatten.register(UnicodeText)
def _unflatten(  # type: ignore[misc]  # as above
    space: UnicodeText, x: NDArray[np.int32]
) -> str:
    return _decode(x[x != PADDING].astype(np.int32))


@is_space_dtype_shape_equiv.register(UnicodeText)
def _is_equivalent(space_1: UnicodeText, space_2: object) -> bool:
    return isinstance(space_2, UnicodeText) and space_1.max_length == space_2.max_length


@batch_differing_spaces.register(UnicodeText)
def _batch_differing(  # type: ignore[misc]  # as above
    spaces: Sequence[UnicodeText],
) -> Tuple[Any]:
    return Tuple([deepcopy(space) for space in spaces], seed=deepcopy(spaces[0].np_random))


@create_empty_array.register(UnicodeText)
def _create_empty(space: UnicodeText, n: int = 1, fn: Any = np.zeros) -> tuple[str, ...]:
    return (" " * space.min_length,) * n


# Shared memory holds, for each environment, the length and then the code points.


@create_shared_memory.register(UnicodeText)
def _create_memory(space: UnicodeText, n: int = 1, ctx: ModuleType = multiprocessing) -> Any:
    return ctx.Array("i", n * (space.max_length + 1))


@write_to_shared_memory.register(UnicodeText)
def _write_memory(space: UnicodeText, index: int, value: str, shared_memory: Any) -> None:
    entry = _entries(space, shared_memory)[index]
    entry[0] = len(value)
    entry[1 : 1 + len(value)] = _encode(value)


@read_from_shared_memory.register(UnicodeText)
def _read_memory(space: UnicodeText, shared_memory: Any, n: int = 1) -> tuple[str, ...]:
    return _LiveTexts(_entries(space, shared_memory)[:n])


def _entries(space: UnicodeText, shared_memory: Any) -> NDArray[np.int32]:
    flat = np.frombuffer(shared_memory.get_obj(), dtype=np.int32)
    return flat.reshape(-1, space.max_length + 1)


class _LiveTexts(tuple[str, ...]):
    """Current texts of shared memory, read at each access, as the views of arrays are.

    `AsyncVectorEnv` reads the memory once, when it is made, and returns deep copies: a copy of this
    is a plain tuple of the current texts.
    """

    _entries: NDArray[np.int32]

    def __new__(cls, entries: NDArray[np.int32]) -> _LiveTexts:
        texts = super().__new__(cls, [""] * len(entries))  # only its length is used
        texts._entries = entries
        return texts

    def __iter__(self) -> Iterator[str]:
        return (_decode(entry[1 : 1 + entry[0]]) for entry in self._entries)

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __contains__(self, text: object) -> bool:
        return text in tuple(self)

    def index(self, *args: Any) -> int:
        """Return the index in the tuple of the current texts."""
        return tuple(self).index(*args)

    def count(self, text: object) -> int:
        """Return the count in the tuple of the current texts."""
        return tuple(self).count(text)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return tuple, (tuple(self),)
