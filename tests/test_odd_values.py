"""Every argument of every public function takes an odd value, or refuses it by name and before any work."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft

CONVERSION = 2
"""Programs that JAX may compile to convert a value; one that is refused compiles no others."""


class Mute:
    """An object that cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no repr")


# fmt: off
ODD = [
    None, True, "1", b"1", "", 1j, float("nan"), float("inf"), -1, -1.5, 0, 5e-324, 1e-308, 1e308, 10**53,
    10**400, -(10**5000), [], (), {}, {"a": 1}, [[1.0], [2.0, 3.0]], [None], ["a"], object(), Mute(),
    lambda z: z, int, np.tanh, np.float16(1.0), np.array([1.0, 2.0], np.float16), jnp.ones(2, jnp.bfloat16),
    np.array("a"),
    np.array([True]), np.array([1, 2], object), np.datetime64("2026-01-01"), np.ones((2, 0)),
    np.ones((2, 2, 2)), np.array([np.nan, 1.0]),
    np.int8(-3), np.uint64(2**64 - 1), slice(3), range(3), iter([1.0]), NotImplemented, np.ma.masked,
    2.5, "tanh",
]
# fmt: on

X = np.array([[0.3, -1.0], [0.5, 0.2]])


def expansion():
    return eft.expand("relu", 2.0, 2, 1)


def gram(**more):
    return eft.gram_flow("relu", 2.0, 2, X, **more)


