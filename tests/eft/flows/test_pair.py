"""The flow of two inputs keeps small distances, and its expansion is right to the order that it states."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft

rng = np.random.default_rng(5)
X = rng.normal(size=6)
STEP = rng.normal(size=6)
PARTS = ("K_mid", "K_parallel", "K_perp")


def apart(distance):
    return X - distance * STEP / 2, X + distance * STEP / 2


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_errors_of_the_expansion_fall_with_the_stated_order(name):
    """Errors of K_mid, K_parallel, K_perp fall as δ², δ³, δ⁴; of K_perp without h, or with 2h, only as δ²."""
    errors, controls = [], []
    for delta in (0.1, 0.05, 0.025):
        exact = eft.pair_flow(name, 1.5, 6, *apart(delta), cb=0.1)
        expanded = eft.expanded_pair_flow(name, 1.5, 6, *apart(delta), cb=0.1)
        assert exact.valid.all()
        errors.append([float(jnp.abs(getattr(exact, k) - getattr(expanded, k))[-1]) for k in PARTS])
        for share in (0.0, 2.0):
            K2 = expanded.K_perp[0]
            for chi_perp, h, K1 in zip(expanded.chi_perp, expanded.h, expanded.K_parallel, strict=True):
                last, K2 = K2, chi_perp * K2 + share * h * K1**2
            controls.append(float(abs(last - exact.K_perp[-1])))
    slopes = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    np.testing.assert_allclose(slopes, [[2, 3, 4]] * 2, atol=0.1)
    wrong = np.array(controls).reshape(3, 2)
    np.testing.assert_allclose(np.log2(wrong[:-1] / wrong[1:]), 2, atol=0.1)


@pytest.mark.more
def test_distance_survives_a_thousand_layers_of_tanh():
    near = X + 1e-8 * STEP / np.linalg.norm(STEP)
    exact = eft.pair_flow("tanh", 1.0, 1000, X, near)
    expanded = eft.expanded_pair_flow("tanh", 1.0, 1000, X, near)
    assert exact.valid.all()
    np.testing.assert_allclose(exact.K_perp, expanded.K_perp, rtol=1e-6)
    np.testing.assert_allclose(exact.K_parallel, expanded.K_parallel, rtol=1e-6)
    # what the subtraction of kernels would have left
    naive = (exact.K_aa + exact.K_bb - 2 * exact.K_ab) / 4
    assert np.max(np.abs(naive / expanded.K_perp - 1)) > 1e-2


def test_distance_survives_a_thousand_layers_of_relu():
    near = X + 1e-8 * STEP / np.linalg.norm(STEP)
    found = eft.pair_flow("relu", 2.0, 1000, X, near)
    with mpmath.workdps(50):
        a, b = ([mpmath.mpf(float(v)) for v in x] for x in (X, near))
        A, B = (2 * sum(v * v for v in x) / 6 for x in (a, b))
        C = 2 * sum(v * w for v, w in zip(a, b, strict=True)) / 6
        for _ in range(999):
            theta = mpmath.acos(C / mpmath.sqrt(A * B))
            C = mpmath.sqrt(A * B) / mpmath.pi * (mpmath.sin(theta) + (mpmath.pi - theta) * mpmath.cos(theta))
        K2 = float((A + B - 2 * C) / 4)
    assert found.valid.all()
    np.testing.assert_allclose(found.K_perp[-1], K2, rtol=1e-6)


def test_angles_of_relu_decay_as_the_inverse_square_of_depth():
    depth = 10_000
    gap = eft.pair_flow("relu", 2.0, depth, X, STEP).gap[-1]
    assert abs(gap * 2 * depth**2 / (9 * np.pi**2) - 1) < 0.02


def test_components_belong_together():
    flow = eft.pair_flow("softplus", jnp.array([0.5, 1.0]), 4, X, STEP, cb=jnp.array([[0.1], [0.2], [0.3]]))
    assert flow.K_ab.shape == (3, 2, 4)
    np.testing.assert_allclose(flow.K_aa, flow.K_mid + flow.K_parallel + flow.K_perp, rtol=1e-14)
    np.testing.assert_allclose(flow.K_bb, flow.K_mid - flow.K_parallel + flow.K_perp, rtol=1e-14)
    np.testing.assert_allclose(flow.K_ab, flow.K_mid - flow.K_perp, rtol=1e-14)
    np.testing.assert_allclose(1 - flow.gap, flow.K_ab / jnp.sqrt(flow.K_aa * flow.K_bb), rtol=1e-13)
    one = eft.kernel_flow(
        "softplus", jnp.array([0.5, 1.0]), 4, x2=np.mean(X**2), cb=jnp.array([[0.1], [0.2], [0.3]])
    )
    np.testing.assert_allclose(flow.K_aa, one.K, rtol=1e-13)


def test_inputs_that_coincide_or_vanish():
    same = eft.pair_flow("gelu", 2.0, 5, X, X)
    assert (same.K_perp == 0).all() and (same.gap == 0).all() and (same.K_aa == same.K_ab).all()
    opposite = eft.pair_flow("tanh", 2.0, 5, X, -X)
    np.testing.assert_allclose(opposite.K_ab, -opposite.K_aa, rtol=1e-13)
    none = eft.pair_flow("tanh", 2.0, 5, 0 * X, 0 * X)
    assert all((np.asarray(a) == 0).all() for a in none[:-1])


@pytest.mark.parametrize(
    ("xa", "xb", "says"),
    [
        (X, X[:3], "same shape"),
        (X[None], X[None], "xa"),
        (X, X * jnp.nan, "xb"),
        ([], [], "xa"),
    ],
)
def test_bad_input(xa, xb, says):
    with pytest.raises(ValueError, match=says):
        eft.pair_flow("tanh", 1.0, 3, xa, xb)


def test_former_names():
    """K0, K1 and K2 still name the parts of the kernel, in both records."""
    for flow in (eft.pair_flow("relu", 2.0, 2, X, STEP), eft.expanded_pair_flow("relu", 2.0, 2, X, STEP)):
        assert flow.K0 is flow.K_mid and flow.K1 is flow.K_parallel and flow.K2 is flow.K_perp
