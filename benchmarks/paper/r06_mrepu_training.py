"""R6: MRePU networks of five hidden layers in training: kernel, χ⊥ and four-point vertex of every layer.

The experiment of Figs. 7 and 8 of arXiv:2408.02697. Stated there: five hidden layers, p = 2, C_b = 0, 1000
samples of points of the plane, C_W a little below 1. Ours: width 512, points uniform in [−1, 1]², the target
sin πx₁ cos πx₂, full-batch Adam at 1e-3 on half the mean square, C_W = 0.9, and the first kernel: K¹ = 1e-3
for an input with ‖x‖²/n₀ = 1. With `--K1 -1` it is C_W‖x‖²/n₀, of fan-in weights: there networks explode.

The claims "χ⊥ tends to 1 with training" and "V grows linearly with the layer after training" are tried as
numbers with errors: |χ⊥ − 1| of the hidden layers before and after, and the share of V over layers
that a straight line explains, with the t of a quadratic term.

What came out (2026-11-27, --nets 300, on one NVIDIA H200 that other experiments shared, jax 0.11.2, float32;
the paper does not say how many networks it had):

    step  loss      χ⊥ of hidden layers 1, 3, 5        V, last layer   a line explains   t of a quadratic term
    0     0.123     0.908  0.906         0.905         (1.2 ± 0.1)e-6  98 %             -1.6
    250   4.6e-5    0.906  0.999 ± .004  1.422 ± .022  11.5 ± 2.3      33 %             +12.2
    500   1.3e-5    0.906  1.000 ± .004  1.390 ± .020  9.5 ± 2.1       32 %             +12.4
    1000  4.1e-6    0.906  0.999 ± .004  1.272 ± .016  4.7 ± 1.3       32 %             +12.7

The networks learn (0.99999 of the test target is explained, none overflows). χ⊥ leaps above 1 in the last
hidden layers and then comes down slowly; after 1000 steps it is 1.274 ± 0.008 and 1.272 ± 0.016 in the last
two, 1.00 in the third, and still 0.91 and 0.92 in the first two: on the average over layers |χ⊥ − 1| grows
from 0.09 to 0.14. V grows by a factor of about thirty a layer, not along a line. 20 networks on two cores
(2026-11-25, 1286 s) agree within their errors. At width 128 (100 networks, 500 steps, 655 s) both go further:
χ⊥ of the last hidden layer to 3.48 ± 0.11, V to 111 ± 35.

Run: python benchmarks/paper/r06_mrepu_training.py [--quick] [--out results/r06] [--act gelu --cw 1.98] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import experiment
import numpy as np
import optax

import eft
import nets
from nets.comparison.cases import parse_activation
from nets.paper import targets
from nets.plots import figures
from nets.plots.panels import COLORS, Panel, Series, figure

NAME = "mrepu_training"


def options():
    args = experiment.options(
        __doc__.split("\n")[0], "r06", act="mrepu:p=2", cw=0.9, cb=0.0, K1=1e-3, width=512, hidden=5, nets=20,
        samples=1000, steps=1000, rate=1e-3, target="waves",
    )  # fmt: skip
    if args.quick:
        args.width, args.nets, args.samples, args.steps = 64, 30, 200, 200
    return args


def trained(args, X, y, X_test):
    case = {name: value for name, value in vars(args).items() if name != "out"}
    return experiment.kept(
        args, "training", case, nets.train, parse_activation(args.act), args.cw, args.hidden + 1, args.width,
        args.nets, (X, y), cb=args.cb, K1=None if args.K1 < 0 else args.K1, optimizer=optax.adam(args.rate),
        steps=args.steps, x_test=X_test, seed=args.seed,
        snapshots=tuple(args.steps * quarter // 4 for quarter in range(5)),
        checkpoint=experiment.checkpoint(args, "training", case),
    )  # fmt: skip


def snapshot(run, s: int, hidden: slice) -> dict:
    """χ⊥, V and the loss after a number of steps."""
    chi = run.chi_perp.mean[s, hidden].mean(-1)
    error = run.chi_perp.stderr[s, hidden].mean(-1)
    V, V_error = run.V.mean[s, 1:].mean(-1), run.V.stderr[s, 1:].mean(-1)
    line, bend = straightness(V, V_error)
    loss = np.median(run.loss[s][run.alive[s]]) if run.alive[s].any() else np.nan
    row = {
        "step": int(run.steps[s]), "loss": loss, "chi_perp": chi, "its error": error,
        "mean |chi_perp - 1|": np.mean(abs(chi - 1)), "V": V, "error of V": V_error,
        "explained by a line": line, "t of a quadratic term": bend,
    }  # fmt: skip
    print(
        f"  {run.steps[s]:5d}: loss {loss:.3g}   χ⊥ {chi[0]:.3f} … {chi[-1]:.3f} ± {error[-1]:.3f}   V of "
        f"the last layer {V[-1]:.3g} ± {V_error[-1]:.2g}   a line explains {line:.2f} of it, t {bend:+.1f}"
    )
    return {k: np.asarray(v).tolist() for k, v in row.items()}


def results(args) -> experiment.Results:
    act, K1 = parse_activation(args.act), None if args.K1 < 0 else args.K1
    X, y = targets.samples(args.target, args.samples, 2, args.seed)
    X_test, y_test = targets.samples(args.target, 500, 2, args.seed + 1)
    run = trained(args, X, y, X_test)
    print(f"{args.act}, C_W = {args.cw:g}: {run.n_overflowed[-1]} of {args.nets} networks overflowed")
    summary = {"overflowed": run.n_overflowed.tolist()}
    summary["snapshots"] = [snapshot(run, s, slice(0, args.hidden)) for s in range(len(run.steps))]
    mean, spread = run.outputs.mean[-1, :, 0], np.sqrt(run.outputs_variance.mean[-1, :, 0])
    explained = 1 - np.mean((mean - y_test) ** 2) / np.var(y_test)
    summary["explained by the mean output"] = explained
    print(f"  test: explained by the mean output {explained:.3f}; its spread is {np.mean(spread):.2g}")
    x2 = np.mean(X[:16] ** 2, axis=1)
    flow = eft.kernel_flow(
        act, args.cw, args.hidden + 1, cb=args.cb, x2=x2, K1=None if K1 is None else K1 * x2
    )
    arrays = {"X_test": X_test, "y_test": y_test, "mean": mean, "spread": spread, "loss": run.loss}
    return experiment.Results(summary, arrays, {"run": run, "flow": flow, "y_test": y_test})


def pictures(args, drawn) -> dict:
    run, y_test = drawn["run"], drawn["y_test"]
    first = f"K¹ = {args.K1:g}‖x‖²/n₀" if args.K1 >= 0 else "K¹ = C_W‖x‖²/n₀"
    act = parse_activation(args.act)
    title = f"{act.name}: C_W = {args.cw:g}, {first}, {args.nets} networks of width {args.width}"
    mean, spread = run.outputs.mean[-1, :, 0], np.sqrt(run.outputs_variance.mean[-1, :, 0])
    order = np.argsort(y_test)[::8]
    series = [
        Series(y_test[order], y_test[order], "dashed", "#333333", "the target"),
        Series(y_test[order], mean[order], "points", COLORS[0], "mean and spread", spread[order]),
    ]
    panel = Panel("target", "output", series, f"after {run.steps[-1]:,} steps")
    return {
        "": figures.training_figure(title, run, drawn["flow"]),
        "_outputs": figure(title, [[panel]], width=5.2, height=3.8),
    }


def straightness(V: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """The share of V's weighted variation over layers that a line explains, and t of a quadratic term."""
    layer = np.arange(2.0, len(V) + 2)
    if not (np.isfinite(V) & np.isfinite(error) & (error > 0)).all():
        return np.nan, np.nan
    residual = [
        np.sum(((V - np.polyval(np.polyfit(layer, V, k, w=1 / error), layer)) / error) ** 2) for k in (0, 1)
    ]
    fit, covariance = np.polyfit(layer, V, 2, w=1 / error, cov="unscaled")
    return 1 - residual[1] / residual[0], fit[0] / np.sqrt(covariance[0, 0])


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
