"""Which version of a trainer an adapter works with."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from zs_env.errors import DependencyVersionError, MissingDependencyError

ANY_VERSION = "ZS_ENV_ANY_VERSION"
"""Environment variable that, set to 1, allows other versions than the tested ones."""


def check_framework(adapter: str, package: str, tested: str, extra: str) -> None:
    """Check that ``package`` is installed, in the series that ``adapter`` was tested with.

    Args:
        adapter: name of the adapter, for messages.
        package: name of the distribution.
        tested: version that the tests run with, as ``1.16.0``; its first two numbers must agree.
        extra: extra of this package that installs it.

    Raises:
        MissingDependencyError: it is not installed; the message names the extra.
        DependencyVersionError: it has another version; the message names the tested one.
    """
    try:
        found = version(package)
    except PackageNotFoundError as error:
        raise MissingDependencyError.for_extra(adapter, package, extra) from error
    if found.split(".")[:2] != tested.split(".")[:2] and os.environ.get(ANY_VERSION) != "1":
        raise DependencyVersionError(
            f"{adapter} was tested with {package} {tested}, got {found}: in the "
            f"checkout, pip install '.[{extra}]', or set {ANY_VERSION}=1 to try this version."
        )
