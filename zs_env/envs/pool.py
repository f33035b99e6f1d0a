"""Pool of episodes without a barrier: each goes on as soon as its documents are there."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from typing_extensions import Unpack

from zs_env.checks import as_integer
from zs_env.concurrency.event_loop import caught, engine_loop
from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines import checked_asearch
from zs_env.envs.gym_interface import check_action, check_actions, observation_of
from zs_env.envs.streams import EpisodeStreams
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource
from zs_env.settings import TextArguments, TextSettings, make_settings


class Ready(NamedTuple):
    """Episodes that wait for an action, or have ended. M is their number.

    Attributes:
        episode_ids: ids of the episodes, ascending, shape (M,), int64.
        observations: M strings, as `ZeroSearchEnv` gives them.
        rewards: shape (M,), float64.
        terminations: whether each was answered, shape (M,), bool.
        truncations: whether each was truncated, shape (M,), bool.
        infos: M dicts, as `ZeroSearchEnv` gives them.
    """

    episode_ids: NDArray[np.int64]
    observations: tuple[str, ...]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    infos: tuple[dict[str, Any], ...]


class EpisodePool:
    """Pool of ``num_episodes`` concurrent episodes, stepped as their documents arrive.

    As in EnvPool, `send` takes actions and returns at once, and `recv` returns the episodes that
    are ready. Meanwhile the engine searches, on an event loop in a thread of its own. Episode i of
    a pool reset with seed s is the same as that of a single environment reset with seed s + i, in
    whatever order documents arrive.

    Example:
        >>> pool = EpisodePool(64)
        >>> pool.reset(seed=0)
        >>> while pool.num_running:
        ...     ready = pool.recv(min_ready=16)
        ...     over = ready.terminations | ready.truncations
        ...     texts = [f"<answer>{len(text)}</answer>" for text in ready.observations]
        ...     pool.send(ready.episode_ids[~over], [t for t, o in zip(texts, over) if not o])

    Args:
        num_episodes: number of concurrent episodes.
        arguments: arguments of `zs_env.envs.text_env.ZeroSearchEnv`.

    Raises:
        ValueError: an argument is out of its range; see also `zs_env.episodes.EpisodeSource`.
    """

    def __init__(self, num_episodes: int, **arguments: Unpack[TextArguments]) -> None:
        self.num_episodes = as_integer("num_episodes", num_episodes, 1)
        settings = make_settings(TextSettings, arguments)
        self.source = EpisodeSource(settings, settings.limits)
        self.observation = settings.observation
        self._streams = EpisodeStreams(self.source, self.num_episodes, vector=True)
        self._episodes: list[Episode | None] = [None] * self.num_episodes
        self._infos: dict[int, dict[str, Any]] = {}  # of the episodes that are ready
        self._searching: dict[int, Episode] = {}
        self._acting: set[int] = set()  # `recv` has returned them; they wait for an action
        self._found: queue.SimpleQueue[Found] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: searches may be under way.

        Raises:
            TypeError: always.
        """
        raise TypeError("an EpisodePool cannot be copied or pickled: make another one instead.")

    @property
    def progress(self) -> float:
        """Progress of training, in [0, 1]."""
        return self._streams.progress[0]

    @property
    def noise_probability(self) -> float:
        """Noise probability of the episodes that begin next."""
        return self._streams.noise[0]

    @property
    def num_running(self) -> int:
        """Number of episodes that are running, or whose end `recv` has not returned yet."""
        return len(self._infos) + len(self._searching) + len(self._acting)

    def set_progress(self, progress: float) -> None:
        """Set the progress of training, in [0, 1]; later episodes get its noise probability."""
        self._streams.set_progress(progress)

    def episode(self, episode_id: int) -> Episode:
        """Return the running or just finished episode of that id."""
        episode = self._episodes[self._check_id(episode_id)]
        if episode is None:
            raise ResetNeeded(f"Call reset() first: there is no episode {episode_id} yet.")
        return episode

    def reset(
        self,
        episode_ids: Iterable[int] | None = None,
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin episodes in place of the running ones; `recv` then returns them with their prompts.

        Args:
            episode_ids: ids of the episodes to begin; by default all.
            seed: seed of the pool: episode i follows from ``seed + i``. Without a seed, each id
                continues with its own order of questions.
            options: as for `ZeroSearchEnv`; all but ``progress`` may be lists with one value for
                each of the pool's episodes.

        Raises:
            ValueError: an id or an option is out of its range, or an id comes twice.
            TypeError: an id, the seed or an option has the wrong type.
        """
        ids = range(self.num_episodes) if episode_ids is None else self._check_ids(episode_ids)
        start = None if seed is None else as_integer("seed", seed, 0)
        seeds = {i: None if start is None else start + i for i in ids}
        progress = (options or {}).get("progress")
        begun = self._streams.reset(seeds, options, self._fresh_seed)
        if progress is not None:  # progress is set for the whole pool, not for `ids` alone
            self.set_progress(progress)
        for i, episode in begun.items():
            self._searching.pop(i, None)  # its documents are dropped when they arrive
            self._acting.discard(i)
            self._episodes[i] = episode
            self._infos[i] = self._streams.reset_info(i, episode)

    def send(self, episode_ids: Sequence[int] | NDArray[Any], actions: Sequence[str]) -> None:
        """Take a turn of each of ``episode_ids``, and ask for the documents of those that search.

        Raises:
            ResetNeeded: an episode has ended, or `recv` has not returned it.
            ValueError: an id is unknown or comes twice, or there is not one action for each id.
            gymnasium.error.InvalidAction: an action is not a string.
        """
        ids = self._check_ids(episode_ids)
        check_actions(actions, len(ids), f"{len(ids)} strings, one for each of `episode_ids`")
        turns = [  # all checks come before the first turn
            (self._check_turn(i), check_action(action))
            for i, action in zip(ids, actions, strict=True)
        ]
        requests: list[tuple[int, Episode, SearchRequest]] = []
        try:
            for i, action in turns:
                self._acting.remove(i)
                episode = self.episode(i)
                request = episode.act(action)
                if request is None:
                    self._infos[i] = episode.info()
                else:
                    self._searching[i] = episode
                    requests.append((i, episode, request))
        finally:  # if a reward function raises, the searches before it are still sent
            if requests:
                engine_loop().call_soon_threadsafe(self._ask, requests)

    def recv(self, min_ready: int = 1) -> Ready:
        """Wait until ``min_ready`` episodes are ready or none is searching; return all ready ones.

        An episode that has ended is returned once; `reset` begins the next in its place.

        Raises:
            ResetNeeded: no episode is searching or ready, so there is nothing to wait for.
            Exception: any error that the engine raised; failures of searches are not raised.
        """
        min_ready = as_integer("min_ready", min_ready)
        if not self._infos and not self._searching:
            raise ResetNeeded("no episode is under way: call reset() or send() before recv().")
        # Results that have arrived are taken even if enough are ready: larger batches, no waiting.
        while self._searching and (len(self._infos) < min_ready or not self._found.empty()):
            self._observe(self._found.get())
        ids = sorted(self._infos)
        infos = tuple(self._infos.pop(i) for i in ids)
        episodes = [self.episode(i) for i in ids]
        self._acting.update(
            i for i, episode in zip(ids, episodes, strict=True) if not episode.finished
        )
        return Ready(
            episode_ids=np.array(ids, dtype=np.int64),
            observations=tuple(observation_of(episode, self.observation) for episode in episodes),
            rewards=np.array([episode.reward for episode in episodes], dtype=np.float64),
            terminations=np.array([episode.terminated for episode in episodes], dtype=np.bool_),
            truncations=np.array([episode.truncated for episode in episodes], dtype=np.bool_),
            infos=infos,
        )

    def close(self) -> None:
        """Stop waiting for documents, and close the engine, if the pool made it."""
        self._searching.clear()
        engine_loop().call_soon_threadsafe(self._cancel)
        self.source.close()

    def _ask(self, requests: Sequence[tuple[int, Episode, SearchRequest]]) -> None:
        """Ask for the documents of all ``requests`` at once; runs on the engines' event loop."""
        loop = asyncio.get_running_loop()
        for i, episode, request in requests:
            task = loop.create_task(self._answer(i, episode, request))
            self._tasks.add(task)  # the loop itself holds only weak references
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, i: int, episode: Episode, request: SearchRequest) -> None:
        result, error = await caught(checked_asearch(self.source.engine, request))
        self._found.put(Found(i, episode, result, error))

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _observe(self, found: Found) -> None:
        """Give an episode its documents, unless it was reset while it waited for them."""
        if self._searching.get(found.episode_id) is not found.episode:
            return
        del self._searching[found.episode_id]
        if found.error is not None:
            raise found.error
        if found.result is not None:
            found.episode.observe(found.result)
        self._infos[found.episode_id] = found.episode.info()

    def _fresh_seed(self) -> int:
        return int(np.random.default_rng().integers(2**62))

    def _check_ids(self, episode_ids: Any) -> list[int]:
        if isinstance(episode_ids, str) or not isinstance(episode_ids, Iterable):
            raise TypeError(f"`episode_ids` must be a sequence of integers, got {episode_ids!r}.")
        ids = [self._check_id(episode_id) for episode_id in episode_ids]
        if len(set(ids)) != len(ids):
            raise ValueError(f"`episode_ids` must differ from each other, got {ids}.")
        return ids

    def _check_id(self, episode_id: Any) -> int:
        i = as_integer("episode_ids", episode_id)
        if not 0 <= i < self.num_episodes:
            raise ValueError(f"episode ids are 0 to {self.num_episodes - 1}, got {episode_id}.")
        return i

    def _check_turn(self, episode_id: Any) -> int:
        i = self._check_id(episode_id)
        if i not in self._acting:
            raise ResetNeeded(
                f"episode {i} waits for no action: send() takes running episodes that recv() has "
                "returned."
            )
        return i


class Found(NamedTuple):
    """Documents of a search of ``episode``, or the error that the engine raised."""

    episode_id: int
    episode: Episode
    result: SearchResult | None
    error: BaseException | None
