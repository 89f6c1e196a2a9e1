"""Functions of users, by the path of their file or of their module."""

import sys

import pytest

QUICK = ["--depth", "4", "--width", "16", "--nets", "40", "--method", "metric"]
MINE = "import jax.numpy as jnp\nimport beside_it\ndef half(z):\n    return jnp.tanh(z / beside_it.TWO)\n"


def test_classify_a_function_by_its_import_path(run, tmp_path, monkeypatch):
    (tmp_path / "mine_to_import.py").write_text(
        "import jax.numpy as jnp\ndef half(z):\n    return jnp.tanh(z / 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("classify", "--act", "mine_to_import:half")
    assert status == 0 and "stable" in out and "C_W = 4," in out  # C_W = 1/σ′(0)²
    status, _, err = run("classify", "--act", "mine_to_import:other")
    assert status == 2 and "other" in err and "Traceback" not in err
    status, _, err = run("classify", "--act", "__import__('os').system('true')")
    assert status == 2 and "unknown activation" in err


@pytest.mark.parametrize("command", ["classify", "flow", "compare", "train", "phase"])
def test_every_command_takes_a_function_of_a_file(run, tmp_path, monkeypatch, command):
    """By the path of its file, from elsewhere; the file may import what lies beside it."""
    (tmp_path / "an act.py").write_text(MINE)
    (tmp_path / "beside_it.py").write_text("TWO = 2\n")
    few = {
        "compare": QUICK,
        "train": ["--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4"],
        "phase": ["--points", "3", "--out", str(tmp_path / "p.png")],
    }
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, out, err = run(command, "--act", "../an act.py:half", *few.get(command, []))
    assert status == 0, err
    assert command == "phase" or "half" in out
    monkeypatch.delitem(sys.modules, "beside_it")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("./none.py:f", "FileNotFoundError"),
        ("./f.py:none", "has no attribute 'none'"),
        ("./f:g", "act must be a name, module:name or file.py:name"),
        ("./broken.py:f", "SyntaxError"),
        ("./raises.py:f", "ZeroDivisionError: division by zero"),
        ("./leaves.py:f", "SystemExit: 0"),
        ("./f.py:x", "act must be"),
        ("no.such.module:f", "No module named"),
    ],
)
def test_functions_that_cannot_be_had(run, tmp_path, monkeypatch, act, words):
    monkeypatch.chdir(tmp_path)
    contents = {"f": "x = 3", "broken": "def", "raises": "1 / 0", "leaves": "raise SystemExit(0)"}
    for name, content in contents.items():
        (tmp_path / f"{name}.py").write_text(content)
    path = list(sys.path)
    status, _, err = run("flow", "--act", act)
    assert status == 2 and words in err and err.count("\n") == 1 and "Traceback" not in err
    assert sys.path == path


def test_no_activation_at_all(run):
    """Of `eft flow`; `eft classify` takes the catalogue, and `eft compare` tanh."""
    status, _, err = run("flow", "--act")
    assert status == 2 and "act must be one activation or several; got none" in err
    status, out, _ = run("compare", "--act", *QUICK)
    assert status == 0 and out.startswith("tanh:")


def test_x2_and_K1_in_either_case(run):
    outs = [run("flow", "--depth", "3", name, "0.5")[1] for name in ("--K1", "--k1", "--x2", "--X2")]
    assert outs[0] == outs[1] != outs[2] == outs[3]
