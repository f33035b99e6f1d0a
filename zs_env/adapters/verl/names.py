"""What the files of `prepare` and the parts that verl loads call one another."""

from __future__ import annotations

from zs_env.adapters.versions import check_framework

TESTED = "0.9.1"
"""Version of verl that the tests run with."""

AGENT = "zero_search"
"""Name of the agent loop, in its YAML and in the rows."""

CONFIG = "zero_search"
"""Name of the configuration that `zs_env.adapters.verl.files.prepare` writes, without ending."""

PACKAGE = "zs_env.adapters.verl"
AGENT_LOOP = f"{PACKAGE}.agent_loop.SearchAgentLoop"
MANAGER = f"{PACKAGE}.manager.SearchAgentLoopManager"
SAMPLER = f"{PACKAGE}.sampler", "make_sampler"

FIGURES = "reward_extra_info"
"""Field of an episode that holds its figures; verl logs those of validations itself."""

NOISY = "noisy"
"""Field of an episode that holds the noise label of each search."""

QUESTION_ID, HELD_OUT = "question_id", "held_out"
"""Fields of ``extra_info`` of a row."""


def check_version() -> None:
    """Check that verl is installed, in the series that the tests run with.

    Raises:
        MissingDependencyError: it is not installed; the message names the extra.
        DependencyVersionError: it has another version; the message names the tested one.
    """
    check_framework("The adapter to verl", "verl", TESTED, "verl")
