"""The fields of the records of `eft`."""

from eft.records.descriptions import DESCRIPTIONS, Part, Rows
from eft.records.vocabulary import describe, of_axes

LAYERS, SCALAR = "... layer", ""

# --- flows --------------------------------------------------------------------------------------

describe(
    "KernelFlow",
    "flow of one input",
    of_axes(LAYERS, "K chi_parallel chi_perp V G1 log_K valid error"),
    "K chi_parallel chi_perp V",
)
describe(
    "PairFlow",
    "flow of two inputs a, b",
    of_axes(LAYERS, "K_aa K_ab K_bb K_mid K_parallel K_perp gap valid"),
    "K_aa K_ab K_bb gap",
)
describe(
    "ExpandedPairFlow",
    "flow of two close inputs",
    of_axes(LAYERS, "K_mid K_parallel K_perp chi_parallel chi_perp h valid"),
    "K_mid K_parallel K_perp",
)
describe(
    "GramFlow",
    "kernels of many inputs",
    {**of_axes("... input input_2", "K Theta"), **of_axes("input input_2", "error valid")},
    "K Theta",
    "layer",
)
describe(
    "VertexFlow",
    "flow of several inputs, with fluctuations",
    {
        **of_axes("layer input input_2", "K"),
        **of_axes("layer pair pair_2", "V"),
        **of_axes("layer input input_2", "G1"),
        **of_axes("layer", "valid error"),
    },
    "K G1 V",
)
NEURONS = "layer input input_2 input_3 input_4"
describe(
    "NTKGramFlow",
    "neural tangent kernel of several inputs, with fluctuations",
    {
        **of_axes("layer input input_2", "K"),
        **of_axes("layer pair pair_2", "V"),
        **of_axes("layer input input_2", "Theta Theta1"),
        **of_axes("layer pair pair_2", "A"),
        **of_axes(NEURONS, "B"),
        **of_axes("layer pair pair_2", "D"),
        **of_axes(NEURONS, "F"),
        **of_axes("layer", "valid error"),
    },
    "K Theta Theta1 V",
)
describe(
    "DNTKFlow",
    "differentials of the neural tangent kernel of several inputs",
    {
        **of_axes(
            NEURONS,
            "",
            P="n_(l-1) E[dTheta_011 z_0], neurons distinct",
            Q="n_(l-1) E[dTheta_001 z_1], neurons distinct",
            R="n_(l-1) E[ddTheta_I of neurons 0011], neurons distinct",
            S="n_(l-1) E[ddTheta_II of neurons 0011], neurons distinct",
            T="n_(l-1) E[ddTheta_II of neurons 0101], neurons distinct",
            U="n_(l-1) E[ddTheta_II of neurons 0110], neurons distinct",
            dTheta="n_(l-1) E[D_c Theta_ab z_d] of one neuron",
            ddTheta="n_(l-1) E[D_d D_c Theta_ab] of one neuron",
        ),
        "ntk": Part("the neural tangent kernel at these inputs"),
        **of_axes("layer", "valid error"),
    },
    "dTheta ddTheta",
)
describe(
    "NTKFlow",
    "neural tangent kernel of one input, with fluctuations",
    of_axes(LAYERS, "K V Theta Theta1 A B D F P Q valid error"),
    "Theta Theta1 A B",
)
describe(
    "LogFlow",
    "logarithm of the metric over networks",
    of_axes(LAYERS, "", mean="mean of log G", variance="variance of log G"),
    "mean variance",
)
SERIES = "... layer moment power"
describe(
    "Expansion",
    "1/n series of order {0.order}",
    {
        **of_axes(LAYERS, "K log_K"),
        **of_axes(SERIES, "M", error="estimated error of M"),
        **of_axes(LAYERS, "valid"),
        **of_axes("layer", "", n="width of the layer before"),
    },
    "K log_K",
)
describe(
    "Action",
    "couplings of the action, by powers of 1/n",
    {
        **of_axes("... layer power", "", g="quadratic coupling", v="quartic coupling"),
        **of_axes("... layer term power", "", s="coefficients of powers of R"),
    },
    "g v",
)
describe(
    "Sum",
    "series in 1/n at a width",
    of_axes("...", "value", last="last term", converges="whether the last term tells the error"),
    "value last",
    "index",
)

# --- expectations -------------------------------------------------------------------------------

