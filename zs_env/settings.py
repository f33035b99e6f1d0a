"""Arguments of the environments: names, types, defaults and documentation, once for all drivers.

A new option is a field of a settings class, with its documentation below it, and a line in the
`typing.TypedDict` beside it, from which editors and type checkers know the keyword arguments of the
drivers. Tables in docstrings and the command line of ``agents`` follow.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from zs_env.checks import as_integer, as_share, check_choice, suggestion
from zs_env.engines import SearchEngine
from zs_env.prompts import PROMPT
from zs_env.questions import Question, QuestionSource
from zs_env.rewards import RewardFunction
from zs_env.rules import Limits

Questions = str | Path | Mapping[str, Any] | QuestionSource | Sequence[Question]
Engine = str | Path | Mapping[str, Any] | SearchEngine
Split = Literal["train", "test"]
Score = Literal["f1", "exact_match", "substring_match"]
Schedule = Literal["exponential", "linear", "constant", "random", "reverse"]
WorldSize = Literal["tiny", "small", "medium", "large", "hard"]
Observation = Literal["transcript", "delta"]
ChatTemplate = Literal["auto", "on", "off"]
Masking = Literal["tags", "vocabulary", "none"]
MaskedAction = Literal["count", "error"]

S = TypeVar("S", bound="Settings")
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Settings:
    """Arguments of every driver and trainer."""

    questions: Questions = "world"
    """Questions: `"world"`, those of the embedded world; a data set, such as `"hotpotqa"` or `"nq,split=train"`; the path of a `.jsonl` or `.parquet` file with `question` and `answers` (or `golden_answers`), each also with `sample=500`; `"module:Class"`; in Python also `Question` objects."""  # noqa: E501
    split: Split = "train"
    """Split of the embedded world's questions: `"train"` or `"test"`; a data set has an option of that name."""  # noqa: E501
    engine: Engine = "world"
    """Search engine: `"world"`, `"bm25"`, `"simulated"`, `"retrieval"`, `"google"`, `"cached"` or `"module:Class"`, with options as in `"bm25,corpus=passages.jsonl"` or in a mapping; the path of a `.jsonl` corpus; in Python also a `SearchEngine`."""  # noqa: E501
    max_turns: int = 5
    """Turns of an episode; the answer's turn counts."""
    top_k: int = 5
    """Documents for each search."""
    document_words: int = 30
    """Words of a document, approximately; it is cut at four times as many."""
    reward: Score | RewardFunction = "f1"
    """Reward of the answer: `"f1"`, `"exact_match"`, `"substring_match"`, in Python also a function (prediction, golden_answers) -> float."""  # noqa: E501
    noise: Schedule = "exponential"
    """Schedule of the curriculum: `"exponential"`, `"linear"`, `"constant"`, `"random"` or `"reverse"`."""  # noqa: E501
    noise_start: float = 0.0
    """Noise probability at progress 0."""
    noise_end: float = 0.5
    """Noise probability at progress 1."""
    noise_base: float = 4.0
    """Base of the exponential schedule: the greater, the later noise rises."""
    world_seed: int = 0
    """Seed of the embedded world, unless an option of `questions` gives it."""
    world_size: WorldSize = "small"
    """Size of the embedded world: `"small"` (2,000 entities), `"medium"` (20,000), `"large"` (100,000), `"tiny"` (144 people, 1-hop questions, few words), or `"hard"` (2,000, with what agents fail at), unless an option of `questions` gives it."""  # noqa: E501
    prompt_template: str = field(default=PROMPT, metadata={"shown": "prompts.PROMPT"})
    """Template of the first observation, which must hold `{question}`."""

    @property
    def chat(self) -> dict[str, Any]:
        """Options of the chat in which a policy reads the prompt, by name; none here."""
        return {}


class Arguments(TypedDict, total=False):
    """`Settings` as keyword arguments."""

    questions: Questions
    split: Split
    engine: Engine
    max_turns: int
    top_k: int
    document_words: int
    reward: Score | RewardFunction
    noise: Schedule
    noise_start: float
    noise_end: float
    noise_base: float
    world_seed: int
    world_size: WorldSize
    prompt_template: str


