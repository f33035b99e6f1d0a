"""Contract tests to inherit for a search engine or an adapter of your own.

    class TestMyEngine(SearchEngineContract):
        def make_engine(self):
            return MyEngine()

pytest runs every test of the contract against it. The tests themselves do not import pytest.
"""

from zs_env.testing.adapters import AdapterContract, AdapterTask, Played
from zs_env.testing.engines import FailingEngine, SearchEngineContract
from zs_env.testing.policies import ScriptedPolicy

__all__ = [
    "AdapterContract",
    "AdapterTask",
    "FailingEngine",
    "Played",
    "ScriptedPolicy",
    "SearchEngineContract",
]