describe(
    "Moments",
    "Gaussian expectations of the activation",
    of_axes("...", "g g4", var="variance of the squared activation", dg="derivative of g", slope2="mean "
           "squared slope", d2g="second derivative of g", error="estimated relative error"),
    "g g4 dg slope2",
    "point",
)  # fmt: skip
describe(
    "SlopeMoments",
    "Gaussian expectations of the slope",
    of_axes("...", "", s="mean squared slope", s4="mean fourth power of the slope", var="variance of the "
           "squared slope", ds="derivative of s", d2s="second derivative of s", cross="mean of squared "
           "activation times squared slope", cov="covariance of squared activation and squared slope",
           cross_slopes="quarter of the mean product of their slopes", error="estimated relative error"),
    "s s4 cross",
    "point",
)  # fmt: skip
describe(
    "PairMoments",
    "Gaussian expectations at two points",
    of_axes("...", "product slopes distance error"),
    "product slopes distance",
    "point",
)
describe(
    "Expectation",
    "Gaussian expectation",
    of_axes("...", "value", error="estimated absolute error", magnitude="mean of the absolute value"),
    "value error",
    "point",
)

# --- criticality --------------------------------------------------------------------------------

describe("CriticalPoint", "critical point", of_axes(SCALAR, "K cw cb"), "K cw cb")
FIXED = {"chi_parallel": "parallel susceptibility", "chi_perp": "perpendicular susceptibility"}
describe(
    "FixedPoint",
    "fixed point, {0.stability}",
    {**of_axes(SCALAR, "K", **FIXED), **of_axes(SCALAR, "stability error")},
    "K chi_parallel chi_perp",
)
describe(
    "Candidate",
    "critical point, {0.stability}",
    {
        **of_axes(SCALAR, "", kind="kind of the critical point"),
        **of_axes(SCALAR, "K cw cb stability order"),
        **of_axes(SCALAR, "", a="coefficient of the flow", b="coefficient of chi_perp", a1="coefficient of "
                 "the squared deviation", b1="coefficient of the deviation in chi_perp", c="coefficient of "
                 "the power 3/2", exponent_K="power of depth in the deviation",
                 exponent_K2="power of depth in K_perp"),
        **of_axes("end", "", basin="interval of the first kernel that flows here"),
        **of_axes(SCALAR, "", error="estimated absolute error"),
    },
    "K cw cb stability",
)  # fmt: skip
describe(
    "Universality",
    "{0.name}: {0.kind}",
    {
        **of_axes(SCALAR, "name"),
        "best": None,
        **of_axes(SCALAR, "reason advice"),
        "candidates": Rows("critical points", "point"),
        **of_axes(SCALAR, "", decided="whether everything was decided"),
        "notes": None,
    },
    "K cw cb stability a1 b1",
)
PLANE = {"phase": "0 ordered, 1 chaotic, 2 exploding", "K": "kernel that the flow tends to", **FIXED}
describe(
    "PhaseDiagram",
    "phases in the plane of C_W and C_b",
    {
        **of_axes("cw", "cw"),
        **of_axes("cb", "cb"),
        **of_axes("cb cw", "", **PLANE, error="relative error of K"),
    },
    "phase K chi_perp",
)
describe(
    "CriticalCurve",
    "where chi_perp is 1",
    of_axes("point", "K cw cb", chi_parallel="parallel susceptibility", error="relative error of C_W"),
    "cw cb K chi_parallel",
)

# --- training and inference ---------------------------------------------------------------------

