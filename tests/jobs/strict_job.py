"""Small runs of everything that draws networks, under the settings of JAX that its arguments name.

python strict_job.py x64|x32 PROMOTION RANK, for example x64 strict raise
"""

import sys

import jax

precision, promotion, rank = sys.argv[1:]
jax.config.update("jax_enable_x64", precision == "x64")
jax.config.update("jax_numpy_dtype_promotion", promotion)
jax.config.update("jax_numpy_rank_promotion", rank)

import numpy as np  # noqa: E402
import optax  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from nets.paper import pinn  # noqa: E402

ACTIVATIONS = ("tanh", "mrepu")


def main() -> None:
    X = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    labels = np.arange(12) % 3
    for dtype in ("float32", "float64") if precision == "x64" else ("float32",):
        for name in ACTIVATIONS:
            act = eft.activation(name)
            for method in ("networks", "metric"):
                nets.measure(act, 1.0, 3, 8, 9, method=method, dtype=dtype, cb=0.1)
                nets.measure(act, 1.0, 3, 8, 9, method=method, dtype=dtype, x=X[:3])
            nets.measure(act, 1.0, 3, 8, 9, dtype=dtype, ntk=True, K1=0.01)
            nets.measure(act, 1.0, 3, 8, 9, dtype=dtype, ntk=True, x=X[:2])
            nets.measure_inputs(act, 1.0, 3, 8, 2, X, dtype=dtype)
        run = {"steps": 3, "dtype": dtype, "progress": False}
        nets.train("tanh", 1.0, 3, 8, 4, (X, X[:, 0]), batch_size=5, **run)
        nets.train("relu", 1.0, 3, 8, 4, (X, X), K1=0.1, optimizer=optax.adam(1e-2), **run)
        nets.train(
            "tanh", 1.0, 3, 8, 4, (X, labels), n_out=3, **run,
            loss=optax.softmax_cross_entropy_with_integer_labels,
        )  # fmt: skip
        pinn.train("tanh", 1.0, 2, hidden=1, width=4, interior=20, boundary=8, grid=(5, 3), **run)
    print("done")


if __name__ == "__main__":
    main()
