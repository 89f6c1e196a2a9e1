"""Burgers' equation: its exact solution by a second method, derivatives of networks by a second route."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import eft
from nets.files import checkpoints
from nets.network import fcn
from nets.network.architecture import Architecture
from nets.paper import burgers, pinn, residual
from nets.paper.burgers import VISCOSITY

SMALL = {"hidden": 1, "width": 8, "interior": 50, "boundary": 12, "steps": 6, "grid": (9, 5), "seed": 3}
SMALL |= {"snapshots": (0, 4, 6), "every": 2, "progress": False}


def spectral(steps, times, N=2048):
    """u by Fourier series in x and Runge–Kutta of order 4 with the viscous term integrated exactly."""
    nu, x, h = burgers.VISCOSITY, -1 + 2 * np.arange(N) / N, 1 / steps
    k = np.pi * np.fft.rfftfreq(N, 1 / N)
    half = np.exp(-nu * k**2 * h / 2)

    def slope(v):
        return -0.5j * h * k * np.fft.rfft(np.fft.irfft(v, N) ** 2)

    v, found = np.fft.rfft(-np.sin(np.pi * x)), {}
    for n in range(1, round(steps * max(times)) + 1):
        a = slope(v)
        b = slope(half * (v + a / 2))
        c = slope(half * v + b / 2)
        d = slope(half**2 * v + half * c)
        v = half**2 * (v + a / 6) + half * (b + c) / 3 + d / 6
        if n in [round(steps * t) for t in times]:
            found[n / steps] = np.fft.irfft(v, N), np.fft.irfft(1j * k * v, N)
    return x, found


def test_exact_solution_beside_a_spectral_one():
    """Richardson's extrapolation of two step sizes; another viscosity is far off."""
    times = (0.25, 0.5, 0.75)
    (x, coarse), (_, fine) = spectral(8000, times), spectral(16000, times)
    for t in times:
        u, u_x = ((16 * f - c) / 15 for f, c in zip(fine[t], coarse[t], strict=True))
        exact = burgers.solution(x, t)
        np.testing.assert_allclose(exact.u, u, rtol=0, atol=1e-10)
        np.testing.assert_allclose(exact.u_x, u_x, rtol=0, atol=1e-7)  # of 152
        assert np.abs(burgers.solution(x, t, 1.01 * burgers.VISCOSITY).u - u).max() > 1e-5


@pytest.mark.parametrize(("viscosity", "t"), [(VISCOSITY, 10.0), (VISCOSITY, 300.0), (0.1, 0.3), (1.0, 1.0)])
def test_exact_solution_beside_fourier_and_bessel(viscosity, t):
    """u = −2ν θ_x/θ, θ = Σ (−1)ⁿ I_n(1/2πν) e^{−n²π²νt} cos nπx, n in ℤ. The control: without the signs."""
    x, n = np.linspace(-1, 1, 21), np.arange(200)
    a = special.ive(n, 1 / (2 * np.pi * viscosity)) * np.exp(-(n**2) * np.pi**2 * viscosity * t)
    a[1:] *= 2

    def u(a):
        slope = -(np.pi * n * a) @ np.sin(np.pi * np.outer(n, x))
        return -2 * viscosity * slope / (a @ np.cos(np.pi * np.outer(n, x)))

    found = burgers.solution(x, t, viscosity).u
    np.testing.assert_allclose(found, u((-1.0) ** n * a), atol=1e-12)
    assert abs(found - u(a)).max() > 1e-7


def test_exact_solution_at_the_edges():
    x = np.linspace(-1, 1, 41)
    start = burgers.solution(x, 0.0)
    np.testing.assert_allclose(start.u, -np.sin(np.pi * x), atol=1e-14)
    np.testing.assert_allclose(start.u_x, -np.pi * np.cos(np.pi * x), atol=1e-12)
    np.testing.assert_allclose(burgers.solution([-1, 0, 1], np.linspace(0, 1, 7)[:, None]).u, 0, atol=1e-12)
    steepest = burgers.solution(0.0, np.linspace(0.4, 0.6, 201)).u_x
    assert steepest.min() == pytest.approx(-152.005, abs=2e-3)
    with pytest.raises(ValueError, match="x must lie"):
        burgers.solution(1.5, 0.1)
    with pytest.raises(ValueError, match="t must be"):
        burgers.solution(0.5, -0.1)
    with pytest.raises(ValueError, match="viscosity × t must be"):
        burgers.solution(0.0, 1.0, np.inf)
    with pytest.raises(ValueError, match="viscosity"):
        burgers.solution(0.5, 0.1, 1e-4)


def network(act, layers):
    sizes = (2, *(layer["kernel"].shape[1] for layer in layers))
    architecture = Architecture(act, sizes, dtype=np.dtype(np.float64))
    return fcn.with_parameters(architecture, {"layers": dict(enumerate(layers))})


def nested(act, layers, points):
    """The same derivatives by reverse mode over reverse mode, a point at a time, of a pass written out."""

    def u(x, t):
        z = jnp.stack([x, t]) @ layers[0]["kernel"] + layers[0]["bias"]
        for layer in layers[1:]:
            z = act(z) @ layer["kernel"] + layer["bias"]
        return z[0]

    u_x = jax.grad(u)
    found = [u, u_x, jax.grad(u, 1), jax.grad(u_x)]
    return [jax.vmap(f)(points[:, 0], points[:, 1]) for f in found]