describe(
    "Posterior",
    "posterior of the outputs",
    {
        **of_axes("... test_input output?", "mean"),
        **of_axes("... test_input", "variance"),
        **of_axes("...", "clipped jitter condition valid"),
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
        **of_axes("test_input output?", "mean"),
        **of_axes("test_input test_input_2", "covariance"),
        **of_axes(SCALAR, "jitter condition valid"),
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
        **of_axes("test_input", "mean variance"),
        **of_axes(SCALAR, "", log_likelihood="logarithm of the evidence"),
        **of_axes("test_input", "", mean_shift="1/n part of the mean", variance_shift="1/n part of the "
                 "variance"),
        **of_axes(SCALAR, "", log_likelihood_shift="1/n part of the evidence"),
        **of_axes(SCALAR, "jitter condition valid"),
    },
    "mean variance mean_shift variance_shift",
)  # fmt: skip
describe(
    "CGRegression",
    "posterior means by conjugate gradients",
    {
        **of_axes("test_input output?", "mean"),
        **of_axes(SCALAR, "", residual="relative residual", steps="iterations"),
        **of_axes(SCALAR, "valid"),
    },
    "mean",
)
describe(
    "LogLikelihood",
    "evidence of the data",
    of_axes(SCALAR, "", value="logarithm of the evidence") | of_axes(SCALAR, "jitter condition valid"),
    "value",
)
describe(
    "Outputs",
    "outputs of infinitely wide networks",
    {
        **of_axes("... input output?", "mean"),
        **of_axes("... input", "variance"),
        **of_axes("... input input_2", "covariance"),
        **of_axes("...", "loss"),
    },
    "mean variance",
    "t",
)
describe(
    "WidthOutputs",
    "outputs of networks of finite width",
    {
        **of_axes("... input", "mean variance"),
        **of_axes(
            "... input", "", mean_shift="1/n part of the mean", variance_shift="1/n part of the variance"
        ),
    },
    "mean variance mean_shift variance_shift",
    "t",
)
describe(
    "WidthTraining",
    "networks of finite width in training",
    {
        **of_axes("...", "", t="time"),
        "train": Part("training inputs", {"input": "train_input"}),
        "test": Part("test inputs", {"input": "test_input"}),
        **of_axes("...", "valid"),
    },
    "train_mean test_mean",
    "t",
)
TRAINED = {**of_axes(SCALAR, "max_rate stable rank")}
describe(
    "TrainFlow",
    "infinitely wide networks in training",
    {
        **of_axes("...", "", t="time, or steps of training"),
        "train": Part("training inputs", {"input": "train_input", "input_2": "train_input_2"}),
        "test": Part("test inputs", {"input": "test_input", "input_2": "test_input_2"}),
        **TRAINED,
        **of_axes("...", "clipped valid"),
    },
    "train_loss train_mean",
    "t",
)
describe(
    "LinearizedFlow",
    "linearized networks in training",
    {
        **of_axes("...", "", t="time, or steps of training"),
        **of_axes("... sample? train_input output?", "", train="outputs at the training inputs"),
        **of_axes("... sample? test_input output?", "", test="outputs at the test inputs"),
        **of_axes("... sample?", "loss"),
        **TRAINED,
        **of_axes("... sample?", "valid"),
    },
    "loss train",
    "t",
)

# --- recipes ------------------------------------------------------------------------------------

describe(
    "StartingPoint",
    "starting point",
    {
        **of_axes(SCALAR, "kind K cw cb K1"),
        **of_axes(SCALAR, "", rescaled="whether the first layer's weights are rescaled"),
        **of_axes(SCALAR, "reason"),
    },
    "K cw cb K1",
)
describe(
    "Rates",
    "learning rates",
    {
        **of_axes(SCALAR, "", sgd="largest stable rate of gradient descent", adam="rate at which the first "
                 "step of Adam changes the output by 1"),
        **of_axes("layer", "", lambda_w="relative rate of the weights",
                 lambda_b="relative rate of the biases",
                 weights="largest stable rate of the weights", biases="largest stable rate of the biases",
                 share="share of the neural tangent kernel at one rate"),
    },
    "weights biases share",
)  # fmt: skip
describe(
    "Recipe",
    "recipe for {0.act.name}, {0.depth} layers, C_W = {0.cw:.6g}, C_b = {0.cb:.6g}",
    {
        **of_axes(SCALAR, "", act="activation"),
        "start": Part("starting point"),
        **of_axes(SCALAR, "", depth="layers of pre-activations", width="width of the hidden layers",
                 first_gain="gain of the first layer", gain="gain of all other layers",
                 bias_std="standard deviation of the biases"),
        "flow": Part("flow of one input"),
        **of_axes(SCALAR, "", gradient="growth of squared gradients from the last hidden layer to the first",
                 bound="V/(nK^2) that limits the depth", depth_limit="first layer beyond the bound",
                 searched="layers among which it was looked for", width_needed="smallest width for this "
                 "depth", log_spread="standard deviation of log G in the last layer"),
        "rates": Part("learning rates"),
        **of_axes(SCALAR, "", rate_spread="relative standard deviation of the largest stable rate",
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
        **of_axes(SCALAR, "", act="activation", input_scale="alpha", input_shift="beta", output_shift="delta",
                 output_scale="gamma", negative_slope="slope of the leaky ReLU"),
        **of_axes(SCALAR, "", K="kernel at which the conditions hold"),
        **of_axes("condition", "", residuals="what was found less what was asked for"),
    },
    "residuals",
)  # fmt: skip
