"""Every test runs in float64 unless it asks for float32, JAX promotes nothing, no figure opens a window.

Compiled programs are kept between runs, and shared by the workers and by the processes that tests start, in
`$XDG_CACHE_HOME/eft-tests`, by default `~/.cache/eft-tests`. The variable JAX_COMPILATION_CACHE_DIR names
another folder; JAX_ENABLE_COMPILATION_CACHE=false turns this off.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import matplotlib
import pytest
from annotations import check_annotations

check_annotations()
from nets.runtime.program_cache import keep_programs, user_folder  # noqa: E402

KILLING = ("test_processes.py", "test_training.py")
"""Tests that kill processes."""

keep_programs(user_folder("eft-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.03)  # what is made as fast as it is read
jax.config.update("jax_enable_x64", True)
matplotlib.use("Agg")


def pytest_collection_finish():
    """Garbage is seldom looked for, which would take a tenth of the time: not among what is there before the
    first test and stays, and everywhere only where programs are dropped."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 100)


def pytest_configure(config):
    # Of a process that was killed while it wrote: the program is compiled again.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")


def promote(dtypes: str, ranks: str) -> None:
    jax.config.update("jax_numpy_dtype_promotion", dtypes)
    jax.config.update("jax_numpy_rank_promotion", ranks)


promote("strict", "raise")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.long)
        sweep = item.get_closest_marker("sweep")
        if sweep and case_of(item) not in sweep.args:
            item.add_marker(pytest.mark.more)
    for function, unknown in unknown_cases(items).items():
        raise pytest.UsageError(f"{function} has no cases {sorted(unknown)}")


def case_of(item) -> str:
    """What pytest writes in brackets behind the name of a test."""
    return item.name.removeprefix(item.originalname)[1:-1]


def unknown_cases(items) -> dict[str, set[str]]:
    """Cases that `sweep` names and that its test does not have, of tests that are collected whole."""
    there: dict[str, set[str]] = {}
    wanted: dict[str, set[str]] = {}
    for item in items:
        sweep = item.get_closest_marker("sweep")
        if sweep and sweep.args:
            function = item.nodeid.split("[")[0]
            there.setdefault(function, set()).add(case_of(item))
            wanted[function] = set(sweep.args)
    return {
        function: cases - there[function]
        for function, cases in wanted.items()
        if cases - there[function] and len(there[function]) > 1
    }


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


@pytest.fixture(autouse=True)
def whole_programs(request, monkeypatch):
    """Processes that are killed do not write to the cache, where a part of a program would remain."""
    if request.path.name in KILLING:
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")


COMPILED = [0]


@jax.monitoring.register_event_duration_secs_listener
def count(event: str, seconds: float, **_: object) -> None:
    COMPILED[0] += event == "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations() -> Callable[[Callable[[], object]], int]:
    """call ↦ how many programs it compiles, counting those that are read from the cache of earlier runs."""

    def of(call: Callable[[], object]) -> int:
        before = COMPILED[0]
        call()
        return COMPILED[0] - before

    return of


LIBRARY = ctypes.CDLL(None) if os.name == "posix" else None
SELF = Path("/proc/self")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

MANY = 20_000
"""Pieces of memory that a process may map before compiled programs are dropped. Linux allows 65,530."""
LARGE, ROOM = 3 * 2**29, 2**28
"""Bytes of memory in use above which freed memory is returned and, if that is not enough, compiled programs
are dropped; how much more than what remains before that is done again: it takes a second, and programs are
then made anew. A test takes up to 0.4 GiB more."""
LIMIT = [LARGE]


def resident() -> int:
    """Bytes of memory in use, 0 where the system does not say."""
    usage = SELF / "statm"
    return PAGE * int(usage.read_text().split()[1]) if usage.exists() else 0


def trim() -> None:
    """Return to the system what was freed, which glibc would keep: a tenth of the process, or more."""
    if hasattr(LIBRARY, "malloc_trim"):
        LIBRARY.malloc_trim(0)


def drop_programs() -> None:
    jax.clear_caches()
    gc.collect()
    trim()


@pytest.fixture(autouse=True)
def bounded_memory():
    """After a test that leaves a large process, drop compiled programs, and return freed memory."""
    yield
    if resident() > LIMIT[0]:
        trim()
    if resident() > LIMIT[0]:
        drop_programs()
        LIMIT[0] = max(LARGE, resident() + ROOM)


@pytest.fixture(scope="module", autouse=True)
def bounded_mappings():
    """After each module, drop compiled programs if they occupy many pieces of memory."""
    yield
    maps = SELF / "maps"
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY:
        drop_programs()
    if "mpmath" in sys.modules:  # it keeps the nodes of every interval that it has integrated over: 100 MB
        mpmath = sys.modules["mpmath"].mp
        for rule in (mpmath._tanh_sinh, mpmath._gauss_legendre):
            rule.transformed_cache.clear()
