"""Ensembles of networks at initialization: thousands are drawn, and measured layer by layer."""

import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError
from nets.initialization import control_variates as controls
from nets.initialization import drawing, gram_measurement, measurement
from nets.initialization.gram_measurement import GramMeasurement
from nets.initialization.measurement import Measurement
from nets.network.architecture import Architecture, Settings, check_layers
from nets.network.normals import Normal, standard_normal
from nets.network.observables import NTKObservables, Observables
from nets.runtime import distribution, keys, memory
from nets.runtime.progress import progress_bar
from nets.runtime.settings import (
    MAX_NETS,
    check_representable,
    checked_progress,
    checked_seed,
    float_dtype,
)

METHODS = ("networks", "metric")

MAX_WRITTEN_OUT = 500
"""Largest number of layers (networks), or of runs of consecutive layers of equal width (metric), in a
program: each adds about 0.2 s to its compilation."""


@arguments.also_named(X="x")
def measure(
    act: ActivationLike,
    cw: float,
    depth: int,
    width: int | None,
    n_nets: int,
    *,
    seed: int | jax.Array = 0,
    cb: float = 0.0,
    x: Any = None,
    x2: float = 1.0,
    K1: float | None = None,
    widths: Sequence[int] | None = None,
    method: str = "networks",
    dtype: Any = jnp.float32,
    normal: Normal = standard_normal,
    memory_budget: int | str | None = None,
    progress: bool | None = None,
    ntk: bool = False,
    lambda_w: float = 1.0,
    lambda_b: float = 1.0,
    skip: float = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    readout: bool = False,
    control_variates: bool = False,
) -> Measurement | GramMeasurement:
    """Draw `n_nets` networks with one output and measure K, V, χ∥, χ⊥ of every layer.

        K^l  = mean of Ĝ^l,   V^l = n_{l−1}·(unbiased variance of Ĝ^l),   over networks
        K_z  = mean of K̂^l = (1/n_l) Σ z_i²
        V_z  = n_{l−1}·(mean of P − unbiased G²),   P = Σ_{i≠j} z_i²z_j²/(n_l(n_l−1)), or z⁴/3 if n_l = 1

    Unbiased G²: the mean of K̂_m K̂_m′ over pairs of different networks. All estimates are unbiased at the
    given width, so they differ from infinite width by O(1/n). Errors are jackknife errors; for V these are
    too small if there are few networks: use `Measurement.V_interval(level)` instead.

    With `ntk` (method "networks" only), also the empirical NTK of every layer by its recursion, in O(n³) per
    layer,

        Θ̂_ij^l = Σ_{l′≤l} Σ_k [λ_b ∂z_i^l/∂b_k ∂z_j^l/∂b_k + (λ_W/n_{l′−1}) Σ_m ∂z_i^l/∂W_km ∂z_j^l/∂W_km]
        H^l = E[Θ̂_ii^l | layer l−1] = λ_b + (λ_W/n_{l−1}) Σ_k σ_k² + (C_W/n_{l−1}) Σ_k σ′_k² Θ̂_kk^{l−1}

    and Θ = mean of H, A = n_{l−1}·(variance of H), D = n_{l−1}·(covariance of Ĝ and H), B and F the means of
    n_{l−1}(Θ̂_ij)² and n_{l−1}z_i z_jΘ̂_ij, i ≠ j, over networks and, exactly, over the weights of layer l.

    With `x` of shape (n_D, n₀), n_D ≤ 64 inputs that may coincide or be linearly dependent, the result is a
    `GramMeasurement`:

        K_αβ^l = mean of Ĝ_αβ^l,   Ĝ_αβ^{l+1} = C_b + (C_W/n_l) Σ_j σ(z_αj)σ(z_βj),   Ĝ_αβ¹ = K_αβ¹
        V_(12)(34)^l = n_{l−1}·(unbiased covariance of Ĝ_12^l and Ĝ_34^l),   K_αβ¹ = C_b + C_W x_α·x_β/n₀
        Θ_αβ = mean of Σ_l [λ_b Σ_i ∂z_α/∂b_i^l ∂z_β/∂b_i^l + (λ_W/n_{l−1}) Σ_ij ∂z_α/∂W_ij^l ∂z_β/∂W_ij^l]

    In Theta, z = z^L; it is measured if `ntk` is true. λ_W = `lambda_w`, λ_b = `lambda_b`.

    `act`: a name, an Activation or a function. `cw` = C_W, `cb` = C_b. `depth` = L: layers of
    pre-activations, including the output. `width`: of every hidden layer, or None with
    `widths` = (n₁, …, n_{L−1}). The input is `x` of shape (n₀,), or (√x2, √x2); with Gaussian weights only
    x2 = ‖x‖²/n₀ matters. `K1`: sets the first kernel, as in `FCN`; of several inputs K_αβ¹ = K1 x_α·x_β/n₀,
    that of x2 = 1. `method`: "networks", each an `FCN` whose weights are drawn, or "metric", which is equal
    in distribution and draws no weights. `normal`: the function that draws the weights (networks only).
    `seed`: an integer from 0 to 2³² − 1, or a key of `jax.random`; `jax.random.key(s)` means the same as s.
    `dtype`: of the networks' arithmetic; the statistics are always float64. `memory_budget`: in bytes, or as
    text such as "2GB"; default: half of the device's memory, or for a CPU, of the memory available to the
    process (control groups and `ulimit` included). It determines how many blocks of networks a device is
    given at a time.
    `progress`: show this plan and the progress on stderr; None: only if stderr is a terminal.

    With `control_variates`, for plain networks at one input, `controlled` of the result has K and V corrected
    by functions of Ĝ whose means are known given the layer before. The same networks then say as much as many
    more would: for tanh at width 512 and depth 11, 200,000 times as many of K and 400 of V.

    `skip`, `norm`, `weights`: networks that are not plain, as in `FCN`. With `skip` = γ > 0 all hidden widths
    must be equal and ≥ 2, and all layers are alike: the output has their width and a skip into it. With
    `readout` it has one neuron and no skip, as it always has without skip. What K and V are then, see
    `Measurement` and `GramMeasurement`.

    Network i has the key fold_in(key(seed), i). Networks run in blocks of a fixed size, the last one padded:
    the result of a network is bitwise the same for any `n_nets` and `memory_budget`, with one jaxlib and CPU
    type.

    A network is excluded from the first layer on at which one of its values is not finite, and counted.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument, and if
    `memory_budget` is too small for one block of networks and the results; all before any network is drawn.

    >>> measured = nets.measure("tanh", 1.0, depth=4, width=64, n_nets=100)
    >>> print(measured.K.mean.round(3), measured.K.stderr.round(3))
    [1.    0.391 0.237 0.17 ] [0.    0.004 0.003 0.003]
    """
    progress = checked_progress(progress)
    job = prepare(
        act,
        cw,
        depth,
        width,
        n_nets,
        seed=seed,
        cb=cb,
        x=x,
        x2=x2,
        K1=K1,
        widths=widths,
        method=method,
        dtype=dtype,
        normal=normal,
        memory_budget=memory_budget,
        ntk=ntk,
        lambda_w=lambda_w,
        lambda_b=lambda_b,
        skip=skip,
        norm=norm,
        weights=weights,
        readout=readout,
        control_variates=control_variates,
    )
    return run_gram(job, progress=progress) if job.program.n_inputs else run(job, progress=progress)


