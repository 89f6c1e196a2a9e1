"""Networks in training beside the theory of infinite width, started and trained alike."""

import numpy as np
import pytest

import eft
import nets
from nets.plots import training_comparison_figure

X = np.linspace(-1, 1, 4)[:, None]
DATA = X, np.sin(3 * X)
RUN = {"steps": 20, "snapshots": (0, 5, 20), "cb": 0.1, "progress": False, "dtype": np.float64}
TEST = np.array([[0.3], [1.5]])


def compared(**more):
    return nets.compare_training("erf", 1.5, 3, 256, 100, DATA, **{"learning_rate": 0.4, **RUN, **more})


@pytest.mark.more
def test_theory_and_networks_agree():
    """The control: networks trained at twice the rate that the theory has."""
    found = compared(x_test=TEST)
    z = np.concatenate([found.z_loss, found.z_mean.ravel(), found.z_variance.ravel()])
    assert np.abs(z).max() < 4 and found.z_mean.shape == (3, 2, 1)
    faster = compared(x_test=TEST, learning_rate=0.8)
    off = (faster.run.outputs.mean[1:, :, 0] - found.flow.test.mean[1:, :, 0]) / found.run.outputs.stderr[
        1:, :, 0
    ]
    assert np.abs(off).max() > 8
    assert str(found).count("\n") == 4 and "largest rate" in str(found)
    figure = training_comparison_figure("erf", found)
    assert len(figure.axes) == 3


@pytest.mark.more
def test_one_rate_for_plain_parameters_is_that_of_the_ntk_layer_by_layer():
    """Theory to round-off, networks to the error of their training; the outputs are those at the data."""
    plain = compared(parametrization="standard", layer_rates=([1.0, 1 / 256, 1 / 256], [1.0, 1.0, 1.0]))
    ntk = compared()
    np.testing.assert_allclose(plain.flow.train.mean, ntk.flow.train.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(plain.run.outputs.mean, ntk.run.outputs.mean, rtol=1e-6, atol=1e-9)
    assert ntk.flow.test is None and ntk.z_mean.shape == (3, 4, 1)
    other = compared(parametrization="standard", layer_rates=([1.0, 1 / 256, 0.5 / 256], [1.0, 1.0, 1.0]))
    assert np.abs(other.flow.train.mean - ntk.flow.train.mean).max() > 1e-3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"parametrization": "mup"}, "parametrization must be one of ntk, standard; got 'mup'"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and ≥ 0"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"x_test": np.ones((2, 3))}, "same n0"),
        ({"layer_rates": ([1.0], [1.0])}, r"layer_rates\[0\] must have shape \(3,\)"),
        ({"layer_rates": 2.0}, "layer_rates must be"),
    ],
)
def test_bad_arguments(given, says):
    with pytest.raises((ValueError, TypeError), match=says):
        compared(**given)


def test_networks_and_theory_have_the_same_first_kernel():
    """With biases, and K1 of an input of size x2 = 2; the control: theory with the plain one."""
    X = np.linspace(-1, 1, 5)[:, None]
    data, settings = (X, np.sin(2 * X)), {"learning_rate": 0.1, "steps": 6, "cb": 0.2}
    found = nets.compare_training("erf", 1.5, 2, 128, 400, data, K1=0.04, x2=2.0, **settings)
    assert np.abs(found.z_loss).max() < 5
    plain = eft.train_flow("erf", 1.5, 2, X, data[1], t=list(found.run.steps), learning_rate=0.1, cb=0.2)
    loss = np.asarray(plain.train.loss)
    assert np.abs((found.loss.mean - loss) / found.loss.stderr).max() > 10
