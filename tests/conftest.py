"""Every test runs in float64 unless it asks for float32, JAX promotes nothing, no figure opens a window."""

import ctypes
import gc
import os
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


LIBRARY = ctypes.CDLL(None) if os.name == "posix" else None

MAPPINGS = Path("/proc/self/maps")
MANY = 6_000
"""Pieces of memory that a process may map before compiled programs are let go. Linux allows 65,530."""


@pytest.fixture(scope="module", autouse=True)
def memory_let_go():
    """After each module return what was freed to the system, and drop compiled programs if they are many."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
    gc.collect()
    if hasattr(LIBRARY, "malloc_trim"):  # glibc keeps it otherwise, a gigabyte in a few modules
        LIBRARY.malloc_trim(0)