# --- before any network is drawn ----------------------------------------------------------------


class Job(NamedTuple):
    """A measurement whose arguments have been checked, and whose program is compiled.

    `program`, `values`: what is compiled, and its numbers. `settings`: C_W, C_b and γ in float64. `plan`: the
    memory. `seed`: of the ensemble. `first`: exact K¹, with shape (n_D, n_D) for several inputs, and exact
    Θ̂_ii¹. `control_variates`: whether they are wanted.
    """

    program: drawing.Program
    settings: Settings
    values: drawing.Values
    plan: memory.Plan
    seed: int
    first: tuple[Any, float]
    control_variates: bool = False


def prepare(
    act, cw, depth, width, n_nets, *, seed: Any = 0, cb=0.0, x=None, x2=1.0, K1=None, widths=None,
    method="networks", dtype=jnp.float32, normal=standard_normal, memory_budget=None,
    ntk=False, lambda_w=1.0, lambda_b=1.0, skip=0.0, norm=None, weights="gaussian", readout=False,
    control_variates=False,
) -> Job:  # fmt: skip
    """Check the arguments of `measure` and compile its program; `run` does the rest."""
    act = analysed(act)  # another one once the function computes something else
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=MAX_NETS)
    hidden = arguments.hidden_widths(width, widths, depth)
    arguments.one_of("method", method, METHODS)
    written_out = depth if method == "networks" else sum(1 for _ in itertools.groupby(hidden))
    if written_out > MAX_WRITTEN_OUT:
        raise ArgumentError(
            f'depth must be ≤ {MAX_WRITTEN_OUT} for method="networks", and for any method widths may not '
            f"change more often than that; got {written_out:,}"
        )
    dtype = float_dtype(dtype)
    cw, cb, skip = (arguments.number(name, a) for name, a in (("cw", cw), ("cb", cb), ("skip", skip)))
    layers = _layers(hidden, skip, norm, weights, readout)
    given, x = x, _input(x, x2)
    n_inputs = len(x) if x.ndim == 2 else 0
    _check_controls(control_variates, n_nets, n_inputs, layers)
    own_K1 = K1 is not None
    _check_ntk(ntk, method)
    rates = {
        "lambda_w": arguments.number("lambda_w", lambda_w),
        "lambda_b": arguments.number("lambda_b", lambda_b),
    }
    if n_inputs:
        if own_K1 and not x.any():
            raise ArgumentError("x must not be 0 where K1 is given: no weights could give it that variance")
        scale, offset = (arguments.number("K1", K1), 0.0) if own_K1 else (cw, cb)
        with np.errstate(over="ignore", invalid="ignore"):
            K1 = offset + scale * np.inner(x, x) / x.shape[1]
    else:
        x2 = arguments.number("x2", x2) if given is None else float(np.mean(x**2))
        if own_K1 and x2 == 0:
            raise ArgumentError("x must not be 0 where K1 is given: no weights could give it that variance")
        K1 = arguments.number("K1", K1) if own_K1 else cb + cw * x2
    check_representable(dtype, {"cw": cw, "cb": cb, "the first kernel": float(np.max(K1)), **rates})
    check_representable(dtype, {"skip": skip})
    sizes = (x.shape[-1], *hidden, 1 if layers["readout"] else hidden[-1])
    architecture = Architecture(act, sizes, own_K1, cb > 0, dtype, normal, **layers)
    program = drawing.Program(
        architecture,
        method,
        log_domain=method == "metric"
        and cb == 0
        and bool(act.degree)
        and not n_inputs
        and architecture.plain,
        n_inputs=n_inputs,
        ntk=ntk,
        accelerator=distribution.local_devices()[0].platform != "cpu",
    )
    seed = checked_seed(seed)
    budget = memory.budget(memory_budget, distribution.local_devices()[0])
    plan = _planned(program, n_nets, budget, controls.result_bytes(n_nets, depth) if control_variates else 0)
    settings = Settings(cw, cb, skip=skip if architecture.skip else None)
    values = drawing.Values(x, settings, K1, *(rates.values() if n_inputs or ntk else ()))
    values = jax.tree.map(lambda value: np.asarray(value, dtype), values)
    Theta = rates["lambda_w"] * float(np.mean(x**2)) + (0.0 if own_K1 else rates["lambda_b"])
    return Job(program, settings, values, plan, seed, (K1, Theta), bool(control_variates))


