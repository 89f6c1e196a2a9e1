"""Derivatives of ⟨σ₁σ₂⟩ by the kernel agree with those of closed forms and with differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.activations.families import Homogeneous
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.kernel_derivatives import pair_derivatives

POINTS = [(1.0, 1.2, 0.3), (2.0, 0.5, 1.4), (0.1, 0.2, 1e-3)]  # √K₁₁, √K₂₂, 1 − ρ


@functools.cache
def compiled(name):
    act = eft.activation(name)
    return act, jax.jit(functools.partial(pair_derivatives, act))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sin"])
@pytest.mark.parametrize("point", POINTS)
def test_derivatives_of_closed_forms(name, point):
    """In both coordinates. The control: without the δ functions of a kink, ReLU's f_ρρ is 0."""
    act, found = compiled(name)

    def polar(y):
        a, b, rho = y
        kernel = a * a, b * b, a * b * rho
        return closed_forms(act).pair(kernel, *jax.lax.stop_gradient((a, b, a - b, 1 - rho, 1 + rho))).product

    def of_kernel(K):
        a, b = jnp.sqrt(K[0]), jnp.sqrt(K[1])
        return polar(jnp.stack([a, b, K[2] / (a * b)]))

    a, b, gap = point
    y, K = jnp.array([a, b, 1 - gap]), jnp.array([a * a, b * b, a * b * (1 - gap)])
    answer = found(*map(jnp.asarray, point))
    np.testing.assert_allclose(answer.polar_gradient, jax.grad(polar)(y), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(answer.polar_hessian, jax.hessian(polar)(y), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(answer.gradient, jax.grad(of_kernel)(K), rtol=1e-11)
    V = jnp.array([[2.0, 0.5, 1.0], [0.5, 1.0, 0.7], [1.0, 0.7, 1.5]]) * jnp.outer(K, K)
    second = jnp.sum(jax.hessian(of_kernel)(K) * V) / 2
    assert answer.second_order(V) == pytest.approx(float(second), rel=1e-9)
    if name == "relu":
        assert answer.polar_hessian[2, 2] > 0.1 * a * b


def test_derivatives_of_squares():
    """⟨z₁²z₂²⟩ = K₁₁K₂₂ + 2K₁₂², for a homogeneous σ of degree 2. The control: without the second term."""
    act = eft.Activation(jnp.square, family=Homogeneous(2, 1.0, 1.0))
    a, b, gap = POINTS[0]
    K = np.array([a * a, b * b, a * b * (1 - gap)])
    answer = pair_derivatives(act, *map(jnp.asarray, POINTS[0]))
    np.testing.assert_allclose(answer.gradient, [K[1], K[0], 4 * K[2]], rtol=1e-12)
    V = np.array([[2.0, 0.5, 1.0], [0.5, 1.0, 0.7], [1.0, 0.7, 1.5]])
    assert answer.second_order(jnp.asarray(V)) == pytest.approx(V[0, 1] + 2 * V[2, 2], rel=1e-9)
    assert abs(float(answer.second_order(jnp.asarray(V))) - V[0, 1]) > 1.0


@pytest.mark.sweep("tanh", "elu")
@pytest.mark.parametrize("name", ["tanh", "selu", "hard_tanh", "elu", "mrepu"])
def test_differences_of_the_expectation(name):
    """Fourth-order differences in directions of (a, b, ρ), also for kinks other than 0."""
    act, found = compiled(name)
    y = np.array([0.9, 1.1, 0.6])
    h = 2e-2
    directions = np.concatenate([np.eye(3), [[1, 1, 0], [1, 0, -1], [0, 1, 1]]])
    points = y + h * np.arange(-3, 4)[:, None, None] * directions
    a, b, rho = np.moveaxis(points, -1, 0)
    f = np.asarray(eft.pair_expectation(act, a * a, b * b, 1 - rho).product)
    first = np.array([-1, 9, -45, 0, 45, -9, 1]) @ f / 60 / h
    second = np.array([2, -27, 270, -490, 270, -27, 2]) @ f / 180 / h**2
    answer = found(*map(jnp.asarray, (y[0], y[1], 1 - y[2])))
    np.testing.assert_allclose(directions @ answer.polar_gradient, first, rtol=1e-7)
    curved = np.einsum("di,ij,dj->d", directions, answer.polar_hessian, directions)
    np.testing.assert_allclose(curved, second, rtol=1e-5)


def test_equal_variables():
    """At ρ = 1 the derivatives that are used are finite, and their sum is d⟨σ²⟩/dK of one variable."""
    for name in ("tanh", "relu", "selu", "mrepu"):
        act, found = compiled(name)
        K = jnp.asarray(0.7)
        answer = found(jnp.sqrt(K), jnp.sqrt(K), jnp.asarray(0.0))
        m = eft.moments(act, K)
        assert float(answer.gradient.sum()) == pytest.approx(float(m.dg), rel=1e-11)
        assert float(answer.second_order(jnp.ones((3, 3)))) == pytest.approx(float(m.d2g / 2), rel=1e-9)
        assert float(answer.fourth[0]) == pytest.approx(float(m.g4), rel=1e-11)


def test_zero_input():
    """A variable that is 0 has finite derivatives."""
    for name in ("tanh", "relu"):
        answer = compiled(name)[1](jnp.asarray(0.0), jnp.asarray(1.0), jnp.asarray(1.0))
        assert all(np.isfinite(field).all() for field in answer)
