"""Every matrix product requests full precision, which accelerators do not use for float32 by default."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eft
import nets
from eft.activations import programs
from eft.flows.regression import _posteriors
from nets.initialization import drawing, ensemble
from nets.paper import pinn

FULL = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def products(jaxpr) -> list:
    """The precision of each matrix product in a program, and in the programs that it calls."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for value in equation.params.values():
            for part in jax.tree.leaves(value, is_leaf=lambda part: hasattr(part, "eqns")):
                part = getattr(part, "jaxpr", part)
                found += products(part) if hasattr(part, "eqns") else []
    return found


@pytest.fixture
def seen(monkeypatch) -> list:
    """The precisions in every program that is compiled for `programs.call`."""
    found, usual = [], jax.jit

    def jit(function, **settings):
        def call(*arrays):
            found.extend(products(jax.make_jaxpr(function)(*arrays).jaxpr))
            return usual(function, **settings)(*arrays)

        return call

    # in that module alone: what others compile meanwhile is theirs
    monkeypatch.setattr(programs, "jax", types.SimpleNamespace(**{**vars(jax), "jit": jit}))
    programs._program.cache_clear()
    yield found
    programs._program.cache_clear()


THEORY = {
    "vertex_flow": lambda: eft.vertex_flow("tanh", np.float32(1.5), 3, X),
    "ntk_gram_flow": lambda: eft.ntk_gram_flow("tanh", np.float32(1.5), 3, X[:2]),
    "dntk_flow": lambda: eft.dntk_flow("tanh", np.float32(1.5), 3, X[:2]),
    "gram_flow": lambda: eft.gram_flow("tanh", np.float32(1.5), 3, X),
    "expand": lambda: eft.expand("gelu", np.float32(1.5), 3, 2),
    "kernel_flow": lambda: eft.kernel_flow("gelu", np.float32(1.5), 3),
    "train_flow": lambda: eft.train_flow("relu", 1.5, 2, X, X[:, 0], X, t=3, learning_rate=0.1, momentum=0.5),
    "linearized_flow": lambda: eft.linearized_flow(X @ X.T, X[:3], X, t=3),
    "linearized_flow of a loss": lambda: eft.linearized_flow(X @ X.T, X[:3], X, t=3, loss=optax.l2_loss),
    "gp_inference": lambda: eft.gp_inference(X @ X.T, X[:2, 0], Theta=X @ X.T),
    "log_marginal_likelihood": lambda: eft.log_marginal_likelihood("relu", 1.5, 2, X, X[:, 0], noise=0.1),
    "finite_width_posterior": lambda: eft.finite_width_posterior(
        "erf", 1.5, 2, X[:1], X[:1, 0], X[:1], width=4, noise=0.1
    ),
    "finite_width_training": lambda: eft.finite_width_training(
        "erf", 1.5, 2, X[:1], X[:1, 0], X[1:2], t=1.0, width=4
    ),
}


@pytest.mark.sweep("vertex_flow", "gram_flow", "expand", "gp_inference")
@pytest.mark.parametrize("name", THEORY)
def test_the_flows(name, seen):
    with jax.enable_x64(False):
        THEORY[name]()
    assert seen and set(seen) == {FULL}


def test_regression():
    a = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    seen = products(
        jax.make_jaxpr(_posteriors)(a, a, a, a, jnp.ones(4, jnp.float32), a, jnp.float32(0.1)).jaxpr
    )
    assert seen and set(seen) == {FULL}


def test_networks_in_training(seen):
    run = {"steps": 2, "progress": False, "optimizer": optax.sgd(0.1)}
    nets.train("tanh", 1.0, 3, 8, 4, (X, X[:, 0]), **run)
    pinn.train(
        "tanh", 1.0, 2, hidden=1, width=4, interior=20, boundary=8, grid=(5, 3), steps=2, progress=False
    )
    assert seen and set(seen) == {FULL}


def test_the_tangent_kernel(seen):
    params = [X[:3].T, X.T @ X]

    def f(params, x):
        return jnp.tanh(x @ params[0]) @ params[1]

    for method in ("structured", "jacobian", "products"):
        nets.empirical_ntk(f, params, X, method=method)
    nets.ntk_vector_product(f, params, X, X)
    nets.empirical_nngp(f, params, X)
    assert seen and set(seen) == {FULL}


def test_networks_that_are_measured():
    program = ensemble.prepare("tanh", 1.0, 3, 8, 8).program
    traced = jax.make_jaxpr(functools.partial(drawing._run, program, 1))(*drawing._shapes(program))
    seen = products(traced.jaxpr)
    assert seen and set(seen) == {FULL}


@pytest.mark.sweep
def test_other_precisions_are_detected(seen, monkeypatch):
    """The control: the same programs, without `precise`."""
    monkeypatch.setattr(programs, "precise", lambda body: body)
    with jax.enable_x64(False):
        THEORY["vertex_flow"]()
    assert None in seen
