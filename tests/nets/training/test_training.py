"""Training: step by step what it should be, the same bits wherever it runs, and nothing lost when killed."""

import signal
import time

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from same_bits import finished, in_two_processes, launch

import eft
import nets
from nets.files import archive, checkpoints
from nets.network.architecture import Architecture
from nets.training import program
from nets.training.step import Learner

JOB = "training_job.py"
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 2))
Y = np.sin(3 * X[:, 0]) * X[:, 1]


def train(**changes):
    settings = {"cw": 1.2, "depth": 3, "width": 8, "n_nets": 5, "data": (X, Y), "cb": 0.1, "progress": False}
    return nets.train(changes.pop("act", "tanh"), **settings | changes)


def by_hand(parameters, member, rate, steps):
    """Gradient descent on ½⟨(f − y)²⟩ of one tanh network, its gradient written out."""
    W, b = ([np.array(leaf[member], np.float64) for leaf in leaves] for leaves in parameters)
    for _ in range(steps):
        z, s = [], [X]
        for layer in range(3):
            z.append(s[-1] @ W[layer] + b[layer])
            s.append(np.tanh(z[-1]))
        delta = (z[-1] - Y[:, None]) / len(X)
        for layer in (2, 1, 0):
            slope_W, slope_b = s[layer].T @ delta, delta.sum(0)
            delta = delta @ W[layer].T * (1 - s[layer] ** 2)
            W[layer], b[layer] = W[layer] - rate * slope_W, b[layer] - rate * slope_b
    return W, b, np.mean((z[-1][:, 0] - Y) ** 2) / 2


def weights_and_biases(parameters):
    layers = [parameters["layers"][i] for i in range(3)]
    return [layer["kernel"] for layer in layers], [layer["bias"] for layer in layers]


def test_gradient_descent_by_hand():
    """To rounding, in float64. The control: 1 % more rate."""
    before = train(steps=1, snapshots=(0,), learning_rate=0.0, dtype=np.float64)
    after = train(steps=30, learning_rate=0.3, dtype=np.float64)
    for member in range(5):
        W, b, _ = by_hand(weights_and_biases(before.parameters), member, 0.3, 30)
        found_W, found_b = weights_and_biases(after.parameters)
        for ours, theirs in zip([*found_W, *found_b], [*W, *b], strict=True):
            np.testing.assert_allclose(ours[member], theirs, rtol=1e-10, atol=1e-12)
    W, _, _ = by_hand(weights_and_biases(before.parameters), 4, 0.303, 30)
    assert abs(found_W[0][4] - W[0]).max() > 1e-5


@pytest.mark.promotes
def test_adam_on_one_network():
    """Optax by itself on the Flax network of that key; the loss is that over all data."""
    run = train(steps=20, optimizer=optax.adam(1e-2), seed=7, snapshots=(0, 20))
    graph, parameters = nnx.split(
        nets.FCN(2, (8, 8), 1, act="tanh", cw=1.2, cb=0.1, rngs=jax.random.fold_in(jax.random.key(7), 3))
    )
    optimizer = optax.adam(1e-2)
    state = optimizer.init(parameters)

    def loss(parameters):
        return (
            (nnx.merge(graph, parameters)(X.astype(np.float32))[:, 0] - Y.astype(np.float32)) ** 2
        ).mean() / 2

    assert run.loss[0, 3] == pytest.approx(float(loss(parameters)), rel=1e-5)

    @jax.jit
    def step(parameters, state):
        change, state = optimizer.update(jax.grad(loss)(parameters), state)
        return optax.apply_updates(parameters, change), state

    for _ in range(20):
        parameters, state = step(parameters, state)
    assert run.loss[1, 3] == pytest.approx(float(loss(parameters)), rel=1e-4)
    assert run.loss[1, 3] != pytest.approx(run.loss[0, 3], rel=1e-2)


