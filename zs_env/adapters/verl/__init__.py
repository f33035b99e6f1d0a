"""Adapter to verl: its agent loop, data sets, checks and figures. `prepare` begins a run.

verl imports `agent_loop`, `manager` and `sampler` by the names that `prepare` writes.
"""

from zs_env.adapters.verl.files import prepare

__all__ = ["prepare"]
