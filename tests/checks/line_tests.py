"""A plugin of pytest, for `tests/mutants.py`: which tests execute a line, and in which order tests run.

    python -m pytest -p line_tests --record FILE tests/eft/flows

writes the processor time of each test, and the tests that execute each line of `eft`, or "import" for a line
that runs only while modules are imported: `{"seconds": {test: …}, "tests": {path: {line: [test, …]}}}`.
A jitted function runs its lines only when it is traced: what was traced and computed is forgotten before each
test, but not between its cases.

    python -m pytest -p line_tests --first FILE --limit SECONDS tests/eft/flows

runs the tests that are listed in the file, `{test: seconds}` as JSON, before all others and in its order. The
process is stopped by SIGPROF in one of them that takes `SLOWER` times its seconds and `GRACE` more, and by
SIGXCPU when the limit has passed, all of them of processor time.
"""

import functools
import gc
import json
import resource
import signal
import time
from pathlib import Path

import jax
import pytest

IMPORT = "import"
SLOWER, GRACE = 10, 20


def pytest_addoption(parser):
    parser.addoption("--record", metavar="FILE", help="write which tests execute each line of eft")
    parser.addoption("--first", metavar="FILE", help="tests that run first, and their seconds")
    parser.addoption("--limit", metavar="SECONDS", type=int, help="of each process")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """Before anything of `eft` is imported."""
    options = early_config.known_args_namespace
    if options.limit:
        resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit + 5))
    if options.record:
        early_config.pluginmanager.register(Recorder(Path(options.record)))
    if options.first:
        early_config.pluginmanager.register(Order(json.loads(Path(options.first).read_text())))


class Order:
    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds
        self.rank = {test: place for place, test in enumerate(seconds)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.rank.get(item.nodeid, len(self.rank)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if item.nodeid in self.seconds:
            signal.setitimer(signal.ITIMER_PROF, SLOWER * self.seconds[item.nodeid] + GRACE)
        result = yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        return result


def forget() -> None:
    """Empty the caches of JAX and of `eft`."""
    jax.clear_caches()
    for cached in gc.get_objects():
        if isinstance(cached, functools._lru_cache_wrapper) and str(cached.__module__).startswith("eft"):
            cached.cache_clear()


class Recorder:
    def __init__(self, file: Path):
        from coverage import Coverage

        self.file, self.seconds, self.function = file, {}, None
        self.coverage = Coverage(data_file=None, source=["eft"], config_file=False)
        self.coverage.start()
        self.coverage.switch_context(IMPORT)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if item.function is not self.function:
            forget()
        self.function = item.function
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = round(time.process_time() - start, 3)
        self.coverage.switch_context(IMPORT)
        return result

    def pytest_sessionfinish(self):
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {
            str(Path(file).relative_to(Path.cwd())): {
                line: sorted(set(tests) - {IMPORT}) or [IMPORT]
                for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        self.file.write_text(json.dumps({"seconds": self.seconds, "tests": lines}))
