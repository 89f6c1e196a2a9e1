"""The fields of the records of `eft`."""

from collections.abc import Mapping

from eft.records.description import DESCRIPTIONS, Description, Field, Part, Rows

LONG_NAMES = {
    "K": ("kernel", "K"),
    "chi_parallel": ("parallel susceptibility, from layer l to l+1", r"\chi_\parallel"),
    "chi_perp": ("perpendicular susceptibility, from layer l to l+1", r"\chi_\perp"),
    "V": ("four-point vertex n_(l-1) Var(G^l)", "V"),
    "G1": ("first 1/n correction of the mean of the metric", "G^{(1)}"),
    "log_K": ("logarithm of the kernel", r"\log K"),
    "valid": ("whether it is accurate", ""),
    "error": ("estimated relative error", ""),
    "K_aa": ("kernel of input a", "K_{aa}"),
    "K_ab": ("kernel of inputs a and b", "K_{ab}"),
    "K_bb": ("kernel of input b", "K_{bb}"),
    "K_mid": ("kernel of the midpoint", "K_{[0]}"),
    "K_parallel": ("half the difference of K_aa and K_bb", "K_{[1]}"),
    "K_perp": ("quarter of the squared distance", "K_{[2]}"),
    "gap": ("one minus the correlation of the inputs", r"1 - \rho"),
    "h": ("half the derivative of chi_perp", "h"),
    "Theta": ("neural tangent kernel", r"\Theta"),
    "Theta1": ("first 1/n correction of the neural tangent kernel", r"\Theta^{(1)}"),
    "A": ("n_(l-1) Cov(Theta_ii, Theta_jj), i and j distinct", "A"),
    "B": ("n_(l-1) E[Theta_ij^2], i and j distinct", "B"),
    "D": ("n_(l-1) Cov(z_i^2, Theta_jj), i and j distinct", "D"),
    "F": ("n_(l-1) E[z_i z_j Theta_ij], i and j distinct", "F"),
    "P": ("n_(l-1) E[dTheta_011 z_0], neurons distinct", "P"),
    "Q": ("n_(l-1) E[dTheta_010 z_1], neurons distinct", "Q"),
    "M": ("moments of G/K - 1, by powers of 1/n", "M"),
    "mean": ("mean", ""),
    "variance": ("variance", ""),
    "covariance": ("covariance of one output at two inputs", ""),
    "loss": ("mean loss", ""),
    "clipped": ("largest amount by which a variance was negative", ""),
    "jitter": ("added to the diagonal of the kernel", ""),
    "condition": ("condition number of the kernel matrix", ""),
    "max_rate": ("learning rate below which training converges", r"\eta"),
    "stable": ("whether training converges", ""),
    "rank": ("eigenvalues of the kernel that are positive", ""),
    "cw": ("C_W", "C_W"),
    "cb": ("C_b", "C_b"),
    "K1": ("first kernel", "K^1"),
    "stability": ("stability of the fixed point", ""),
    "value": ("value", ""),
    "g": ("second moment of the activation", r"\langle\sigma^2\rangle"),
    "g4": ("fourth moment of the activation", r"\langle\sigma^4\rangle"),
    "slopes": ("mean product of the slopes", r"\langle\sigma'_1\sigma'_2\rangle"),
    "distance": ("mean squared distance", r"\langle(\sigma_1-\sigma_2)^2\rangle"),
    "product": ("mean product", r"\langle\sigma_1\sigma_2\rangle"),
}
"""What a field of this name is in every record, unless it says otherwise, and its symbol."""


def fields(axes: str, names: str, **long_names: str) -> dict[str, Field]:
    """Fields with these axes; long names from `LONG_NAMES`, or as given."""
    found = {}
    for name in [*names.split(), *long_names]:
        words, symbol = LONG_NAMES.get(name, (name.replace("_", " "), ""))
        found[name] = Field(tuple(axes.split()), long_names.get(name, words), "", symbol=symbol)
    return found


LAYERS, SCALAR = "... layer", ""


