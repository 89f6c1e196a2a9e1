"""`eft diagnose`."""

import csv
import json

import jax
import pytest

MODEL = """
import jax.numpy as jnp
import numpy as np

def make(scale=0.3):
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=(64, 64)) * scale, "float32") for _ in range(6)]

    def f(params, x):
        z = x @ params[0]
        for w in params[1:]:
            z = jnp.tanh(z) @ w
        return z

    return f, params, jnp.asarray(rng.normal(size=(4, 64)), "float32")

def sound():
    return make(0.125)

def two():
    return make()[:2]

def broken():
    raise RuntimeError("no data")

number = 3
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return str(path)


def test_report_and_files(run, model, tmp_path):
    status, out, _ = run("diagnose", f"{model}:make", "--probes", "4", "--out", str(tmp_path / "found"))
    assert status == 0 and "chaotic:" in out and "tanh" in out
    found = json.loads((tmp_path / "found" / "diagnosis_model.py-make.json").read_text())
    assert found["verdicts"][0]["kind"] == "chaotic" and len(found["layers"]) == 6
    assert found["layers"][1]["cw"] == pytest.approx(64 * 0.09, rel=0.1)
    rows = list(csv.DictReader((tmp_path / "found" / "diagnosis_model.py-make.csv").read_text().splitlines()))
    assert len(rows) == 6 and float(rows[2]["theory_K"]) > 0
    assert (tmp_path / "found" / "diagnosis_model.py-make.png").read_bytes().startswith(b"\x89PNG")
    assert jax.config.jax_enable_x64


@pytest.mark.parametrize(("name", "words"), [("sound", "no recipe: nothing needs"), ("make", "C_W = 1, ")])
def test_a_recipe_where_one_helps(run, model, name, words):
    status, out, _ = run("diagnose", f"{model}:{name}", "--probes", "4", "--recipe")
    assert status == 0 and words in " ".join(out.split()), out


@pytest.mark.parametrize(
    "name, words",
    [
        ("two", "(f, params, x)"),
        ("broken", "no data"),
        ("number", "must name a function"),
        ("none", "imported"),
    ],
)
def test_bad_models(run, model, name, words):
    status, _, err = run("diagnose", f"{model}:{name}")
    assert status == 2 and words in err


def test_a_name_without_a_function(run, model):
    status, _, err = run("diagnose", model)
    assert status == 2 and "module:name" in err