FLOW = {"act": "relu", "cw": 2.0, "depth": 2}
ONE = {"cb": 0.1, "x2": 1.0, "K1": 0.5, "widths": (3,)}
BOTH = {"lambda_w": 1.0, "lambda_b": 1.0}
CALLS = {
    "Activation": (eft.Activation, {"fn": jnp.tanh, "kinks": (), "name": "a"}),
    "activation": (lambda activation: eft.activation(activation), {"activation": "relu"}),
    "repu": (lambda p: eft.activation("repu", p=p), {"p": 2}),
    "leaky_relu": (lambda slope: eft.activation("leaky_relu", slope=slope), {"slope": 0.1}),
    "sin": (lambda frequency: eft.activation("sin", frequency=frequency), {"frequency": 2.0}),
    "kernel_flow": (eft.kernel_flow, FLOW | ONE),
    "kernel_flows": (
        lambda acts, cw, depth: eft.kernel_flows(acts, cw, depth),
        {"acts": ["relu"], "cw": 1.0, "depth": 2},
    ),
    "expand": (eft.expand, FLOW | ONE | {"order": 1}),
    "truncated": (lambda order: expansion().truncated(order), {"order": 1}),
    "at_width": (eft.at_width, {"series": [1.0, 0.5], "n": 8}),
    "at_width of all": (lambda n: eft.at_width(expansion(), n), {"n": 8}),
    "correlator": (lambda powers: eft.correlator(expansion(), powers), {"powers": (2, 2)}),
    "couplings": (lambda neurons: eft.couplings(expansion(), neurons), {"neurons": 1}),
    "gaussian_expectation": (eft.gaussian_expectation, {"f": jnp.tanh, "K": 1.0, "kinks": ()}),
    "moments": (eft.moments, {"act": "relu", "K": 1.0}),
    "slopes": (eft.slopes, {"act": "relu", "K": 1.0}),
    "pair_expectation": (eft.pair_expectation, {"act": "relu", "K1": 1.0, "K2": 2.0, "gap": 0.1}),
    "pair_flow": (eft.pair_flow, FLOW | {"xa": X[0], "xb": X[1], "cb": 0.1, "K1": 0.5}),
    "expanded_pair_flow": (eft.expanded_pair_flow, FLOW | {"xa": X[0], "xb": X[1], "cb": 0.1, "K1": 0.5}),
    "gram_flow": (
        eft.gram_flow,
        FLOW | {"X": X, "X2": X, "cb": 0.1, "K1": 0.5, "memory_budget": 2**31} | BOTH,
    ),
    "ntk_flow": (eft.ntk_flow, FLOW | ONE | BOTH),
    "ntk_gram_flow": (eft.ntk_gram_flow, FLOW | {"X": X[:1], "cb": 0.1, "K1": 0.5, "widths": (3,)} | BOTH),
    "dntk_flow": (
        eft.dntk_flow,
        FLOW | {"act": "gelu", "X": X[:1], "cb": 0.1, "K1": 0.5, "widths": (3,)} | BOTH,
    ),
    "vertex_flow": (eft.vertex_flow, FLOW | {"X": X[:1], "cb": 0.1, "K1": 0.5, "widths": (3,)}),
    "log_flow": (eft.log_flow, FLOW | {"width": 4, "x2": 1.0, "K1": 1.0}),
    "log_flow by widths": (eft.log_flow, FLOW | {"widths": (3,)}),
    "typical_flow": (eft.typical_flow, FLOW | {"width": 8, "cb": 0.1, "x2": 1.0, "K1": 1.0}),
    "typical_flow by widths": (eft.typical_flow, FLOW | {"widths": (3,)}),
    "gain": (eft.gain, {"act": "relu"}),
    "recipe": (
        eft.recipe,
        {
            "act": "relu",
            "depth": 3,
            "width": 4,
            "x2": 1.0,
            "n_in": 2,
            "n_out": 1,
            "skip": 0.0,
            "norm": None,
            "weights": "gaussian",
            "bound": 1.0,
        },
    ),
    "recipe of samples": (eft.recipe, {"act": "relu", "depth": 3, "width": 4, "X": X}),
    "shape": (eft.shape, {"act": "tanh", "conditions": "dks", "K": 1.0, "slope": 1.5}),
    "threshold_cw": (eft.threshold_cw, {"act": "relu", "x2": 1.0}),
    "fixed_points": (eft.fixed_points, {"act": "relu", "cw": 1.0, "cb": 0.1}),
    "threshold": (eft.threshold, {"act": "relu", "cw": 1.0, "cb": 0.1}),
    "critical_curve": (eft.critical_curve, {"act": "relu", "K": [1.0, 2.0]}),
    "phase_diagram": (
        eft.phase_diagram,
        {"act": "relu", "cw": [1.0, 2.0], "cb": [0.0, 0.1], "x2": 1.0, "K1": 1.0},
    ),
    "classify": (eft.classify, {"act": "relu"}),
    "critical_point": (eft.critical_point, {"act": "relu"}),
    "regress": (
        eft.regress,
        FLOW | {"X": X, "Y": [1.0, 2.0], "X_test": X, "cb": 0.1, "noise": 0.1, "memory_budget": 2**31} | BOTH,
    ),
    "posterior": (
        eft.posterior,
        {"train": gram(), "cross": gram(), "K_test": [1.0, 1.0], "Y": [1.0, 2.0], "noise": 0.1},
    ),
    "train_flow": (
        eft.train_flow,
        FLOW
        | {"X": X, "Y": [1.0, 2.0], "X_test": X, "t": 3, "learning_rate": 0.1, "momentum": 0.5}
        | {"Y_test": [1.0, 2.0], "covariance": False, "cb": 0.1, "memory_budget": 2**31}
        | BOTH,
    ),
    "train_flow_from_kernels": (
        eft.train_flow_from_kernels,
        {"K": np.eye(3), "Theta": np.eye(3), "Y": [1.0, 2.0], "t": 3, "learning_rate": 0.1, "momentum": 0.5}
        | {"Y_test": [1.0], "covariance": False},
    ),
    "linearized_flow": (
        eft.linearized_flow,
        {"Theta": np.eye(3), "Y": [1.0, 2.0], "z0": np.zeros(3), "t": 3, "learning_rate": 0.1}
        | {"momentum": 0.5},
    ),
    "linearized_flow of a loss": (
        eft.linearized_flow,
        {"Theta": np.eye(3), "Y": [1.0, 2.0], "z0": np.zeros(3), "t": 3, "loss": lambda z, y: (z - y) ** 2},
    ),
    "initial_outputs": (eft.initial_outputs, {"K": np.eye(2), "samples": 2, "outputs": 1, "seed": 0}),
    "max_learning_rate": (eft.max_learning_rate, {"Theta": np.eye(2), "outputs": 1, "momentum": 0.5}),
    "cg_regress": (
        eft.cg_regress,
        FLOW
        | {"X": X, "Y": [1.0, 2.0], "X_test": X, "kernel": "ntk", "noise": 0.1, "tolerance": 0.1}
        | {"max_steps": 2, "landmarks": 1, "cb": 0.1, "memory_budget": 2**31},
    ),
    "gp_inference": (
        eft.gp_inference,
        {"K": np.eye(3), "Y": [1.0, 2.0], "Theta": np.eye(3), "noise": 0.1},
    ),
    "log_marginal_likelihood": (
        eft.log_marginal_likelihood,
        FLOW | {"X": X, "Y": [1.0, 2.0], "noise": 0.1, "cb": 0.1, "memory_budget": 2**31},
    ),
    "finite_width_posterior": (
        eft.finite_width_posterior,
        FLOW | {"X": X[:1], "Y": [1.0], "X_test": X[:1], "width": 4, "order": 1, "noise": 0.1, "cb": 0.1},
    ),
    "finite_width_training": (
        eft.finite_width_training,
        FLOW
        | {"act": "gelu", "X": X[:1], "Y": [1.0], "X_test": X[:1], "t": 3, "width": 4, "order": 1}
        | {"cb": 0.1, "K1": 0.5}
        | BOTH,
    ),
}
SAID = {"fn": "activation", "f": "f", "act": "act", "acts": "act"}
"""The argument's name in error messages, where it differs from that of the parameter."""


