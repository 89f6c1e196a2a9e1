"""The NTK at finite width: A, B, D, F and Theta1 of `eft.ntk_flow` against 100,000 networks a width.

    python benchmarks/ntk_against_networks.py [networks]

tanh, GELU and ReLU, C_b and λ_b ≠ 0, layers 2 to 5, widths 32, 64, 128. Every quantity is extrapolated to
1/n = 0: by the parabola in 1/n through all three, and by the straight line through 64 and 128, whose error
is larger by what the parabola says that a line misses. z: (extrapolated − theory)/error.
Negative controls: theory with one term dropped must be rejected.

    dropped from A: the term of D;  from D: that of V;  from Theta1: that of D + 2F;
    from B and F: what is handed on

Theta1 is n(E[H] − Θ), with all that is known to have mean 0 taken out (`nets.initialization.shift`);
where nothing is left then (layer 2, and ReLU at every layer) plainly. The script fails unless χ² over the
layers stays in bounds and every control is rejected.

Typical output, 2026-11-24, about 10 minutes on two busy cores (layers 3 and 5 of 2 to 5):

      layer     theory   n = 128   parabola               z       line               z  control
    tanh: C_W = 1.5:
    Theta1   3  -0.00252  -0.00328   -0.00514 ± 0.00150 -1.75   -0.00435 ± 0.00100 -1.84   -36.5
    Theta1   5   0.06260   0.05995    0.05682 ± 0.00657 -0.88    0.05900 ± 0.00437 -0.82   -20.2
    A        3   0.31500   0.32216    0.30729 ± 0.00491 -1.57    0.31083 ± 0.00325 -1.28     9.7
    A        5   1.45186   1.50993    1.42224 ± 0.02390 -1.24    1.42865 ± 0.01572 -1.48    14.4
    B        3   1.58150   1.58891    1.57833 ± 0.00261 -1.22    1.58046 ± 0.00161 -0.65   133.1
    B        5   5.08232   5.14520    5.06241 ± 0.01187 -1.68    5.06885 ± 0.00724 -1.86   184.4
    D        3  -0.24097  -0.24031   -0.23694 ± 0.00381  1.06   -0.23903 ± 0.00254  0.76    -4.5
    D        5  -0.44940  -0.44362   -0.44116 ± 0.00751  1.10   -0.44206 ± 0.00500  1.47    -6.8
    F        3   0.22809   0.22794    0.22766 ± 0.00030 -1.43    0.22781 ± 0.00019 -1.47    51.6
    F        5   0.37035   0.37064    0.37108 ± 0.00070  1.04    0.37104 ± 0.00043  1.61    84.3
    gelu: C_W = 1.7:
    Theta1   3   0.03384   0.03928    0.03309 ± 0.00350 -0.21    0.03422 ± 0.00234  0.16   160.8
    Theta1   5   1.12200   1.12794    1.14107 ± 0.01862  1.02    1.13785 ± 0.01229  1.29   170.3
    A        3  14.97072  15.05163   14.46030 ± 0.25015 -2.04   14.64152 ± 0.16418 -2.01    16.2
    A        5  51.79183  53.34775   50.94780 ± 1.04447 -0.81   51.18528 ± 0.67186 -0.90    17.6
    B        3   5.05650   5.14422    5.03591 ± 0.01632 -1.26    5.04367 ± 0.01006 -1.28    56.9
    B        5  14.33678  15.55654   14.29277 ± 0.10074 -0.44   14.30142 ± 0.06068 -0.58    60.8
    D        3  14.76103  14.89966   14.23199 ± 0.27525 -1.92   14.43749 ± 0.17951 -1.80    14.0
    D        5  27.69360  28.81163   27.08982 ± 0.67159 -0.90   27.29321 ± 0.42587 -0.94    11.8
    F        3   5.95575   6.07382    5.91288 ± 0.03089 -1.39    5.93516 ± 0.01897 -1.09    62.0
    F        5  10.23870  10.97792   10.14194 ± 0.10491 -0.92   10.16950 ± 0.06272 -1.10    56.5
    relu: C_W = 1.8:
    Theta1   3   0.00000  -0.11841   -0.26370 ± 0.44764 -0.59   -0.23411 ± 0.31396 -0.75    -0.6
    Theta1   5   0.00000  -0.62129   -1.83358 ± 0.91906 -2.00   -1.35368 ± 0.64336 -2.10    -2.0
    A        3  16.70992  17.09858   17.03954 ± 0.28118  1.17   16.96505 ± 0.18514  1.38    17.4
    A        5  68.34147  71.52885   68.66782 ± 1.38882  0.23   68.55247 ± 0.88850  0.24    14.4
    B        3   6.94692   7.02557    6.93483 ± 0.01807 -0.67    6.93457 ± 0.01116 -1.11    71.9
    B        5  30.68438  31.78198   30.44875 ± 0.14597 -1.61   30.46381 ± 0.08852 -2.49    90.9
    D        3  18.35164  18.84954   18.78904 ± 0.34719  1.26   18.67681 ± 0.22714  1.43    14.5
    D        5  44.13253  46.28433   43.83950 ± 1.07259 -0.27   43.85349 ± 0.67532 -0.41     9.3
    F        3   7.96173   8.11346    7.98040 ± 0.03885  0.48    7.96709 ± 0.02392  0.22    64.7
    F        5  19.88511  20.90797   19.75314 ± 0.17335 -0.76   19.70124 ± 0.10376 -1.77    63.6
    theory holds within errors, and every control is rejected
"""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from scipy import special  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from nets.initialization.shift import ntk_shift  # noqa: E402

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
    m, p = eft.moments(a, flow.K), eft.slopes(a, flow.K)
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
                values[name][i], errors[name][i] = getattr(m.ntk, name)
            shift, error = ntk_shift(act, cw, RATES["lambda_w"], m, flow)
            plain = n * (m.ntk.Theta.mean - np.asarray(flow.Theta)), n * m.ntk.Theta.stderr
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
