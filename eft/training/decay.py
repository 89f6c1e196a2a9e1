"""How the deviation from the targets decays along one eigenvector of Θ_DD.

With Θ v = λv and the deviation e = vᵀ(z_D − Y), the training of linear outputs gives

    e(t) = p e(0),    z_*(t) = z_*(0) − Θ_*D v φ e(0),    φ = (1 − p)/λ

where p is exp(−λτ) in gradient flow and a polynomial in λ in gradient descent. Everywhere λ here is the
eigenvalue divided by the number of targets, and so is Θ_*D v.
"""

import jax
import jax.numpy as jnp


def gradient_flow(eigenvalues: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p = e^{−λt} and 1 − p, for λ > 0."""
    exponent = -eigenvalues * t
    return jnp.exp(exponent), -jnp.expm1(exponent)


def gradient_descent(a: jax.Array, t: jax.Array, odd: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p = (1 − a)ᵗ and 1 − p after t steps, for a = ηλ > 0; `odd`: whether t is odd.

    At t = ∞ they are NaN if a ≥ 2, where there is no limit.
    """
    small, finite = a < 0.5, jnp.where(jnp.isinf(t), 1.0, t)
    exponent = finite * jnp.log1p(-jnp.where(small, a, 0.25))
    factor = jnp.where(small, 0.5, 1 - a)
    power = _signed(jnp.abs(factor) ** finite, odd & (factor < 0))
    p = jnp.where(small, jnp.exp(exponent), power)
    return _limit(a, t, 2.0, p, jnp.where(small, -jnp.expm1(exponent), 1 - power))


def heavy_ball(a: jax.Array, beta: jax.Array, t: jax.Array, odd: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p and 1 − p after t steps of gradient descent with momentum β > 0, for a = ηλ > 0.

        e_{k+1} = e_k − a u_{k+1},   u_{k+1} = βu_k + e_k,   that is   e_{k+1} = (1 + β − a) e_k − βe_{k−1}
        p = S_{t+1} − βS_t,    S_k = (μ₊ᵏ − μ₋ᵏ)/(μ₊ − μ₋),    μ² − (1 + β − a)μ + β = 0

    With a replaced by 2(1 + β) − a both roots change their sign; the roots that are computed here have a
    positive sum. The one next to 1 is 1 − δ, δ = a/(1 − μ₋), so that small a keeps all its digits. At t = ∞
    p is NaN if a ≥ 2(1 + β).
    """
    mirrored = a > 1 + beta
    b = jnp.where(mirrored, 2 * (1 + beta) - a, a)
    half, s = (1 + beta - b) / 2, jnp.sqrt(beta)
    discriminant = ((1 - s) ** 2 - b) * ((1 + s) ** 2 - b) / 4
    real = discriminant >= 0
    root = jnp.sqrt(jnp.abs(discriminant))
    rest = (1 - beta + b) / 2 + jnp.where(real, root, 0.0)  # 1 − μ₋
    delta = b / rest
    log_large = jnp.log1p(-jnp.where(real, delta, 0.0))
    log_ratio = jnp.where(real, -2 * jnp.arctanh(jnp.where(real, root / half, 0.0)), 0.0)
    angle = jnp.where(real, 0.0, jnp.arctan2(root, half))

    def S(k):
        """μ₊^{k−1} (1 − rᵏ)/(1 − r), r = μ₋/μ₊; of complex roots √β e^{±iθ}, √β^{k−1} sin kθ/sin θ."""
        apart, turned = log_ratio < 0, angle > 0
        over = jnp.expm1(jnp.where(apart, k * log_ratio, 1.0)) / jnp.expm1(jnp.where(apart, log_ratio, 1.0))
        turn = jnp.sin(jnp.where(turned, k * angle, 1.0)) / jnp.sin(jnp.where(turned, angle, 1.0))
        growth = jnp.exp((k - 1) * jnp.where(real, log_large, jnp.log(s)))
        return growth * jnp.where(apart, over, jnp.where(turned, turn, k))

    finite = jnp.where(jnp.isinf(t), 1.0, t)
    sign = jnp.where(mirrored, -1.0, 1.0)
    p = _signed(S(finite + 1) - sign * beta * S(finite), odd & mirrored)

    slow = ~mirrored & (b < (1 - s) ** 2 / 2)
    rest, root = jnp.where(slow, rest, 1.0), jnp.where(slow, root, 1.0)
    other = -b * (1 - rest) / (2 * rest * root)  # the weight of μ₋ in p
    fast = 1 - jnp.exp(finite * (log_large + log_ratio))
    gone = -(1 - other) * jnp.expm1(finite * log_large) + other * fast
    return _limit(a, t, 2 * (1 + beta), p, jnp.where(slow, gone, 1 - p))


def _signed(a: jax.Array, negative: jax.Array) -> jax.Array:
    return jnp.where(negative, -a, a)


def _limit(a, t, largest, p, gone) -> tuple[jax.Array, jax.Array]:
    """At t = ∞ 0 and 1, or NaN where a ≥ `largest`."""
    end = jnp.where(a < largest, 0.0, jnp.nan)
    return jnp.where(jnp.isinf(t), end, p), jnp.where(jnp.isinf(t), 1 - end, gone)
