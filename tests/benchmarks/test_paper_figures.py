"""The figures of the paper's experiments, from made-up results: nothing is cut or covered, no two series look
alike without their colours."""

import argparse
import importlib

import numpy as np
import pytest
from pictures import complaints

import nets
from eft import kernel_flow
from nets.paper import pinn
from nets.paper.targets import FUNCTIONS, POLYNOMIALS
from nets.statistics.estimators import Estimate

rng = np.random.default_rng(0)
DEPTH = 11
LAYERS = np.arange(1, DEPTH + 1)


def regression(known, *names):
    """Cells of 25 networks with every fate: all overflowed, some, some larger than the axis, none."""
    drawn = {}
    for name in names:
        target = known[name]
        cells, m = {}, 41**target.n0 if target.n0 < 2 else 30
        x = np.linspace(-target.side, target.side, m)[:, None].repeat(target.n0, 1)
        for i, label in enumerate(("MRePU 2", "MRePU 3", "ReLU", "GELU", "tanh")):
            for kind in ("fan_out", "below", "fan_in"):
                if kind == "below" and i > 1:
                    continue
                steps = np.linspace(0, 10_000, 11).astype(int)
                loss = np.exp(rng.normal(-3 - i - steps[:, None] / 2000, 1.5, (11, 25)))
                if i < 2 and kind != "below":
                    lost = 25 if kind == "fan_in" else 9 * (i + 1)
                    loss[2:, :lost] = np.inf
                    loss[2:, lost : lost + 3] = 1e24
                bad = ~np.isfinite(loss[-1])
                cells[label, kind] = {
                    "steps": steps, "loss": loss, "final": loss[-1], "error": np.where(bad, np.inf, loss[-1]),
                    "slope error": np.where(bad, np.inf, np.sqrt(loss[-1])), "variance": np.var(target.fn(x)),
                    "x": x, "u": target.fn(x) + rng.normal(0, 0.2, (25, m)),
                    "slope": target.gradient(x) + rng.normal(0, 0.5, (25, m, target.n0)),
                }  # fmt: skip
        drawn[name] = cells
    return drawn


def estimate(*shape, at=1.0):
    mean = at * np.exp(rng.normal(0, 0.1, shape))
    return Estimate(mean, 0.1 * mean)


def r01():
    grid = [(p, share) for p in (2, 3) for share in (0.8, 1.0, 1.25)]
    trend = {c: np.sign(c[1] - 0.99) * 2.0**LAYERS for c in grid}
    networks = {
        c: {"mean": t, "sd": 0.4 * 2.0**LAYERS, "log_K": t + 0.4 * 2.0**LAYERS * rng.normal(size=(9, DEPTH))}
        for c, t in trend.items()
    }
    inputs = {
        c: {"log_K": t[:, None] + rng.normal(size=(3, DEPTH, 5)), "theory": t + np.array([[-9], [0], [99.0]])}
        for c, t in trend.items()
    }
    args = {"p": [2, 3], "share": [0.8, 1.0, 1.25], "width": 512, "hidden": 10, "nets": 1000, "inputs": 1000}
    return args, {"networks": networks, "inputs": inputs}


def r02():
    y = np.sort(rng.uniform(-1, 1, 500))
    cell = {"steps": np.linspace(0, 1000, 5).astype(int), "mean": y, "left": 97}
    cells = {
        (p, hidden): cell
        | {"log K": np.outer([1.4, 1.0, 0.9], rng.normal(-2, 1, 5)), "spread": rng.exponential(0.3, 500)}
        for p in (2, 3)
        for hidden in (1, 3, 5)
    }
    args = {"p": [2, 3], "hidden": [1, 3, 5], "nets": 100, "width": 512, "samples": 100, "steps": 1000}
    return args, {"y_test": y, "cells": cells}


def r03():
    K = np.geomspace(1e-8, 1e2, 41)
    return {}, {"K": K, "curves": {f"MRePU, p = {p}": (1 + K**p, 1 + K**p / 2) for p in (2, 3)}}


def r04():
    cells = [(K1, cw) for K1 in (1e-3, -1.0) for cw in (0.8, 1.0)]
    curve = {c: abs(c[0]) * c[1] ** LAYERS * (10.0**LAYERS**2 if c[0] < 0 else 1) for c in cells}
    networks = {
        c: {"leading": k, "three": np.where(k < 1e20, 1.05 * k, np.nan), "mean": 1.05 * k, "error": 0.02 * k}
        for c, k in curve.items()
    }
    inputs = {
        c: {"log_K": np.log(k)[None, :, None], "theory": np.log(k) + np.array([[-1], [0], [0.5]])}
        for c, k in curve.items()
    }
    args = {"act": "mrepu:p=2", "cw": [0.8, 1.0], "K1": [1e-3, -1.0], "width": 512, "hidden": 10}
    return args | {"nets": 1000, "inputs": 1000}, {"networks": networks, "inputs": inputs}


