"""V and G1 of residual, orthogonal and normalized networks: exact ones, and other recursions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import residual_networks as reference

import eft

DEPTH, SKIP, CB, K1 = 5, 0.8, 0.1, 1.1
CW = {"tanh": 1.3, "gelu": 1.1, "relu": 0.9}

INTEGRALS = 1e-11
"""Relative error allowed to two independent sums for the same Gaussian integrals."""

NOTICED = 1e-3
"""What a control must differ by at the least."""

ABS = eft.activation("leaky_relu", slope=-1.0)


def flow(act, cw=None, depth=DEPTH, **settings) -> eft.KernelFlow:
    start = {} if "x2" in settings else {"K1": K1}
    cw = CW[act] if cw is None else cw
    return eft.kernel_flow(act, cw, depth, **{"cb": CB, "skip": SKIP, **start, **settings})


def literal(name, skips=(SKIP,) * (DEPTH - 1), **control) -> reference.Residual:
    return reference.residual(name, skips, CW[name], CB, K1, **control)


def largest_difference(a, b):
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


# --- other recursions, exact results --------------------------------------------------------------


@pytest.mark.sweep("gelu")
@pytest.mark.parametrize("name", CW)
def test_the_literal_recursion(name):
    """By the matrices of all pairs of functionals. The controls: without one kind of term; the closure."""
    found, want = flow(name), literal(name)
    for field in ("K", "V", "G1"):
        np.testing.assert_allclose(getattr(found, field), getattr(want, field), INTEGRALS, INTEGRALS)
    assert found.valid.all()
    for term in ("transposed", "memory"):
        control = literal(name, without=term)
        assert largest_difference(control.V, want.V) > NOTICED
        assert largest_difference(control.G1, want.G1) > NOTICED
    if name != "relu":  # whose g″ = 0
        assert largest_difference(literal(name, without="m_4").G1, want.G1) > NOTICED
    assert largest_difference(want.quartic_V, want.V) > NOTICED
    assert largest_difference(want.quartic_G1, want.G1) > NOTICED


def test_a_skip_of_each_layer():
    """`readout`: the last step has no skip, and the last layer is C_b + C_W g(K), whose χ∥ is C_W g′."""
    found = flow("tanh", readout=True)
    want = literal("tanh", (SKIP,) * (DEPTH - 2) + (0.0,))
    for field in ("K", "V", "G1"):
        np.testing.assert_allclose(getattr(found, field), getattr(want, field), INTEGRALS, INTEGRALS)
    with_skip, last = flow("tanh"), slice(None, -1)
    assert found.K[-1] == pytest.approx(
        CB + CW["tanh"] * float(eft.moments("tanh", found.K[-2]).g), rel=1e-12
    )
    assert found.chi_parallel[-2] == pytest.approx(float(with_skip.chi_parallel[-2]) - SKIP**2, rel=1e-12)
    for field in ("K", "V", "G1"):
        np.testing.assert_allclose(
            getattr(found, field)[last], getattr(with_skip, field)[last], rtol=1e-13, atol=1e-15
        )
        assert largest_difference(getattr(found, field)[-1], getattr(with_skip, field)[-1]) > NOTICED


def test_numbers():
    """To the digits given, of networks that were drawn beside them."""
    found = eft.kernel_flow("tanh", 2.0, DEPTH, K1=3.0, skip=0.8)
    np.testing.assert_allclose(found.G1[2:], [-0.117, -0.249, -0.368], atol=5e-4)
    assert found.V[-1] == pytest.approx(6.561, abs=5e-4)


@pytest.mark.parametrize("haar", [False, True])
@pytest.mark.parametrize("act", ["linear", ABS])
def test_exact_moments(act, haar):
    """σ = z and |z|: V of a network of width 10¹³, in rational numbers, and G1 = 0."""
    weights = ("gaussian", "orthogonal")
    found, control = (flow(act, 0.5, weights=weights[i]) for i in (haar, not haar))
    V = reference.even_quadratic(SKIP, 0.5, CB, K1, DEPTH, haar)
    np.testing.assert_allclose(found.V, V, rtol=INTEGRALS, atol=INTEGRALS)
    assert np.max(np.abs(found.G1)) < INTEGRALS
    assert largest_difference(control.V, V) > 0.1


def test_rotations_of_gaussian_vectors():
    """A linear orthogonal network without biases rotates z¹: V = 0. The control: 2(l − 1)K² of Gaussian W."""
    settings = {"skip": 0.0, "cb": 0.0}
    haar, gaussian = (flow("linear", 1.3, weights=w, **settings) for w in ("orthogonal", "gaussian"))
    assert np.max(np.abs(haar.V / haar.K**2)) < 1e-13
    np.testing.assert_allclose(gaussian.V / gaussian.K**2, 2 * np.arange(DEPTH), rtol=1e-12)


@pytest.mark.parametrize("widths", [(10, 20, 50), (50, 20, 10)])
def test_orthogonal_weights_between_unequal_widths(widths):
    """In a wider layer, z^l is uniform on a sphere of radius ‖z¹‖√(n_l/n₁): V = 2K²(n_{l−1}/n₁)(1 − n₁/n_l).

    Without biases, and the output is as wide as the layer before it. In narrower layers z stays Gaussian.
    """
    n = np.array([*widths, widths[-1]], float)
    previous = np.array([n[0], *n[:-1]])
    settings = {"skip": 0.0, "cb": 0.0, "depth": len(n), "widths": widths}
    found = flow("linear", 1.3, weights="orthogonal", **settings)
    want = 2 * previous / n[0] * (1 - n[0] / np.maximum(n, n[0]))
    np.testing.assert_allclose(found.V / found.K**2, want, rtol=1e-12, atol=1e-13)


def test_the_closure_in_the_metric_is_exact_for_even_squares_only():
    """σ² of z and |z| is even and quadratic. That of ReLU, ½z² + ½z|z|, is not even, and is remembered."""
    quartic = reference.residual("abs", (SKIP,) * 4, 0.5, CB, K1).quartic_V
    for act in ("linear", ABS):
        np.testing.assert_allclose(flow(act, 0.5).V, quartic, rtol=1e-12)
    assert largest_difference(flow("relu").V, literal("relu").quartic_V) > 0.1


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_no_skip_is_plain(name):
    """The limit γ → 0, by way of the memory. The control: γ = 0.01."""
    for weights in ("gaussian", "orthogonal"):
        plain = flow(name, skip=0.0, weights=weights)
        tiny = flow(name, skip=np.float64(1e-30), weights=weights)
        for a, b in zip(tiny, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert largest_difference(flow(name, skip=np.float64(0.01)).V, flow(name, skip=0.0).V) > 1e-4


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_normalized_layers_forget(norm):
    """V = C_W²[⟨σ⁴⟩ − g² − 2g′² (− ⟨zσ²⟩²)] and G1 = −C_W g″ of unit variance, at every depth."""
    name, cw = ("tanh", 1.5) if norm == "rms" else ("gelu", 1.1)
    found = flow(name, cw, skip=0.0, norm=norm, cb=0.0)
    sigma, _ = reference.SIGMAS[name]
    g, g4 = (reference.mean(lambda z, p=p: sigma(z) ** p, 1.0) for p in (2, 4))
    dg, d2g = (reference.mean(lambda z: sigma(z) ** 2, 1.0, order) for order in (1, 2))
    odd = reference.mean(lambda z: z * sigma(z) ** 2, 1.0) if norm == "layer" else 0.0
    V = cw**2 * (g4 - g**2 - 2 * dg**2 - odd**2)
    np.testing.assert_allclose(found.V, [0.0, *4 * (V,)], rtol=INTEGRALS)
    np.testing.assert_allclose(found.G1, [0.0, *4 * (-cw * d2g,)], rtol=INTEGRALS)
    if norm == "rms":
        assert pytest.approx(0.07070, abs=5e-6) == V
    else:
        assert cw**2 * odd**2 > 0.1  # it matters: RMSNorm would be told apart


# --- batches, derivatives, precision, ends of the range -------------------------------------------


def test_batches():
    """C_W and γ broadcast; each is the flow of its own."""
    cw, skip = np.array([[1.0], [1.5]]), np.array([0.0, 0.5, 1.0])
    found = flow("tanh", cw, 4, skip=skip)
    assert found.V.shape == (2, 3, 4)
    for i, j in ((0, 1), (1, 0), (1, 2)):
        one = flow("tanh", cw[i, 0], 4, skip=np.float64(skip[j]))
        for a, b in zip(found, one, strict=True):
            if a is not found.error:
                np.testing.assert_allclose(a[i, j], b, rtol=1e-12, atol=1e-14)


@pytest.mark.sweep("relu")
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_derivatives_and_jit(name):
    """Under jit the same values; by γ and C_W, central differences. The control: a derivative 0.1 % off."""

    @jax.jit
    def run(at):
        found = flow(name, at[1], 4, skip=at[0])
        return jnp.stack([found.K[-1], found.V[-1], found.G1[-1]])

    at, h = np.array([SKIP, CW[name]]), 1e-5
    plain = flow(name, depth=4)
    np.testing.assert_allclose(run(at), [plain.K[-1], plain.V[-1], plain.G1[-1]], rtol=1e-11)
    found = np.asarray(jax.jit(jax.jacfwd(run))(at))
    want = np.stack([(run(at + e) - run(at - e)) / (2 * h) for e in h * np.eye(2)], -1)
    np.testing.assert_allclose(found, want, rtol=1e-7)
    assert np.max(np.abs(found * 1.001 / want - 1)) > 5e-4


@pytest.mark.parametrize("kind", [{}, {"norm": "layer"}])
def test_float32(kind):
    exact = flow("gelu", depth=4, **kind)
    single = flow(
        "gelu", np.float32(CW["gelu"]), 4, cb=np.float32(CB), K1=np.float32(K1), skip=np.float32(SKIP), **kind
    )
    assert single.V.dtype == jnp.float32 and single.valid.all()
    for field in ("K", "V", "G1"):
        np.testing.assert_allclose(getattr(single, field), getattr(exact, field), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [{}, {"norm": "rms"}, {"readout": True}])
def test_few_layers(kind):
    """Layers do not depend on those that follow, but for the last one without a skip."""
    deep = flow("tanh", depth=4, **(kind | {"readout": False}))
    for depth in (1, 2):
        found = flow("tanh", depth=depth, **kind)
        same = slice(None, 1 if kind.get("readout") else depth)
        for a, b in zip(found[:6], deep[:6], strict=True):
            if a is not found.chi_parallel and a is not found.chi_perp:
                np.testing.assert_allclose(a[same], b[:depth][same], rtol=1e-13)
        assert found.valid.all()


def test_nothing_fluctuates():
    """C_W = 0: K′ = γ²K + C_b. K¹ = 0 = C_b: K = 0, unless normalized, and then it is not valid."""
    still = flow("tanh", 0.0, 4)
    np.testing.assert_allclose(still.K[1:], SKIP**2 * still.K[:-1] + CB, rtol=1e-14)
    zero = flow("tanh", 1.0, 4, cb=0.0, K1=0.0)
    assert not zero.K.any() and zero.valid.all() and still.valid.all()
    for found in (still, zero):
        assert not found.V.any() and not found.G1.any()
    assert not flow("tanh", 1.0, 4, cb=0.0, K1=0.0, norm="rms").valid.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skip": -1.0}, "skip must be finite and ≥ 0; got -1.0"),
        ({"skip": np.nan}, "skip must be finite and ≥ 0; got nan"),
        ({"skip": "a"}, "skip must be a real number or an array of them; got 'a'"),
        ({"skip": np.ones(3), "cb": np.ones(2)}, r"broadcast together; got .*skip \(3,\)"),
        ({"norm": "batch"}, "norm must be one of None, rms, layer; got 'batch'"),
        ({"weights": "x"}, "weights must be one of gaussian, orthogonal; got 'x'"),
        ({"readout": 1.5}, "readout must be True or False; got 1.5"),
        ({"skip": 0.0, "norm": "rms", "weights": "orthogonal", "widths": (3, 4)}, "widths must be equal"),
        ({"widths": (3, 4)}, r"widths must be equal where there is a skip.*; got \(3, 4\)"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        flow("tanh", depth=3, **change)
