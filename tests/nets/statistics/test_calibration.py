"""Error bars are honest: in thousands of ensembles of ReLU networks, whose moments are known exactly."""

import math

import numpy as np
import pytest
from scipy import stats

import nets
from nets.statistics import estimators

WIDTH, DEPTH, CELLS, N = 64, 3, 1500, 1000
VARIANCE = (1 + 5 / WIDTH) ** (DEPTH - 1) - 1
"""Of Ĝ/K¹ at C_W = 2."""


@pytest.fixture(scope="module")
def cells():
    """Ĝ^L/K¹ of every network, an ensemble a row; no layer of one ensemble is counted twice."""
    seen = nets.measure("relu", 2.0, DEPTH, WIDTH, CELLS * N, method="metric", progress=False)
    return (seen.G[:, -1] / seen.G[:, 0]).reshape(CELLS, N)


def far(hits, level):
    """How many binomial standard deviations the share of hits is from what it should be."""
    return (np.mean(hits) - level) / math.sqrt(level * (1 - level) / len(hits))


@pytest.mark.long
def test_kernel(cells):
    """z-scores are those of N(0, 1). The control: errors that are a tenth too small."""
    found = estimators.mean(cells.T)
    z = (found.mean - 1) / found.stderr
    assert stats.kstest(z, "norm").pvalue > 0.01
    for level in (0.683, 0.95):
        edge = stats.norm.ppf((1 + level) / 2)
        assert abs(far(abs(z) < edge, level)) < 3
        assert abs(far(abs(z / 0.9) < edge, level)) > 3


@pytest.mark.long
def test_vertex(cells):
    """V, averaged over all ensembles, is the truth. The control: it is not its leading order."""
    found = estimators.variance(cells.T)
    mean, error = found.mean.mean(), found.mean.std(ddof=1) / math.sqrt(CELLS)
    assert abs(mean - VARIANCE) < 4 * error
    assert abs(mean - 5 * (DEPTH - 1) / WIDTH) > 10 * error


@pytest.mark.long
def test_bootstrap_t_of_few_networks(cells):
    """Of ensembles of 100: bootstrap-t intervals hold the truth more often than those of the jackknife."""
    few, rng = cells[:300, :100], np.random.default_rng(0)
    ends = np.array([estimators.variance_interval(cell, 0.95, rng) for cell in few])
    better = (ends[:, 0] < VARIANCE) & (ends[:, 1] > VARIANCE)
    found = estimators.variance(few.T)
    plain = abs(found.mean - VARIANCE) < 1.96 * found.stderr
    assert better.mean() > plain.mean()
    assert far(better, 0.95) > -3
    assert far(plain, 0.95) < -3


def test_bootstrap_t_refuses():
    rng = np.random.default_rng(0)
    for samples, level in (np.ones(2), 0.95), (np.arange(5.0), 1.0):
        with pytest.raises(ValueError, match="samples must be at least 3 and level between 0 and 1"):
            estimators.variance_interval(samples, level, rng)
