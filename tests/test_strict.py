"""The theory, and everything that draws networks, runs where JAX promotes no types and no ranks."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("job", ["strict_job.py", "strict_theory_job.py"])
@pytest.mark.parametrize("precision", ["x64", "x32"])
def test_without_promotion(precision, job):
    done = subprocess.run(
        [sys.executable, str(HERE / job), precision, "strict", "raise"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