@pytest.mark.more
@pytest.mark.promotes
def test_networks_that_are_not_plain():
    """Optax by itself on the Flax network of that key; γ is not trained. The control: γ = 0."""
    kind = {"skip": 0.8, "norm": "layer", "weights": "orthogonal"}
    optimizer = optax.adamw(1e-2, weight_decay=0.1)
    run, control = (
        train(steps=20, optimizer=optimizer, seed=7, snapshots=(0, 20), dtype=np.float64, **kind | more)
        for more in ({}, {"skip": 0.0})
    )
    key = jax.random.fold_in(jax.random.key(7), 3)
    net = nets.FCN(2, (8, 8), 1, act="tanh", cw=1.2, cb=0.1, rngs=key, dtype=np.float64, **kind)
    graph, parameters, gamma = nnx.split(net, nnx.Param, ...)
    state = optimizer.init(parameters)

    def loss(parameters):
        return ((nnx.merge(graph, parameters, gamma)(X)[:, 0] - Y) ** 2).mean() / 2

    assert run.loss[0, 3] == pytest.approx(float(loss(parameters)), rel=1e-10)

    @jax.jit
    def step(parameters, state):
        change, state = optimizer.update(jax.grad(loss)(parameters), state, parameters)
        return optax.apply_updates(parameters, change), state

    for _ in range(20):
        parameters, state = step(parameters, state)
    assert run.loss[1, 3] == pytest.approx(float(loss(parameters)), rel=1e-8)
    assert abs(control.loss[1] / run.loss[1] - 1).min() > 1e-3
    assert set(run.parameters) == {"layers"}
    again = train(steps=1, snapshots=(0,), initial=nnx.state(net), dtype=np.float64, **kind)
    np.testing.assert_allclose(again.loss[0], run.loss[0, 3], rtol=1e-12)


@pytest.mark.more
def test_starts_as_measure_draws():
    """At step 0 each layer is what `measure` sees at the same seed; in both precisions the same weights."""
    measured = nets.measure("tanh", 1.2, 3, 8, 300, cb=0.1, x=X[:3], seed=5, progress=False)
    runs = [
        train(n_nets=300, steps=1, snapshots=(0,), seed=5, x_probe=X[:3], dtype=dtype)
        for dtype in (np.float32, np.float64)
    ]
    for run in runs:
        diagonal = np.diagonal(measured.K.mean, axis1=1, axis2=2)
        np.testing.assert_allclose(run.G.mean[0], diagonal, rtol=1e-6)
        at = [0, 3, 5]  # the pairs of an input with itself
        np.testing.assert_allclose(run.V.mean[0], measured.V.mean[:, at, at], rtol=1e-4, atol=1e-12)
        np.testing.assert_allclose(run.V.stderr[0], measured.V.stderr[:, at, at], rtol=1e-4, atol=1e-12)
    starts = [
        train(steps=1, snapshots=(0,), learning_rate=0.0, dtype=d).parameters
        for d in (np.float32, np.float64)
    ]
    for a, b in zip(*map(jax.tree.leaves, starts), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-7)


def test_statistics_of_a_snapshot():
    """Means, variances and susceptibilities from the trained parameters themselves."""
    run = train(
        n_nets=7, steps=40, learning_rate=0.2, snapshots=(40,), x_probe=X[:4], x_test=X[:2], dtype=np.float64
    )
    W, b = weights_and_biases(run.parameters)
    z = X[:4] @ W[0] + b[0][:, None]
    np.testing.assert_allclose(run.K.mean[0, 0], (z**2).mean((0, 2)), rtol=1e-12)
    G = 0.1 + 1.2 * (np.tanh(z) ** 2).mean(2)
    np.testing.assert_allclose(run.G.mean[0, 1], G.mean(0), rtol=1e-12)
    np.testing.assert_allclose(run.V.mean[0, 1], 8 * G.var(0, ddof=1), rtol=1e-9)
    slope = 1 - np.tanh(z) ** 2
    np.testing.assert_allclose(run.chi_perp.mean[0, 0], 1.2 * (slope**2).mean((0, 2)), rtol=1e-12)
    parallel = 1.2 * (z * np.tanh(z) * slope).mean(2) / (z**2).mean(2)
    np.testing.assert_allclose(run.chi_parallel.mean[0, 0], parallel.mean(0), rtol=1e-12)
    z = np.tanh(z) @ W[1] + b[1][:, None]
    z = np.tanh(z) @ W[2] + b[2][:, None]
    np.testing.assert_allclose(run.outputs.mean[0], z.mean(0)[:2], rtol=1e-11)
    np.testing.assert_allclose(run.outputs_variance.mean[0], z.var(0, ddof=1)[:2], rtol=1e-10)
    np.testing.assert_allclose(run.K_inputs[0, 2], (z**2).mean((1, 2)), rtol=1e-11)


