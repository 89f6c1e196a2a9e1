"""Every test runs in float64 unless it asks for float32, JAX promotes nothing, no figure opens a window."""

import gc
from pathlib import Path

import jax
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")


def promote(dtypes: str, ranks: str) -> None:
    jax.config.update("jax_numpy_dtype_promotion", dtypes)
    jax.config.update("jax_numpy_rank_promotion", ranks)


promote("strict", "raise")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def promotion(request):
    """For tests marked `promotes` JAX promotes types and ranks, as it does for its users by default.

    In all threads, so that no context manager will do.
    """
    if request.node.get_closest_marker("promotes"):
        promote("standard", "allow")
        yield
        promote("strict", "raise")
    else:
        yield


MAPPINGS = Path("/proc/self/maps")
MANY = 6_000
"""Pieces of memory that a process may map before compiled programs are let go. Linux allows 65,530."""


@pytest.fixture(scope="module", autouse=True)
def programs_let_go():
    """Compiled programs map pieces of memory; those of all tests are more than a process may hold."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
        gc.collect()
