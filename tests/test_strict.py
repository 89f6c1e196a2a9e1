"""`eft` and `nets` work in float32 where JAX promotes no types and no ranks.

All other tests run without promotion in float64.
"""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from jax.dtypes import TypePromotionError

JOBS = Path(__file__).parent / "jobs"


def test_promotion_is_an_error():
    """The control: JAX refuses to mix types or ranks."""
    with pytest.raises(TypePromotionError):
        jnp.ones(2, jnp.float32) + jnp.ones(2, jnp.float64)
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@pytest.mark.more
@pytest.mark.parametrize("job", ["strict_job.py", "strict_theory_job.py"])
def test_without_promotion(job):
    done = subprocess.run(
        [sys.executable, str(JOBS / job), "x32", "strict", "raise"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
