"""Which versions of trainers their adapters work with."""

from __future__ import annotations

import importlib.metadata

import pytest

from zs_env.adapters.versions import ANY_VERSION, check_framework
from zs_env.errors import DependencyVersionError, MissingDependencyError

INSTALLED = importlib.metadata.version("gymnasium")


def test_tested_series_is_accepted():
    check_framework("The adapter", "gymnasium", INSTALLED, "gym")
    check_framework("The adapter", "gymnasium", f"{'.'.join(INSTALLED.split('.')[:2])}.99", "gym")


def test_missing_framework_names_the_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[some-extra\]'"):
        check_framework("The adapter", "no-such-framework", "1.0", "some-extra")


def test_other_version_names_the_tested_one(monkeypatch):
    message = f"The adapter was tested with gymnasium 0.1.0, got {INSTALLED}"
    with pytest.raises(DependencyVersionError, match=message):
        check_framework("The adapter", "gymnasium", "0.1.0", "gym")
    monkeypatch.setenv(ANY_VERSION, "1")
    check_framework("The adapter", "gymnasium", "0.1.0", "gym")