REFUSED = "refused by name"


def outcome(call, settings, argument, value):
    """None, or how the outcome of the call with that value differs from what it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", eft.QuadratureWarning)
            call(**settings | ({argument: value} if argument else {}))
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError) and "eft" not in type(error).__module__:
            return f"{type(error).__name__}: {error}"
        return REFUSED if SAID.get(argument, argument) in str(error) else f"not named: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


CASES = [(name, argument) for name, (_, settings) in CALLS.items() for argument in settings]
SLOW = {
    ("finite_width_training", "cw"), ("finite_width_training", "act"), ("finite_width_training", "t"),
    ("finite_width_training", "K1"), ("finite_width_training", "cb"), ("linearized_flow of a loss", "t"),
    ("dntk_flow", "K1"), ("dntk_flow", "cw"), ("dntk_flow", "cb"), ("dntk_flow", "act"),
    ("gaussian_expectation", "K"), ("expanded_pair_flow", "cw"), ("pair_flow", "cw"), ("recipe", "skip"),
}  # fmt: skip
"""Those that take several seconds, since many odd values are good ones."""


@pytest.mark.sweep(*("-".join(case) for case in CASES if case not in SLOW))
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_odd_values(name, argument, compilations):
    call, settings = CALLS[name]
    assert outcome(call, settings, argument, settings[argument]) is None  # the control: an ordinary value
    wrong = []
    for i, value in enumerate(ODD):
        if argument in ("act", "acts", "activation") and (
            value == "tanh" if isinstance(value, str) else inspect.isfunction(value)
        ):
            continue  # not odd there, and costly
        found = []
        compiled = compilations(
            lambda v=value, found=found: found.append(outcome(call, settings, argument, v))
        )
        if found == [REFUSED] and compiled > CONVERSION:
            wrong.append((i, type(value).__name__, f"{compiled} programs compiled before it is refused"))
        elif found[0] not in (None, REFUSED):
            wrong.append((i, type(value).__name__, found[0][:200]))
    assert not wrong, "\n".join(map(str, wrong))


def numbers_of(settings) -> dict[str, np.ndarray]:
    """The arguments that are numbers or arrays of them."""
    kinds = (int, float, list, tuple, np.ndarray)
    given = {a: v for a, v in settings.items() if isinstance(v, kinds) and not isinstance(v, bool)}
    return {a: np.asarray(v, float) for a, v in given.items() if np.size(v) and a != "acts"}


def outcome_of_tracing(call, settings, argument, value):
    """As `outcome`, of a call in `jax.make_jaxpr`, with that argument traced."""
    found = []
    jax.make_jaxpr(lambda traced: found.append(outcome(call, settings, argument, traced)))(value)
    return found[0]


@pytest.mark.parametrize("name", CALLS)
def test_traced_values(name):
    """Each is taken, or refused by name, and not by JAX from inside."""
    call, settings = CALLS[name]
    for argument, value in numbers_of(settings).items():
        found = outcome_of_tracing(call, settings, argument, value)
        assert found in (None, REFUSED), f"{argument}: {found}"


def test_an_error_of_jax_is_detected():
    """The control: a function that asks a traced value for its number."""
    assert "ConcretizationTypeError" in outcome_of_tracing(lambda value: float(value), {}, "value", 1.0)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "Activation"])
def test_a_second_call_compiles_nothing(name, compilations):
    call, settings = CALLS[name]
    call(**settings)
    assert compilations(lambda: call(**settings)) == 0


def test_every_public_function_is_in_the_table():
    functions = {name for name in eft.__all__ if inspect.isfunction(getattr(eft, name))}
    assert functions - {"activation_names"} <= {name.split(" ")[0] for name in CALLS}


@pytest.mark.sweep("kernel_flow", "vertex_flow")
@pytest.mark.parametrize("name", [name for name in CALLS if name != "posterior"])  # takes kernels in float64
def test_float64_may_be_switched_between_calls(name):
    """To and fro in one process: of an array of indices that is kept, JAX remembers the type it had."""
    call, settings = CALLS[name]
    for x64 in (True, False, True):
        with jax.enable_x64(x64):
            assert outcome(call, settings, "", None) is None


def test_a_compilation_is_counted(compilations):
    """The control: a function that is new at each call, as `eft.Activation` gets one."""
    call, settings = CALLS["Activation"]
    call(**settings)
    assert compilations(lambda: call(**settings)) > 0


def test_wrong_outcomes_are_detected():
    """The control: an error that does not name its argument, another kind of error, and a warning."""

    def unnamed(value):
        raise ValueError("no")

    assert "not named" in outcome(unnamed, {"value": 1}, "value", 2)
    assert "ZeroDivisionError" in outcome(lambda value: 1 / value, {"value": 1}, "value", 0)
    assert "RuntimeWarning" in outcome(lambda value: np.float64(value) * 10, {"value": 1}, "value", 1e308)
