"""An error for a bad argument names the argument, its value and what is allowed."""

import jax.numpy as jnp
import numpy as np
import pytest

import eft

NAN, INF = float("nan"), float("inf")
identity = lambda z: z  # noqa: E731


def flow(**changes):
    settings = {"act": "tanh", "cw": 1.0, "depth": 3} | changes
    return eft.kernel_flow(settings.pop("act"), settings.pop("cw"), settings.pop("depth"), **settings)


def expectation(f=identity, K=1.0, kinks=()):
    return eft.gaussian_expectation(f, K, kinks)


# (call, arguments, error, what the message must say)
CASES = [
    (flow, {"cw": -1.0}, ValueError, ["cw", "-1.0", "≥ 0"]),
    (flow, {"cw": NAN}, ValueError, ["cw", "nan", "finite"]),
    (flow, {"cw": INF}, ValueError, ["cw", "inf", "finite"]),
    (flow, {"cw": "1"}, TypeError, ["cw", "'1'", "real"]),
    (flow, {"cw": None}, TypeError, ["cw", "None"]),
    (flow, {"cw": 1j}, TypeError, ["cw", "real"]),
    (flow, {"cw": True}, TypeError, ["cw", "True"]),
    (flow, {"cw": [1.0, [2.0]]}, TypeError, ["cw"]),
    (flow, {"cw": np.array([1.0, -2.0])}, ValueError, ["cw", "-2.0", "index (1,)"]),
    (flow, {"cw": np.array([True])}, TypeError, ["cw", "real"]),
    (flow, {"cb": -0.1}, ValueError, ["cb", "-0.1", "≥ 0"]),
    (flow, {"cb": NAN}, ValueError, ["cb", "nan"]),
    (flow, {"x2": -1.0}, ValueError, ["x2", "-1.0"]),
    (flow, {"x2": None}, TypeError, ["x2", "None"]),
    (flow, {"K1": -1e-9}, ValueError, ["K1", "-1e-09"]),
    (flow, {"K1": NAN}, ValueError, ["K1", "nan"]),
    (flow, {"K1": "a"}, TypeError, ["K1", "'a'"]),
    (flow, {"depth": 0}, ValueError, ["depth", "0", "≥ 1"]),
    (flow, {"depth": -3}, ValueError, ["depth", "-3", "≥ 1"]),
    (flow, {"depth": 1.5}, ValueError, ["depth", "1.5", "integer"]),
    (flow, {"depth": 2.0}, ValueError, ["depth", "2.0", "integer"]),
    (flow, {"depth": "3"}, TypeError, ["depth", "'3'", "integer"]),
    (flow, {"depth": None}, TypeError, ["depth", "None"]),
    (flow, {"depth": True}, TypeError, ["depth", "True"]),
    (flow, {"depth": 10**9}, ValueError, ["depth", "1,000,000,000", "1,000,000"]),
    (flow, {"depth": 10**6, "cw": np.ones(1000)}, ValueError, ["depth", "GiB"]),
    (flow, {"cw": np.ones(3), "cb": np.ones(4)}, ValueError, ["cw (3,)", "cb (4,)", "broadcast"]),
    (flow, {"cw": np.ones((2, 3)), "K1": np.ones(2)}, ValueError, ["K1 (2,)", "broadcast"]),
    (flow, {"widths": (4, 4, 4)}, ValueError, ["widths", "2", "3"]),
    (flow, {"widths": (4, 0)}, ValueError, ["widths[1]", "0", "≥ 1"]),
    (flow, {"widths": (4, 1.5)}, ValueError, ["widths[1]", "1.5"]),
    (flow, {"widths": 4}, TypeError, ["widths", "4"]),
    (flow, {"act": "tanhh"}, ValueError, ["'tanhh'", "tanh"]),
    (flow, {"act": "leakyrelu"}, ValueError, ["'leakyrelu'", "leaky_relu"]),
    (flow, {"act": "qqqq"}, ValueError, ["'qqqq'", "sigmoid", "eft.Activation"]),
    (flow, {"act": ""}, ValueError, ["''", "tanh"]),
    (flow, {"act": 3}, TypeError, ["act", "3", "function"]),
    (flow, {"act": None}, TypeError, ["act", "None"]),
    (flow, {"act": ["tanh"]}, TypeError, ["act", "['tanh']"]),
    (flow, {"act": lambda z: z.astype(int)}, TypeError, ["int64", "floating"]),
    (flow, {"act": lambda z: z + 1j}, TypeError, ["complex128", "real"]),
    (flow, {"act": lambda z: jnp.where(z > 1, NAN, z)}, ValueError, ["finite", "nan"]),
    (flow, {"act": lambda z: jnp.sum(z)}, ValueError, ["elementwise", "(2, 3)"]),
    (flow, {"act": lambda z: z[None]}, ValueError, ["elementwise"]),
    (flow, {"act": lambda z: None}, ValueError, ["elementwise"]),
    (flow, {"act": lambda z: z @ z}, TypeError, ["raised"]),
    (flow, {"act": lambda a, b: a + b}, TypeError, ["raised"]),
    (flow, {"act": lambda z: float(z)}, TypeError, ["raised"]),
    (eft.kernel_flows, {"acts": "tanh", "cw": 1.0, "depth": 3}, TypeError, ["acts", "'tanh'"]),
    (eft.kernel_flows, {"acts": [], "cw": 1.0, "depth": 3}, TypeError, ["acts", "[]"]),
    (eft.activation, {"name": 3}, TypeError, ["name", "3"]),
    (eft.activation, {"name": "repu", "p": 0}, ValueError, ["p", "0", "≥ 1"]),
    (eft.activation, {"name": "repu", "p": 2.5}, ValueError, ["p", "2.5"]),
    (eft.activation, {"name": "mrepu", "p": 100}, ValueError, ["p", "100", "16"]),
    (eft.activation, {"name": "tanh", "p": 2}, TypeError, ["tanh", "p=2", "no parameters"]),
    (eft.activation, {"name": "leaky_relu", "slope": NAN}, ValueError, ["slope", "nan"]),
    (eft.activation, {"name": "leaky_relu", "slope": "a"}, TypeError, ["slope", "'a'"]),
    (eft.activation, {"name": "sin", "frequency": 0.0}, ValueError, ["frequency", "0"]),
    (eft.Activation, {"fn": jnp.tanh, "kinks": (NAN,)}, ValueError, ["kinks", "finite"]),
    (eft.Activation, {"fn": jnp.tanh, "kinks": "a"}, TypeError, ["kinks", "'a'"]),
    (eft.Activation, {"fn": "tanh"}, TypeError, ["activation", "'tanh'"]),
    (expectation, {"f": 3}, TypeError, ["f", "3"]),
    (expectation, {"f": lambda z: z > 0}, TypeError, ["bool", "floating"]),
    (expectation, {"f": jnp.sum}, ValueError, ["elementwise"]),
    (expectation, {"K": -1.0}, ValueError, ["K", "-1.0", "≥ 0"]),
    (expectation, {"K": INF}, ValueError, ["K", "inf"]),
    (expectation, {"K": "a"}, TypeError, ["K", "'a'"]),
    (expectation, {"kinks": (INF,)}, ValueError, ["kinks", "finite"]),
]


@pytest.mark.promotes
@pytest.mark.parametrize(("call", "arguments", "error", "says"), CASES)
def test_bad_argument(call, arguments, error, says):
    with pytest.raises(error) as caught:
        call(**arguments)
    for part in says:
        assert part in str(caught.value)


def test_the_table_is_large_and_the_good_calls_pass():
    assert len(CASES) >= 40
    assert flow().valid.all()
    assert expectation() == 0
    assert flow(depth=np.int64(2)).K.shape == (2,)
    assert flow(cw=1, cb=0).valid.all()