@dataclass(frozen=True)
class TextSettings(Settings):
    """Arguments of the drivers whose actions are texts.

    Raises:
        ValueError: ``observation`` is unknown.
    """

    observation: Observation = "transcript"
    """Observation: `"transcript"`, all text so far, or `"delta"`, what was just added."""
    max_action_chars: int = 4096
    """Characters of one turn that are read."""
    max_context_chars: int = 32768
    """Largest length of the transcript, in characters."""

    def __post_init__(self) -> None:
        """Check the values that no other class checks."""
        check_choice("observation", self.observation, ("transcript", "delta"))

    @property
    def limits(self) -> Limits:
        """Limits of an episode, in characters."""
        return Limits(
            max_context=self.max_context_chars,
            turn_reserve=self.max_action_chars,
            max_action_chars=self.max_action_chars,
        )


class TextArguments(Arguments, total=False):
    """`TextSettings` as keyword arguments."""

    observation: Observation
    max_action_chars: int
    max_context_chars: int


@dataclass(frozen=True)
class ChatSettings(Settings):
    """Arguments of every driver and trainer that knows the tokenizer of the policy."""

    chat_template: ChatTemplate = "auto"
    """Chat template of the tokenizer: `"on"`, the prompt is a user's message in it, and the policy writes one message of the assistant; `"off"`; or `"auto"`, on if the tokenizer has one."""  # noqa: E501
    system_prompt: str | None = None
    """System message of the chat; `None` leaves it to the chat template."""
    chat_template_kwargs: Mapping[str, Any] | None = None
    """Variables of the chat template, such as `{"enable_thinking": False}`."""

    @property
    def chat(self) -> dict[str, Any]:
        """Options of the chat in which a policy reads the prompt, by name."""
        names = ("chat_template", "system_prompt", "chat_template_kwargs")
        return {name: getattr(self, name) for name in names}


class ChatArguments(Arguments, total=False):
    """`ChatSettings` as keyword arguments."""

    chat_template: ChatTemplate
    system_prompt: str | None
    chat_template_kwargs: Mapping[str, Any] | None


@dataclass(frozen=True)
class TrainerSettings(ChatSettings):
    """Arguments of the adapters for trainers of language models, see `zs_env.adapters`.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value has the wrong type.
    """

    test_questions: Questions | None = None
    """Held-out questions, written as `questions`; `None` takes the split `"test"` of the embedded world, if `questions` are about it."""  # noqa: E501
    test_engine: Engine | None = None
    """Search engine of the held-out episodes, written as `engine`; `None` takes the same one."""
    test_noise: float = 0.0
    """Noise probability of the held-out episodes; engines without noise ignore it."""
    max_turn_tokens: int = 256
    """Largest length of a turn, in tokens."""

    def __post_init__(self) -> None:
        """Check the values that no other class checks."""
        as_share("test_noise", self.test_noise)
        as_integer("max_turn_tokens", self.max_turn_tokens, 1)


class TrainerArguments(ChatArguments, total=False):
    """`TrainerSettings` as keyword arguments."""

    test_questions: Questions | None
    test_engine: Engine | None
    test_noise: float
    max_turn_tokens: int


@dataclass(frozen=True)
class TokenSettings(ChatSettings):
    """Arguments of the drivers whose actions are tokens.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value has the wrong type.
    """

    tokenizer: Any = "world"
    """Tokenizer: `"world"`, the closed vocabulary of the embedded world (V = 1,176, or 123 with `world_size="tiny"`); the name or folder of a Hugging Face tokenizer; or an object."""  # noqa: E501
    context_length: int = 1024
    """Largest length of the transcript, in tokens: C."""
    max_turn_tokens: int = 64
    """Largest length of a turn, in tokens."""
    masking: Masking = "tags"
    """Action masks: `"tags"`, `"vocabulary"` or `"none"`, see Action Space."""
    answer_last: bool = False
    """Whether `masking="tags"` allows only an answer in the last of `max_turns`, where a search would not be sent; it has no effect on an episode that `context_length` ends sooner."""  # noqa: E501
    masked_action: MaskedAction = "count"
    """Treatment of a masked token: `"count"` or `"error"`."""
    max_action_chars: int = field(default=sys.maxsize, metadata={"shown": "no limit"})
    """Characters of one turn that are read; `max_turn_tokens` limits them anyway."""

    def __post_init__(self) -> None:
        """Check the values that no other class checks."""
        check_choice("masked_action", self.masked_action, ("count", "error"))
        if not isinstance(self.answer_last, bool):
            raise TypeError(f"`answer_last` must be True or False, got {self.answer_last!r}.")
        as_integer("context_length", self.context_length, 1)
        as_integer("max_turn_tokens", self.max_turn_tokens)


