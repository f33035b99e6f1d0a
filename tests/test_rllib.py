"""The example of RLlib, with RLlib itself. `make test-rllib` runs this where RLlib is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.rllib


def test_example_trains_with_the_module_of_rllib_and_writes_no_masked_token():
    """The example makes a masked token an error."""
    command = [sys.executable, "-m", "examples.rllib_action_masking", "--iterations", "3"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"iteration +\d+: reward 0\.\d+, (\d+\.\d) tokens", result.stdout)
    assert len(lines) == 3 and all(10 <= float(length) <= 24 for length in lines)
