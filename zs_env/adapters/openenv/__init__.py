"""OpenEnv: the episodes behind a server, for every trainer that has a client of OpenEnv.

`zs_env.adapters.openenv.server` serves them, `zs_env.adapters.openenv.client` plays them, and
`zs_env.adapters.openenv.models` has what goes between. All need the extra ``openenv``.
"""

from zs_env.adapters.versions import check_framework
from zs_env.errors import MissingDependencyError

try:
    import openenv  # noqa: F401  (before the modules of this package need it)
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "The adapter to OpenEnv", "openenv", "openenv"
    ) from error

TESTED = "0.10.0"
"""Version of OpenEnv that the tests run with."""


def check_version() -> None:
    """Check the version of OpenEnv.

    Raises:
        DependencyVersionError: it is not the one that the tests run with.
    """
    check_framework("The adapter to OpenEnv", "openenv", TESTED, "openenv")