def describe(name: str, title: str, described: Mapping, main: str, batch: str = "setting") -> None:
    DESCRIPTIONS[name] = Description(title, described, tuple(main.split()), batch)


# --- flows --------------------------------------------------------------------------------------

describe(
    "KernelFlow",
    "flow of one input",
    fields(LAYERS, "K chi_parallel chi_perp V G1 log_K valid error"),
    "K chi_parallel chi_perp V",
)
describe(
    "PairFlow",
    "flow of two inputs a, b",
    fields(LAYERS, "K_aa K_ab K_bb K_mid K_parallel K_perp gap valid"),
    "K_aa K_ab K_bb gap",
)
describe(
    "ExpandedPairFlow",
    "flow of two close inputs",
    fields(LAYERS, "K_mid K_parallel K_perp chi_parallel chi_perp h valid"),
    "K_mid K_parallel K_perp",
)
describe(
    "GramFlow",
    "kernels of many inputs",
    {**fields("... input input_2", "K Theta"), **fields("input input_2", "error valid")},
    "K Theta",
    "layer",
)
describe(
    "VertexFlow",
    "flow of several inputs, with fluctuations",
    {
        **fields("layer input input_2", "K"),
        **fields("layer pair pair_2", "V"),
        **fields("layer input input_2", "G1"),
        **fields("layer", "valid error"),
    },
    "K G1 V",
)
NEURONS = "layer input input_2 input_3 input_4"
describe(
    "NTKGramFlow",
    "neural tangent kernel of several inputs, with fluctuations",
    {
        **fields("layer input input_2", "K"),
        **fields("layer pair pair_2", "V"),
        **fields("layer input input_2", "Theta Theta1"),
        **fields("layer pair pair_2", "A"),
        **fields(NEURONS, "B"),
        **fields("layer pair pair_2", "D"),
        **fields(NEURONS, "F"),
        **fields("layer", "valid error"),
    },
    "K Theta Theta1 V",
)
describe(
    "NTKFlow",
    "neural tangent kernel of one input, with fluctuations",
    fields(LAYERS, "K V Theta Theta1 A B D F P Q valid error"),
    "Theta Theta1 A B",
)
describe(
    "LogFlow",
    "logarithm of the metric over networks",
    fields(LAYERS, "", mean="mean of log G", variance="variance of log G"),
    "mean variance",
)
SERIES = "... layer moment power"
describe(
    "Expansion",
    "1/n series of order {0.order}",
    {**fields(LAYERS, "K log_K"), **fields(SERIES, "M"), **fields(SERIES, "", error="estimated error of M"),
     **fields(LAYERS, "valid"), **fields("layer", "", n="width of the layer before")},
    "K log_K",
)  # fmt: skip
describe(
    "Action",
    "couplings of the action, by powers of 1/n",
    {
        **fields("... layer power", "", g="quadratic coupling", v="quartic coupling"),
        **fields("... layer term power", "", s="coefficients of powers of R"),
    },
    "g v",
)
describe(
    "Sum",
    "series in 1/n at a width",
    fields("...", "value", last="last term", converges="whether the last term tells the error"),
    "value last",
    "index",
)

# --- expectations -------------------------------------------------------------------------------

describe(
    "Moments",
    "Gaussian expectations of the activation",
    fields("...", "g g4", var="variance of the squared activation", dg="derivative of g", slope2="mean "
           "squared slope", d2g="second derivative of g", error="estimated relative error"),
    "g g4 dg slope2",
    "point",
)  # fmt: skip
describe(
    "SlopeMoments",
    "Gaussian expectations of the slope",
    fields("...", "", s="mean squared slope", s4="mean fourth power of the slope", var="variance of the "
           "squared slope", ds="derivative of s", d2s="second derivative of s", cross="mean of squared "
           "activation times squared slope", cov="covariance of squared activation and squared slope",
           cross_slopes="quarter of the mean product of their slopes", error="estimated relative error"),
    "s s4 cross",
    "point",
)  # fmt: skip
describe(
    "PairMoments",
    "Gaussian expectations at two points",
    fields("...", "product slopes distance error"),
    "product slopes distance",
    "point",
)
describe(
    "Expectation",
    "Gaussian expectation",
    fields("...", "value", error="estimated absolute error", magnitude="mean of the absolute value"),
    "value error",
    "point",
)

