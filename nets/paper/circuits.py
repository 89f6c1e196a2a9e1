"""Circuits of polynomial blocks: the values computed layer by layer, and the weights that compute them.

A *stage* is a hidden layer. Its inputs u, with |u| ≤ 1, are affine combinations of the values of the stage
before. A block for each u computes u, u², …, uᵖ, and affine combinations of these are the new values.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import polynomial

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError


class Block(NamedTuple):
    """p + 1 units of MRePU_p at z = τu, which combine to the powers uᵏ = Σ_i powers[k−1, i] σ(τ_i u).

    `tau`: (p + 1,). `powers`: (p, p + 1). `condition`: condition number of the linear system.
    """

    p: int
    tau: np.ndarray
    powers: np.ndarray
    condition: float

    @classmethod
    def of(cls, p: int, nodes: Any = None) -> "Block":
        """The block with the given τ; default: `chebyshev_nodes`.

        Raises ValueError for nodes that are equal, 0, or outside of [−1, 1].
        """
        tau = chebyshev_nodes(p) if nodes is None else _checked_nodes(nodes, p)
        V = tau ** np.arange(1, p + 2)[:, None] * _binomials(p)[:, None]
        # Σ_k ℓ_{ik} τ_jᵏ = δ_ij: row i of the inverse of (τ_iᵏ), k = 0 … p, holds the coefficients of ℓ_i
        lagrange = np.empty((p + 1, p + 1))
        for i, t in enumerate(tau):
            others = np.delete(tau, i)
            lagrange[i] = polynomial.polyfromroots(others) / np.prod(t - others)
        inverse = lagrange / tau[:, None] / _binomials(p)
        return cls(p, tau, inverse.T[:p], float(np.linalg.cond(V)))

    def outputs(self, P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Q and q of a stage with one block, whose only value is the polynomial P of u."""
        row = np.append(P[1:], np.zeros(self.p + 1 - len(P)))
        return row[None, None, :], np.array([P[0]])


class Stage(NamedTuple):
    """u = A·(values before) + a;  values = q + Σ_b Σ_k Q[:, b, k−1] u_bᵏ.

    `A`: (blocks, values before). `a`: (blocks,). `Q`: (values, blocks, p). `q`: (values,).
    """

    A: np.ndarray
    a: np.ndarray
    Q: np.ndarray
    q: np.ndarray


def _binomials(p: int) -> np.ndarray:
    """C(p, k−1), k = 1 … p+1: the coefficients of z(z + 1)ᵖ."""
    return np.array([math.comb(p, k) for k in range(p + 1)], np.float64)


