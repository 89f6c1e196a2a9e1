"""docs/command.md: what it shows of each command is what the command prints in 80 columns."""

import re
import shlex

import pytest
from guides import DOCS, differences
from rich.cells import cell_len

GUIDE = (DOCS / "command.md").read_text()
BLOCKS = [
    (command, shown) for command, shown in re.findall(r"```console\n\$ eft (.*)\n((?:.*\n)*?)```", GUIDE)
]
MODEL = re.search(r"```python\n((?:.*\n)*?)```", GUIDE)
TIMED = re.compile(r"^([\d,]+ networks in|[\d,]+ steps in|written: ).*$", re.MULTILINE)
RTOL = 2e-3
"""Networks are drawn and trained in float32, whose last digits differ between processors."""


def settled(text: str) -> str:
    """Without what differs from one run to the next: the time, and where files are."""
    return TIMED.sub(r"\1", text)


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_the_guide_shows_what_is_printed(run, command, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    assert MODEL is not None
    (tmp_path / "model.py").write_text(MODEL[1])
    status, out, err = run(*shlex.split(command))
    assert status == 0, err
    assert not differences(settled(shown), settled(out), RTOL)
    if "csv" not in command:
        assert max(map(cell_len, shown.splitlines())) <= 80


def test_every_command_is_in_the_guide(run):
    commands = set(re.findall(r"•\s(\w+)", run("--help")[1]))
    assert len(commands) >= 7 and commands <= {command.split()[0] for command, _ in BLOCKS}


def test_another_table_would_be_noticed():
    """The control: one digit of one number, and one row less."""
    shown = BLOCKS[0][1]
    assert differences(shown, shown.replace("2.1587", "2.1787"), RTOL)
    assert differences(shown, "\n".join(shown.splitlines()[:-1]), RTOL)
