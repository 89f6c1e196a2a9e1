"""Tables fit the terminal: nothing is cut, and no line is longer, in any command."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.cells import cell_len
from rich.text import Text

from nets.cli import tables
from nets.cli.show import terminal
from nets.cli.tables import Table, markdown, print_table

WIDTH = 80
MODEL = """
import jax.numpy as jnp
import numpy as np

def make():
    rng = np.random.default_rng(0)
    params = {
        f"a block of the network with a long name/{i}": jnp.asarray(rng.normal(size=(32, 32)), "float32") / 3
        for i in range(3)
    }

    def f(params, x):
        z = x
        for name in sorted(params):
            z = jnp.tanh(z) @ params[name]
        return z

    return f, params, jnp.asarray(rng.normal(size=(4, 32)), "float32")
"""
QUICK = ["--depth", "4", "--width", "16", "--nets", "40", "--method", "metric"]
FEW = ["--depth", "3", "--width", "8", "--nets", "4", "--steps", "4", "--samples", "6"]
SGD = ["--optimizer", "sgd", "--parametrization", "ntk", "--learning-rate", "0.2"]
COMMANDS = {
    "flow": ["--act", "gelu", "--cw", "1.98", "--cb", "0.17", "--width", "100"],
    "flow of three": ["--act", "tanh", "mrepu:p=2", "soft_shrink", "--cw", "1", "0.9", "2", "--width", "100"],
    "flow of long depth": ["--act", "repu:p=2", "--cw", "2", "--depth", "60"],
    "classify": ["--act", "gelu"],
    "classify three": ["--act", "tanh", "mrepu:p=2", "leaky_relu:slope=0.1"],
    "classify five": ["--act", "tanh", "gelu", "mish", "soft_shrink", "leaky_relu:slope=0.1"],
    "compare": QUICK,
    "compare two": ["--act", "tanh", "relu", "--cw", "1", "2", *QUICK],
    "compare widths": [*QUICK[:2], *QUICK[4:], "--order", "2", "--widths", "8", "16"],
    "compare exploding": ["--act", "repu:p=3", "--cw", "2", "--depth", "9", *QUICK[2:]],
    "recipe": ["--act", "gelu", "--width", "128", "--depth", "20"],
    "phase": ["--points", "5", "--out", "p.png"],
    "train": FEW,
    "train with theory": [*FEW, "--theory", *SGD],
    "diagnose": ["model.py:make", "--recipe"],
}


@pytest.mark.sweep(*(name for name in COMMANDS if name not in ("train with theory", "compare two", "train")))
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_fits_80_columns(run, name, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    status, out, err = run(name.split()[0], *COMMANDS[name])
    assert status == 0, err
    assert "…" not in out and len(out.splitlines()) >= 3
    assert max(map(cell_len, out.splitlines())) <= WIDTH


def test_a_table_that_is_not_folded_would_not_fit(run, monkeypatch):
    """The control: the same table where the terminal is wide."""
    args = ("flow", *COMMANDS["flow of three"])
    monkeypatch.setenv("COLUMNS", "300")
    wide = run(*args)[1]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run(*args)[1]
    assert max(map(cell_len, wide.splitlines())) > WIDTH
    assert len(narrow.splitlines()) > len(wide.splitlines())
    numbers = {word for word in wide.split() if re.fullmatch(r"-?[\d.e+-]+", word)}
    assert len(numbers) > 50 and numbers == {
        word for word in narrow.split() if re.fullmatch(r"-?[\d.e+-]+", word)
    }


def test_in_a_terminal_of_80_columns():
    """A real one: a pseudo-terminal."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "nets.cli", "classify", "--act", "gelu", "--no-cache"]
    child = subprocess.Popen(
        command, stdin=inside, stdout=inside, stderr=subprocess.DEVNULL,
        env={**kept, "TERM": "xterm", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    os.close(inside)
    seen = b""
    try:
        while chunk := os.read(outside, 4096):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(outside)
    assert child.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "initialize with C_W = 1.98306" in text and "…" not in text
    assert max(map(cell_len, text.splitlines())) <= WIDTH


def shown(capsys, table, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(terminal(), table)
    return capsys.readouterr().out.splitlines()


TABLE = Table(
    "a title",
    ("l", "a", "b", "words"),
    [("1", "1.5", "2.25", "one two three four five six"), ("10", "-1", Text("3"), "χ⊥ ⟨σ²⟩")],
    words=frozenset({3}),
)


def test_as_wide_as_its_content(capsys, monkeypatch):
    assert shown(capsys, TABLE, 80, monkeypatch) == [
        "a title",
        " l    a     b  words",
        "─" * 42,
        " 1  1.5  2.25  one two three four five six",
        "10   -1     3  χ⊥ ⟨σ²⟩",
    ]


def test_words_wrap_before_columns_fold(capsys, monkeypatch):
    lines = shown(capsys, TABLE, 40, monkeypatch)
    assert lines[3:5] == [" 1  1.5  2.25  one two three four five", " " * 15 + "six"]


def test_keys_are_repeated_where_it_folds(capsys, monkeypatch):
    lines = shown(capsys, TABLE, 30, monkeypatch)
    assert lines[1:5] == [" l    a     b", "─" * 13, " 1  1.5  2.25", "10   -1     3"]
    assert lines[5] == "" and lines[6] == " l  words"


def test_folds_at_its_breaks(monkeypatch):
    """And elsewhere only where what is between two breaks is too wide."""
    table = Table("", tuple("labcde"), [("10000",) * 6], breaks=(3,))
    assert [list(part) for part in tables.parts(table, 40)] == [[0, 1, 2, 3, 4, 5]]
    assert [list(part) for part in tables.parts(table, 34)] == [[0, 1, 2], [0, 3, 4, 5]]
    assert [list(part) for part in tables.parts(table, 20)] == [[0, 1, 2], [0, 3, 4], [0, 5]]


def test_numbers_are_whole_even_where_nothing_fits(capsys, monkeypatch):
    lines = shown(capsys, TABLE, 4, monkeypatch)
    assert " 1  2.25" in lines and "10   1.5" not in lines


def test_markdown():
    assert markdown(TABLE).splitlines() == [
        "**a title**",
        "",
        "| l | a | b | words |",
        "| --: | --: | --: | :-- |",
        "| 1 | 1.5 | 2.25 | one two three four five six |",
        "| 10 | -1 | 3 | χ⊥ ⟨σ²⟩ |",
    ]
