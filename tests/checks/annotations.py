"""Every call in `eft` is checked against its annotations, by jaxtyping and beartype.

What users pass, `eft` checks itself and refuses with errors of its own. So neither the arguments of what
it exports are checked here nor, further in, those annotated as `ArrayLike`, which are on their way to that
check. Of a record every field is checked, and whether the shapes of the fields agree.
"""

import ast
import functools
import typing
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from beartype.vale import Is
from jax.typing import ArrayLike
from jaxtyping import install_import_hook, jaxtyped

CONF = BeartypeConf(is_pep484_tower=True)
"""An int will do for a float, as it does for pyright."""

METHODS = "eft.records.methods"
"""What every record can do, for users too."""

FROM_USERS = (ArrayLike, ArrayLike | None)


def check_annotations() -> None:
    """From now on, whatever is imported of `eft` is checked."""
    install_import_hook("eft", "annotations.checked")
    from eft import arguments

    # a warning points at the caller of `eft`, through the frames of jaxtyping too
    arguments.OURS = (*arguments.OURS, "jaxtyping")


def checked(function: Callable) -> Callable:
    """The function, checked against its annotations. JAX fills the fields of pytrees with anything."""
    hints = function.__annotations__
    public = (function.__module__, function.__qualname__.split(".")[0]) in exported()
    public = public or function.__module__ == METHODS
    for name, hint in hints.items():
        if name != "return" and (public or hint in FROM_USERS):
            hints[name] = Any
        elif hasattr(hint, "_fields") and function.__name__ != "__init__":
            hints[name] = Annotated[hint, Is[functools.partial(fields_agree, hint)]]
    return beartype(conf=CONF)(function)


@functools.cache
def exported() -> set[tuple[str | None, str]]:
    """The modules and names of what `eft` exports."""
    spec = find_spec("eft")
    assert spec and spec.origin
    tree = ast.parse(Path(spec.origin).read_text())
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return {(node.module, alias.name) for node in imports for alias in node.names}


def fields_agree(kind: type, record: Any) -> bool:
    """Whether each field is what it is annotated as, and axes of one name have one length."""
    if not isinstance(record, kind):
        return False
    hints = typing.get_type_hints(kind, include_extras=True)
    with jaxtyped("context"):
        return all(is_bearable(getattr(record, name), hint, conf=CONF) for name, hint in hints.items())
