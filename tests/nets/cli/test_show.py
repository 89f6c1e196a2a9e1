"""What is shown: numbers with their errors, text with brackets as it is, whole files."""

import os

import jax.numpy as jnp
import pytest

import eft
from nets.cli.show import terminal, with_error
from nets.cli.tables import Table, print_table
from nets.files import output
from nets.runtime.progress import progress_bar
from nets.statistics.estimators import Estimate


@pytest.mark.parametrize(
    ("mean", "stderr", "text"),
    [
        (0.39412, 0.00123, "0.3941 ± 0.0012"),
        (208.3, 13.2, "208 ± 13"),
        (4.55e-5, 0.25e-5, "(4.55 ± 0.25)e-05"),
        (1.0, 0.0, "1 ± 0"),
        (0.394294490398, 2.5e-15, "0.39429449 ± 2e-15"),
        (0.394294490398, 4.2e-10, "0.39429449040 ± 0.00000000042"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (float("nan"), float("inf"), "–"),
        (2.0, float("inf"), "2 ± inf"),
        (1.5e300, 1e299, "(1.50 ± 0.10)e+300"),
    ],
)
def test_numbers_with_their_errors(mean, stderr, text):
    assert with_error(Estimate(mean, stderr)) == text


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    output.write(path, "old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        output.write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["[", "[/]", "run[bold]", "[red]x[/red]", "a:smile:b", "[/bold]"])
def test_brackets_in_paths_are_brackets(run, tmp_path, name):
    """In what is written, what is kept and what is wrong with it."""
    folder = tmp_path / name
    few = ["--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4"]
    given = ["--checkpoint", str(folder / "kept"), "--out", str(folder / "out.csv")]
    status, out, err = run("train", *few, *given)
    assert status == 0, err
    assert f"written: {folder / 'out.csv'}" in out
    newest = max((folder / "kept").glob("step-*"))
    newest.write_bytes(b"damaged")
    assert run("train", *few, *given)[0] == 0
    status, _, err = run("train", *few, *given, "--seed", "1")
    assert status == 2 and str(folder / "kept") in err
    status, _, err = run("flow", "--out", str(folder / "out.xyz"))
    assert status == 2 and str(folder / "out.xyz") in err


def test_brackets_in_names_and_notes_are_brackets(capsys):
    """On a progress bar and in a table."""
    with progress_bar(True, "steps/s", "{task.fields[note]}") as bar:
        bar.console.print("step-1.npz in [/] is damaged")
        bar.add_task("[/]", total=1, completed=1, speed=1.0, note="[/bold]")
    assert "in [/] is damaged" in capsys.readouterr().err
    act = eft.Activation(jnp.tanh, name="f[/]")
    console = terminal()
    print_table(console, Table(act.name, [act.name], [[act.name]]))
    assert capsys.readouterr().out.count("f[/]") == 3
