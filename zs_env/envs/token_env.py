"""The token environment: one action is one token of the policy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray
from typing_extensions import Unpack

from zs_env.envs.episode_env import EpisodeEnv
from zs_env.envs.token_setup import TokenSetup
from zs_env.episode import Episode
from zs_env.settings import TokenArguments, TokenSettings, documented

Observation = dict[str, NDArray[Any]]


@documented(TokenSettings)
class ZeroSearchTokenEnv(EpisodeEnv[Any, Any]):
    """Question answering token by token: `ZeroSearchEnv` for agents that know nothing of text.

    ## Description
    The same episodes as those of `zs_env.envs.text_env.ZeroSearchEnv`: thoughts, searches,
    documents, an answer. Here one step appends one token of the policy. When a token completes a
    search, the tokens of the documents are appended in the same step: they are observations, never
    actions.

    ## Action Space
    `Discrete(V)`: the next token. `action_masks()`, and `info["action_mask"]` (int8, a copy), say
    which tokens may be written: always at least one.

    | `masking`      | allows                                                                     |
    |----------------|----------------------------------------------------------------------------|
    | `"tags"`       | what keeps a turn to the template: a thought, then one search or answer that is not blank; complete before the turn is full; no token with a part of a tag |
    | `"vocabulary"` | all but padding, other special tokens and the tags of documents            |
    | `"none"`       | all                                                                        |

    A masked token is written nevertheless, and counted in `info["num_masked"]`; with
    `masked_action="error"` it is an error. A turn ends at the token that completes a search or an
    answer (outside of an open thought), at end-of-text or another token that ends a message, or
    after `max_turn_tokens`. The tags are recognised in the text, even where a tokenizer splits
    them.

    ## Observation Space
    `Dict`, where C is `context_length`:

    | key      | space                          | meaning                                         |
    |----------|--------------------------------|-------------------------------------------------|
    | `tokens` | `Box(0, V - 1, (C,), int32)`   | the transcript so far, then padding             |
    | `length` | `Box(0, C, (1,), int32)`       | number of its tokens                            |
    | `roles`  | `Box(0, 4, (C,), int8)`        | author of each: 0 padding, 1 prompt, 2 policy, 3 documents, 4 correction |

    ## Starting State
    As in `ZeroSearchEnv`, with the same options of `reset`: the prompt and nothing else. If the
    tokenizer has a chat template, that is a user's message, and the assistant's begins; if not, it
    begins with the tokenizer's begin-of-text token, if it writes one.

    ## Rewards
    As in `ZeroSearchEnv`: 0.0 until the episode ends. For intermediate rewards see
    `zs_env.envs.shaping.PotentialShaping`.

    ## Episode End
    As in `ZeroSearchEnv`. An episode is truncated after a turn that leaves no room for a whole turn
    of `max_turn_tokens`. A truncated episode has earned 0.0: an algorithm that bootstraps there, as
    those of Stable-Baselines3 do, may learn never to answer (`agents.sb3.TokenVecEnv` prevents it).

    ## Information
    `action_mask`, always; the entries of `ZeroSearchEnv`, after reset and in the step that ends a
    turn; `num_masked`, the number of tokens that the mask forbade, at the end.

    ## Arguments
    `render_mode` (None, `"ansi"` or `"human"`: the transcript in colour), and

    {arguments}

    With `tokenizer="world"` the default of `prompt_template` is the prompt whose words the
    vocabulary has: `prompts.TINY_PROMPT` with `world_size="tiny"`.

    ## Version History
    * v1: The vocabulary of worlds other than the tiny one has 140 more tokens, after those of v0:
      the action space and the range of observations have grown.
    * v0: Initial version.
    """  # noqa: E501  (the rows of a table cannot be broken)

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "ansi"], "render_fps": 4}  # type: ignore[misc]  # class-level in Gymnasium too

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        **arguments: Unpack[TokenArguments],
    ) -> None:
        self.setup = TokenSetup(arguments)
        super().__init__(self.setup.source, render_mode)
        self.action_space = self.setup.action_space
        self.observation_space = self.setup.observation_space
        self._tokens = self.setup.make_batch(1)

    @property
    def episode(self) -> Episode:
        """The running or just finished episode, with all its details."""
        episode = self._tokens.episodes[0]
        if episode is None:
            raise ResetNeeded("Call reset() first: there is no episode yet.")
        return episode

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which tokens may be written next, shape (V,), bool."""
        masks: NDArray[np.bool_] = self._tokens.action_masks()[0].view(np.bool_)
        return masks

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append one token; if it ends the turn, take the turn and answer its search."""
        if self._tokens.episodes[0] is None or self.episode.finished:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        slot = np.zeros(1, dtype=np.int64)  # the only one of the batch
        tokens = self.setup.check(self._tokens, np.asarray(action).reshape(-1), slot)
        ended = self._tokens.step(tokens, slot, self.source.engine)
        episode = self.episode
        info = episode.info() if ended else {}
        if episode.finished:
            info["num_masked"] = int(self._tokens.num_masked[0])
        return self._result(info)

    def _show_new(self, episode: Episode) -> None:
        self._tokens.begin(0, episode)

    def _observation(self) -> Observation:
        return {
            "tokens": self._tokens.tokens[0].copy(),
            "length": self._tokens.lengths.copy(),
            "roles": self._tokens.roles[0].copy(),
        }

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "action_mask": self._tokens.action_masks()[0]}