def chebyshev_nodes(p: int) -> np.ndarray:
    """p + 1 Chebyshev points of [−1, 1], none of them 0."""
    count = p + 1 + (p + 1) % 2
    nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    return nodes if count == p + 1 else np.delete(nodes, count // 2)


def _checked_nodes(nodes: Any, p: int) -> np.ndarray:
    arguments.real_array("nodes", nodes)
    tau = np.asarray(nodes, np.float64)
    if tau.shape != (p + 1,):
        raise ArgumentError(f"nodes must be {p + 1} numbers for p = {p}; got shape {tau.shape}")
    if len(set(tau.tolist())) < len(tau):
        raise ArgumentError(
            f"nodes must differ from one another, else two units are the same; got {tau.tolist()}"
        )
    if np.any(tau == 0):
        raise ArgumentError(f"nodes must not be 0: such a unit is 0 everywhere; got {tau.tolist()}")
    if not np.all(np.abs(tau) <= 1):
        raise ArgumentError(
            f"nodes must lie in [−1, 1], else a unit goes off in the interval; got {tau.tolist()}"
        )
    return tau


def checked_interval(name: str, interval: Any) -> tuple[float, float]:
    """(low, high), finite, low < high."""
    try:
        low, high = map(float, interval)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{name} must be (low, high); got {arguments.shown(interval)}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ArgumentError(f"{name} must be finite with low < high; got {interval!r}")
    return low, high


def centred(P: np.ndarray, interval: tuple[float, float]) -> np.ndarray:
    """Coefficients in x, along the first axis, converted to coefficients in ξ, where x = middle + half·ξ."""
    x = [(interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2]
    change = np.zeros((len(P), len(P)))
    for j in range(len(P)):
        change[: j + 1, j] = polynomial.polypow(x, j)
    return np.tensordot(change, P, 1)


def assembled(stages: list[Stage], block: Block, n0: int) -> list[dict[str, np.ndarray]]:
    """The kernels and biases of a network; the only value of the last stage is the output."""
    R, r = np.eye(n0), np.zeros(n0)  # values = R·(units before) + r
    layers = []
    for stage in stages:
        D, d = stage.A @ R, stage.A @ r + stage.a
        kernel = (block.tau[:, None] * D[:, None, :]).reshape(-1, D.shape[1])
        layers.append({"kernel": kernel.T, "bias": np.outer(d, block.tau).ravel()})
        R = np.einsum("vbk,ki->vbi", stage.Q, block.powers).reshape(len(stage.q), -1)
        r = stage.q
    return [*layers, {"kernel": R.T, "bias": r}]


class _Draft:
    """A stage under construction: blocks and values by name, with a bound on the magnitude of each value."""

    def __init__(self, before: dict[Any, float], p: int):
        self.before, self.p = before, p
        self.place = {name: i for i, name in enumerate(before)}
        self.blocks: dict[Any, dict[Any, float]] = {}
        self.values: dict[Any, tuple[dict[tuple[Any, int], float], float]] = {}
        self.bounds: dict[Any, float] = {}

    def block(self, weights: dict[Any, float]) -> Any:
        """The name of the block with the input u = Σ weights·values."""
        name = tuple(weights.items())
        self.blocks[name] = weights
        return name

    def value(self, name: Any, terms: dict[tuple[Any, int], float], constant: float, bound: float) -> None:
        """A new value: constant + Σ terms[block, k]·uᵏ."""
        self.values[name], self.bounds[name] = (terms, constant), bound

    def carried(self, name: Any) -> dict[tuple[Any, int], float]:
        """The terms that reproduce a value of the stage before."""
        bound = self.before[name]
        return {(self.block({name: 1 / bound}), 1): bound}

    def product(self, one: Any, other: Any, factor: float = 1.0) -> dict[tuple[Any, int], float]:
        """factor·one·other as a difference of two squares."""
        a, b = self.before[one], self.before[other]
        plus, minus = (self.block({one: 0.5 / a, other: sign * 0.5 / b}) for sign in (1, -1))
        return {(plus, 2): factor * a * b, (minus, 2): -factor * a * b}

    def keep(self, name: Any) -> None:
        self.value(name, self.carried(name), 0.0, self.before[name])

    def stage(self) -> Stage:
        number = {name: i for i, name in enumerate(self.blocks)}
        A = np.zeros((len(self.blocks), len(self.before)))
        for i, weights in enumerate(self.blocks.values()):
            for name, weight in weights.items():
                A[i, self.place[name]] = weight
        Q, q = np.zeros((len(self.values), len(A), self.p)), np.zeros(len(self.values))
        for i, (terms, constant) in enumerate(self.values.values()):
            q[i] = constant
            for (block, power), weight in terms.items():
                Q[i, number[block], power - 1] += weight
        return Stage(A, np.zeros(len(A)), Q, q)


def _powers(block: Any, P: np.ndarray) -> dict[tuple[Any, int], float]:
    return {(block, k): float(P[k]) for k in range(1, len(P)) if P[k] != 0}


def _placed(stage: Stage, sides: tuple[tuple[float, float], ...]) -> Stage:
    """The first stage with the input x in place of ξ."""
    low, high = np.array(sides).T
    middle, half = (low + high) / 2, (high - low) / 2
    return stage._replace(A=stage.A / half, a=stage.a - stage.A @ (middle / half))


def horner(C: np.ndarray, block: Block, sides: tuple[tuple[float, float], ...]) -> list[Stage]:
    """Σ C[j₁, …, jₙ] ξ₁^{j₁}⋯ξₙ^{jₙ} by Horner's scheme, one variable after another.

    Values: ("x", v) is ξ_v; ("Q", J) is the polynomial that multiplies the powers J of the variables not yet
    treated; ("acc", J) is a partial sum of such a polynomial.
    """
    p, n = block.p, C.ndim
    degree = [max(np.nonzero(C)[v], default=0) for v in range(n)]
    stages: list[Stage] = []
    values: dict[Any, float] = {("x", v): 1.0 for v in range(n)}

    # x₁: powers up to p by the block, higher ones by Horner's scheme
    rest = {J: np.trim_zeros(C[(slice(None), *J)], "b") for J in np.ndindex(C.shape[1:])}
    rest = {J: P for J, P in rest.items() if P.size} or {(0,) * (n - 1): np.zeros(1)}
    for m in reversed(range(max(1, max(map(len, rest.values())) - p))):
        draft = _Draft(values, p)
        for v in range(0 if m > 0 else 1, n):
            if degree[v] > 0 or v == 0:
                draft.keep(("x", v))
        for J, P in rest.items():
            part = P[m:]
            if not part.size:
                continue
            small = len(part) <= p + 1
            terms = (
                _powers(draft.block({("x", 0): 1.0}), part) if small else draft.product(("Q", J), ("x", 0))
            )
            draft.value(("Q", J), terms, float(part[0]), float(np.abs(part).sum()))
        stages.append(draft.stage())
        values = draft.bounds

    # the other variables: acc ← acc·x_v + (the polynomial that multiplies x_vʲ)
    for v in range(1, n):
        computed = [name[1] for name in values if name[0] == "Q"]
        for j in reversed(range(degree[v])):
            draft = _Draft(values, p)
            for w in range(v if j > 0 else v + 1, n):
                if degree[w] > 0:
                    draft.keep(("x", w))
            for J in dict.fromkeys(J[1:] for J in computed):
                acc = ("acc", J) if ("acc", J) in values else ("Q", (j + 1, *J))
                terms, bound = {}, 0.0
                if acc in values:
                    terms, bound = draft.product(acc, ("x", v)), values[acc]
                if ("Q", (j, *J)) in values:
                    terms |= draft.carried(("Q", (j, *J)))
                    bound += values["Q", (j, *J)]
                if terms:
                    draft.value(("acc", J), terms, 0.0, bound)
                for i in range(j):
                    if ("Q", (i, *J)) in values:
                        draft.keep(("Q", (i, *J)))
            stages.append(draft.stage())
            values = draft.bounds
        values = {
            {"acc": ("Q", name[1]), "Q": ("Q", name[1][1:])}[name[0]] if name[0] != "x" else name: bound
            for name, bound in values.items()
        }
    return [_placed(stages[0], sides), *stages[1:]]


def clenshaw(a: np.ndarray, block: Block, side: tuple[float, float]) -> list[Stage]:
    """Σ a_k T_k(ξ) by b_k = a_k + 2ξ b_{k+1} − b_{k+2}."""
    p, degree = block.p, len(a) - 1
    weight = np.abs(a)
    bound = [max(float(weight[k:] @ np.arange(1, degree - k + 2)), 1e-300) for k in range(degree + 1)]

    def step(k: int, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """b_k as a polynomial of ξ, from b_{k+1} and b_{k+2}; for k = 0 the sum itself."""
        raised = (1 if k == 0 else 2) * polynomial.polymulx(one)
        return polynomial.polyadd(polynomial.polysub(raised, two), [a[k]])

    first = max(0, degree - p)  # b_k of degree ≤ p in ξ, down to this one, come from the first block
    b = {degree + 2: np.zeros(1), degree + 1: np.zeros(1)}
    for k in range(degree, first - 1, -1):
        b[k] = step(k, b[k + 1], b[k + 2])
    draft = _Draft({"x": 1.0}, p)
    x = draft.block({"x": 1.0})
    draft.value("one", _powers(x, b[first]), float(b[first][0]), bound[first])
    if first > 0:
        draft.value("two", _powers(x, b[first + 1]), float(b[first + 1][0]), bound[first + 1])
        draft.keep("x")
    stages = [_placed(draft.stage(), (side,))]
    for k in reversed(range(first)):
        draft = _Draft(draft.bounds, p)
        terms = draft.product("one", "x", 1 if k == 0 else 2)
        terms |= {place: -weight for place, weight in draft.carried("two").items()}
        draft.value("one", terms, float(a[k]), bound[k])
        if k > 0:
            draft.value("two", draft.carried("one"), 0.0, bound[k + 1])
            draft.keep("x")
        stages.append(draft.stage())
    return stages