# --- criticality --------------------------------------------------------------------------------

describe("CriticalPoint", "critical point", fields(SCALAR, "K cw cb"), "K cw cb")
FIXED = {"chi_parallel": "parallel susceptibility", "chi_perp": "perpendicular susceptibility"}
describe(
    "FixedPoint",
    "fixed point, {0.stability}",
    {**fields(SCALAR, "K", **FIXED), **fields(SCALAR, "stability error")},
    "K chi_parallel chi_perp",
)
describe(
    "Candidate",
    "critical point, {0.stability}",
    {
        **fields(SCALAR, "", kind="kind of the critical point"),
        **fields(SCALAR, "K cw cb stability order"),
        **fields(SCALAR, "", a="coefficient of the flow", b="coefficient of chi_perp", a1="coefficient of "
                 "the squared deviation", b1="coefficient of the deviation in chi_perp", c="coefficient of "
                 "the power 3/2", exponent_K="power of depth in the deviation",
                 exponent_K2="power of depth in K_perp"),
        **fields("end", "", basin="interval of the first kernel that flows here"),
        **fields(SCALAR, "", error="estimated absolute error"),
    },
    "K cw cb stability",
)  # fmt: skip
describe(
    "Universality",
    "{0.name}: {0.kind}",
    {
        **fields(SCALAR, "name"),
        "best": None,
        **fields(SCALAR, "reason advice"),
        "candidates": Rows("critical points", "point"),
        **fields(SCALAR, "", decided="whether everything was decided"),
        "notes": None,
    },
    "K cw cb stability a1 b1",
)
PLANE = {"phase": "0 ordered, 1 chaotic, 2 exploding", "K": "kernel that the flow tends to", **FIXED}
describe(
    "PhaseDiagram",
    "phases in the plane of C_W and C_b",
    {**fields("cw", "cw"), **fields("cb", "cb"), **fields("cb cw", "", **PLANE, error="relative error of K")},
    "phase K chi_perp",
)
describe(
    "CriticalCurve",
    "where chi_perp is 1",
    fields("point", "K cw cb", chi_parallel="parallel susceptibility", error="relative error of C_W"),
    "cw cb K chi_parallel",
)

# --- training and inference ---------------------------------------------------------------------

describe(
    "Posterior",
    "posterior of the outputs",
    {
        **fields("... test_input output?", "mean"),
        **fields("... test_input", "variance"),
        **fields("...", "clipped jitter condition valid"),
    },
    "mean variance",
    "depth",
)
describe(
    "Regression",
    "regression by infinitely wide networks",
    {
        "nngp": Part("exact Bayesian inference"),
        "ntk": Part("gradient descent, in the limit of infinite time"),
    },
    "nngp_mean nngp_variance ntk_mean ntk_variance",
)
describe(
    "GaussianPosterior",
    "posterior of the outputs, with covariances",
    {
        **fields("test_input output?", "mean"),
        **fields("test_input test_input_2", "covariance"),
        **fields(SCALAR, "jitter condition valid"),
    },
    "mean",
)
DESCRIPTIONS["Inference"] = DESCRIPTIONS["Regression"]._replace(
    title="inference from kernels", main=("nngp_mean", "ntk_mean")
)
describe(
    "WidthPosterior",
    "posterior of one output at finite width",
    {
        **fields("test_input", "mean variance"),
        **fields(SCALAR, "", log_likelihood="logarithm of the evidence"),
        **fields("test_input", "", mean_shift="1/n part of the mean", variance_shift="1/n part of the "
                 "variance"),
        **fields(SCALAR, "", log_likelihood_shift="1/n part of the evidence"),
        **fields(SCALAR, "jitter condition valid"),
    },
    "mean variance mean_shift variance_shift",
)  # fmt: skip
describe(
    "CGRegression",
    "posterior means by conjugate gradients",
    {
        **fields("test_input output?", "mean"),
        **fields(SCALAR, "", residual="relative residual", steps="iterations"),
        **fields(SCALAR, "valid"),
    },
    "mean",
)
describe(
    "LogLikelihood",
    "evidence of the data",
    fields(SCALAR, "", value="logarithm of the evidence") | fields(SCALAR, "jitter condition valid"),
    "value",
)
describe(
    "Outputs",
    "outputs of infinitely wide networks",
    {
        **fields("... input output?", "mean"),
        **fields("... input", "variance"),
        **fields("... input input_2", "covariance"),
        **fields("...", "loss"),
    },
    "mean variance",
    "t",
)
TRAINED = {**fields(SCALAR, "max_rate stable rank")}
describe(
    "TrainFlow",
    "infinitely wide networks in training",
    {
        **fields("...", "", t="time, or steps of training"),
        "train": Part("training inputs", {"input": "train_input", "input_2": "train_input_2"}),
        "test": Part("test inputs", {"input": "test_input", "input_2": "test_input_2"}),
        **TRAINED,
        **fields("...", "clipped valid"),
    },
    "train_loss train_mean",
    "t",
)
describe(
    "LinearizedFlow",
    "linearized networks in training",
    {
        **fields("...", "", t="time, or steps of training"),
        **fields("... sample? train_input output?", "", train="outputs at the training inputs"),
        **fields("... sample? test_input output?", "", test="outputs at the test inputs"),
        **fields("... sample?", "loss"),
        **TRAINED,
        **fields("... sample?", "valid"),
    },
    "loss train",
    "t",
)