def test_networks_that_overflow_are_frozen_and_left_out():
    """RePU at a rate that some survive: the dead keep their last finite parameters."""
    many = train(act="repu", cw=1.5, depth=4, n_nets=64, steps=100, learning_rate=0.3, snapshots=(0, 50, 100))
    lost = many.n_overflowed
    assert lost[0] == 0
    assert 0 < lost[-1] < 64
    assert (np.diff(lost) >= 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(many.parameters))
    assert np.isfinite(many.K.mean).all()
    alive = many.alive[-1]
    np.testing.assert_array_equal(many.n_overflowed, (~many.alive).sum(1))
    assert np.isfinite(many.loss[-1][alive]).all()
    kept = many.K_inputs[-1][:, alive]
    np.testing.assert_allclose(many.K.mean[-1].mean(-1), kept.mean(-1), rtol=1e-5)


def test_initial_parameters():
    """Half the steps, then the other half from there: all of them."""
    half = train(steps=10, dtype=np.float64)
    rest = train(steps=10, initial=half.parameters, dtype=np.float64)
    whole = train(steps=20, dtype=np.float64)
    for a, b in zip(jax.tree.leaves(rest.parameters), jax.tree.leaves(whole.parameters), strict=True):
        np.testing.assert_array_equal(a, b)
    one = jax.tree.map(lambda a: a[2], half.parameters)
    net = nets.FCN(2, (8, 8), act="tanh", cw=1.2, cb=0.1, rngs=jax.random.key(0), dtype=np.float64)
    state = nnx.state(net)
    nnx.replace_by_pure_dict(state, one)
    same = train(steps=10, initial=state, dtype=np.float64)
    np.testing.assert_array_equal(same.loss[:, 0], same.loss[:, 4])
    np.testing.assert_array_equal(same.loss[:, 0], rest.loss[:, 2])


def test_mini_batches_go_through_all_samples():
    """Each pass has every sample once; a batch of all is gradient descent on all."""
    architecture = Architecture(eft.activation("tanh"), (2, 8, 1))
    learner = Learner(architecture, optax.sgd(0.1), optax.l2_loss, False, 5, None, 4)
    rows = np.array([program._rows(learner, 20, np.int32(t)) for t in range(8)])
    for one_pass in (rows[:4], rows[4:]):
        assert sorted(one_pass.ravel()) == list(range(20))
    assert (rows[:4] != rows[4:]).any()
    a, b = train(steps=9, batch_size=20), train(steps=9)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-5)
    assert (train(steps=9, batch_size=5).loss[-1] != b.loss[-1]).all()


# --- the same bits, however often interrupted ------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    return finished(launch(JOB, "-", 70))[1]


@pytest.mark.long
def test_same_bits_on_any_number_of_devices(reference):
    """1, 2, 8 devices, and another number of networks. The control: a plain vmap of another size differs."""
    assert finished(launch(JOB, "-", 70, devices=2))[1] == reference
    assert finished(launch(JOB, "-", 41, devices=8)) == (8, reference)

    def outputs(count):
        graph, _ = nnx.split(nets.FCN(2, (48, 48), act="tanh", cw=1.2, rngs=jax.random.key(0)))

        def loss(parameters):
            return (nnx.merge(graph, parameters)(X.astype(np.float32)) ** 2).mean()

        def network(key):
            parameters = nnx.state(nets.FCN(2, (48, 48), act="tanh", cw=1.2, rngs=key))
            return jax.grad(loss)(parameters)

        keys = jax.random.split(jax.random.key(0), 100)[:count]
        return jax.tree.leaves(jax.jit(jax.vmap(network))(keys))

    one = outputs(1)
    others = [outputs(count) for count in (2, 7, 33, 100)]
    assert any((a[0] != b[0]).any() for other in others for a, b in zip(one, other, strict=True))


