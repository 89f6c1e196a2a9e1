"""What a field of a name is in every record, and records described in its words."""

from collections.abc import Mapping

from eft.records.descriptions import DESCRIPTIONS, Description, Field

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


def of_axes(axes: str, names: str, **long_names: str) -> dict[str, Field]:
    """Fields with these axes; long names from `LONG_NAMES`, or as given."""
    found = {}
    for name in [*names.split(), *long_names]:
        words, symbol = LONG_NAMES.get(name, (name.replace("_", " "), ""))
        found[name] = Field(tuple(axes.split()), long_names.get(name, words), "", symbol=symbol)
    return found


def describe(name: str, title: str, described: Mapping, main: str, batch: str = "setting") -> None:
    DESCRIPTIONS[name] = Description(title, described, tuple(main.split()), batch)