class TokenArguments(ChatArguments, total=False):
    """`TokenSettings` as keyword arguments."""

    tokenizer: Any
    context_length: int
    max_turn_tokens: int
    masking: Masking
    answer_last: bool
    masked_action: MaskedAction
    max_action_chars: int


# Fields that all drivers share are in here too, but are never unknown to a driver.
_ELSEWHERE = {
    **{f.name: "the adapters for trainers (zs_env.adapters)" for f in fields(TrainerSettings)},
    **{f.name: "the token environments (ZeroSearchToken-v1)" for f in fields(TokenSettings)},
    **{f.name: "the text environments (ZeroSearch-v0, EpisodePool)" for f in fields(TextSettings)},
    "num_envs": "the vector environments (gym.make_vec)",
    "autoreset_mode": "the native vector environments (gym.make_vec)",
    "num_episodes": "EpisodePool",
    "render_mode": "the Gymnasium environments",
}
"""Drivers that take an argument, by its name: for the error of the other drivers."""


def make_settings(kind: type[S], arguments: Mapping[str, Any]) -> S:
    """Make the settings of a driver from its keyword arguments.

    Raises:
        TypeError: an argument is unknown, or belongs to another driver; the message says which.
    """
    known = [f.name for f in fields(kind)]
    for name in arguments:
        if name in known:
            continue
        if name in _ELSEWHERE:
            raise TypeError(f"`{name}` is an argument of {_ELSEWHERE[name]}, not of this one.")
        raise TypeError(
            f"unknown argument `{name}`{suggestion(name, known)}; expected some of "
            f"{', '.join(known)}."
        )
    return kind(**arguments)


def describe(kind: type[Any]) -> dict[str, str]:
    """Return the documentation of each field of a dataclass like these, read from its source."""
    documentation: dict[str, str] = {}
    for cls in reversed(kind.__mro__[:-1]):  # base classes first, without `object`
        documentation |= _describe_own(cls)
    return documentation


# Once a class: in Python 3.11, `ast.parse` can raise SystemError while another thread parses, as
# one does that formats a traceback (CPython gh-106905).
@cache
def _describe_own(cls: type) -> dict[str, str]:
    """Return the documentation of the fields that ``cls`` adds."""
    # A string below a field is its documentation; only the source has it, the class does not.
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    documentation: dict[str, str] = {}
    for statement, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            assert isinstance(below.value, ast.Constant)
            documentation[statement.target.id] = str(below.value.value)
    return documentation


def documented(kind: type[Settings]) -> Callable[[C], C]:
    """Replace ``{arguments}`` in a class docstring by a table of the fields of ``kind``."""

    def fill(cls: C) -> C:
        if cls.__doc__ and "{arguments}" in cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{arguments}", _table(kind))
        return cls

    return fill


def _table(kind: type[Settings]) -> str:
    try:
        documentation = describe(kind)
    except OSError:  # installed without sources
        return f"The fields of `{kind.__module__}.{kind.__qualname__}`."
    lines = ["| argument | default | meaning |", "|---|---|---|"]
    lines += [f"| `{f.name}` | {_default(f)} | {documentation[f.name]} |" for f in fields(kind)]
    return "\n    ".join(lines)  # indented as the docstring is


def _default(declared: Field[Any]) -> str:
    assert declared.default is not MISSING
    shown = declared.metadata.get("shown")
    if shown is not None:
        return str(shown)
    default = declared.default
    return f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`"