@pytest.mark.long
def test_same_bits_in_two_processes(reference):
    assert in_two_processes(JOB, "-", 70) == [(8, reference)] * 2


@pytest.mark.long
def test_killed_and_resumed(reference, tmp_path):
    """Killed twice wherever it happened to be, a checkpoint spoilt in between; on 1, 2, 1 and 3 devices."""
    for waits, devices in ((1, 1), (5, 2)):
        process = launch(JOB, tmp_path, 70, devices=devices)
        deadline = time.monotonic() + 120
        while (
            len(list(tmp_path.glob("step-*.npz"))) < 2 or max(map(step_of, tmp_path.glob("step-*"))) < waits
        ):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        newest = max(tmp_path.glob("step-*.npz"), key=step_of)
        newest.write_bytes(newest.read_bytes()[:-1])
        with pytest.raises(archive.ArchiveError, match="is damaged"):
            archive.load(newest)
        assert "going on from the one before" in checkpoints.latest(tmp_path).notes[0]
    assert finished(launch(JOB, tmp_path, 70))[1] == reference
    assert finished(launch(JOB, tmp_path, 70, devices=3))[1] == reference  # all done: read back


def step_of(path):
    return int(path.stem.removeprefix("step-"))


def test_another_run_s_checkpoint_is_refused(tmp_path):
    train(checkpoint=tmp_path, steps=3)
    for change in (
        {"seed": 1},
        {"cw": 1.3},
        {"data": (X, 2 * Y)},
        {"learning_rate": 0.02},
        {"act": "sin"},
        {"skip": 0.5},
    ):
        name = next(iter(change)).replace("learning_rate", "optimizer")
        with pytest.raises(ValueError, match=f"checkpoint must be a folder of its own.*{name}"):
            train(checkpoint=tmp_path, steps=3, **change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": X}, TypeError, r"data must be \(inputs, targets\)"),
        ({"data": (X, Y[:3])}, ValueError, r"the targets of data must have shape \(20,\)"),
        ({"data": (X * np.nan, Y)}, ValueError, "the inputs of data must be of shape .* finite"),
        ({"steps": 0}, ValueError, "steps must be an integer ≥ 1"),
        ({"snapshots": (0, 2000)}, ValueError, "snapshots must be an integer ≥ 0 and ≤ 1,000; got 2,000"),
        ({"snapshots": ()}, ValueError, "snapshots must hold at least one"),
        ({"batch_size": 21}, ValueError, "batch_size must be an integer ≥ 1 and ≤ 20; got 21"),
        ({"optimizer": 3}, TypeError, "optimizer must be of optax"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer must be one of sgd, adam"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be finite and ≥ 0"),
        ({"x_test": X[:, :1]}, ValueError, r"x_test must be of shape \(m, 2\)"),
        ({"n_nets": 0}, ValueError, "n_nets must be an integer ≥ 1"),
        ({"memory_budget": 1000}, ValueError, "memory_budget must be at least .* bytes"),
        ({"initial": {"a": 1}}, ValueError, "initial must hold the parameters"),
        ({"every": 0}, ValueError, "every must be an integer ≥ 1"),
        ({"cw": -1.0}, ValueError, "cw must be finite and ≥ 0"),
        ({"skip": -1.0}, ValueError, "skip must be finite and ≥ 0"),
        ({"skip": 1.0, "width": None, "widths": (8, 9)}, ValueError, "skip needs equal hidden widths"),
        ({"readout": False}, ValueError, "readout=False needs as many outputs .* 8; got 1"),
        ({"norm": "batch"}, ValueError, "norm must be one of None, rms, layer"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        train(**change)


def test_optimizers_by_name():
    """The same networks as with those of optax; "sgd" as without. The control: Adam differs from it."""
    X = np.linspace(-1, 1, 6)[:, None]
    runs = [
        nets.train("tanh", 1.0, 2, 8, 3, (X, X**2), steps=5, learning_rate=0.05, optimizer=optimizer)
        for optimizer in ("adam", optax.adam(0.05), "sgd", None)
    ]
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)
    np.testing.assert_array_equal(runs[2].loss, runs[3].loss)
    assert not np.allclose(runs[0].loss[-1], runs[2].loss[-1])
