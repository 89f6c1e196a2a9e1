"""The source of an activation's Gaussian expectations at one variable: closed forms, or its table.

A source is a pytree of arrays. A program takes it as an argument and calls it, source(K), so that one
compiled program serves every activation that has a table.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.catalogue import as_activation
from eft.activations.definition import Activation, ActivationLike
from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.gaussian.accuracy import Accuracy
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.closed_forms.base import ClosedForms
from eft.gaussian.polynomials import Polynomials, continued, interpolation
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.tabulated import Table, from_table, moment_table, sampled_moments, table_moments
from eft.gaussian.tabulated_slopes import (
    SlopeTable,
    sampled_slopes,
    slope_moments,
    slope_table,
    slopes_from_values,
)


class Tabulated(NamedTuple):
    """Moments from a table, or from polynomials that the table continues beyond the window."""

    table: Table
    polynomials: Polynomials | None = None

    def __call__(self, K: Array) -> Moments:
        if self.polynomials is None:
            return table_moments(self.table, K) if isinstance(K, jax.Array) else from_table(self.table, K)
        values, error = self.polynomials(K)

        def beyond() -> Moments:
            m = from_table(self.table, K, lambda *_: values)
            return m._replace(error=numpy_of(K).maximum(m.error, error[0]))

        return continued(lambda: Moments._make([*values, error[0]]), beyond, K)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Closed:
    """Moments in closed form; `table` and `polynomials`: for those that have none."""

    forms: ClosedForms = dataclasses.field(metadata={"static": True})
    table: Table | None = None
    polynomials: Polynomials | None = None

    def __call__(self, K: Array) -> Moments:
        if self.table is None:
            return self.forms.moments(K, None)
        by_table = Tabulated(self.table, self.polynomials)(K)
        m = self.forms.moments(K, by_table)
        if self.polynomials is None:
            return m
        return m._replace(error=numpy_of(K).maximum(m.error, by_table.error))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClosedSlopes:
    """Slope moments in closed form."""

    forms: ClosedForms = dataclasses.field(metadata={"static": True})

    def __call__(self, K: jax.Array) -> SlopeMoments:
        return self.forms.slopes(K)


class TabulatedSlopes(NamedTuple):
    """Slope moments from tables, or from polynomials that the tables continue beyond the window."""

    table: SlopeTable
    polynomials: Polynomials | None = None

    def __call__(self, K: jax.Array) -> SlopeMoments:
        if self.polynomials is None:
            return slope_moments(self.table, K)
        values, error = self.polynomials(K)

        def beyond() -> SlopeMoments:
            p = slopes_from_values(self.table, K, values)
            return p._replace(error=jnp.maximum(p.error, error[0]))

        return continued(lambda: SlopeMoments._make([*values, error[0]]), beyond, K)


Source = Closed | Tabulated
SlopeSource = ClosedSlopes | TabulatedSlopes


def source(act: Activation, dtype) -> Source:
    """K → Moments of the activation, in this precision."""
    forms = closed_forms(act)
    if not forms.has("moments"):
        return Tabulated(moment_table(act, dtype))
    return Closed(forms, moment_table(act, dtype) if forms.uses_table else None)


def source_for(act: Activation, dtype, count: int) -> Source:
    """The same for this many K, none of them traced: if there are many, from polynomials, made once."""
    direct = source(act, dtype)
    if direct.table is None:
        return direct
    found = interpolation(act, "moments", direct.table, sampled_moments, count)
    if isinstance(direct, Closed):
        return dataclasses.replace(direct, polynomials=found)
    return direct._replace(polynomials=found)


def slope_source(act: Activation, dtype, count: int = 0) -> SlopeSource:
    """K → SlopeMoments of the activation, which must be continuous; `count` as for `source_for`."""
    forms = closed_forms(act)
    if forms.has("slopes"):
        return ClosedSlopes(forms)
    table = slope_table(act, dtype)
    return TabulatedSlopes(table, interpolation(act, "slopes", table, sampled_slopes, count))


def accuracies(act: Activation, dtype) -> tuple[Accuracy, ...]:
    """The accuracy of the moments and of the slope moments."""
    slopes = slope_source(act, dtype)
    both = (
        (slopes.table.slope.accuracy, slopes.table.cross.accuracy)
        if isinstance(slopes, TabulatedSlopes)
        else ()
    )
    return moment_table(act, dtype).accuracy, *both


@compiled()
def evaluated(source: Source | SlopeSource, K: jax.Array):
    """source(K), compiled."""
    return source(K)


def evaluated_by_numpy(source: Source, K: np.ndarray) -> Moments:
    """source(K) without compilation: for few K, of which only the sums over the nodes take time."""
    with np.errstate(all="ignore"):
        return jax.tree.map(np.asarray, source)(K)


def moments(act: ActivationLike, K: ArrayLike) -> Moments:
    """⟨σ²⟩, ⟨σ⁴⟩, their variance, g′ = d⟨σ²⟩/dK, ⟨σ′²⟩ and g″ in z ~ N(0, K), for any K ≥ 0.

    `act`: a name, an Activation or a function, all of whose kinks other than 0 are declared. Relative error
    ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12]; that of g″ in units of g/K². `error`
    exceeds this where it is not reached. χ∥ = C_W g′ and χ⊥ = C_W⟨σ′²⟩ (PDLT chapter 5).

    Differentiable in K. Raises TypeError or ValueError for a bad argument.

    >>> m = eft.moments("tanh", jnp.array([0.1, 1.0]))
    >>> print(m.g.round(4), m.dg.round(4), m.slope2.round(4))
    [0.0842 0.3943] [0.716  0.1818] [0.8492 0.4644]
    """
    K = arguments.nonnegative("K", K)
    return evaluated(source(as_activation(act), K.dtype), K)


def slopes(act: ActivationLike, K: ArrayLike) -> SlopeMoments:
    """The expectations of σ′² in z ~ N(0, K), alone and together with σ²; σ must be continuous.

    With F = σ² and S = σ′²: ⟨S⟩, ⟨S²⟩, Var S, d⟨S⟩/dK, d²⟨S⟩/dK², ⟨FS⟩, Cov(F, S) and ⟨σσ′²σ″⟩, which
    determine the NTK at finite width (PDLT chapters 8 and 11). `act` and the accuracy as for `moments`.

    Differentiable in K. Raises TypeError or ValueError for a bad argument, and for σ that jumps.

    >>> print(eft.slopes("relu", 2.0).cross)
    1.0
    """
    K, act = arguments.nonnegative("K", K), as_activation(act)
    complete = analysed(act)
    if (complete.resolved or complete.state) and any(complete.jumps):
        raise ArgumentError(f"act must be continuous; {act.name} jumps, and ⟨σ′²⟩ is infinite")
    return evaluated(slope_source(act, K.dtype), K)