def r05():
    widths = [32, 64, 128, 256, 512]
    args = {"act": "mrepu:p=2", "cw": [0.8, 0.9, 1.0], "K1": 1e-3, "widths": widths, "hidden": 10}
    drawn = {}
    for cw, n in [(cw, 512) for cw in args["cw"]] + [(1.0, n) for n in widths]:
        V = 1e-6 * (LAYERS - 1) * cw ** (3 * LAYERS)
        seen = V * (1 + 6 / n * LAYERS)
        drawn[cw, n] = {"leading": V, "three": seen, "networks": Estimate(seen, 0.05 * seen)}
    return args | {"nets": 1000}, drawn


def r06():
    steps, shape = np.array([0, 250, 500, 750, 1000]), (5, 6, 16)
    run = nets.TrainingRun(
        steps=steps, loss=np.exp(rng.normal(-steps[:, None] / 200, 1, (5, 20))), alive=np.ones((5, 20), bool),
        n_overflowed=np.zeros(5, int), K=estimate(*shape, at=1e-3), G=estimate(*shape),
        V=estimate(*shape, at=10.0 ** np.arange(6)[:, None]), chi_parallel=estimate(*shape),
        chi_perp=estimate(*shape), K_inputs=np.ones((5, 6, 20)), outputs=estimate(5, 500, 1),
        outputs_variance=estimate(5, 500, 1, at=0.01), widths=np.array([2, *[512] * 5, 1]), parameters={},
        seconds=1.0,
    )  # fmt: skip
    flow = kernel_flow("mrepu", 0.9, 6, x2=np.linspace(0.1, 1, 16), K1=1e-3 * np.linspace(0.1, 1, 16))
    args = {"act": "mrepu:p=2", "cw": 0.9, "K1": 1e-3, "nets": 20, "width": 512}
    return args, {"run": run, "flow": flow, "y_test": np.sort(rng.uniform(-1, 1, 500))}


def r07():
    curves = {
        name: [(p, 10.0 ** (i * p - 16), 10.0 ** (i + p)) for p in range(2, 7)]
        for i, name in enumerate(("Chebyshev points", "one-sided", "shifts"))
    }
    return {}, {"curves": curves, "count": 200}


def r08():
    degrees = np.array([2, 4, 8, 16, 32, 64])
    found = {
        name: {"degrees": degrees, "network": e, "interpolant": e, "interpolant, slope": 10 * e}
        for name, e in (
            ("exp(sin 2x)", np.exp(-1.0 * degrees)),
            ("|x|³", degrees**-3.0),
            ("|x|", 1 / degrees),
        )
    }
    return {}, found


def r11():
    x, t, steps = np.linspace(-1, 1, 33), np.linspace(0, 1, 101), np.linspace(0, 10_000, 11).astype(int)
    runs = {}
    for i, label in enumerate(("MRePU 2", "MRePU 3", "ReLU", "GELU", "tanh")):
        error = np.exp(rng.normal(-0.2 * (i + 1) * steps[:, None] / 1e4, 0.3, (11, 5)))
        error[-1] = [0.3, 0.4, 0.5, 2.0, 0.8] if i else 1.5
        alive = np.ones((11, 5), bool)
        alive[4:, 3] = False
        fields = -np.sin(np.pi * x[:, None]) * (1 - t / 2) + 0.1 * rng.normal(size=(5, 33, 101))
        runs[label] = pinn.PinnRun(steps, error, error, error, error, alive, fields, x, t, {}, 1.0)
    return {"nets": 5, "steps": 10_000, "activations": list(runs)}, runs


CASES = {
    "r01_repu_initialization": r01,
    "r02_repu_training": r02,
    "r03_mrepu_susceptibility": r03,
    "r04_mrepu_initialization": r04,
    "r05_mrepu_vertex": r05,
    "r06_mrepu_training": r06,
    "r07_lemma7": r07,
    "r08_theorem8": r08,
    "r09_polynomial_regression": lambda: ({"nets": 25}, regression(POLYNOMIALS, "quintic", "xyz")),
    "r10_function_regression": lambda: ({"nets": 25}, regression(FUNCTIONS, "square", "disc")),
    "r11_burgers": r11,
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_cut_or_covered_and_no_two_series_look_alike(name):
    args, drawn = CASES[name]()
    pictures = importlib.import_module(name).pictures(argparse.Namespace(**args), drawn)
    found = {suffix: wrong for suffix, picture in pictures.items() if (wrong := complaints(picture))}
    assert pictures and not found
