"""What the adapter uses of OpenEnv, and of the server that OpenEnv brings along."""

from __future__ import annotations

from zs_env.adapters.versions import check_framework
from zs_env.errors import MissingDependencyError

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from openenv.core.client_types import StepResult
    from openenv.core.env_client import EnvClient
    from openenv.core.env_server import create_fastapi_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State
except ImportError as error:
    raise MissingDependencyError.for_extra(
        "The adapter to OpenEnv", "openenv", "openenv"
    ) from error

__all__ = [
    "Action",
    "EnvClient",
    "Environment",
    "EnvironmentMetadata",
    "FastAPI",
    "JSONResponse",
    "Observation",
    "Request",
    "State",
    "StepResult",
    "check_version",
    "create_fastapi_app",
    "uvicorn",
]

TESTED = "0.10.0"
"""Version of OpenEnv that the tests run with."""


def check_version() -> None:
    """Check the version of OpenEnv.

    Raises:
        DependencyVersionError: it is not of the series that the tests run with.
    """
    check_framework("The adapter to OpenEnv", "openenv", TESTED, "openenv")