@pytest.mark.parametrize(
    ("name", "p"), [("tanh", None), ("gelu", None), ("mrepu", 2), ("mrepu", 3), ("relu", None)]
)
def test_derivatives(name, p):
    act = eft.activation(name) if p is None else eft.activation(name, p=p)
    rng = np.random.default_rng(0)
    sizes = (2, 7, 6, 1)
    layers = [
        {"kernel": rng.normal(size=(a, b)) / np.sqrt(a), "bias": 0.3 * rng.normal(size=b)}
        for a, b in itertools.pairwise(sizes)
    ]
    points = rng.uniform(-1, 1, (40, 2))
    net = network(act, layers)
    found = residual.jet(net, points)
    for one, other in zip(found, nested(act, layers, points), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
    if name == "relu":
        np.testing.assert_array_equal(found.u_xx, 0)  # what such a network cannot see
    for nu in (0.1, burgers.VISCOSITY):
        together = residual.residuals(net, points, nu)
        expected = found.u_t + found.u * found.u_x - nu * found.u_xx
        np.testing.assert_allclose(together, expected, rtol=1e-11, atol=1e-12)


def test_residual_by_hand():
    """u = (x + 1)/2: u_t = u_xx = 0, and the residual is uu_x = u/2."""
    layers = [
        {"kernel": np.array([[1.0], [0.0]]), "bias": np.array([1.0])},
        {"kernel": np.array([[0.5]]), "bias": np.array([0.0])},
    ]
    points, net = residual.draw_points(30, 8, 0), network(eft.activation("linear"), layers)
    found = residual.jet(net, points.interior)
    np.testing.assert_allclose(found.u, (points.interior[:, 0] + 1) / 2)
    inside, _ = residual.losses(net, points)
    assert float(inside) == pytest.approx(float(jnp.mean((found.u / 2) ** 2)), rel=1e-12)


def test_gradient_by_parts():
    """Parts that do not divide the points, against the gradient of the losses themselves."""
    rng, points = np.random.default_rng(1), residual.draw_points(23, 8, 0)
    layers = [{"kernel": rng.normal(size=s), "bias": rng.normal(size=s[1])} for s in ((2, 5), (5, 1))]
    net = network(eft.activation("tanh"), layers)
    expected = jax.grad(lambda net: sum(residual.losses(net, points)))(net)
    for part in (1, 10, 23, 100):
        found = residual.gradient(net, points, part=part)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_points():
    points = residual.draw_points(1000, 100, 1)
    start, sides = points.boundary[:50], points.boundary[50:]
    assert (start[:, 1] == 0).all()
    assert set(sides[:, 0]) == {-1.0, 1.0}
    np.testing.assert_allclose(points.values[:50], -np.sin(np.pi * start[:, 0]))
    assert (points.values[50:] == 0).all()
    assert abs(points.interior.mean(0) - [0, 0.5]).max() < 0.06


@pytest.mark.parametrize("batch_size", [None, 20])
def test_resumed_to_the_same_bits(tmp_path, batch_size):
    settings = SMALL | {"batch_size": batch_size}
    whole = pinn.train("tanh", 1.0, 3, **settings)
    pinn.train("tanh", 1.0, 3, checkpoint=tmp_path, **settings)
    newest = max(tmp_path.glob("step-*.npz"))
    newest.unlink()  # as if killed before it was written
    assert checkpoints.latest(tmp_path).step == 4
    again = pinn.train("tanh", 1.0, 3, checkpoint=tmp_path, **settings)
    both = (jax.tree.leaves(run._replace(seconds=0)) for run in (whole, again))
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.error.shape == (3, 3)
    assert whole.residual[0, 0] != whole.residual[0, 1]
    with pytest.raises(ValueError, match="folder of its own"):
        pinn.train("tanh", 1.1, 3, checkpoint=tmp_path, **settings)


def test_it_learns_and_what_overflows_is_frozen():
    run = pinn.train("tanh", 1.0, 2, **SMALL | {"steps": 400, "snapshots": (0, 400), "learning_rate": 1e-2})
    total = run.residual + run.boundary
    assert (total[1] < 0.6 * total[0]).all()
    field = run.fields[0]
    exact = burgers.solution(run.x[:, None], run.t).u
    assert np.linalg.norm(field - exact) / np.linalg.norm(exact) == pytest.approx(run.error[-1, 0], rel=1e-6)
    wild = pinn.train("mrepu", 30.0, 2, **SMALL | {"hidden": 4})
    assert not wild.alive[-1].any()
    assert run.alive.all()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"batch_size": 51}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"snapshots": (7,)}, "snapshots"),
        ({"width": 0}, "width"),
    ],
)
def test_bad_input(bad, words):
    with pytest.raises(ValueError, match=words):
        pinn.train("tanh", 1.0, 1, **SMALL | bad)


@pytest.mark.sweep
def test_derivatives_are_those_of_plain_networks_alone():
    """A skip or a norm is refused; orthogonal weights are weights like any."""
    points = jnp.zeros((3, 2))
    kind = {"act": "tanh", "cw": 1.0, "rngs": jax.random.key(0), "dtype": jnp.float64}
    for more in ({"skip": 0.5}, {"norm": "rms"}):
        with pytest.raises(ValueError, match="net must have neither skip nor norm"):
            residual.jet(fcn.FCN(2, (4, 4), **kind, **more), points)
    assert residual.jet(fcn.FCN(2, (4, 4), **kind, weights="orthogonal"), points).u.shape == (3,)
