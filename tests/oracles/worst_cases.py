"""Print, for every activation, the largest error against the oracle table and the K where it is.

python tests/oracles/worst_cases.py [float32]
"""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import references  # noqa: E402

import eft  # noqa: E402

if __name__ == "__main__":
    dtype = np.dtype(sys.argv[1] if len(sys.argv) > 1 else "float64")
    print(f"{dtype}: largest relative error (d2g: in units of g/K²), and the K where it is")
    for key, (K, _) in references.table().items():
        moments = eft.moments(references.activation(key), jnp.asarray(K, dtype))
        errors = references.relative_errors(key, moments, dtype)
        cells = (f"{q} {error.max():.0e} at {K[error.argmax()]:.0e}" for q, error in errors.items())
        print(f"{key:14s}", "   ".join(cells))