# --- recipes ------------------------------------------------------------------------------------

describe(
    "StartingPoint",
    "starting point",
    {
        **fields(SCALAR, "kind K cw cb K1"),
        **fields(SCALAR, "", rescaled="whether the first layer's weights are rescaled"),
        **fields(SCALAR, "reason"),
    },
    "K cw cb K1",
)
describe(
    "Rates",
    "learning rates",
    {
        **fields(SCALAR, "", sgd="largest stable rate of gradient descent", adam="rate at which the first "
                 "step of Adam changes the output by 1"),
        **fields("layer", "", lambda_w="relative rate of the weights", lambda_b="relative rate of the biases",
                 weights="largest stable rate of the weights", biases="largest stable rate of the biases",
                 share="share of the neural tangent kernel at one rate"),
    },
    "weights biases share",
)  # fmt: skip
describe(
    "Recipe",
    "recipe for {0.act.name}, {0.depth} layers, C_W = {0.cw:.6g}, C_b = {0.cb:.6g}",
    {
        **fields(SCALAR, "", act="activation"),
        "start": Part("starting point"),
        **fields(SCALAR, "", depth="layers of pre-activations", width="width of the hidden layers",
                 first_gain="gain of the first layer", gain="gain of all other layers",
                 bias_std="standard deviation of the biases"),
        "flow": Part("flow of one input"),
        **fields(SCALAR, "", gradient="growth of squared gradients from the last hidden layer to the first",
                 bound="V/(nK^2) that limits the depth", depth_limit="first layer beyond the bound",
                 searched="layers among which it was looked for", width_needed="smallest width for this "
                 "depth", log_spread="standard deviation of log G in the last layer"),
        "rates": Part("learning rates"),
        **fields(SCALAR, "", rate_spread="relative standard deviation of the largest stable rate",
                 skip="skip connection", norm="normalization", weights="kind of weights",
                 x2="squared length of the input over n_0", n_in="number of inputs", n_out="number of "
                 "outputs"),
    },
    "flow_K flow_chi_parallel flow_chi_perp flow_V rates_weights",
)  # fmt: skip
describe(
    "Shape",
    "{0.act.name}",
    {
        **fields(SCALAR, "", act="activation", input_scale="alpha", input_shift="beta", output_shift="delta",
                 output_scale="gamma", negative_slope="slope of the leaky ReLU"),
        **fields(SCALAR, "", K="kernel at which the conditions hold"),
        **fields("condition", "", residuals="what was found less what was asked for"),
    },
    "residuals",
)  # fmt: skip
