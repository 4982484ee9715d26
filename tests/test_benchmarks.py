"""The benchmarks still run; their results are not checked."""

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
    for heading in ("one logged run", "sweep of 1, warm process", "sweep of 1, whole command"):
        assert heading in done.stdout


@pytest.mark.slow
def test_large_data_beside_the_obvious_script() -> None:
    script = REPO / "benchmarks" / "large_data.py"
    few = ["--rows", "6e4", "--features", "3", "--families", "integers", "--seeds", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *few], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "of 11 WCSS" in done.stdout