def _layers(hidden: tuple[int, ...], skip: float, norm: Any, weights: Any, readout: Any) -> dict[str, Any]:
    """The fields of the architecture that say what its layers are. Without skip there is one output."""
    one_output = not skip or bool(readout) or not hidden
    n_out = 1 if one_output else hidden[-1]
    arguments.true_or_false("readout", readout)
    check_layers(hidden, n_out, skip=skip > 0, norm=norm, weights=weights, readout=one_output)
    if skip and 1 in hidden:
        raise ArgumentError(
            f"skip needs hidden widths ≥ 2, for V is of two neurons; got {arguments.shown(hidden)}"
        )
    return {"skip": skip > 0, "norm": norm, "weights": weights, "readout": one_output}


def _planned(program: drawing.Program, n_nets: int, budget: int, more: int = 0) -> memory.Plan:
    """The plan, with the number of blocks that a device is given at a time; compiles the device's program.

    `more`: bytes for what is computed afterwards.
    """
    devices = distribution.local_devices()
    results = (
        gram_measurement.result_bytes(program, n_nets) if program.n_inputs else _result_bytes(program, n_nets)
    )
    results += more
    least = memory.OVERHEAD + len(devices) * drawing.least_memory(program)
    _check_budget(program, least, results, budget)
    of_each = len(devices) * drawing.output_bytes(program)
    held = memory.in_flight(of_each, least + results, drawing.CALL, budget)
    while True:
        needed = memory.OVERHEAD + len(devices) * drawing.compiled(program, held, devices[0])[1]
        if held == 1 or needed + results <= budget:
            break
        held //= 2
    _check_budget(program, needed, results, budget)
    block = drawing.block_size(program)
    return memory.Plan(n_nets, block, held, jax.device_count(), needed + results, budget)


def _result_bytes(program: drawing.Program, n_nets: int) -> int:
    """Bytes of what is stored for every network, of masks, and of the working memory for one layer."""
    fields = len(Observables._fields) + program.log_domain + program.ntk * len(NTKObservables._fields)
    return n_nets * ((8 * fields + 3) * program.architecture.depth + 8 * 8)


def _check_budget(program: drawing.Program, needed: int, results: int, budget: int) -> None:
    if needed + results > budget:
        raise ArgumentError(
            f"memory_budget must be at least {needed + results:,} bytes for this ensemble: {needed:,} for "
            f"{drawing.block_size(program)} networks at a time on each device of this process and "
            f"{results:,} for what is measured; got {budget:,}."
            + (' method="metric" draws no weights.' if program.method == "networks" else "")
        )


