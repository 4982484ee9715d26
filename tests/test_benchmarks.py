"""The benchmarks still run; what they measure is nobody's business here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import REPO


@pytest.mark.slow
def test_cost_of_a_run_and_a_sweep() -> None:
    script = REPO / "benchmarks" / "run_cost.py"
    done = subprocess.run(
        [sys.executable, str(script), "--smoke"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    for heading in ("one logged run", "sweep of 2, warm process", "sweep of 2, whole command"):
        assert heading in done.stdout
