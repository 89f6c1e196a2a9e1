"""χ² of correlated quantities is distributed as stated, and leaves out directions that do not fluctuate."""

import numpy as np
from scipy import stats

from nets.statistics.chi_squared import ChiSquared, hotelling


def test_correlated_quantities():
    """500 experiments of 60 networks with strongly correlated layers: p is uniform."""
    rng = np.random.default_rng(1)
    factor = np.tril(np.ones((5, 5))) + 0.1 * rng.normal(size=(5, 5))
    p = []
    for _ in range(500):
        x = rng.normal(size=(60, 5)) @ factor.T
        e = (x - x.mean(0)) / np.sqrt(60 * 59)
        p.append(hotelling(x.mean(0), e).p)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_what_is_not_independent_is_left_out():
    x = np.random.default_rng(2).normal(size=(50, 2))
    x = np.column_stack([x, x[:, 0] - x[:, 1]])
    found = hotelling(x.mean(0), (x - x.mean(0)) / np.sqrt(50 * 49))
    assert found.dof == 2 and found.value < 20
    assert hotelling(np.zeros(0), np.zeros((50, 0)))[:2] == ChiSquared(0.0, 0, 0.0)[:2]