def _input(x: object, x2: object) -> np.ndarray:
    if x is None:
        return np.full(2, math.sqrt(arguments.number("x2", x2)))
    array = arguments.host_array("x", x)
    if array.ndim not in (1, 2) or not array.size or not np.isfinite(array).all():
        raise ArgumentError(
            "x must be one input of shape (n0,) or several of shape (n_D, n0), n_D and n0 ≥ 1, all "
            f"finite; got shape {array.shape}: {arguments.shown(x)}"
        )
    if array.ndim == 2:
        if len(array) > gram_measurement.MAX_INPUTS:
            raise ArgumentError(
                f"x must hold at most {gram_measurement.MAX_INPUTS} inputs; got shape {array.shape}"
            )
        if x2 != 1.0:
            raise ArgumentError(f"x2 must be left out where x holds several inputs; got {x2}")
        return array
    with np.errstate(over="ignore"):
        given_x2 = np.mean(array**2)
    if x2 != 1.0 and not np.isclose(arguments.number("x2", x2), given_x2, rtol=1e-6):
        raise ArgumentError(f"x2 must be left out where x is given, or be ‖x‖²/n0 = {given_x2:g}; got {x2}")
    return array


def _check_controls(wanted: object, n_nets: int, n_inputs: int, layers: dict[str, Any]) -> None:
    if not arguments.true_or_false("control_variates", wanted):
        return
    if n_inputs or layers["skip"] or layers["norm"] or layers["weights"] != "gaussian":
        raise ArgumentError(
            "control_variates must be False but for plain networks at one input: in others the next metric "
            "does not depend on this one alone"
        )
    if n_nets < controls.FEWEST:
        raise ArgumentError(f"n_nets must be at least {controls.FEWEST} with control_variates; got {n_nets}")


def _check_ntk(ntk: object, method: str) -> None:
    arguments.true_or_false("ntk", ntk)
    if ntk and method != "networks":
        raise ArgumentError(f'ntk must be False unless method is "networks"; got method {method!r}')


# --- the run, and its statistics ----------------------------------------------------------------


def run(job: Job, *, progress: bool | None = None) -> Measurement:
    """Draw the networks of a prepared job with one input, and measure them."""
    (layers, ntk), seconds = _draw(job, progress)
    measured = measurement.statistics(job.program, job.settings, layers, ntk, job.first, seconds)
    if not job.control_variates:
        return measured
    controlled = controls.statistics(job.program.architecture, job.settings, measured.G)
    return measured._replace(controlled=controlled)


def run_gram(job: Job, *, progress: bool | None = None) -> GramMeasurement:
    """Draw the networks of a prepared job with several inputs, and measure them."""
    observables, seconds = _draw(job, progress)
    return gram_measurement.statistics(job.program, job.settings, observables, job.first[0], seconds)


def _draw(job: Job, progress: bool | None) -> tuple[Any, float]:
    """The observables of every network, float64 arrays of shape (n_nets, …), and the time taken in seconds.

    In each round every device of every process gets `a_call` consecutive blocks, in the order of the devices.
    """
    plan, devices = job.plan, jax.device_count()
    size, n_nets, total = plan.block, plan.n_nets, -(-plan.n_nets // plan.block)
    a_call = min(plan.in_flight, max(8, total // (16 * devices)))
    calls = [
        drawing.compiled(job.program, plan.in_flight, device)[0] for device in distribution.local_devices()
    ]
    words, mine, drawn = keys.words(job.seed), jax.process_index() * len(calls), None
    started = time.perf_counter()
    with progress_bar(progress, "networks/s") as bar, ThreadPoolExecutor(len(calls)) as pool:
        if not bar.disable:
            bar.console.print(str(plan))
        task = bar.add_task(job.program.architecture.act.name, total=n_nets, speed=0.0)

        def part(call, first: int) -> Any:
            count = np.int32(min(max(total - first, 0), a_call))
            return jax.tree.map(np.asarray, call(words, np.uint32(first), count, job.values))

        for first in range(0, total, a_call * devices):
            starts = [first + (mine + i) * a_call for i in range(len(calls))]
            parts = distribution.gathered_parts(list(pool.map(part, calls, starts)))
            for i, each in enumerate(parts):
                start = min((first + i * a_call) * size, n_nets)
                stop = min(start + a_call * size, n_nets)
                if drawn is None:
                    drawn = jax.tree.map(lambda a: np.empty((n_nets, *a.shape[2:])), each)
                for kept, part_of in zip(jax.tree.leaves(drawn), jax.tree.leaves(each), strict=True):
                    kept[start:stop] = part_of.reshape(-1, *kept.shape[1:])[: stop - start]
            done = min((first + len(parts) * a_call) * size, n_nets)
            bar.update(task, completed=done, speed=done / (time.perf_counter() - started))
    return drawn, time.perf_counter() - started
