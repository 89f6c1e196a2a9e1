"""docs/training.md shows what its examples print."""

import contextlib
import io
import re

import jax
import pytest
from guides import DOCS

BLOCKS = re.findall(
    r"^```python\n(.*?)^```\n+(?:^```text\n(.*?)^```\n)?",
    (DOCS / "training.md").read_text(),
    flags=re.MULTILINE | re.DOTALL,
)


@pytest.mark.long
@pytest.mark.promotes
def test_the_output_is_that_of_the_code():
    names: dict[str, object] = {"jax": jax}
    assert len(BLOCKS) == 5
    for code, output in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == output
