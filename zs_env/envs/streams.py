"""Beginning of episodes, for all drivers: seeds, reset options, the progress of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zs_env.checks import as_share, suggestion
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource, EpisodeStream, as_key
from zs_env.questions import Question

RESET_OPTIONS = ("progress", "noise_probability", "question", "key")

Fresh = Callable[[], int]
"""Function that draws a seed for a stream without one."""


class EpisodeStreams:
    """Places in which episodes follow one another, each with a stream of its own.

    Args:
        source: source of the episodes.
        count: number of places: 1, or the environments of a vector.
        vector: whether reset options may be lists, with a value for each place.

    Attributes:
        progress: progress of training, in [0, 1], by place.
        noise: noise probability of the episodes that begin next, by place.
    """

    def __init__(self, source: EpisodeSource, count: int, *, vector: bool = False) -> None:
        self.source = source
        self.progress = [0.0] * count
        self.noise = [source.noise_probability(0.0)] * count
        self._vector = vector
        self._streams: list[EpisodeStream | None] = [None] * count

    def set_progress(self, progress: float, places: Iterable[int] | None = None) -> None:
        """Set the progress of training, and so the noise probability of later episodes.

        Args:
            progress: progress, in [0, 1].
            places: places to set; by default all.

        Raises:
            TypeError: ``progress`` is not a number.
            ValueError: ``progress`` is outside [0, 1]; then nothing has changed.
        """
        progress = as_share("progress", progress)
        noise = self.source.noise_probability(progress)
        for i in range(len(self.noise)) if places is None else places:
            self.progress[i] = progress
            self.noise[i] = noise

    def reset(
        self,
        seeds: Mapping[int, int | None],
        options: Mapping[str, Any] | None,
        fresh: Fresh,
    ) -> dict[int, Episode]:
        """Begin an episode in each place of ``seeds``.

        Args:
            seeds: seed of the stream by place; None continues the stream of the place.
            options: ``progress``; and for these episodes alone ``noise_probability``, ``question``
                and ``key``, each one value or, in a vector, a list with a value for every place
                (None: as without the option).
            fresh: draws a seed where there is neither a seed nor a stream.

        Returns:
            The episodes by place.

        Raises:
            ValueError: an option is unknown or out of its range; then no episode has begun.
            TypeError: an option has the wrong type.
        """
        # All checks come first, so that an error leaves everything as it was.
        options = check_options(options, RESET_OPTIONS)
        questions = [self._find(one) for one in self._spread("question", options)]
        keys = [None if one is None else as_key(one) for one in self._spread("key", options)]
        noises = [self._noise(one) for one in self._spread("noise_probability", options)]
        streams = {i: self._stream(i, seed, fresh) for i, seed in seeds.items()}
        if "progress" in options:
            self.set_progress(options["progress"], seeds)
        begun: dict[int, Episode] = {}
        for i, stream in streams.items():
            self._streams[i] = stream
            noise = noises[i]
            begun[i] = stream.next(self.noise[i] if noise is None else noise, questions[i], keys[i])
        return begun

    def next(self, i: int, fresh: Fresh) -> Episode:
        """Begin the next episode in place ``i``."""
        stream = self._streams[i] = self._stream(i, None, fresh)
        return stream.next(self.noise[i])

    def reset_info(self, i: int, episode: Episode) -> dict[str, Any]:
        """Return the info of a reset that began ``episode`` in place ``i``."""
        return {
            "question_id": episode.question.id,
            "key": np.uint64(episode.key),  # int64, NumPy's default, would be too small
            "progress": self.progress[i],
            "noise_probability": episode.noise_probability,
        }

    def _stream(self, i: int, seed: int | None, fresh: Fresh) -> EpisodeStream:
        stream = self._streams[i]
        if seed is None and stream is not None:
            return stream
        return EpisodeStream(self.source, fresh() if seed is None else seed)

    def _find(self, question_id: str | None) -> Question | None:
        return None if question_id is None else self.source.find(question_id)

    def _noise(self, noise: Any) -> float | None:
        if noise is None:
            return None
        noise = as_share("noise_probability", noise)
        return noise if self.source.engine.honours_noise else 0.0  # a real engine has no noise

    def _spread(self, name: str, options: Mapping[str, Any]) -> list[Any]:
        value, count = options.get(name), len(self.noise)
        return spread(name, value, count) if self._vector else [value] * count


def spread(name: str, value: Any, count: int) -> list[Any]:
    """Return a list of ``count`` values, from one value for all places or a list with one for each.

    Raises:
        ValueError: the list has another length.
    """
    if value is None or isinstance(value, str) or np.ndim(value) == 0:
        return [value] * count
    if len(value) != count:
        raise ValueError(f"`{name}` must be one value or a list of {count}, got {len(value)}.")
    return list(value)


def check_options(options: Mapping[str, Any] | None, allowed: Sequence[str]) -> Mapping[str, Any]:
    """Check the names of reset options, and return the options; an empty mapping for None.

    Raises:
        ValueError: a name is not one of ``allowed``; the message names the nearest.
    """
    options = options or {}
    if unknown := [name for name in options if name not in allowed]:
        raise ValueError(
            f"unknown reset options {', '.join(map(str, unknown))}{suggestion(unknown[0], allowed)}"
            f"; expected {', '.join(allowed)}."
        )
    return options
