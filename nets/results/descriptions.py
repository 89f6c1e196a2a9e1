"""What the fields of the other records of `nets` are: those that no file holds."""

from collections.abc import Mapping

from eft.records import DESCRIPTIONS, Description, Part, Rows
from eft.records.vocabulary import of_axes

SCALAR, LAYER = "", "layer"


def describe(name: str, title: str, described: Mapping, main: str, batch: str = "index") -> None:
    DESCRIPTIONS[name] = Description(title, described, tuple(main.split()), batch, "nets.plots")


describe(
    "Estimate",
    "measured quantity",
    of_axes("...", "", mean="mean over samples", stderr="standard error"),
    "mean stderr",
)
describe(
    "ChiSquared",
    "chi squared",
    of_axes(SCALAR, "", value="chi squared", dof="degrees of freedom", p="probability of a larger value"),
    "value dof p",
)
describe(
    "Comparison",
    "theory and networks, layer by layer",
    {
        **of_axes(LAYER, "", layer="layer of pre-activations, from 1", n="width of the layer before"),
        **of_axes(LAYER, "K", K_finite="kernel at this width, theory", K_last="last term of the kernel",
                 K_measured="kernel of the networks", z_K="(measured - theory)/stderr of K"),
        **of_axes(LAYER, "V", V_measured="four-point vertex of the networks", V_finite="four-point vertex at "
                 "this width, theory", V_last="last term of the vertex",
                 z_V="(measured - theory)/stderr of V", K_z="kernel from the pre-activations",
                 z_K_z="(measured - theory)/stderr of K_z", V_z="vertex from the pre-activations",
                 z_V_z="(measured - theory)/stderr of V_z", spread="standard deviation of log G"),
        **of_axes(LAYER, "valid", converges="whether the series converge", n_nets="networks used",
                 n_overflowed="networks left out"),
        "chi2_K": Part("of all layers of K"),
        "chi2_V": Part("of all layers of V"),
        **of_axes(SCALAR, "", seconds="wall-clock time"),
    },
    "K_measured K_finite z_K V_measured V_finite z_V",
)  # fmt: skip
TESTED = "snapshot test_input output"
describe(
    "TrainingComparison",
    "networks in training, beside infinitely wide ones",
    {
        "run": Part("networks", {"input": "probe_input"}),
        "flow": Part("theory at the snapshots", {"t": "snapshot"}),
        "curve": Part("theory at more steps", {"t": "step"}),
        **of_axes("snapshot", "loss", z_loss="(measured - theory)/stderr of the mean loss"),
        **of_axes(TESTED, "", z_mean="(measured - theory)/stderr of the mean output",
                 z_variance="(measured - theory)/stderr of the variance of the output"),
    },
    "loss flow_train_loss z_loss",
)  # fmt: skip
SIZES = "width layer"
describe(
    "CoordinateCheck",
    "{0.parametrization}, {0.optimizer} at {0.learning_rate:g}, {0.steps} steps",
    {
        **of_axes("width", "", widths="width of the hidden layers"),
        **of_axes(SIZES, "", size="size of the pre-activations", change="change of the pre-activations"),
        **of_axes(LAYER, "", exponent="power of the width in the change", size_exponent="power in the size, "
                 "theory", change_exponent="power in the change, theory"),
        **of_axes(SCALAR, "", transfers="whether the rate transfers", parametrization="parametrization",
                 optimizer="optimizer", learning_rate="learning rate", steps="steps of training"),
    },
    "exponent change_exponent size change",
)  # fmt: skip
describe(
    "Prediction",
    "prediction of one layer",
    of_axes(SCALAR, "K chi_perp chi_parallel", rho="correlation of the inputs", K_spread="spread of K of one "
           "network", chi_spread="spread of chi_perp of one network", V="four-point vertex",
           started="whether the chain of predictions begins here"),
    "K chi_perp",
)  # fmt: skip
describe(
    "LayerReport",
    "layer {0.number}, {0.path}",
    {
        **of_axes(SCALAR, "", number="number of the layer", path="place of its weights", kind="kind of layer",
                 source="layer upstream", before="what stands between", gamma="skip connection",
                 skip="layer where the skip connection starts", fan_in="terms of each sum",
                 width="neurons"),
        **of_axes(SCALAR, "cw cb K", rho="correlation of the inputs"),
        **of_axes(SCALAR, "chi_perp chi_parallel", chi_block="chi_perp from the start of the skip",
                 gradient="squared gradient from here to the output", flat="part of the entries with no "
                 "slope", dead="part of the neurons with no slope", finite="part of the entries that is "
                 "finite", V="four-point vertex"),
        "theory": Part("prediction"),
    },
    "cw cb K chi_perp",
)  # fmt: skip
describe(
    "Diagnosis",
    "{0.summary}",
    {
        "layers": Rows("layers", LAYER),
        "verdicts": None,
        "notes": None,
        **of_axes(SCALAR, "", n_inputs="number of inputs", n_nets="number of networks"),
    },
    "K theory_K chi_perp theory_chi_perp cw cb",
)
describe(
    "Factor",
    "layer {0.number}, {0.path}",
    of_axes(SCALAR, "", number="number of the layer", path="place of its weights", factor="factor of its "
           "weights", before="chi_perp before", target="chi_perp after", note="why nothing was done"),
    "factor before target",
)  # fmt: skip
describe(
    "Tuning",
    "factors of the weights",
    {"params": None, "factors": Rows("layers", LAYER)},
    "factor before target path",
)
