"""With float64 off, too, the theory and what draws networks run where JAX promotes no types and no ranks.

All other tests run so with float64 on.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

HERE = Path(__file__).parent


@pytest.mark.parametrize("job", ["strict_job.py", "strict_theory_job.py"])
def test_without_promotion(job):
    done = subprocess.run(
        [sys.executable, str(HERE / job), "x32", "strict", "raise"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
