"""Closed forms, a family a file: one variable, two variables, and series in the kernel.

To add one: describe the family in `eft.activations.families`, write its class here, and name it in `_FORMS`.
"""

from eft.activations import families
from eft.activations.definition import Activation
from eft.gaussian.closed_forms.base import ClosedForms
from eft.gaussian.closed_forms.erf import ErfForms
from eft.gaussian.closed_forms.gelu import GELUForms
from eft.gaussian.closed_forms.homogeneous import HomogeneousForms, PiecewiseLinearForms, StepForms
from eft.gaussian.closed_forms.mrepu import MRePUForms
from eft.gaussian.closed_forms.sine import SineForms, SnakeForms

_FORMS: dict[type, type[ClosedForms]] = {
    families.Homogeneous: HomogeneousForms,
    families.Sine: SineForms,
    families.Snake: SnakeForms,
    families.Erf: ErfForms,
    families.GELU: GELUForms,
    families.MRePU: MRePUForms,
}


def closed_forms(act: Activation) -> ClosedForms:
    """The closed forms of an activation; those that are None are left to quadrature."""
    forms = _FORMS.get(type(act.family), ClosedForms)
    if isinstance(act.family, families.Homogeneous):
        forms = {0: StepForms, 1: PiecewiseLinearForms}.get(act.family.degree, HomogeneousForms)
    return forms(act.family)
