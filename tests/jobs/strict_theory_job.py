"""The theory's functions once each, under the settings of JAX that the arguments name.

python strict_theory_job.py x64|x32 PROMOTION RANK, for example x64 strict raise
"""

import sys

import jax

precision, promotion, rank = sys.argv[1:]
jax.config.update("jax_enable_x64", precision == "x64")
jax.config.update("jax_numpy_dtype_promotion", promotion)
jax.config.update("jax_numpy_rank_promotion", rank)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import eft  # noqa: E402


def bent(z):
    return jnp.tanh(z) + jnp.where(z > 1, z - 1, jnp.zeros_like(z))


def main() -> None:
    for dtype in ("float64", "float32") if precision == "x64" else ("float32",):
        X = np.random.default_rng(0).uniform(-1, 1, (2, 2)).astype(dtype)
        cw, one = jnp.asarray([1.0, 2.0], dtype), jnp.asarray(1.0, dtype)
        for act in ("relu", eft.Activation(bent, kinks=(1.0,))):
            found = [
                eft.kernel_flow(act, cw[:, None], 3, K1=cw[None], widths=(3, 4)),
                eft.ntk_flow(act, cw, 3, cb=0.5 * cw),
                eft.expand(act, cw, 3, 2),
                eft.vertex_flow(act, one, 2, X),
                eft.ntk_gram_flow(act, one, 2, X[:1]),
                eft.gaussian_expectation(bent, cw, kinks=(1.0,)),
                jax.grad(lambda c, act=act: eft.kernel_flow(act, c, 3).V[-1])(one),
            ]
            assert {str(a.dtype) for a in jax.tree.leaves(found)} <= {dtype, "bool"}
        kernel = X @ X.T
        y, steps = X[:, 0], {"t": [0, 2, np.inf], "learning_rate": 0.1, "momentum": 0.5}
        trained = [
            eft.train_flow("relu", one, 2, X, y, X, **steps, Y_test=y, covariance=True),
            eft.train_flow("relu", one, 2, X, y, t=one),
            eft.linearized_flow(kernel, y, y, **steps),
            eft.linearized_flow(kernel, X, eft.initial_outputs(kernel, 3, outputs=2), t=one),
            eft.linearized_flow(kernel, X, X, t=one, loss=lambda z, y: (z - y) ** 4),
            eft.gp_inference(kernel, y[:1], Theta=kernel, noise=one),
            eft.log_marginal_likelihood("relu", one, 2, X, y, noise=one),
            eft.finite_width_posterior("relu", one, 2, X[:1], y[:1], X[1:], width=4, noise=one),
            eft.finite_width_training("gelu", one, 2, X[:1], y[:1], X[1:2], t=[1.0, np.inf], width=4),
            eft.cg_regress("relu", one, 2, X, y, X, noise=one),
            eft.max_learning_rate(kernel, momentum=0.5),
        ]
        floats = [a for a in jax.tree.leaves(trained) if jnp.issubdtype(a.dtype, jnp.floating)]
        assert {str(a.dtype) for a in floats} == {dtype}
        traced = jax.jit(
            lambda a: eft.ntk_flow(lambda z: jnp.tanh(a.astype(z.dtype) * z), jnp.ones((), a.dtype), 2)
        )
        assert traced(one).K.dtype == dtype
    eft.log_flow("relu", [1.0, 2.0], 3, 8)
    eft.classify(bent)
    eft.fixed_points(bent, 1.5)
    eft.phase_diagram(bent, [1.0, 2.0], [0.0, 0.1])
    print("done")


if __name__ == "__main__":
    main()
