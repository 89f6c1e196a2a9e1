"""Everything that draws networks runs where JAX promotes no types and no ranks."""

import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parent / "strict_job.py"


@pytest.mark.parametrize("precision", ["x64", "x32"])
def test_without_promotion(precision):
    done = subprocess.run(
        [sys.executable, str(JOB), precision, "strict", "raise"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
