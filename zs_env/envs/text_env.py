"""The text environment: one action is one turn of the policy."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium.error import ResetNeeded
from typing_extensions import Unpack

from zs_env.envs.episode_env import EpisodeEnv
from zs_env.envs.gym_interface import check_action, observation_of
from zs_env.envs.spaces import UnicodeText
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource, advance
from zs_env.settings import TextArguments, TextSettings, documented, make_settings


@documented(TextSettings)
class ZeroSearchEnv(EpisodeEnv[str, str]):
    """Question answering with a search engine, as in ZeroSearch.

    ## Description
    The agent (the *policy LLM*) reads a question and writes text. Each turn it thinks, and then
    either asks a *search engine* or gives its final answer. In ZeroSearch (arXiv 2505.04588) the
    search engine is played by a *simulation LLM*, which can be told to write documents that do
    not help; a *curriculum* makes such noisy documents more frequent as training goes on.

    By default no model and no download are needed: questions and documents come from an embedded
    world of made-up facts, and the search engine that writes about it is a program. Train and test
    questions are about different facts, so nothing can be answered from memory.

    ## Action Space
    `UnicodeText(max_action_chars)`: the text that the policy writes in one turn, such as

        <think>I need the birthplace first.</think><search>birthplace of Ada Blake</search>
        <think>It is Jarrow Corvale.</think><answer>Jarrow Corvale</answer>

    Closed `<think>` blocks are ignored. In what remains, the first complete `<search>` or
    `<answer>` is the action; text after it is cut. An empty query, or no action, is
    *invalid*: it costs the turn and gets a short correction. Any string is accepted.

    ## Observation Space
    `UnicodeText(max_context_chars)`.

    | `observation`  | at reset   | after a step                                              |
    |----------------|------------|-----------------------------------------------------------|
    | `"transcript"` | the prompt | all text so far: prompt, turns, documents, corrections    |
    | `"delta"`      | the prompt | what the environment just added; empty after the end      |

    The documents of a search stand between `<information>` and `</information>`, one per line, and
    can neither open nor close a tag. If the context runs short, they are shortened; the question
    never is.

    ## Starting State
    The prompt, with the next question of a random order that follows from the seed: each question
    once, before any repeats. `reset(options=...)` takes

    - `"progress"`: progress of training, from this episode on, as `set_progress` does;
    - `"noise_probability"`: noise probability of this episode alone;
    - `"question"`: id of the question to ask;
    - `"key"`: an integer in `[0, 2**64)` that fixes the noise labels and the engine's random
      choices. Episodes with the same key and question, such as a GRPO group, share both.

    ## Rewards
    0.0 until the episode ends; then the F1 of the answer, or the score that `reward` selects, in
    [0, 1]. Without an answer, 0.0.

    ## Episode End
    - Termination: the policy answers.
    - Truncation: `max_turns` turns are taken (a search in the last turn is not sent), the context
      cannot hold another turn, or the engine failed.

    ## Information
    After reset: `question_id`, `key` (pass both to another reset to play the same episode again),
    `progress` (of training, 0 to 1), `noise_probability`.

    After a step:

    | key                     | when    | meaning                                                 |
    |-------------------------|---------|---------------------------------------------------------|
    | `turn`                  | always  | turns taken                                             |
    | `num_searches`          | always  | searches sent to the engine                             |
    | `num_invalid`           | always  | turns without an action                                 |
    | `query`                 | search  | query sent to the engine                                |
    | `noisy`                 | search  | whether the engine was told to write noisy documents    |
    | `num_documents`         | search  | documents returned                                      |
    | `invalid`               | invalid | reason why the turn was invalid                         |
    | `answer`                | end     | the answer, or None                                     |
    | `f1`, `exact_match`, `substring_match` | end | scores of the answer, whatever `reward` is   |
    | `search_failed`         | end     | the engine failed: leave this episode out of the loss   |
    | `failure`               | end     | reason of the failure, or None                          |
    | `context_exceeded`      | end     | the context ran out                                     |
    | `golden_answer_seen`    | end     | a document that was shown contained a golden answer     |
    | `cut_chars`             | end     | characters of the policy's text that were cut           |

    ## Arguments
    `render_mode` (None; `"ansi"`: the transcript in colour, as a string; `"human"`: printed as it
    grows), and

    {arguments}

    ## Version History
    * v0: Initial version.
    """  # noqa: E501  (the rows of a table cannot be broken)

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "ansi"], "render_fps": 4}  # type: ignore[misc]  # class-level in Gymnasium too

    def __init__(
        self, *, render_mode: str | None = None, **arguments: Unpack[TextArguments]
    ) -> None:
        settings = make_settings(TextSettings, arguments)
        super().__init__(EpisodeSource(settings, settings.limits), render_mode)
        self.observation = settings.observation
        self.action_space = UnicodeText(settings.max_action_chars)
        self.observation_space = UnicodeText(settings.max_context_chars)
        self._episode: Episode | None = None

    @property
    def episode(self) -> Episode:
        """The running or just finished episode, with all its details."""
        if self._episode is None:
            raise ResetNeeded("Call reset() first: there is no episode yet.")
        return self._episode

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one turn of the policy, and answer its search."""
        episode = self._episode
        if episode is None or episode.finished:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        check_action(action)
        self._episode = None  # if the engine raises, the episode cannot go on
        advance(episode, self.source.engine, action)
        self._episode = episode
        return self._result(episode.info())

    def _show_new(self, episode: Episode) -> None:
        self._episode = episode

    def _observation(self) -> str:
        return observation_of(self.episode, self.observation)
