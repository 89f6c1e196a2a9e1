"""R3: the susceptibilities of MRePU and their ratio as the kernel runs over powers of ten.

The experiment of Fig. 4 of arXiv:2408.02697: χ∥ and χ⊥ of MRePU_p(z) = z·max(0, z+1)ᵖ for p = 2, 3 against K,
at fixed C_W; the paper's claim is that χ∥/χ⊥ → 1 as K → 0.

Stated in the paper: p = 2, 3; K over powers of ten; C_W fixed. Ours: C_W = 1 (it drops out of the ratio),
K from 1e-8 to 1e2. No ensemble, no random number: the moments are truncated Gaussian moments in closed form.

What came out (2026-11-23): the ratio rises with K from 1, so it does tend to 1 as K → 0, as the paper says:
from above, as 1 + (2a₁ − b₁)K with 2a₁ − b₁ = 14 for p = 2 and 36 for p = 3; and towards (2p+1)/(p+1) for
large K, RePU's ratio at the same degree p + 1 (1.6664 of 1.6667 and 1.7499 of 1.75 at K = 100). But χ∥ and
χ⊥ both exceed 1 at every K > 0: the critical point K* = 0 repels, and K grows from wherever it starts.

Run: python benchmarks/paper/r03_mrepu_susceptibility.py [--quick] [--out results/r03]      (about 3 s)
"""

import argparse
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from experiment import Results  # noqa: E402

import eft  # noqa: E402
from eft.figures import susceptibility_figure  # noqa: E402
from nets.files import output  # noqa: E402
from nets.plots import figures  # noqa: E402

CW = 1.0


NAME = "mrepu_susceptibility"


def results(args) -> Results:
    K = np.logspace(-8, 2, 41 if args.quick else 401)
    curves, summary = {}, {}
    for p in (2, 3):
        act = eft.activation("mrepu", p=p)
        m = eft.moments(act, jnp.asarray(K))
        parallel, perp = CW * np.asarray(m.dg), CW * np.asarray(m.slope2)
        found = eft.classify(act)
        ratio = parallel / perp
        curves[f"MRePU, p = {p}"] = parallel, perp
        summary[f"p={p}"] = {
            "ratio at smallest K": float(ratio[0]),
            "(ratio - 1)/K at smallest K": float((ratio[0] - 1) / K[0]),
            "2 a1 - b1": 2 * found.a1 - found.b1,
            "the ratio rises with K": bool((np.diff(ratio) > 0).all()),
            "ratio at largest K": float(ratio[-1]),
            "limit of large K, (2p+1)/(p+1)": (2 * p + 1) / (p + 1),
            "smallest chi_parallel": float(parallel.min()),
            "class": found.kind,
            "stability": found.stability,
        }
        print(
            f"p = {p}: "
            + ", ".join(
                f"{k} {v:.6g}" if isinstance(v, float) else f"{k} {v}" for k, v in summary[f"p={p}"].items()
            )
        )
    return Results(summary, {}, {"K": K, "curves": curves})


def pictures(args, drawn) -> dict:
    return {"": susceptibility_figure(drawn["K"], drawn["curves"], f"MRePU at $C_W = {CW:g}$")}


def main() -> int:
    parser = argparse.ArgumentParser(description="Susceptibilities of MRePU against the kernel.")
    parser.add_argument("--quick", action="store_true", help="fewer points")
    parser.add_argument("--out", type=Path, default=Path("results/r03"))
    args = parser.parse_args()
    files = output.targets(args.out, NAME, (".json", ".png"))
    found = results(args)
    curves = found.drawn["curves"]
    series = {name: {"chi_parallel": a.tolist(), "chi_perp": b.tolist()} for name, (a, b) in curves.items()}
    settings = {"cw": CW, "jax": jax.__version__, "quick": args.quick}
    document = {"settings": settings, "summary": found.summary, "K": found.drawn["K"].tolist(), **series}
    output.write(files[".json"], output.json_text(document))
    output.write(files[".png"], figures.png(pictures(args, found.drawn)[""]))
    print("written: " + ", ".join(map(str, files.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
