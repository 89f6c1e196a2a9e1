"""The NTK at finite width: A, B, D, F and Theta1 of `eft.ntk_flow` against 100,000 networks a width.

    python benchmarks/ntk_against_networks.py [networks]

tanh, GELU and ReLU, C_b and λ_b ≠ 0, layers 2 to 5, widths 32, 64, 128. Every quantity is extrapolated to
1/n = 0: by the parabola in 1/n through all three, and by the straight line through 64 and 128, whose error
is larger by what the parabola says that a line misses. z: (extrapolated − theory)/error.
Negative controls: theory with one term dropped must be rejected.

    dropped from A: the term of D;  from D: that of V;  from Theta1: that of D + 2F;
    from B and F: what is handed on

Theta1 is n(E[H] − Θ), with all that is known to have mean 0 taken out (`nets.shift`); where nothing is left
then (layer 2, and ReLU at every layer) plainly. The script fails unless χ² over the layers stays in bounds
and every control is rejected.
"""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from scipy import special  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from nets.shift import ntk_shift  # noqa: E402

WIDTHS, DEPTH = (32, 64, 128), 5
CASES = {
    "tanh": {"cw": 1.5, "cb": 0.1},
    "gelu": {"cw": 1.7, "cb": 0.15},
    "relu": {"cw": 1.8, "cb": 0.1},
}
RATES = {"lambda_w": 0.7, "lambda_b": 0.3}
NAMES = ("Theta1", "A", "B", "D", "F")
HEAD = (
    "           layer     theory     n = 32     n = 64    n = 128   parabola              z       line"
    "              z  control z"
)


def without(act, flow, kernel, cw, lw) -> dict[str, np.ndarray]:
    """The same recursions with one term dropped in each."""
    a = eft.activation(act)
    m, p = a.moments(flow.K), a.slopes(flow.K)
    c = cw * flow.Theta
    slope = lw * m.dg + c * p.ds
    bent = lw * m.d2g + c * p.d2s
    perp, parallel = kernel.chi_perp, kernel.chi_parallel
    fresh_A = lw**2 * m.var + 2 * lw * c * p.cov + c**2 * p.var
    fresh_D = cw * (lw * m.var + c * p.cov)
    new = {
        "Theta1": slope * kernel.G1 + bent * flow.V / 2 + perp * flow.Theta1,
        "A": fresh_A + slope**2 * flow.V + perp**2 * flow.A,
        "B": c**2 * p.s4,
        "D": fresh_D + parallel * perp * flow.D,
        "F": cw * c * p.cross,
    }
    return {name: np.r_[0.0, np.asarray(v)[:-1]] for name, v in new.items()}


def extrapolate(values, errors) -> tuple[tuple, tuple]:
    """At 1/n = 0, with the error: of the parabola through three widths, of the line through the last two."""
    n = np.array(WIDTHS, float)
    lagrange = np.array([np.prod([n[i] / (n[i] - n[j]) for j in range(3) if j != i]) for i in range(3)])
    # value at 1/n = 0: weights n_i²/Π(n_i − n_j)
    parabola = lagrange @ values, np.sqrt(lagrange**2 @ errors**2)
    weights = np.array([0.0, n[1], n[2]]) / (n[2] - n[1]) * np.array([0, -1, 1])
    line = weights @ values, np.sqrt(weights**2 @ errors**2)
    return parabola, line


def main(networks: int = 100_000) -> None:
    failures = []
    for case, (act, settings) in enumerate(CASES.items()):
        cw, cb = settings["cw"], settings["cb"]
        flow = eft.ntk_flow(act, cw, DEPTH, cb=cb, **RATES)
        kernel = eft.kernel_flow(act, cw, DEPTH, cb=cb)
        dropped = without(act, flow, kernel, cw, RATES["lambda_w"])
        values, errors = ({name: np.zeros((3, DEPTH)) for name in NAMES} for _ in range(2))
        for i, n in enumerate(WIDTHS):
            m = nets.measure(
                act, cw, DEPTH, n, networks, cb=cb, seed=1000 * case + n, ntk=True, progress=False, **RATES
            )
            for name in NAMES[1:]:
                values[name][i], errors[name][i] = getattr(m, name)
            shift, error = ntk_shift(act, cw, RATES["lambda_w"], m, flow)
            plain = n * (m.Theta.mean - np.asarray(flow.Theta)), n * m.Theta.stderr
            values["Theta1"][i] = np.where(error > 1e-9, shift, plain[0])
            errors["Theta1"][i] = np.where(error > 1e-9, error, plain[1])
            if (abs(values["Theta1"][i] - plain[0]) > 4 * plain[1] + 1e-4 * n).any():
                failures.append(f"{act}, n = {n}: the two estimates of Theta1 differ")
        print(f"\n{act}: C_W = {cw}, C_b = {cb}, {RATES}, ‖x‖²/n₀ = 1, {networks:,} networks a width")
        print(HEAD)
        for name in NAMES:
            theory = np.asarray(getattr(flow, name))
            chi2, worst_control = 0.0, 0.0
            for layer in range(1, DEPTH):
                v, e = values[name][:, layer], errors[name][:, layer]
                (p, dp), (s, ds) = extrapolate(v, e)
                z, z_line = (p - theory[layer]) / dp, (s - theory[layer]) / ds
                control = (p - dropped[name][layer]) / dp
                chi2 += z**2
                worst_control = max(worst_control, abs(control))
                measured = " ".join(f"{a:10.5f}" for a in v)
                print(
                    f"  {name:8s} {layer + 1:5d} {theory[layer]:10.5f} {measured} "
                    f"{p:10.5f} ±{dp:8.5f} {z:6.2f} {s:10.5f} ±{ds:8.5f} {z_line:6.2f} {control:8.1f}"
                )
            # the layers of one ensemble are correlated: χ² is compared with 4 degrees at a small level
            chance = float(special.chdtrc(DEPTH - 1, chi2))
            print(f"  {name:8s} χ² {chi2:.1f} of 4, chance {chance:.3f}; largest control {worst_control:.1f}")
            if chance < 1e-3:
                failures.append(f"{act} {name}: theory is rejected")
            exact = act == "relu" and name == "Theta1"  # nothing to drop there: 0
            if worst_control < 5 and not exact:
                failures.append(f"{act} {name}: the control is not rejected")
    print("\n" + ("\n".join(failures) or "theory holds within errors, and every control is rejected"))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
