"""One declaration of what an environment takes, for all drivers."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import get_type_hints

import pytest

from zs_env import EpisodePool
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv
from zs_env.settings import (
    Arguments,
    Settings,
    TextArguments,
    TextSettings,
    TokenArguments,
    TokenSettings,
    TrainerArguments,
    TrainerSettings,
    describe,
    make_settings,
)

DECLARATIONS = [
    (Settings, Arguments),
    (TextSettings, TextArguments),
    (TokenSettings, TokenArguments),
    (TrainerSettings, TrainerArguments),
]
DRIVERS = {
    ZeroSearchEnv: (TextArguments, {"render_mode"}),
    ZeroSearchVectorEnv: (TextArguments, {"num_envs", "autoreset_mode", "render_mode"}),
    EpisodePool: (TextArguments, {"num_episodes"}),
    ZeroSearchTokenEnv: (TokenArguments, {"render_mode"}),
    ZeroSearchTokenVectorEnv: (TokenArguments, {"num_envs", "autoreset_mode", "render_mode"}),
}


@pytest.mark.parametrize(("settings", "arguments"), DECLARATIONS)
def test_settings_and_arguments_have_the_same_names_and_types(settings, arguments):
    assert get_type_hints(settings) == get_type_hints(arguments)


@pytest.mark.parametrize(("settings", "_"), DECLARATIONS)
def test_settings_every_field_is_documented_and_has_a_default(settings, _):
    documentation = describe(settings)
    assert list(documentation) and {f.name for f in fields(settings)} == set(documentation)
    assert all(re.match(r"[A-Z].*\.$", text) for text in documentation.values())
    settings()  # so every field has a default


@pytest.mark.parametrize("driver", DRIVERS)
def test_driver_takes_the_settings_and_little_else_of_its_own(driver):
    arguments, own = DRIVERS[driver]
    parameters = inspect.signature(driver).parameters
    assert set(parameters) - {"arguments"} == own
    assert arguments.__name__ in parameters["arguments"].annotation


@pytest.mark.parametrize(
    ("env", "settings"), [(ZeroSearchEnv, TextSettings), (ZeroSearchTokenEnv, TokenSettings)]
)
def test_docstring_states_every_argument_and_its_default(env, settings):
    """The class docstring is the specification."""
    table = inspect.getdoc(env).split("## Arguments")[1]
    stated = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", table, re.MULTILINE))
    assert list(stated) == [f.name for f in fields(settings)]
    assert stated["max_turns"] == "`5`" and stated["engine"] == '`"world"`'
    assert stated["noise_base"] == "`4.0`" and stated["prompt_template"] == "prompts.PROMPT"
    assert "{arguments}" not in env.__doc__


@pytest.mark.parametrize(
    ("driver", "arguments", "message"),
    [
        (ZeroSearchEnv, {"max_turn": 3}, "unknown argument `max_turn` .did you mean 'max_turns'"),
        (ZeroSearchEnv, {"tokenizer": "world"}, "`tokenizer` is an argument of the token env"),
        (ZeroSearchTokenEnv, {"observation": "delta"}, "`observation` is an argument of the text"),
        (ZeroSearchTokenEnv, {"max_context_chars": 9}, "`max_context_chars` .* of the text"),
        (EpisodePool, {"num_envs": 2}, "`num_envs` is an argument of the vector environments"),
        (EpisodePool, {"render_mode": "ansi"}, "`render_mode` .* of the Gymnasium environments"),
        (ZeroSearchEnv, {"num_episodes": 2}, "`num_episodes` is an argument of EpisodePool"),
        (ZeroSearchEnv, {"max_turns": "5"}, "`max_turns` must be an integer, got '5'"),
        (ZeroSearchEnv, {"top_k": 2.0}, "`top_k` must be an integer, got 2.0"),
        (ZeroSearchEnv, {"questions": 5}, "`questions` must be .*, got 5"),
        (ZeroSearchEnv, {"engine": 5}, "`engine` must be .*, got int"),
        (ZeroSearchEnv, {"noise_end": "high"}, "`end` must be a number"),
        (ZeroSearchTokenEnv, {"answer_last": "yes"}, "`answer_last` must be True or False"),
        (ZeroSearchTokenEnv, {"context_length": 9.5}, "`context_length` must be an integer"),
        (ZeroSearchEnv, {"noise": "linaer"}, "did you mean 'linear'"),
        (ZeroSearchEnv, {"noise": []}, r"`noise`.* must be one of .*, got \[\]"),
        (ZeroSearchEnv, {"split": "dev"}, "`split` must be one of train, test, got 'dev'"),
        (ZeroSearchEnv, {"observation": "text"}, "`observation` must be one of"),
        (ZeroSearchTokenEnv, {"masked_action": "warn"}, "`masked_action` must be one of"),
    ],
)
def test_wrong_argument_is_refused_with_what_is_wanted(driver, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        driver(*([2] if driver is EpisodePool else []), **arguments)


@pytest.mark.parametrize("count", [True, 2.5, "3", None])
@pytest.mark.parametrize("driver", [EpisodePool, ZeroSearchVectorEnv, ZeroSearchTokenVectorEnv])
def test_number_of_episodes_must_be_an_integer(driver, count):
    with pytest.raises(TypeError, match="must be an integer"):
        driver(count)


def test_make_settings_gives_what_was_asked_for_and_defaults():
    settings = make_settings(TextSettings, {"max_turns": 3})
    assert settings == TextSettings(max_turns=3) and settings.top_k == 5
    assert settings.limits.max_context == 32768 and settings.limits.turn_reserve == 4096
