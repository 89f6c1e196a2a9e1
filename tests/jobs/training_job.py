"""A small training run in a process of its own: prints the digest of everything that came out.

python training_job.py FOLDER|- N_NETS [PROCESSES RANK PORT]
"""

import hashlib
import sys

import jax

folder, n_nets, *distributed = sys.argv[1:]
if distributed:
    processes, rank, port = map(int, distributed)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", processes, rank)

import numpy as np  # noqa: E402
import optax  # noqa: E402

import nets  # noqa: E402


def digest(run: nets.TrainingRun, members: int) -> str:
    """Of the first networks' parameters, losses and kernels, so that ensembles of any size compare."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(run.parameters):
        found.update(np.ascontiguousarray(leaf[:members]).tobytes())
    found.update(np.ascontiguousarray(run.loss[:, :members]).tobytes())
    found.update(np.ascontiguousarray(run.K_inputs[..., :members]).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    run = nets.train(
        "tanh", 1.2, 3, 48, int(n_nets), (X, np.sin(3 * X[:, 0]) * X[:, 1]), cb=0.1, seed=3, steps=60,
        snapshots=(0, 25, 60), batch_size=8, optimizer=optax.adam(1e-2), every=5,
        checkpoint=None if folder == "-" else folder, progress=False,
    )  # fmt: skip
    print("devices", jax.device_count(), "digest", digest(run, 40))
