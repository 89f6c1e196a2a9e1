"""Every test runs in float64 unless it asks for float32, and no figure opens a window."""

import gc
from pathlib import Path

import jax
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")

MAPPINGS = Path("/proc/self/maps")
MANY = 20_000
"""Pieces of memory that a process may map before compiled programs are let go; Linux allows 65,530."""


@pytest.fixture(scope="module", autouse=True)
def programs_let_go():
    """Compiled programs map pieces of memory; those of all tests are more than a process may hold."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
        gc.collect()
